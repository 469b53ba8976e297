//! The flags of `agent`. They lie over the configuration files; lists given as
//! flags come before those of files.

use std::path::PathBuf;

use super::tree::Tree;

/// Flags of the `agent` command as clap arguments (long names; Go's single
/// dash is the caller's affair). A flag given twice counts the last time,
/// lists add up; the command should set `args_override_self(true)`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct AgentFlags {
    /// Configuration file or folder (whose .hcl and .json files are read in
    /// alphabetical order); may be given several times, later ones win
    #[arg(long = "config-file", visible_alias = "config-dir", value_name = "PATH")]
    pub config_files: Vec<PathBuf>,

    /// Format of all configuration files whatever their names: hcl or json
    #[arg(long = "config-format", value_name = "FORMAT")]
    pub config_format: Option<String>,

    /// A piece of configuration in HCL, read after all files
    #[arg(long = "hcl", value_name = "TEXT", allow_hyphen_values = true)]
    pub hcl: Vec<String>,

    /// Development mode: a server in memory, on loopback, with debugging on
    #[arg(long = "dev", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub dev: Option<bool>,

    /// Address to tell the datacenter's other agents
    #[arg(long = "advertise", value_name = "VALUE", allow_hyphen_values = true)]
    pub advertise: Option<String>,

    /// Address to tell servers of other datacenters
    #[arg(long = "advertise-wan", value_name = "VALUE", allow_hyphen_values = true)]
    pub advertise_wan: Option<String>,

    /// Network from which writes over HTTP are let in; CIDR, may be given several times
    #[arg(long = "allow-write-http-from", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub allow_write_http_from: Vec<String>,

    /// A second domain for DNS
    #[arg(long = "alt-domain", value_name = "VALUE", allow_hyphen_values = true)]
    pub alt_domain: Option<String>,

    /// Address to listen on for the cluster's traffic
    #[arg(long = "bind", value_name = "VALUE", allow_hyphen_values = true)]
    pub bind: Option<String>,

    /// Start the first server of a datacenter
    #[arg(long = "bootstrap", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub bootstrap: Option<bool>,

    /// How many servers to wait for before the first election
    #[arg(long = "bootstrap-expect", value_name = "NUMBER", allow_hyphen_values = true)]
    pub bootstrap_expect: Option<i64>,

    /// Addresses of HTTP, HTTPS, gRPC and DNS, separated by spaces
    #[arg(long = "client", value_name = "VALUE", allow_hyphen_values = true)]
    pub client: Option<String>,

    /// Folder of the agent's state
    #[arg(long = "data-dir", value_name = "VALUE", allow_hyphen_values = true)]
    pub data_dir: Option<String>,

    /// Datacenter of the agent
    #[arg(long = "datacenter", value_name = "VALUE", allow_hyphen_values = true)]
    pub datacenter: Option<String>,

    /// How long a blocking query waits that does not say
    #[arg(long = "default-query-time", value_name = "VALUE", allow_hyphen_values = true)]
    pub default_query_time: Option<String>,

    /// Make up the node id at random instead of deriving it from the host
    #[arg(long = "disable-host-node-id", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub disable_host_node_id: Option<bool>,

    /// Do not keep gossip keys in the data folder
    #[arg(long = "disable-keyring-file", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub disable_keyring_file: Option<bool>,

    /// Port of DNS
    #[arg(long = "dns-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub dns_port: Option<i64>,

    /// Domain of DNS names
    #[arg(long = "domain", value_name = "VALUE", allow_hyphen_values = true)]
    pub domain: Option<String>,

    /// Run script checks that stand in configuration files
    #[arg(long = "enable-local-script-checks", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub enable_local_script_checks: Option<bool>,

    /// Run script checks, those registered over HTTP too
    #[arg(long = "enable-script-checks", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub enable_script_checks: Option<bool>,

    /// Gossip key, base64
    #[arg(long = "encrypt", value_name = "VALUE", allow_hyphen_values = true)]
    pub encrypt: Option<String>,

    /// Port of gRPC
    #[arg(long = "grpc-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub grpc_port: Option<i64>,

    /// Port of HTTP
    #[arg(long = "http-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub http_port: Option<i64>,

    /// Port of HTTPS
    #[arg(long = "https-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub https_port: Option<i64>,

    /// Address of an agent to join at start; failing to is fatal
    #[arg(long = "join", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub join: Vec<String>,

    /// Address of a server to join over the WAN at start
    #[arg(long = "join-wan", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub join_wan: Vec<String>,

    /// File to log to; a folder if it ends in a slash
    #[arg(long = "log-file", value_name = "VALUE", allow_hyphen_values = true)]
    pub log_file: Option<String>,

    /// Log lines as JSON
    #[arg(long = "log-json", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub log_json: Option<bool>,

    /// Least level to log: trace, debug, info, warn, err
    #[arg(long = "log-level", value_name = "VALUE", allow_hyphen_values = true)]
    pub log_level: Option<String>,

    /// Size after which the log file is rotated
    #[arg(long = "log-rotate-bytes", value_name = "NUMBER", allow_hyphen_values = true)]
    pub log_rotate_bytes: Option<i64>,

    /// Time after which the log file is rotated
    #[arg(long = "log-rotate-duration", value_name = "VALUE", allow_hyphen_values = true)]
    pub log_rotate_duration: Option<String>,

    /// How many rotated log files to keep
    #[arg(long = "log-rotate-max-files", value_name = "NUMBER", allow_hyphen_values = true)]
    pub log_rotate_max_files: Option<i64>,

    /// Longest time a blocking query may ask for
    #[arg(long = "max-query-time", value_name = "VALUE", allow_hyphen_values = true)]
    pub max_query_time: Option<String>,

    /// Name of the node, unique in its datacenter
    #[arg(long = "node", value_name = "VALUE", allow_hyphen_values = true)]
    pub node: Option<String>,

    /// Id of the node, a UUID
    #[arg(long = "node-id", value_name = "VALUE", allow_hyphen_values = true)]
    pub node_id: Option<String>,

    /// key:value of the node's metadata
    #[arg(long = "node-meta", value_name = "KEY:VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub node_meta: Vec<String>,

    /// Has no effect (paid edition of the reference)
    #[arg(long = "non-voting-server", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub non_voting_server: Option<bool>,

    /// File to write the process id to
    #[arg(long = "pid-file", value_name = "VALUE", allow_hyphen_values = true)]
    pub pid_file: Option<String>,

    /// Address of a mesh gateway in the primary datacenter
    #[arg(long = "primary-gateway", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub primary_gateway: Vec<String>,

    /// Protocol version to speak
    #[arg(long = "protocol", value_name = "NUMBER", allow_hyphen_values = true)]
    pub protocol: Option<i64>,

    /// Version of the Raft protocol
    #[arg(long = "raft-protocol", value_name = "NUMBER", allow_hyphen_values = true)]
    pub raft_protocol: Option<i64>,

    /// Has no effect (paid edition of the reference)
    #[arg(long = "read-replica", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub read_replica: Option<bool>,

    /// Address of a DNS server that is asked about other domains
    #[arg(long = "recursor", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub recursor: Vec<String>,

    /// Join the known agents again even after having left
    #[arg(long = "rejoin", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub rejoin: Option<bool>,

    /// Time between tries to join
    #[arg(long = "retry-interval", value_name = "VALUE", allow_hyphen_values = true)]
    pub retry_interval: Option<String>,

    /// Time between tries to join over the WAN
    #[arg(long = "retry-interval-wan", value_name = "VALUE", allow_hyphen_values = true)]
    pub retry_interval_wan: Option<String>,

    /// Address of an agent to join, tried again until it answers
    #[arg(long = "retry-join", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub retry_join: Vec<String>,

    /// Address of a server to join over the WAN, tried again until it answers
    #[arg(long = "retry-join-wan", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub retry_join_wan: Vec<String>,

    /// How often to try to join; 0 is without end
    #[arg(long = "retry-max", value_name = "NUMBER", allow_hyphen_values = true)]
    pub retry_max: Option<i64>,

    /// How often to try to join over the WAN; 0 is without end
    #[arg(long = "retry-max-wan", value_name = "NUMBER", allow_hyphen_values = true)]
    pub retry_max_wan: Option<i64>,

    /// Has no effect (paid edition of the reference)
    #[arg(long = "segment", value_name = "VALUE", allow_hyphen_values = true)]
    pub segment: Option<String>,

    /// Network whose members are let into the LAN pool
    #[arg(long = "serf-lan-allowed-cidrs", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub serf_lan_allowed_cidrs: Vec<String>,

    /// Address of LAN gossip
    #[arg(long = "serf-lan-bind", value_name = "VALUE", allow_hyphen_values = true)]
    pub serf_lan_bind: Option<String>,

    /// Port of LAN gossip
    #[arg(long = "serf-lan-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub serf_lan_port: Option<i64>,

    /// Network whose members are let into the WAN pool
    #[arg(long = "serf-wan-allowed-cidrs", value_name = "VALUE", allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub serf_wan_allowed_cidrs: Vec<String>,

    /// Address of WAN gossip
    #[arg(long = "serf-wan-bind", value_name = "VALUE", allow_hyphen_values = true)]
    pub serf_wan_bind: Option<String>,

    /// Port of WAN gossip
    #[arg(long = "serf-wan-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub serf_wan_port: Option<i64>,

    /// Be a server
    #[arg(long = "server", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub server: Option<bool>,

    /// Port of RPC
    #[arg(long = "server-port", value_name = "NUMBER", allow_hyphen_values = true)]
    pub server_port: Option<i64>,

    /// Log to the system log too
    #[arg(long = "syslog", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub syslog: Option<bool>,

    /// Serve the web UI
    #[arg(long = "ui", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub ui: Option<bool>,

    /// URL path of the web UI
    #[arg(long = "ui-content-path", value_name = "VALUE", allow_hyphen_values = true)]
    pub ui_content_path: Option<String>,

    /// Folder of a web UI of one's own
    #[arg(long = "ui-dir", value_name = "VALUE", allow_hyphen_values = true)]
    pub ui_dir: Option<String>,
}

