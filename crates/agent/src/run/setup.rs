//! From the configuration to the settings of each part.

use std::collections::BTreeMap;

use http_api::FaceConfig;
use http_api::serve::{Bind, UnixOptions};
use model::operator::AutopilotConfig;
use server::{QueryTimes, ServerConfig};
use telemetry::{logging, metrics};

use super::RunError;
use crate::agent::Tokens;
use crate::config::{Listen, RuntimeConfig};
use crate::local::NodeRecord;

/// Key of the metadata that tells the network segment; the open edition has one without a name.
const SEGMENT_META: &str = "consul-network-segment";

/// The log.
pub fn logging(config: &RuntimeConfig) -> Result<logging::Config, RunError> {
    let log = &config.logging;
    Ok(logging::Config {
        level: log.level.parse().map_err(RunError::new)?,
        client: !config.server,
        json: log.json,
        file: log.file.as_ref().map(|path| logging::FileConfig {
            path: path.clone(),
            rotate_bytes: log.rotate_bytes,
            rotate_after: log.rotate_duration,
            max_files: log.rotate_max_files,
        }),
        syslog: log.syslog.then(|| logging::SyslogConfig {
            facility: log.syslog_facility.clone(),
            tag: "consul".to_owned(),
            socket: None,
        }),
        ..logging::Config::default()
    })
}

/// Which metrics are kept.
pub fn metrics_filter(config: &RuntimeConfig) -> metrics::Filter {
    let telemetry = &config.telemetry;
    metrics::Filter {
        allow_by_default: telemetry.filter_default,
        allowed: telemetry.allowed_prefixes.clone(),
        blocked: telemetry.blocked_prefixes.clone(),
    }
}

/// Metrics and where they go.
pub fn metrics(config: &RuntimeConfig) -> metrics::Config {
    let telemetry = &config.telemetry;
    let hostname =
        (!telemetry.disable_hostname).then(|| nix::unistd::gethostname().ok()?.into_string().ok()).flatten();
    metrics::Config {
        prefix: telemetry.metrics_prefix.clone(),
        hostname,
        filter: metrics_filter(config),
        prometheus_retention: telemetry.prometheus_retention_time,
        statsd_address: telemetry.statsd_addr.clone(),
        statsite_address: telemetry.statsite_addr.clone(),
        dogstatsd_address: telemetry.dogstatsd_addr.clone(),
        dogstatsd_tags: telemetry.dogstatsd_tags.clone(),
    }
}

/// The HTTP face.
pub fn face_config(config: &RuntimeConfig) -> FaceConfig {
    FaceConfig {
        kv_max_value_size: config.limits.kv_max_value_size,
        txn_max_req_len: config.limits.txn_max_req_len,
        response_headers: config.http.response_headers.clone().into_iter().collect(),
        block_endpoints: config.http.block_endpoints.clone(),
        allow_write_http_from: config
            .http
            .allow_write_from
            .iter()
            .map(|cidr| (cidr.network, cidr.prefix))
            .collect(),
        acl_default_policy: config.acl.default_policy.clone(),
        acls_enabled: config.acl.enabled,
        enable_debug: config.enable_debug,
        ui_enabled: config.ui.enabled,
        ui_content_path: config.ui.content_path.clone(),
        max_query_time: config.max_query_time,
        default_query_time: config.default_query_time,
        translate_wan_addrs: config.net.translate_wan_addrs,
        max_conns_per_client: config.limits.http_max_conns_per_client,
        use_cache: config.http.use_cache,
        discovery_max_stale: config.discovery_max_stale,
        unprintable_paths: config.http.disable_unprintable_char_filter,
        connect_enabled: config.connect.enabled,
        older_metrics: !config.telemetry.disable_compat_1_9,
        max_header_bytes: config.http.max_header_bytes.unwrap_or_default(),
        ..FaceConfig::default()
    }
}

