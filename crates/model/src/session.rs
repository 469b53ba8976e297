//! Sessions, which locks and queries bind to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::ops::{SessionBehavior, SessionOp};
use crate::options::{QueryMeta, QueryOptions};

/// A session: the lease that locks are bound to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Session {
    pub behavior: SessionBehavior,
    pub checks: Vec<String>,
    pub create_index: u64,
    #[serde(rename = "ID")]
    pub id: String,
    pub lock_delay: GoDuration,
    pub modify_index: u64,
    pub name: String,
    pub node: String,
    pub node_checks: Vec<String>,
    /// None at all, where a session names no list, is another answer than an empty one.
    pub service_checks: Option<Vec<ServiceCheck>>,
    #[serde(rename = "TTL")]
    pub ttl: String,
}

/// Service check, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceCheck {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
}

/// Arguments of `Session.Apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionRequest {
    pub datacenter: String,
    pub op: SessionOp,
    pub session: Session,
    pub token: String,
}

/// Arguments of `Session.Get`, `Session.List`, `Session.Renew`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionSpecificRequest {
    pub datacenter: String,
    pub session: String,
    #[serde(rename = "SessionID")]
    pub session_id: String,
    #[serde(flatten)]
    pub options: QueryOptions,
}

/// Reply of `Session.Get`, `Session.List`, `Session.NodeSessions`, `Session.Renew`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedSessions {
    pub sessions: Vec<Arc<Session>>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}
