//! The key/value store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ops::{KvVerb, TombstoneOp};
use crate::options::{QueryMeta, QueryOptions};
use crate::scalar::Blob;

/// A key of the KV store. There may be millions of them, so its parts have no room to grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DirEntry {
    pub create_index: u64,
    pub flags: u64,
    pub key: Box<str>,
    pub lock_index: u64,
    pub modify_index: u64,
    pub session: Box<str>,
    pub value: Blob,
}

/// Arguments of `KVS.Apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KvsRequest {
    pub datacenter: String,
    pub dir_ent: DirEntry,
    pub op: KvVerb,
    pub token: String,
}

/// Arguments of `KVS.Get`, `KVS.List`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyRequest {
    pub datacenter: String,
    pub key: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Arguments of `KVS.ListKeys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyListRequest {
    pub datacenter: String,
    pub prefix: String,
    pub seperator: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `KVS.Get`, `KVS.List`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedDirEntries {
    pub entries: Vec<Arc<DirEntry>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Reply of `KVS.ListKeys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedKeyList {
    pub keys: Vec<String>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Tombstone request, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TombstoneRequest {
    pub datacenter: String,
    pub op: TombstoneOp,
    pub reap_index: u64,
    pub token: String,
}
