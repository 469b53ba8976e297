//! Service and check definitions as agents and proxies write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::{ServiceAddress, ServiceConnect, Weights};
use crate::duration::GoDuration;

/// Service definition, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceDefinition {
    pub address: String,
    pub check: CheckType,
    pub checks: Vec<CheckType>,
    pub connect: Option<ServiceConnect>,
    pub enable_tag_override: bool,
    #[serde(rename = "ID")]
    pub id: String,
    pub kind: String,
    pub meta: BTreeMap<String, String>,
    pub name: String,
    pub port: i64,
    pub proxy: Option<ConnectProxyConfig>,
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub tags: Vec<String>,
    pub token: String,
    pub weights: Option<Weights>,
}

/// Check type, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckType {
    pub alias_node: String,
    pub alias_service: String,
    pub body: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub deregister_critical_service_after: GoDuration,
    #[serde(rename = "DockerContainerID")]
    pub docker_container_id: String,
    pub failures_before_critical: i64,
    #[serde(rename = "GRPC")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    #[serde(rename = "HTTP")]
    pub http: String,
    pub header: BTreeMap<String, Vec<String>>,
    pub interval: GoDuration,
    pub method: String,
    pub name: String,
    pub notes: String,
    pub output_max_size: i64,
    #[serde(rename = "ProxyGRPC")]
    pub proxy_grpc: String,
    #[serde(rename = "ProxyHTTP")]
    pub proxy_http: String,
    pub script_args: Vec<String>,
    pub shell: String,
    pub status: String,
    pub success_before_passing: i64,
    #[serde(rename = "TCP")]
    pub tcp: String,
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    pub timeout: GoDuration,
}

/// Connect proxy config, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConnectProxyConfig {
    pub config: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "DestinationServiceID")]
    pub destination_service_id: String,
    pub destination_service_name: String,
    pub expose: ExposeConfig,
    pub local_service_address: String,
    pub local_service_port: i64,
    pub mesh_gateway: MeshGatewayConfig,
    pub upstreams: Vec<Upstream>,
}

/// Expose config, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExposeConfig {
    pub checks: bool,
    pub paths: Vec<ExposePath>,
}

/// Expose path, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExposePath {
    pub listener_port: i64,
    pub local_path_port: i64,
    pub parsed_from_check: bool,
    pub path: String,
    pub protocol: String,
}

/// Mesh gateway config, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MeshGatewayConfig {
    pub mode: String,
}

/// Upstream, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Upstream {
    pub config: BTreeMap<String, serde_json::Value>,
    pub datacenter: String,
    pub destination_name: String,
    pub destination_namespace: String,
    pub destination_type: String,
    pub ingress_hosts: Vec<String>,
    pub local_bind_address: String,
    pub local_bind_port: i64,
    pub mesh_gateway: MeshGatewayConfig,
}
