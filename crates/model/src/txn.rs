//! Transactions over keys, nodes, services and checks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Node, NodeService};
use crate::health::HealthCheck;
use crate::kv::DirEntry;
use crate::ops::{CheckVerb, KvVerb, NodeVerb, ServiceVerb, SessionVerb};
use crate::options::{QueryMeta, QueryOptions};
use crate::session::Session;

/// Txn check op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnCheckOp {
    pub check: HealthCheck,
    pub verb: CheckVerb,
}

/// Txn error, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnError {
    pub op_index: i64,
    pub what: String,
}

/// Txn kv op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnKvOp {
    pub dir_ent: DirEntry,
    pub verb: KvVerb,
}

/// Txn node op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnNodeOp {
    pub node: Node,
    pub verb: NodeVerb,
}

/// Txn op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnOp {
    pub check: Option<TxnCheckOp>,
    #[serde(rename = "KV")]
    pub kv: Option<TxnKvOp>,
    pub node: Option<TxnNodeOp>,
    pub service: Option<TxnServiceOp>,
    pub session: Option<TxnSessionOp>,
}

/// Arguments of `Txn.Read`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnReadRequest {
    pub datacenter: String,
    pub ops: Vec<TxnOp>,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `Txn.Read`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnReadResponse {
    pub errors: Vec<TxnError>,
    pub results: Vec<TxnResult>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Arguments of `Txn.Apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnRequest {
    pub datacenter: String,
    pub ops: Vec<TxnOp>,
    pub token: String,
}

/// Reply of `Txn.Apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnResponse {
    pub errors: Vec<TxnError>,
    pub results: Vec<TxnResult>,
}

/// Txn result, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnResult {
    pub check: Option<Arc<HealthCheck>>,
    #[serde(rename = "KV")]
    pub kv: Option<Arc<DirEntry>>,
    pub node: Option<Arc<Node>>,
    pub service: Option<Arc<NodeService>>,
}

/// Txn service op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnServiceOp {
    pub node: String,
    pub service: NodeService,
    pub verb: ServiceVerb,
}

/// Txn session op, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnSessionOp {
    pub session: Session,
    pub verb: SessionVerb,
}
