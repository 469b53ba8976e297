//! Events, keyring operations, snapshots: requests between agents and servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ops::KeyringOp;
use crate::options::{QueryMeta, QueryOptions};
use crate::scalar::Blob;

/// Arguments of `Internal.EventFire`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EventFireRequest {
    pub datacenter: String,
    pub name: String,
    pub payload: Blob,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `Internal.EventFire`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EventFireResponse {
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Arguments of `Internal.KeyringOperation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyringRequest {
    pub datacenter: String,
    pub forwarded: bool,
    pub key: String,
    pub local_only: bool,
    pub operation: KeyringOp,
    pub relay_factor: u8,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Keyring response, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyringResponse {
    pub datacenter: String,
    pub error: String,
    pub keys: BTreeMap<String, i64>,
    pub messages: BTreeMap<String, String>,
    pub num_nodes: i64,
    pub primary_keys: BTreeMap<String, i64>,
    pub segment: String,
    #[serde(rename = "WAN")]
    pub wan: bool,
}

/// Reply of `Internal.KeyringOperation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyringResponses {
    pub responses: Vec<KeyringResponse>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Snapshot request, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SnapshotRequest {
    pub allow_stale: bool,
    pub datacenter: String,
    pub op: i64,
    pub token: String,
}

/// Snapshot response, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SnapshotResponse {
    pub error: String,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// System metadata entry, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SystemMetadataEntry {
    pub create_index: u64,
    pub key: String,
    pub modify_index: u64,
    pub value: String,
}

/// System metadata request, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SystemMetadataRequest {
    pub datacenter: String,
    pub entry: Option<SystemMetadataEntry>,
    pub op: String,
    pub token: String,
}