/// Where the HTTP face listens.
pub fn http_binds(config: &RuntimeConfig) -> Result<Vec<Bind>, RunError> {
    let unix = &config.net.unix_socket;
    let mode = match unix.mode.as_str() {
        "" => None,
        text => Some(
            u32::from_str_radix(text, 8)
                .map_err(|error| RunError::new(format!("invalid unix_sockets.mode {text:?}: {error}")))?,
        ),
    };
    let options = UnixOptions { mode, user: unix.user.clone(), group: unix.group.clone() };
    Ok(config
        .net
        .http
        .iter()
        .map(|listen| match listen {
            Listen::Tcp(address) => Bind::Tcp(*address),
            Listen::Unix(path) => Bind::Unix(path.clone(), options.clone()),
        })
        .collect())
}

/// The tokens of the configuration.
pub fn tokens(config: &RuntimeConfig) -> Tokens {
    let tokens = &config.acl.tokens;
    Tokens {
        default: tokens.default.clone(),
        agent: tokens.agent.clone(),
        agent_master: tokens.agent_master.clone(),
        replication: tokens.replication.clone(),
    }
}

/// The node's metadata as the catalog shows it.
pub fn node_meta(config: &RuntimeConfig) -> BTreeMap<String, String> {
    let mut meta = config.node_meta.clone();
    meta.insert(SEGMENT_META.to_owned(), String::new());
    meta
}

/// What the catalog is to show of the node.
pub fn node_record(config: &RuntimeConfig, node_id: &str) -> NodeRecord {
    NodeRecord {
        id: node_id.to_owned(),
        name: config.node_name.clone(),
        address: config.net.advertise_lan.to_string(),
        datacenter: config.datacenter.clone(),
        tagged_addresses: config.net.tagged_addresses.clone(),
        meta: node_meta(config),
    }
}

/// How long blocking queries wait.
pub fn query_times(config: &RuntimeConfig) -> QueryTimes {
    QueryTimes { default: config.default_query_time, max: config.max_query_time }
}

/// The server part.
pub fn server(config: &RuntimeConfig, node_id: &str) -> Result<ServerConfig, RunError> {
    let autopilot = &config.autopilot;
    Ok(ServerConfig {
        datacenter: config.datacenter.clone(),
        node_name: config.node_name.clone(),
        node_id: node_id.parse().map_err(RunError::new)?,
        rpc_bind: config.net.rpc_bind,
        rpc_advertise: config.net.rpc_advertise,
        data_dir: config.data_dir.as_ref().filter(|_| !config.dev_mode).map(|dir| dir.join("raft")),
        bootstrap: config.bootstrap || config.dev_mode,
        bootstrap_expect: config.bootstrap_expect,
        rpc_hold_timeout: config.rpc_hold_timeout,
        leader_call_limit: server::LEADER_CALL_LIMIT,
        raft_multiplier: config.raft.multiplier,
        raft_snapshot_threshold: Some(config.raft.snapshot_threshold),
        raft_snapshot_interval: Some(config.raft.snapshot_interval),
        raft_trailing_logs: Some(config.raft.trailing_logs),
        rpc_max_conns_per_client: config.limits.rpc_max_conns_per_client,
        rpc_handshake_timeout: config.limits.rpc_handshake_timeout,
        session_ttl_min: Some(config.session_ttl_min)
            .filter(|ttl| !ttl.is_zero())
            .unwrap_or(server::SESSION_TTL_MIN),
        query_times: query_times(config),
        kv_max_value_size: usize::try_from(config.limits.kv_max_value_size).unwrap_or(usize::MAX),
        autopilot: AutopilotConfig {
            cleanup_dead_servers: autopilot.cleanup_dead_servers,
            last_contact_threshold: autopilot.last_contact_threshold.into(),
            max_trailing_logs: autopilot.max_trailing_logs,
            min_quorum: autopilot.min_quorum.into(),
            server_stabilization_time: autopilot.server_stabilization_time.into(),
            disable_upgrade_migration: autopilot.disable_upgrade_migration,
            redundancy_zone_tag: autopilot.redundancy_zone_tag.clone(),
            upgrade_version_tag: autopilot.upgrade_version_tag.clone(),
            ..AutopilotConfig::default()
        },
        read_replica: false,
        reconcile_interval: server::RECONCILE_INTERVAL,
        coordinate_period: config.coordinate_update_period,
        coordinate_batch: config.coordinate_update_batch_size,
        coordinate_batches: config.coordinate_update_max_batches,
    })
}
