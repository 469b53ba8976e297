//! The watches of the configuration: each runs its plan against the agent's own HTTP face, without
//! a connection in between.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::Request;
use http_api::face::body::RequestBody;
use http_api::{Face, Peer};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use watch::{AgentHandler, Answer, HandlerSpec, Plan, Query, SourceError, WatchSource};

use crate::config::RuntimeConfig;

/// What cannot stand in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A watch with what stops it.
struct Running {
    definition: Value,
    stop: CancellationToken,
}

/// All watches that run.
#[derive(Default)]
pub struct Watches {
    face: OnceLock<Arc<Face>>,
    running: Mutex<Vec<Running>>,
}

/// Path and query of a question, encoded.
fn target(query: &Query) -> String {
    let mut target = utf8_percent_encode(&query.path, PATH).to_string();
    let mut params = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &query.params {
        params.append_pair(name, value);
    }
    if query.index > 0 {
        params.append_pair("index", &query.index.to_string());
    }
    if let Some(datacenter) = &query.datacenter {
        params.append_pair("dc", datacenter);
    }
    if query.stale {
        params.append_key_only("stale");
    }
    let params = params.finish();
    if !params.is_empty() {
        target.push('?');
        target.push_str(&params);
    }
    target
}

/// Asks the face in this process.
struct OwnFace(Arc<Face>);

#[async_trait]
impl WatchSource for OwnFace {
    async fn fetch(&self, query: &Query) -> Result<Answer, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError(error.to_string());
        let mut request = Request::get(target(query));
        if let Some(token) = &query.token {
            request = request.header("X-Consul-Token", token);
        }
        let request =
            request.body(RequestBody::Bytes(bytes::Bytes::new())).map_err(|error| failed(&error))?;
        let response = self.0.answer(request, Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))).await;
        let status = response.status().as_u16();
        let index = response
            .headers()
            .get("X-Consul-Index")
            .and_then(|index| index.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        let body = response.into_body().collect().await.map_err(|error| failed(&error))?;
        Ok(Answer { status, index, body: body.to_bytes().to_vec() })
    }
}

impl Watches {
    /// Starts the watches of the configuration.
    pub fn start(&self, face: Arc<Face>, config: &RuntimeConfig) {
        // Set once, as the agent starts.
        let _ = self.face.set(face);
        self.replace(config);
    }

    /// Ends watches that are gone from the configuration and starts those that are new; the others
    /// go on.
    pub fn replace(&self, config: &RuntimeConfig) {
        let Some(face) = self.face.get() else { return };
        let mut running = self.running.lock();
        let (keep, end): (Vec<_>, Vec<_>) =
            running.drain(..).partition(|watch| config.watches.contains(&watch.definition));
        for watch in end {
            watch.stop.cancel();
        }
        *running = keep;
        for definition in &config.watches {
            if running.iter().any(|watch| watch.definition == *definition) {
                continue;
            }
            let stop = CancellationToken::new();
            match start_one(definition, face.clone(), stop.clone()) {
                Ok(()) => running.push(Running { definition: definition.clone(), stop }),
                Err(error) => {
                    tracing::error!(target: "agent", error = %error, "failed to start a watch");
                }
            }
        }
    }

    /// Ends all.
    pub fn stop(&self) {
        for watch in self.running.lock().drain(..) {
            watch.stop.cancel();
        }
    }
}

/// Whether all watches of the configuration can be run. One that cannot is no matter for the log:
/// somebody waits for its handler to be called.
pub fn check(config: &RuntimeConfig) -> Result<(), String> {
    config.watches.iter().try_for_each(|definition| parse(definition).map(|_| ()))
}

fn parse(definition: &Value) -> Result<(Plan, HandlerSpec), String> {
    let params = definition.as_object().ok_or("a watch has to be an object")?.clone();
    let plan =
        Plan::parse(params).map_err(|error| format!("Failed to parse watch ({definition}): {error}"))?;
    let handler = plan
        .handler
        .clone()
        .ok_or_else(|| format!("a watch needs a handler, args or http_handler_config ({definition})"))?;
    Ok((plan, handler))
}

fn start_one(definition: &Value, face: Arc<Face>, stop: CancellationToken) -> Result<(), String> {
    let (plan, handler) = parse(definition)?;
    tokio::spawn(async move {
        watch::run(plan, &OwnFace(face), &mut AgentHandler(handler), &stop).await;
    });
    Ok(())
}
