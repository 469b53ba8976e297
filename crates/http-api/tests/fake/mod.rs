//! A road and an agent that answer from memory.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache::Cache;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use http::{Request, Response};
use http_api::api::error::ApiError;
use http_api::api::snapshot::ArchiveStream;
use http_api::api::types::{
    CheckRegistration, HostReport, LogLevel, Member, SelfInfo, ServiceRegistration, TokenKind, UserEvent,
};
use http_api::face::body::{ReplyBody, RequestBody};
use http_api::{AgentApi, Face, FaceConfig, Peer, SnapshotPort};
use http_body_util::BodyExt as _;
use model::catalog::NodeService;
use model::error::{ErrorKind, RpcError};
use model::health::HealthCheck;
use model::internal::SnapshotRequest;
use model::method::Reply;
use model::options::QueryMeta;
use model::road::{ErasedCall, ErasedReply, Road, RoadBackend};
use parking_lot::Mutex;
use tokio::sync::watch;

type Answer = Box<dyn Fn(&ErasedCall) -> Result<ErasedReply, RpcError> + Send + Sync>;

/// Answers calls by method name and keeps what was asked.
#[derive(Default)]
pub struct FakeRoad {
    answers: BTreeMap<&'static str, Answer>,
    pub calls: Mutex<Vec<ErasedCall>>,
}

impl FakeRoad {
    pub fn on<R: Reply + Clone>(mut self, method: &'static str, reply: R) -> Self {
        self.answers.insert(method, Box::new(move |_| Ok(Box::new(reply.clone()))));
        self
    }

    /// Gives the reply away at the first call.
    pub fn once<R: Reply>(mut self, method: &'static str, reply: R) -> Self {
        let reply = Mutex::new(Some(reply));
        self.answers.insert(
            method,
            Box::new(move |_| match reply.lock().take() {
                Some(reply) => Ok(Box::new(reply)),
                None => Err(RpcError::from_text("asked twice")),
            }),
        );
        self
    }

    pub fn fails(mut self, method: &'static str, text: &'static str) -> Self {
        self.answers.insert(method, Box::new(move |_| Err(RpcError::from_text(text))));
        self
    }

    /// The arguments of the last call.
    pub fn last<A: 'static>(&self) -> A {
        let call = self.calls.lock().pop().expect("no call was made");
        *call.args.into_any().downcast::<A>().expect("other arguments")
    }
}

impl RoadBackend for FakeRoad {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        let answer = match self.answers.get(call.info.name) {
            Some(answer) => answer(&call),
            None => Err(RpcError::new(ErrorKind::Other, format!("no answer for {}", call.info.name))),
        };
        self.calls.lock().push(call);
        Box::pin(async move { answer })
    }
}

/// An agent whose services, checks and events are set by the test.
pub struct FakeAgent {
    pub config: Mutex<Arc<FaceConfig>>,
    pub services: Mutex<BTreeMap<String, Arc<NodeService>>>,
    pub checks: Mutex<BTreeMap<String, Arc<HealthCheck>>>,
    pub events: Mutex<Vec<Arc<UserEvent>>>,
    pub changes: watch::Sender<u64>,
    pub log: Mutex<Vec<String>>,
    pub registered: Mutex<Vec<ServiceRegistration>>,
}

impl Default for FakeAgent {
    fn default() -> Self {
        Self {
            config: Mutex::default(),
            services: Mutex::default(),
            checks: Mutex::default(),
            events: Mutex::default(),
            changes: watch::Sender::new(0),
            log: Mutex::default(),
            registered: Mutex::default(),
        }
    }
}

impl FakeAgent {
    fn note(&self, what: String) -> Result<(), ApiError> {
        self.log.lock().push(what);
        Ok(())
    }
}

