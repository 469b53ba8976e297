//! Prepared queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::health::CheckServiceNode;
use crate::ops::PreparedQueryOp;
use crate::options::{QueryMeta, QueryOptions, QuerySource};

/// Reply of `PreparedQuery.Get`, `PreparedQuery.List`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedPreparedQueries {
    pub queries: Vec<Arc<PreparedQuery>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// A stored query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQuery {
    pub create_index: u64,
    #[serde(rename = "DNS")]
    pub dns: QueryDnsOptions,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub name: String,
    pub service: ServiceQuery,
    pub session: String,
    pub template: QueryTemplateOptions,
    pub token: String,
}

/// Arguments of `PreparedQuery.ExecuteRemote`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExecuteRemoteRequest {
    pub connect: bool,
    pub datacenter: String,
    pub limit: i64,
    pub query: PreparedQuery,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Arguments of `PreparedQuery.Execute`, `PreparedQuery.Explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExecuteRequest {
    pub agent: QuerySource,
    pub connect: bool,
    pub datacenter: String,
    pub limit: i64,
    #[serde(rename = "QueryIDOrName")]
    pub query_id_or_name: String,
    pub source: QuerySource,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `PreparedQuery.Execute`, `PreparedQuery.ExecuteRemote`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExecuteResponse {
    #[serde(rename = "DNS")]
    pub dns: QueryDnsOptions,
    pub datacenter: String,
    pub failovers: i64,
    pub nodes: Vec<CheckServiceNode>,
    pub service: String,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `PreparedQuery.Explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExplainResponse {
    pub query: PreparedQuery,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Arguments of `PreparedQuery.Apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryRequest {
    pub datacenter: String,
    pub op: PreparedQueryOp,
    pub query: Option<PreparedQuery>,
    pub token: String,
}

/// Arguments of `PreparedQuery.Get`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQuerySpecificRequest {
    pub datacenter: String,
    #[serde(rename = "QueryID")]
    pub query_id: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Query dns options, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryDnsOptions {
    #[serde(rename = "TTL")]
    pub ttl: String,
}

/// Query datacenter options, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryDatacenterOptions {
    pub datacenters: Vec<String>,
    pub nearest_n: i64,
}

/// Query template options, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryTemplateOptions {
    pub regexp: String,
    pub remove_empty_tags: bool,
    pub r#type: String,
}

/// Service query, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceQuery {
    pub connect: bool,
    pub failover: QueryDatacenterOptions,
    #[serde(rename = "IgnoreCheckIDs")]
    pub ignore_check_ids: Vec<String>,
    pub near: String,
    pub node_meta: BTreeMap<String, String>,
    pub only_passing: bool,
    pub service: String,
    pub service_meta: BTreeMap<String, String>,
    pub tags: Vec<String>,
}
