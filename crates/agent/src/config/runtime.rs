//! The validated configuration: plain values in their proper types.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use model::definition::{CheckType, ServiceDefinition};

use super::interfaces::Cidr;

/// Everything an agent needs to know to run.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeConfig {
    pub node_name: String,
    /// Lower case UUID, if one was given; see `data_dir::node_id`.
    pub node_id: Option<String>,
    pub disable_host_node_id: bool,
    pub node_meta: BTreeMap<String, String>,
    /// Lower case.
    pub datacenter: String,
    /// Lower case; the own datacenter unless configured.
    pub primary_datacenter: String,
    /// Absent only in development mode.
    pub data_dir: Option<PathBuf>,
    pub dev_mode: bool,
    pub server: bool,
    pub bootstrap: bool,
    /// Zero if it does not apply (then see `bootstrap`).
    pub bootstrap_expect: u32,
    pub net: Net,
    pub ports: Ports,
    pub join: Join,
    pub gossip_lan: Gossip,
    pub gossip_wan: Gossip,
    pub encrypt: Encrypt,
    pub raft: Raft,
    pub autopilot: Autopilot,
    pub limits: Limits,
    pub dns: Dns,
    pub http: Http,
    pub telemetry: Telemetry,
    pub logging: Logging,
    pub acl: Acl,
    pub tls: Tls,
    pub auto_encrypt: AutoEncrypt,
    pub connect: Connect,
    pub ui: Ui,
    pub checks_policy: ChecksPolicy,
    pub services: Vec<ServiceDefinition>,
    pub checks: Vec<CheckDefinition>,
    /// As written; the watch plans read them.
    pub watches: Vec<serde_json::Value>,
    pub config_entries_bootstrap: Vec<serde_json::Value>,
    /// How often local state is compared with the catalog (scaled by the size of the pool).
    pub ae_interval: Duration,
    pub sync_coordinate_interval_min: Duration,
    /// Coordinate updates per second that all nodes together aim at.
    pub sync_coordinate_rate_target: f64,
    pub coordinate_update_batch_size: usize,
    pub coordinate_update_max_batches: usize,
    pub coordinate_update_period: Duration,
    pub default_query_time: Duration,
    pub max_query_time: Duration,
    pub session_ttl_min: Duration,
    pub leave_on_terminate: bool,
    pub skip_leave_on_interrupt: bool,
    pub leave_drain_time: Duration,
    pub rpc_hold_timeout: Duration,
    pub disable_coordinates: bool,
    pub disable_remote_exec: bool,
    pub disable_update_check: bool,
    pub disable_anonymous_signature: bool,
    pub disable_keyring_file: bool,
    pub enable_debug: bool,
    pub discovery_max_stale: Duration,
    pub pid_file: Option<PathBuf>,
    pub cache_entry_fetch_rate: f64,
    pub cache_entry_fetch_max_burst: usize,
    pub rpc_enable_streaming: bool,
    pub use_streaming_backend: bool,
    pub enable_central_service_config: bool,
    /// Protocol version of Serf's gossip.
    pub protocol: u8,
    pub primary_gateways: Vec<String>,
    pub primary_gateways_interval: Duration,
}

/// Addresses. A missing WAN address means that there is no WAN pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    pub bind_addr: IpAddr,
    pub advertise_lan: IpAddr,
    pub advertise_wan: IpAddr,
    pub rpc_bind: SocketAddr,
    pub rpc_advertise: SocketAddr,
    pub serf_lan_bind: SocketAddr,
    pub serf_lan_advertise: SocketAddr,
    pub serf_wan_bind: Option<SocketAddr>,
    pub serf_wan_advertise: Option<SocketAddr>,
    pub serf_lan_allowed_cidrs: Vec<Cidr>,
    pub serf_wan_allowed_cidrs: Vec<Cidr>,
    /// `lan`, `lan_ipv4`, `wan` ... and the user's own.
    pub tagged_addresses: BTreeMap<String, String>,
    pub translate_wan_addrs: bool,
    pub client_addrs: Vec<ClientAddr>,
    pub dns: Vec<SocketAddr>,
    pub http: Vec<Listen>,
    pub https: Vec<Listen>,
    pub grpc: Vec<Listen>,
    pub unix_socket: UnixSocket,
}

/// One entry of `client_addr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAddr {
    Ip(IpAddr),
    Unix(PathBuf),
}