#[async_trait]
impl AgentApi for FakeAgent {
    fn local_datacenter(&self) -> &str {
        "dc1"
    }
    fn node_name(&self) -> &str {
        "s1"
    }
    fn config(&self) -> Arc<FaceConfig> {
        Arc::clone(&self.config.lock())
    }
    async fn self_info(&self, _token: &str) -> Result<SelfInfo, ApiError> {
        Ok(SelfInfo::default())
    }
    async fn host(&self, _token: &str) -> Result<HostReport, ApiError> {
        Ok(HostReport::default())
    }
    async fn members(&self, wan: bool, _token: &str) -> Result<Option<Vec<Member>>, ApiError> {
        Ok((!wan).then(Vec::new))
    }
    async fn join(&self, addr: &str, wan: bool, _token: &str) -> Result<usize, ApiError> {
        self.note(format!("join {addr} {wan}")).map(|()| 1)
    }
    async fn leave(&self, _token: &str) -> Result<(), ApiError> {
        self.note("leave".to_owned())
    }
    async fn force_leave(&self, node: &str, prune: bool, _token: &str) -> Result<(), ApiError> {
        self.note(format!("force-leave {node} {prune}"))
    }
    async fn reload(&self, _token: &str) -> Result<(), ApiError> {
        self.note("reload".to_owned())
    }
    async fn services(&self, _token: &str) -> Result<BTreeMap<String, Arc<NodeService>>, ApiError> {
        Ok(self.services.lock().clone())
    }
    async fn checks(&self, _token: &str) -> Result<BTreeMap<String, Arc<HealthCheck>>, ApiError> {
        Ok(self.checks.lock().clone())
    }
    fn local_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    async fn register_service(&self, registration: ServiceRegistration) -> Result<(), ApiError> {
        self.registered.lock().push(registration);
        Ok(())
    }
    async fn deregister_service(&self, id: &str, _token: &str) -> Result<(), ApiError> {
        self.note(format!("deregister {id}"))
    }
    async fn register_check(&self, registration: CheckRegistration) -> Result<(), ApiError> {
        self.note(format!("check {} {}", registration.check.name, registration.service_id))
    }
    async fn deregister_check(&self, id: &str, _token: &str) -> Result<(), ApiError> {
        self.note(format!("deregister check {id}"))
    }
    async fn update_ttl(&self, id: &str, status: &str, output: &str, _token: &str) -> Result<(), ApiError> {
        self.note(format!("ttl {id} {status} {output}"))
    }
    async fn node_maintenance(&self, enable: bool, reason: &str, _token: &str) -> Result<(), ApiError> {
        self.note(format!("maintenance {enable} {reason}"))
    }
    async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
        _token: &str,
    ) -> Result<(), ApiError> {
        self.note(format!("maintenance of {id} {enable} {reason}"))
    }
    async fn metrics(&self, _token: &str) -> Result<serde_json::Value, ApiError> {
        Ok(serde_json::json!({ "Gauges": [] }))
    }
    async fn metrics_prometheus(&self, _token: &str) -> Result<String, ApiError> {
        Err(ApiError::new(415, "off"))
    }
    async fn monitor(
        &self,
        _level: LogLevel,
        _json: bool,
        _token: &str,
    ) -> Result<BoxStream<'static, Bytes>, ApiError> {
        Ok(futures::stream::iter([Bytes::from_static(b"one\n"), Bytes::from_static(b"two\n")]).boxed())
    }
    async fn events(&self, _token: &str) -> Result<Vec<Arc<UserEvent>>, ApiError> {
        Ok(self.events.lock().clone())
    }
    fn event_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    async fn set_token(&self, _kind: TokenKind, _secret: &str, _token: &str) -> Result<(), ApiError> {
        Ok(())
    }
}

/// A snapshot of four bytes.
pub struct FakeSnapshots;

#[async_trait]
impl SnapshotPort for FakeSnapshots {
    async fn save(&self, _request: SnapshotRequest) -> Result<(QueryMeta, ArchiveStream), RpcError> {
        let meta = QueryMeta { index: 9, known_leader: true, ..QueryMeta::default() };
        Ok((meta, futures::stream::iter([Ok(Bytes::from_static(b"snap"))]).boxed()))
    }
    async fn restore(&self, _request: SnapshotRequest, mut archive: ArchiveStream) -> Result<(), RpcError> {
        while let Some(chunk) = archive.next().await {
            if chunk.is_ok_and(|bytes| bytes == "broken") {
                return Err(RpcError::from_text("the archive is broken"));
            }
        }
        Ok(())
    }
}

/// A face with its fakes at hand.
pub struct Bench {
    pub face: Arc<Face>,
    pub agent: Arc<FakeAgent>,
    pub road: Arc<FakeRoad>,
}

pub fn bench(road: FakeRoad) -> Bench {
    let agent = Arc::new(FakeAgent::default());
    let road = Arc::new(road);
    let calls = Road::new(Arc::clone(&road) as Arc<dyn RoadBackend>);
    let face = Face::new(
        Arc::clone(&agent) as Arc<dyn AgentApi>,
        calls.clone(),
        Arc::new(Cache::new(calls)),
        Arc::new(FakeSnapshots),
    );
    Bench { face: Arc::new(face), agent, road }
}

impl Bench {
    /// Sends a request, `METHOD /path`, and collects the answer.
    pub async fn send(&self, line: &str, body: &str) -> Told {
        self.send_with(line, body, &[]).await
    }

    pub async fn send_with(&self, line: &str, body: &str, headers: &[(&str, &str)]) -> Told {
        let (method, path) = line.split_once(' ').expect("METHOD /path");
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = RequestBody::Bytes(Bytes::copy_from_slice(body.as_bytes()));
        let peer = Peer::Ip([127, 0, 0, 1].into());
        Told::of(self.face.answer(request.body(body).expect("a request"), peer).await).await
    }
}

/// An answer in full.
pub struct Told {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Told {
    async fn of(response: Response<ReplyBody>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("<missing>", |value| value.to_str().expect("text"))
    }
}
