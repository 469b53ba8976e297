//! Health checks and the health view of services.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Node, NodeService};
use crate::duration::GoDuration;
use crate::options::{QueryMeta, QueryOptions, QuerySource};

/// A check of a node or of one of its services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthCheck {
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub create_index: u64,
    pub definition: HealthCheckDefinition,
    pub modify_index: u64,
    pub name: String,
    pub node: String,
    pub notes: String,
    pub output: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    pub service_tags: Vec<String>,
    pub status: String,
    pub r#type: String,
}

/// Health check definition, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthCheckDefinition {
    pub alias_node: String,
    pub alias_service: String,
    pub body: String,
    pub deregister_critical_service_after: GoDuration,
    #[serde(rename = "DockerContainerID")]
    pub docker_container_id: String,
    #[serde(rename = "GRPC")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    #[serde(rename = "HTTP")]
    pub http: String,
    pub header: BTreeMap<String, Vec<String>>,
    pub interval: GoDuration,
    pub method: String,
    pub output_max_size: u64,
    pub script_args: Vec<String>,
    pub shell: String,
    #[serde(rename = "TCP")]
    pub tcp: String,
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    pub timeout: GoDuration,
}

/// A service instance with its node and the checks of both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckServiceNode {
    pub checks: Vec<Arc<HealthCheck>>,
    pub node: Arc<Node>,
    pub service: Arc<NodeService>,
}

/// Arguments of `Health.ChecksInState`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ChecksInStateRequest {
    pub datacenter: String,
    pub node_meta_filters: BTreeMap<String, String>,
    pub source: QuerySource,
    pub state: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `Health.ChecksInState`, `Health.NodeChecks`, `Health.ServiceChecks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedHealthChecks {
    pub health_checks: Vec<Arc<HealthCheck>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Health.ServiceNodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedCheckServiceNodes {
    pub nodes: Vec<CheckServiceNode>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}
