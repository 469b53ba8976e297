//! What the agent tells of itself, in the field names of the API.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::coordinate::Coord;
use model::definition::{CheckType, ServiceDefinition};
use model::event::FireEvent;
use model::scalar::Blob;
use serde::Serialize;

/// A member of a gossip pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// The member's name; with `.<datacenter>` in the WAN pool.
    pub name: String,
    /// Its IP address.
    pub addr: String,
    /// Its gossip port.
    pub port: u16,
    /// What it says of itself.
    pub tags: BTreeMap<String, String>,
    /// 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
    /// Lowest gossip protocol it understands.
    pub protocol_min: u8,
    /// Highest gossip protocol it understands.
    pub protocol_max: u8,
    /// The gossip protocol it speaks.
    pub protocol_cur: u8,
    /// Lowest delegate protocol it understands.
    pub delegate_min: u8,
    /// Highest delegate protocol it understands.
    pub delegate_max: u8,
    /// The delegate protocol it speaks.
    pub delegate_cur: u8,
}

/// The `Config` part of `/v1/agent/self`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SelfConfig {
    pub datacenter: String,
    pub node_name: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// The source revision, abbreviated.
    pub revision: String,
    pub server: bool,
    /// The level of the reference that we speak.
    pub version: String,
}

/// `/v1/agent/self`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SelfInfo {
    pub config: SelfConfig,
    /// The whole effective configuration, secrets replaced by `hidden`.
    pub debug_config: serde_json::Value,
    /// The LAN coordinate; null while coordinates are off.
    pub coord: Option<Coord>,
    /// This agent in the LAN pool.
    pub member: Member,
    /// Figures by subsystem, all as text.
    pub stats: BTreeMap<String, BTreeMap<String, String>>,
    /// Node metadata.
    pub meta: BTreeMap<String, String>,
}

/// `/v1/agent/host`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostReport {
    pub memory: Option<MemoryInfo>,
    #[serde(rename = "CPU")]
    pub cpu: Vec<CpuInfo>,
    pub host: Option<HostInfo>,
    pub disk: Option<DiskInfo>,
    /// When it was collected, nanoseconds since 1970.
    pub collection_time: i64,
    /// What could not be collected; null when all was.
    pub errors: Option<Vec<String>>,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryInfo {
    pub total: u64,
    pub available: u64,
    pub used: u64,
    pub used_percent: f64,
    pub free: u64,
    pub buffers: u64,
    pub cached: u64,
}

/// One logical processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuInfo {
    pub cpu: i32,
    pub vendor_id: String,
    pub family: String,
    pub model: String,
    pub stepping: i32,
    pub physical_id: String,
    pub core_id: String,
    pub cores: i32,
    pub model_name: String,
    pub mhz: f64,
    pub cache_size: i32,
    pub flags: Vec<String>,
    pub microcode: String,
}

/// The machine and its operating system.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostInfo {
    pub hostname: String,
    /// Seconds since boot.
    pub uptime: u64,
    /// When it booted, seconds since 1970.
    pub boot_time: u64,
    pub procs: u64,
    pub os: String,
    pub platform: String,
    pub platform_family: String,
    pub platform_version: String,
    pub kernel_version: String,
    pub kernel_arch: String,
    pub virtualization_system: String,
    pub virtualization_role: String,
    pub host_id: String,
}

/// The file system of the data directory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskInfo {
    pub path: String,
    pub fstype: String,
    pub total: u64,
    pub free: u64,
    pub used: u64,
    pub used_percent: f64,
    pub inodes_total: u64,
    pub inodes_used: u64,
    pub inodes_free: u64,
    pub inodes_used_percent: f64,
}

/// A service on its way into the agent; already validated by the face.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceRegistration {
    /// The definition; its id may be empty, which means the name.
    pub service: ServiceDefinition,
    /// Drops checks of the service that the definition does not name.
    pub replace_existing_checks: bool,
    /// The caller's token; the definition may carry one of its own for the service.
    pub token: String,
}

/// A check on its way into the agent; already validated by the face.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckRegistration {
    /// The definition; its id may be empty, which means the name.
    pub check: CheckType,
    /// The service it belongs to; empty for the node.
    pub service_id: String,
    /// The token that the check is kept in the catalog with; empty for the agent's.
    pub check_token: String,
    /// The caller's token.
    pub token: String,
}

/// A user event, as fired or received.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserEvent {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub payload: Blob,
    /// Regular expression on the node's name; empty takes all.
    pub node_filter: String,
    /// Regular expression on service names; empty takes all.
    pub service_filter: String,
    /// Regular expression on the tags of the services that pass; empty takes all.
    pub tag_filter: String,
    /// Version of the event's format: 1.
    pub version: u32,
    /// The gossip pool's Lamport time of it; 0 when just fired.
    #[serde(rename = "LTime")]
    pub ltime: u64,
}

/// The least severe level that a log stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// No level has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown log level: {0}")]
pub struct UnknownLogLevel(pub String);

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLogLevel> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "err" | "error" => Ok(Self::Error),
            _ => Err(UnknownLogLevel(text.to_owned())),
        }
    }
}

/// Which of the agent's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// For requests that carry none.
    Default,
    /// For the agent's own work.
    Agent,
    /// The local key to the agent while no server answers.
    AgentMaster,
    /// For ACL replication.
    Replication,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

impl UserEvent {
    /// An event as it travelled, with the Lamport time it was received at.
    pub fn received(event: FireEvent, ltime: u64) -> Self {
        Self {
            id: event.id,
            name: event.name,
            payload: event.payload,
            node_filter: event.node_filter,
            service_filter: event.service_filter,
            tag_filter: event.tag_filter,
            version: event.version,
            ltime,
        }
    }
}

impl From<&UserEvent> for FireEvent {
    fn from(event: &UserEvent) -> Self {
        Self {
            id: event.id.clone(),
            name: event.name.clone(),
            payload: event.payload.clone(),
            node_filter: event.node_filter.clone(),
            service_filter: event.service_filter.clone(),
            tag_filter: event.tag_filter.clone(),
            version: event.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_recorded() {
        let event = UserEvent {
            id: "6bddc533-fc0f-1f62-efdb-19651da8064b".to_owned(),
            name: "deploy".to_owned(),
            payload: b"hello payload".as_slice().into(),
            version: 1,
            ltime: 2,
            ..UserEvent::default()
        };
        let bytes = FireEvent::from(&event).encode().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "84a24944d92436626464633533332d666330662d316636322d656664622d313936353164613830363462\
             a16ea66465706c6f79a170c40d68656c6c6f207061796c6f6164a17601"
        );
        assert_eq!(UserEvent::received(FireEvent::decode(&bytes).unwrap(), 2), event);
    }
}