/// Go's spellings of truth.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean value {text:?}")),
    }
}

impl AgentFlags {
    /// Lists, which are read before all files.
    pub(crate) fn lists(&self) -> Tree {
        let mut tree = Tree::empty();
        let lists: &[(&str, &Vec<String>)] = &[
            ("http_config.allow_write_http_from", &self.allow_write_http_from),
            ("start_join", &self.join),
            ("start_join_wan", &self.join_wan),
            ("primary_gateways", &self.primary_gateway),
            ("recursors", &self.recursor),
            ("retry_join", &self.retry_join),
            ("retry_join_wan", &self.retry_join_wan),
            ("serf_lan_allowed_cidrs", &self.serf_lan_allowed_cidrs),
            ("serf_wan_allowed_cidrs", &self.serf_wan_allowed_cidrs),
        ];
        for (path, list) in lists {
            if !list.is_empty() {
                tree.set(path, Tree::List(list.iter().cloned().map(Tree::Str).collect()));
            }
        }
        tree
    }

    /// Everything else, which lies over all files.
    pub(crate) fn values(&self) -> Tree {
        let mut tree = Tree::empty();
        let strings: &[(&str, &Option<String>)] = &[
            ("advertise_addr", &self.advertise),
            ("advertise_addr_wan", &self.advertise_wan),
            ("alt_domain", &self.alt_domain),
            ("bind_addr", &self.bind),
            ("client_addr", &self.client),
            ("data_dir", &self.data_dir),
            ("datacenter", &self.datacenter),
            ("default_query_time", &self.default_query_time),
            ("domain", &self.domain),
            ("encrypt", &self.encrypt),
            ("log_file", &self.log_file),
            ("log_level", &self.log_level),
            ("log_rotate_duration", &self.log_rotate_duration),
            ("max_query_time", &self.max_query_time),
            ("node_name", &self.node),
            ("node_id", &self.node_id),
            ("pid_file", &self.pid_file),
            ("retry_interval", &self.retry_interval),
            ("retry_interval_wan", &self.retry_interval_wan),
            ("segment", &self.segment),
            ("serf_lan", &self.serf_lan_bind),
            ("serf_wan", &self.serf_wan_bind),
            ("ui_config.content_path", &self.ui_content_path),
            ("ui_config.dir", &self.ui_dir),
        ];
        for (path, value) in strings {
            if let Some(value) = value {
                tree.set(path, Tree::Str(value.clone()));
            }
        }
        let numbers: &[(&str, Option<i64>)] = &[
            ("bootstrap_expect", self.bootstrap_expect),
            ("ports.dns", self.dns_port),
            ("ports.grpc", self.grpc_port),
            ("ports.http", self.http_port),
            ("ports.https", self.https_port),
            ("log_rotate_bytes", self.log_rotate_bytes),
            ("log_rotate_max_files", self.log_rotate_max_files),
            ("protocol", self.protocol),
            ("raft_protocol", self.raft_protocol),
            ("retry_max", self.retry_max),
            ("retry_max_wan", self.retry_max_wan),
            ("ports.serf_lan", self.serf_lan_port),
            ("ports.serf_wan", self.serf_wan_port),
            ("ports.server", self.server_port),
        ];
        for (path, value) in numbers {
            if let Some(value) = value {
                tree.set(path, Tree::Int(*value));
            }
        }
        let switches: &[(&str, Option<bool>)] = &[
            ("bootstrap", self.bootstrap),
            ("disable_host_node_id", self.disable_host_node_id),
            ("disable_keyring_file", self.disable_keyring_file),
            ("enable_local_script_checks", self.enable_local_script_checks),
            ("enable_script_checks", self.enable_script_checks),
            ("log_json", self.log_json),
            ("read_replica", self.non_voting_server),
            ("read_replica", self.read_replica),
            ("rejoin_after_leave", self.rejoin),
            ("server", self.server),
            ("enable_syslog", self.syslog),
            ("ui_config.enabled", self.ui),
        ];
        for (path, value) in switches {
            if let Some(value) = value {
                tree.set(path, Tree::Bool(*value));
            }
        }
        if !self.node_meta.is_empty() {
            let pairs = self.node_meta.iter().map(|pair| {
                let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
                (key.to_owned(), Tree::Str(value.to_owned()))
            });
            tree.set("node_meta", Tree::Map(pairs.collect()));
        }
        tree
    }

    /// Flags that are taken and do nothing, in the words of the same keys in files.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let paid = [
            ("segment", self.segment.as_ref().is_some_and(|s| !s.is_empty())),
            ("read_replica", self.read_replica == Some(true) || self.non_voting_server == Some(true)),
        ];
        for (key, given) in paid {
            if given {
                warnings
                    .push(format!("{key:?} is a Consul Enterprise configuration and will have no effect"));
            }
        }
        let idle = [
            ("primary_gateways", !self.primary_gateway.is_empty()),
            ("ports.https", self.https_port.is_some_and(|port| port > 0)),
            ("ports.grpc", self.grpc_port.is_some_and(|port| port > 0)),
            ("ui_config.dir", self.ui_dir.as_ref().is_some_and(|dir| !dir.is_empty())),
        ];
        for (key, given) in idle {
            if given {
                warnings.push(format!("config key {key:?} is accepted but has no effect in this version"));
            }
        }
        warnings
    }
}