/// Where a face listens; written `tcp://127.0.0.1:8500` or `unix:///run/consul.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddr::Ip(ip) => write!(f, "{ip}"),
            ClientAddr::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(addr) => write!(f, "tcp://{addr}"),
            Listen::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Owner and permissions of unix sockets; empty where the process's own hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnixSocket {
    pub user: String,
    pub group: String,
    /// Octal, such as `0770`.
    pub mode: String,
}

/// Ports; absent means switched off (zero or less).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    pub dns: Option<u16>,
    pub http: Option<u16>,
    pub https: Option<u16>,
    pub grpc: Option<u16>,
    pub serf_lan: Option<u16>,
    pub serf_wan: Option<u16>,
    pub server: Option<u16>,
    pub proxy_min: Option<u16>,
    pub proxy_max: Option<u16>,
    pub sidecar_min: Option<u16>,
    pub sidecar_max: Option<u16>,
    pub expose_min: Option<u16>,
    pub expose_max: Option<u16>,
}

/// How the agent finds the others. `start_*` fail at once, `retry_*` go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub start_lan: Vec<String>,
    pub start_wan: Vec<String>,
    pub retry_lan: Vec<String>,
    pub retry_wan: Vec<String>,
    pub retry_interval_lan: Duration,
    pub retry_interval_wan: Duration,
    /// Zero is without end.
    pub retry_max_lan: u32,
    pub retry_max_wan: u32,
    pub rejoin_after_leave: bool,
    /// After how long a failed member is forgotten; the pool's default if absent.
    pub reconnect_timeout_lan: Option<Duration>,
    pub reconnect_timeout_wan: Option<Duration>,
    /// What this client asks others to use for itself.
    pub advertise_reconnect_timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    pub gossip_nodes: usize,
    pub gossip_interval: Duration,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub suspicion_mult: u32,
    pub retransmit_mult: u32,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Encrypt {
    /// 16, 24 or 32 bytes.
    pub key: Option<Vec<u8>>,
    pub verify_incoming: bool,
    pub verify_outgoing: bool,
}

impl fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypt")
            .field("key", &self.key.as_ref().map(|_| "hidden"))
            .field("verify_incoming", &self.verify_incoming)
            .field("verify_outgoing", &self.verify_outgoing)
            .finish()
    }
}

/// Timings already multiplied by `performance.raft_multiplier`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raft {
    pub election_timeout: Duration,
    pub heartbeat_timeout: Duration,
    pub leader_lease_timeout: Duration,
    pub multiplier: u32,
    pub protocol: u8,
    /// Log entries after which a snapshot is due.
    pub snapshot_threshold: u64,
    /// How often that is looked at.
    pub snapshot_interval: Duration,
    /// Log entries kept behind a snapshot.
    pub trailing_logs: u64,
    /// How often servers ask each other for their health.
    pub server_health_interval: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autopilot {
    pub cleanup_dead_servers: bool,
    pub last_contact_threshold: Duration,
    pub max_trailing_logs: u64,
    pub min_quorum: u32,
    pub server_stabilization_time: Duration,
    pub disable_upgrade_migration: bool,
    pub redundancy_zone_tag: String,
    pub upgrade_version_tag: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections; zero is without limit.
    pub http_max_conns_per_client: usize,
    pub https_handshake_timeout: Duration,
    pub rpc_handshake_timeout: Duration,
    pub rpc_max_conns_per_client: usize,
    /// Calls per second to servers; infinite if not limited.
    pub rpc_rate: f64,
    pub rpc_max_burst: usize,
    /// Bytes.
    pub kv_max_value_size: u64,
    /// Bytes.
    pub txn_max_req_len: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// As configured, with or without a final dot.
    pub domain: String,
    pub alt_domain: String,
    /// `address` or `address:port`.
    pub recursors: Vec<String>,
    pub allow_stale: bool,
    pub a_record_limit: usize,
    pub disable_compression: bool,
    pub enable_truncate: bool,
    pub max_stale: Duration,
    pub node_ttl: Duration,
    pub only_passing: bool,
    pub recursor_timeout: Duration,
    /// By service name; `prefix*` and `*` are wildcards.
    pub service_ttl: BTreeMap<String, Duration>,
    pub udp_answer_limit: usize,
    pub node_meta_txt: bool,
    pub soa: Soa,
    pub use_cache: bool,
    pub cache_max_age: Duration,
}

/// Seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub min_ttl: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    pub block_endpoints: Vec<String>,
    /// Empty: everybody may write.
    pub allow_write_from: Vec<Cidr>,
    pub response_headers: BTreeMap<String, String>,
    pub use_cache: bool,
    /// Bytes; absent: the server's default.
    pub max_header_bytes: Option<usize>,
    pub disable_unprintable_char_filter: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    pub disable_compat_1_9: bool,
    pub disable_hostname: bool,
    pub dogstatsd_addr: String,
    pub dogstatsd_tags: Vec<String>,
    pub filter_default: bool,
    /// Metrics that are let through or blocked whatever the default.
    pub allowed_prefixes: Vec<String>,
    pub blocked_prefixes: Vec<String>,
    pub metrics_prefix: String,
    /// Zero: the Prometheus format is off.
    pub prometheus_retention_time: Duration,
    pub statsd_addr: String,
    pub statsite_addr: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Upper or lower case as configured; one of TRACE DEBUG INFO WARN ERR ERROR.
    pub level: String,
    pub json: bool,
    /// A path; a folder if it ends in a slash.
    pub file: Option<PathBuf>,
    pub rotate_duration: Duration,
    pub rotate_bytes: u64,
    /// Zero keeps all, a negative number none.
    pub rotate_max_files: i64,
    pub syslog: bool,
    pub syslog_facility: String,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Acl {
    pub enabled: bool,
    pub datacenter: String,
    pub enable_token_replication: bool,
    pub enable_token_persistence: bool,
    pub enable_key_list_policy: bool,
    pub policy_ttl: Duration,
    pub role_ttl: Duration,
    pub token_ttl: Duration,
    pub disabled_ttl: Duration,
    /// `allow` or `deny`.
    pub default_policy: String,
    pub down_policy: String,
    pub tokens: Tokens,
}

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    pub master: String,
    pub replication: String,
    pub agent_master: String,
    pub default: String,
    pub agent: String,
}

impl fmt::Debug for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acl")
            .field("enabled", &self.enabled)
            .field("default_policy", &self.default_policy)
            .field("down_policy", &self.down_policy)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: String,
    pub ca_path: String,
    pub cert_file: String,
    pub key_file: String,
    pub cipher_suites: String,
    pub min_version: String,
    pub prefer_server_cipher_suites: bool,
    pub server_name: String,
    pub verify_incoming: bool,
    pub verify_incoming_https: bool,
    pub verify_incoming_rpc: bool,
    pub verify_outgoing: bool,
    pub verify_server_hostname: bool,
    pub enable_agent_tls_for_checks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoEncrypt {
    pub tls: bool,
    pub allow_tls: bool,
    pub dns_san: Vec<String>,
    pub ip_san: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    pub enabled: bool,
    pub ca_provider: String,
    pub ca_config: serde_json::Value,
    pub mesh_gateway_wan_federation: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ui {
    pub enabled: bool,
    pub dir: String,
    /// Begins and ends with a slash.
    pub content_path: String,
    pub metrics_provider: String,
    pub metrics_provider_files: Vec<String>,
    pub metrics_provider_options_json: String,
    pub metrics_proxy_base_url: String,
    /// Names and values.
    pub metrics_proxy_add_headers: Vec<(String, String)>,
    pub metrics_proxy_path_allowlist: Vec<String>,
    pub dashboard_url_templates: BTreeMap<String, String>,
}

/// What checks may do and how their results travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksPolicy {
    /// Scripts of checks registered over HTTP.
    pub enable_remote_scripts: bool,
    /// Scripts of checks that stand in configuration files.
    pub enable_local_scripts: bool,
    /// How long a change of output alone may wait before it reaches the catalog.
    pub update_interval: Duration,
    pub discard_output: bool,
    /// Bytes.
    pub output_max_size: usize,
    pub deregister_interval_min: Duration,
    pub reap_interval: Duration,
}

/// A check as written in a file, outside of a service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckDefinition {
    pub check: CheckType,
    pub service_id: String,
    pub token: String,
}

impl RuntimeConfig {
    /// Whether the node takes part in the WAN pool.
    pub fn has_wan(&self) -> bool {
        self.server && self.net.serf_wan_bind.is_some()
    }
}
