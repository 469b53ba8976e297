//! Groups shared by requests and replies (rpc protocol, "common groups").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// How a read wants to be answered: consistency, blocking, cache and filter. Group of every read request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryOptions {
    pub allow_not_modified_response: bool,
    pub allow_stale: bool,
    pub filter: String,
    pub max_age: GoDuration,
    pub max_query_time: GoDuration,
    pub max_stale_duration: GoDuration,
    pub min_query_index: u64,
    pub must_revalidate: bool,
    pub require_consistent: bool,
    pub stale_if_error: GoDuration,
    pub token: String,
    pub use_cache: bool,
}

/// What a read answer says of itself. Group of every read reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryMeta {
    pub consistency_level: String,
    pub index: u64,
    pub known_leader: bool,
    pub last_contact: GoDuration,
    pub not_modified: bool,
}

/// Query source, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QuerySource {
    pub datacenter: String,
    pub ip: String,
    pub node: String,
    pub segment: String,
}

/// Arguments of `Catalog.ListNodes`, `Catalog.ListServices`, `Catalog.ServiceList`,
/// `Coordinate.ListNodes`, `Internal.NodeDump`, `Operator.AutopilotGetConfiguration`,
/// `Operator.AutopilotState`, `Operator.RaftGetConfiguration`, `Operator.ServerHealth`,
/// `PreparedQuery.List`, `Status.Leader`, `Status.Peers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DcSpecificRequest {
    pub datacenter: String,
    pub node_meta_filters: BTreeMap<String, String>,
    pub source: QuerySource,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Arguments of `Catalog.NodeServiceList`, `Catalog.NodeServices`, `Coordinate.Node`,
/// `Health.NodeChecks`, `Internal.NodeInfo`, `Session.NodeSessions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpecificRequest {
    pub datacenter: String,
    pub node: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Arguments of `Catalog.ServiceNodes`, `Health.ServiceChecks`, `Health.ServiceNodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceSpecificRequest {
    pub connect: bool,
    pub datacenter: String,
    pub ingress: bool,
    pub node_meta_filters: BTreeMap<String, String>,
    pub service_address: String,
    pub service_kind: String,
    pub service_name: String,
    pub service_tag: String,
    pub service_tags: Vec<String>,
    pub source: QuerySource,
    pub tag_filter: bool,
    #[serde(flatten)]
    pub options: QueryOptions,
}
