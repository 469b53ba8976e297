//! Nodes and services: what the catalog holds, asks and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::definition::{ConnectProxyConfig, ServiceDefinition};
use crate::health::{CheckServiceNode, HealthCheck};
use crate::options::{QueryMeta, QueryOptions, QuerySource};

/// A machine of the catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    pub address: String,
    pub create_index: u64,
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub meta: BTreeMap<String, String>,
    pub modify_index: u64,
    pub node: String,
    pub tagged_addresses: BTreeMap<String, String>,
}

/// A service instance as its node holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeService {
    pub address: String,
    pub connect: ServiceConnect,
    pub create_index: u64,
    pub enable_tag_override: bool,
    #[serde(rename = "ID")]
    pub id: String,
    pub kind: String,
    pub locally_registered_as_sidecar: bool,
    pub meta: BTreeMap<String, String>,
    pub modify_index: u64,
    pub port: i64,
    pub proxy: ConnectProxyConfig,
    pub service: String,
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub tags: Vec<String>,
    pub weights: Option<Weights>,
}

/// A service instance joined with its node, flat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceNode {
    pub address: String,
    pub create_index: u64,
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub node: String,
    pub node_meta: BTreeMap<String, String>,
    pub service_address: String,
    pub service_connect: ServiceConnect,
    pub service_enable_tag_override: bool,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_kind: String,
    pub service_meta: BTreeMap<String, String>,
    pub service_name: String,
    pub service_port: i64,
    pub service_proxy: ConnectProxyConfig,
    pub service_tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub service_tags: Vec<String>,
    pub service_weights: Weights,
    pub tagged_addresses: BTreeMap<String, String>,
}

/// Service address, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceAddress {
    pub address: String,
    pub port: i64,
}

/// Weights, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Weights {
    pub passing: i64,
    pub warning: i64,
}

/// Service connect, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceConnect {
    pub native: bool,
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

/// Node services, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeServices {
    pub node: Option<Arc<Node>>,
    pub services: BTreeMap<String, Arc<NodeService>>,
}

/// Node service list, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeServiceList {
    pub node: Option<Arc<Node>>,
    pub services: Vec<Arc<NodeService>>,
}

/// Node info, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeInfo {
    pub address: String,
    pub checks: Vec<Arc<HealthCheck>>,
    #[serde(rename = "ID")]
    pub id: String,
    pub meta: BTreeMap<String, String>,
    pub node: String,
    pub services: Vec<Arc<NodeService>>,
    pub tagged_addresses: BTreeMap<String, String>,
}

/// Service name, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceName {
    pub name: String,
}

/// Arguments of `Catalog.Register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegisterRequest {
    pub address: String,
    pub check: Option<HealthCheck>,
    pub checks: Vec<Arc<HealthCheck>>,
    pub create_index: u64,
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub node: String,
    pub node_meta: BTreeMap<String, String>,
    pub service: Option<NodeService>,
    pub skip_node_update: bool,
    pub tagged_addresses: BTreeMap<String, String>,
    pub token: String,
}

/// Arguments of `Catalog.Deregister`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeregisterRequest {
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub datacenter: String,
    pub node: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub token: String,
}

/// Arguments of `Catalog.ListDatacenters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DatacentersRequest {
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `Catalog.ListNodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedNodes {
    pub nodes: Vec<Arc<Node>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Catalog.ListServices`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedServices {
    pub services: BTreeMap<String, Vec<String>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Catalog.ServiceList`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedServiceList {
    pub services: Vec<ServiceName>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Catalog.ServiceNodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedServiceNodes {
    pub service_nodes: Vec<ServiceNode>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Catalog.NodeServices`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedNodeServices {
    pub node_services: Option<NodeServices>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Catalog.NodeServiceList`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedNodeServiceList {
    pub node_services: NodeServiceList,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Internal.NodeDump`, `Internal.NodeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedNodeDump {
    pub dump: Vec<NodeInfo>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `Internal.ServiceDump`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedNodesWithGateways {
    pub gateways: Vec<GatewayService>,
    pub nodes: Vec<CheckServiceNode>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Arguments of `Internal.ServiceDump`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceDumpRequest {
    pub datacenter: String,
    pub service_kind: String,
    pub source: QuerySource,
    pub use_service_kind: bool,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Gateway service, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GatewayService {
    #[serde(rename = "CAFile")]
    pub ca_file: String,
    pub cert_file: String,
    pub create_index: u64,
    pub from_wildcard: bool,
    pub gateway: ServiceName,
    pub gateway_kind: String,
    pub hosts: Vec<String>,
    pub key_file: String,
    pub modify_index: u64,
    pub port: i64,
    pub protocol: String,
    #[serde(rename = "SNI")]
    pub sni: String,
    pub service: ServiceName,
}
