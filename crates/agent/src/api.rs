//! The agent as its HTTP face sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gossip::serf;
use http_api::api::types::{
    CheckRegistration, HostReport, LogLevel, Member, SelfConfig, SelfInfo, ServiceRegistration, TokenKind,
    UserEvent,
};
use http_api::{AgentApi, ApiError, FaceConfig};
use model::VERSION_SPOKEN;
use model::catalog::NodeService;
use model::health::HealthCheck;
use telemetry::logging::Level;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::{Agent, Request};
use crate::coordinates::to_model;
use crate::pools::OWN_VERSION_TAG;
use crate::{host, join};

/// A member in the words of the API. The tag with our own version is left out: tools of the reference
/// compare tags, and what they gate on is `build`.
fn member(member: &serf::Member) -> Member {
    let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] = member.vsn;
    let mut tags: BTreeMap<String, String> =
        member.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    tags.remove(OWN_VERSION_TAG);
    Member {
        name: member.name.to_string(),
        addr: member.addr.to_string(),
        port: member.port,
        tags,
        status: member.status as u8,
        protocol_min,
        protocol_max,
        protocol_cur,
        delegate_min,
        delegate_max,
        delegate_cur,
    }
}

impl Agent {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ApiError> {
        let gone = || ApiError::internal("agent is shutting down");
        let (sender, receiver) = oneshot::channel();
        self.requests.send(request(sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}

#[async_trait]
impl AgentApi for Agent {
    fn local_datacenter(&self) -> &str {
        &self.datacenter
    }

    fn node_name(&self) -> &str {
        self.lan.name()
    }

    fn config(&self) -> Arc<FaceConfig> {
        self.face.load_full()
    }

    async fn self_info(&self, _token: &str) -> Result<SelfInfo, ApiError> {
        let config = self.config.load_full();
        let coordinate = self.lan.coordinate().await.ok().flatten();
        let mut debug_config = config.debug_json();
        if let Some(map) = debug_config.as_object_mut() {
            map.insert("NodeID".to_owned(), self.node_id.clone().into());
        }
        Ok(SelfInfo {
            config: SelfConfig {
                datacenter: config.datacenter.clone(),
                node_name: config.node_name.clone(),
                node_id: self.node_id.clone(),
                revision: String::new(),
                server: config.server,
                version: VERSION_SPOKEN.to_owned(),
            },
            debug_config,
            coord: coordinate.as_ref().map(to_model),
            member: self.lan.local_member().map(|own| member(&own)).unwrap_or_default(),
            stats: self.stats().await,
            meta: self.local.read(|state| state.node().meta.clone()),
        })
    }

    async fn host(&self, _token: &str) -> Result<HostReport, ApiError> {
        let path = self.config.load().data_dir.clone();
        tokio::task::spawn_blocking(move || host::report(path.as_deref()))
            .await
            .map_err(|error| ApiError::internal(error.to_string()))
    }

    async fn members(&self, wan: bool, _token: &str) -> Result<Option<Vec<Member>>, ApiError> {
        let pool = if wan { self.wan.as_ref() } else { Some(&self.lan) };
        let Some(pool) = pool else { return Ok(None) };
        Ok(Some(pool.members().iter().map(|other| member(other)).collect()))
    }

    async fn join(&self, addr: &str, wan: bool, _token: &str) -> Result<usize, ApiError> {
        let pool = if wan {
            match &self.wan {
                Some(pool) => pool,
                None if self.config.load().server => {
                    return Err(ApiError::internal("WAN Federation is disabled"));
                }
                None => return Err(ApiError::internal("Must be a server to join WAN cluster")),
            }
        } else {
            &self.lan
        };
        join::start(pool, &[addr.to_owned()], wan).await.map_err(ApiError::internal)
    }

    async fn leave(&self, _token: &str) -> Result<(), ApiError> {
        self.ask(|done| Request::Leave { done }).await
    }

    async fn force_leave(&self, node: &str, prune: bool, _token: &str) -> Result<(), ApiError> {
        if self.lan.member(node).is_none() {
            return Err(ApiError::internal(format!("agent: No node found with name '{node}'")));
        }
        match &self.delegate {
            crate::delegate::Delegate::Server(server) => server.force_leave(node, prune).await,
            crate::delegate::Delegate::Client(_) => self
                .lan
                .force_leave(node, prune)
                .await
                .map_err(|error| ApiError::internal(error.to_string()))?,
        }
        Ok(())
    }

    async fn reload(&self, _token: &str) -> Result<(), ApiError> {
        self.ask(|done| Request::Reload { done }).await?.map_err(ApiError::internal)
    }

    async fn services(&self, _token: &str) -> Result<BTreeMap<String, Arc<NodeService>>, ApiError> {
        Ok(self.local.services())
    }

    async fn checks(&self, _token: &str) -> Result<BTreeMap<String, Arc<HealthCheck>>, ApiError> {
        Ok(self.local.checks())
    }

    async fn service(&self, id: &str, _token: &str) -> Result<Option<Arc<NodeService>>, ApiError> {
        Ok(self.local.read(|state| state.service(id).map(|entry| entry.service.clone())))
    }

    fn local_changes(&self) -> watch::Receiver<u64> {
        self.local.changes()
    }

    async fn register_service(&self, registration: ServiceRegistration) -> Result<(), ApiError> {
        self.services.register_service(registration).await
    }

    async fn deregister_service(&self, id: &str, token: &str) -> Result<(), ApiError> {
        self.services.deregister_service(id, token).await
    }

    async fn register_check(&self, registration: CheckRegistration) -> Result<(), ApiError> {
        self.services.register_check(registration).await
    }

    async fn deregister_check(&self, id: &str, token: &str) -> Result<(), ApiError> {
        self.services.deregister_check(id, token).await
    }

    async fn update_ttl(&self, id: &str, status: &str, output: &str, token: &str) -> Result<(), ApiError> {
        self.services.update_ttl(id, status, output, token).await
    }

    async fn node_maintenance(&self, enable: bool, reason: &str, token: &str) -> Result<(), ApiError> {
        self.services.node_maintenance(enable, reason, token).await
    }

    async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
        token: &str,
    ) -> Result<(), ApiError> {
        self.services.service_maintenance(id, enable, reason, token).await
    }

    async fn metrics(&self, _token: &str) -> Result<serde_json::Value, ApiError> {
        Ok(self.metrics.json())
    }

    async fn metrics_prometheus(&self, _token: &str) -> Result<String, ApiError> {
        self.metrics.prometheus().ok_or_else(|| {
            ApiError::new(415, "Prometheus is not enabled since its retention time is not positive")
        })
    }

    async fn monitor(
        &self,
        level: LogLevel,
        json: bool,
        _token: &str,
    ) -> Result<BoxStream<'static, Bytes>, ApiError> {
        let level = match level {
            LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        };
        let lines = self.log.subscribe(level, json).map_err(|error| ApiError::internal(error.to_string()))?;
        let stop = self.stop.clone();
        let lines = ReceiverStream::new(lines).map(Bytes::from);
        Ok(lines.take_until(async move { stop.cancelled().await }).boxed())
    }

    async fn events(&self, _token: &str) -> Result<Vec<Arc<UserEvent>>, ApiError> {
        Ok(self.events.all())
    }

    fn event_changes(&self) -> watch::Receiver<u64> {
        self.events.changes()
    }

    async fn set_token(&self, kind: TokenKind, secret: &str, _token: &str) -> Result<(), ApiError> {
        let mut tokens = self.tokens.write();
        let place = match kind {
            TokenKind::Default => &mut tokens.default,
            TokenKind::Agent => &mut tokens.agent,
            TokenKind::AgentMaster => &mut tokens.agent_master,
            TokenKind::Replication => &mut tokens.replication,
        };
        secret.clone_into(place);
        Ok(())
    }

    fn default_token(&self) -> String {
        self.tokens.read().default.clone()
    }
}
