//! Raft and autopilot as operators see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::time::Timestamp;

/// Reply of `Operator.AutopilotGetConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotConfig {
    pub cleanup_dead_servers: bool,
    pub create_index: u64,
    pub disable_upgrade_migration: bool,
    pub last_contact_threshold: GoDuration,
    pub max_trailing_logs: u64,
    pub min_quorum: u64,
    pub modify_index: u64,
    pub redundancy_zone_tag: String,
    pub server_stabilization_time: GoDuration,
    pub upgrade_version_tag: String,
}

/// Reply of `Operator.ServerHealth`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotHealthReply {
    pub failure_tolerance: i64,
    pub healthy: bool,
    pub servers: Vec<AutopilotServerHealth>,
}

/// Autopilot server health, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotServerHealth {
    pub address: String,
    pub healthy: bool,
    #[serde(rename = "ID")]
    pub id: String,
    pub last_contact: GoDuration,
    pub last_index: u64,
    pub last_term: u64,
    pub leader: bool,
    pub name: String,
    pub serf_status: i64,
    pub stable_since: Timestamp,
    pub version: String,
    pub voter: bool,
}

/// Arguments of `Operator.AutopilotSetConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotSetConfigRequest {
    #[serde(rename = "CAS")]
    pub cas: bool,
    pub config: AutopilotConfig,
    pub datacenter: String,
    pub token: String,
}

/// Reply of `Operator.RaftGetConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftConfigurationResponse {
    pub index: u64,
    pub servers: Vec<RaftServer>,
}

/// Arguments of `Operator.RaftRemovePeerByAddress`, `Operator.RaftRemovePeerByID`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftRemovePeerRequest {
    pub address: String,
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub token: String,
}

/// Raft server, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftServer {
    pub address: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub leader: bool,
    pub node: String,
    pub protocol_version: String,
    pub voter: bool,
}

/// Reply of `Status.RaftStats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftStats {
    pub last_contact: String,
    pub last_index: u64,
    pub last_term: u64,
}

/// Autopilot server, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotServer {
    pub address: String,
    pub ext: serde_json::Value,
    #[serde(rename = "ID")]
    pub id: String,
    pub is_leader: bool,
    pub meta: BTreeMap<String, String>,
    pub name: String,
    pub node_status: String,
    pub node_type: String,
    pub raft_version: i64,
    pub version: String,
}

/// Autopilot server health state, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotServerHealthState {
    pub healthy: bool,
    pub stable_since: Timestamp,
}

/// Autopilot server state, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotServerState {
    pub health: AutopilotServerHealthState,
    pub server: AutopilotServer,
    pub state: String,
    pub stats: AutopilotServerStats,
}

/// Autopilot server stats, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotServerStats {
    pub last_contact: GoDuration,
    pub last_index: u64,
    pub last_term: u64,
}

/// Reply of `Operator.AutopilotState`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotState {
    pub ext: serde_json::Value,
    pub failure_tolerance: i64,
    pub healthy: bool,
    pub leader: String,
    pub servers: BTreeMap<String, AutopilotServerState>,
    pub voters: Vec<String>,
}
