//! The agent's own affairs, as the face asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::catalog::NodeService;
use model::health::HealthCheck;
use tokio::sync::watch;

use super::config::FaceConfig;
use super::error::ApiError;
use super::types::{
    CheckRegistration, HostReport, LogLevel, Member, SelfInfo, ServiceRegistration, TokenKind, UserEvent,
};

/// What an agent answers without asking a server.
///
/// The face has checked names, numbers and enumerations before it calls; what an implementation
/// refuses (an unknown check, scripts that are off, a denied token) it says with an [`ApiError`],
/// whose status and text reach the client as they are.
#[async_trait]
pub trait AgentApi: Send + Sync + 'static {
    /// The datacenter of this agent.
    fn local_datacenter(&self) -> &str;

    /// The node name of this agent.
    fn node_name(&self) -> &str;

    /// The network segment of this agent; empty for the default one.
    fn segment(&self) -> &str {
        ""
    }

    /// The settings now. Called once a request: make it a cheap clone.
    fn config(&self) -> Arc<FaceConfig>;

    /// `/v1/agent/self`.
    async fn self_info(&self, token: &str) -> Result<SelfInfo, ApiError>;

    /// `/v1/agent/host`.
    async fn host(&self, token: &str) -> Result<HostReport, ApiError>;

    /// The members of the LAN or WAN pool that the token may see, in the pool's order; `None` on a
    /// client agent for the WAN.
    async fn members(&self, wan: bool, token: &str) -> Result<Option<Vec<Member>>, ApiError>;

    /// Joins a pool through an address; tells how many answered.
    async fn join(&self, addr: &str, wan: bool, token: &str) -> Result<usize, ApiError>;

    /// Leaves both pools. Returns when left; the agent then shuts down by itself.
    async fn leave(&self, token: &str) -> Result<(), ApiError>;

    /// Takes a failed member for left, and with `prune` forgets it.
    async fn force_leave(&self, node: &str, prune: bool, token: &str) -> Result<(), ApiError>;

    /// Reads the configuration again.
    async fn reload(&self, token: &str) -> Result<(), ApiError>;

    /// The local services by id that the token may see. Instances are shared, not copied.
    async fn services(&self, token: &str) -> Result<BTreeMap<String, Arc<NodeService>>, ApiError>;

    /// The local checks by id that the token may see.
    async fn checks(&self, token: &str) -> Result<BTreeMap<String, Arc<HealthCheck>>, ApiError>;

    /// One local service. The default looks into all.
    async fn service(&self, id: &str, token: &str) -> Result<Option<Arc<NodeService>>, ApiError> {
        Ok(self.services(token).await?.remove(id))
    }

    /// A number that moves whenever a local service or check changes.
    fn local_changes(&self) -> watch::Receiver<u64>;

    /// Adds or replaces a service with its checks. Returns once it is part of the local state and
    /// persisted; the catalog follows.
    async fn register_service(&self, registration: ServiceRegistration) -> Result<(), ApiError>;

    /// Removes a service with its checks; an unknown one is no error.
    async fn deregister_service(&self, id: &str, token: &str) -> Result<(), ApiError>;

    /// Adds or replaces a check.
    async fn register_check(&self, registration: CheckRegistration) -> Result<(), ApiError>;

    /// Removes a check; an unknown one is no error.
    async fn deregister_check(&self, id: &str, token: &str) -> Result<(), ApiError>;

    /// Feeds a TTL check; `status` is `passing`, `warning` or `critical`.
    async fn update_ttl(&self, id: &str, status: &str, output: &str, token: &str) -> Result<(), ApiError>;

    /// Maintenance of the node; an empty reason stands for the default text.
    async fn node_maintenance(&self, enable: bool, reason: &str, token: &str) -> Result<(), ApiError>;

    /// Maintenance of a service; 404 for an unknown one.
    async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
        token: &str,
    ) -> Result<(), ApiError>;

    /// The metrics of the last interval: `Timestamp Gauges Points Counters Samples`.
    async fn metrics(&self, token: &str) -> Result<serde_json::Value, ApiError>;

    /// The metrics in Prometheus' text format; 415 when its retention time is not positive.
    async fn metrics_prometheus(&self, token: &str) -> Result<String, ApiError>;

    /// Log lines from now on, each with its line end; ends with the agent.
    async fn monitor(
        &self,
        level: LogLevel,
        json: bool,
        token: &str,
    ) -> Result<BoxStream<'static, Bytes>, ApiError>;

    /// The user events kept (at most 256), oldest first, that the token may see.
    async fn events(&self, token: &str) -> Result<Vec<Arc<UserEvent>>, ApiError>;

    /// A number that moves with every user event received.
    fn event_changes(&self) -> watch::Receiver<u64>;

    /// Gives the agent a token.
    async fn set_token(&self, kind: TokenKind, secret: &str, token: &str) -> Result<(), ApiError>;

    /// The token that a request without one acts with: the agent's default token, mostly empty.
    fn default_token(&self) -> String {
        String::new()
    }
}
