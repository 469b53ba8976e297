//! What of a new configuration a running agent can take over.

use super::runtime::RuntimeConfig;

/// Which keys changed, by what a reload does about them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadDiff {
    /// Take effect at once.
    pub reloaded: Vec<&'static str>,
    /// Take effect with the next start; worth a warning each.
    pub needs_restart: Vec<&'static str>,
}

impl ReloadDiff {
    /// A line for each change that waits for a restart.
    pub fn warnings(&self) -> Vec<String> {
        self.needs_restart
            .iter()
            .map(|key| format!("config key {key:?} has changed, which takes effect only after a restart"))
            .collect()
    }
}

/// Compares fields and files the name of each that differs.
macro_rules! compare {
    ($old:ident, $new:ident, $list:expr, { $($name:literal: $($field:ident).+),+ $(,)? }) => {
        $(if $old.$($field).+ != $new.$($field).+ {
            $list.push($name);
        })+
    };
}

impl RuntimeConfig {
    /// How `new` differs from the running configuration.
    pub fn reloadable_diff(&self, new: &RuntimeConfig) -> ReloadDiff {
        let mut diff = ReloadDiff::default();
        let old = self;
        compare!(old, new, diff.reloaded, {
            "services": services,
            "checks": checks,
            "watches": watches,
            "node_meta": node_meta,
            "log_level": logging.level,
            "discard_check_output": checks_policy.discard_output,
            "dns_config.allow_stale": dns.allow_stale,
            "dns_config.a_record_limit": dns.a_record_limit,
            "dns_config.disable_compression": dns.disable_compression,
            "dns_config.enable_truncate": dns.enable_truncate,
            "dns_config.max_stale": dns.max_stale,
            "dns_config.node_ttl": dns.node_ttl,
            "dns_config.only_passing": dns.only_passing,
            "dns_config.recursor_timeout": dns.recursor_timeout,
            "dns_config.service_ttl": dns.service_ttl,
            "dns_config.udp_answer_limit": dns.udp_answer_limit,
            "dns_config.enable_additional_node_meta_txt": dns.node_meta_txt,
            "dns_config.soa": dns.soa,
            "dns_config.use_cache": dns.use_cache,
            "dns_config.cache_max_age": dns.cache_max_age,
            "recursors": dns.recursors,
            "limits.http_max_conns_per_client": limits.http_max_conns_per_client,
            "limits.rpc_rate": limits.rpc_rate,
            "limits.rpc_max_burst": limits.rpc_max_burst,
            "limits.rpc_max_conns_per_client": limits.rpc_max_conns_per_client,
            "telemetry.prefix_filter": telemetry.allowed_prefixes,
            "telemetry.prefix_filter": telemetry.blocked_prefixes,
            "acl.tokens": acl.tokens,
            "config_entries.bootstrap": config_entries_bootstrap,
        });
        diff.reloaded.dedup();
        compare!(old, new, diff.needs_restart, {
            "node_name": node_name,
            "node_id": node_id,
            "datacenter": datacenter,
            "primary_datacenter": primary_datacenter,
            "data_dir": data_dir,
            "server": server,
            "bootstrap": bootstrap,
            "bootstrap_expect": bootstrap_expect,
            "bind_addr": net.bind_addr,
            "advertise_addr": net.advertise_lan,
            "advertise_addr_wan": net.advertise_wan,
            "client_addr": net.client_addrs,
            "addresses.dns": net.dns,
            "addresses.http": net.http,
            "addresses.https": net.https,
            "addresses.grpc": net.grpc,
            "serf_lan": net.serf_lan_bind,
            "serf_wan": net.serf_wan_bind,
            "serf_lan_allowed_cidrs": net.serf_lan_allowed_cidrs,
            "serf_wan_allowed_cidrs": net.serf_wan_allowed_cidrs,
            "tagged_addresses": net.tagged_addresses,
            "translate_wan_addrs": net.translate_wan_addrs,
            "unix_sockets": net.unix_socket,
            "ports": ports,
            "start_join, retry_join": join,
            "gossip_lan": gossip_lan,
            "gossip_wan": gossip_wan,
            "encrypt": encrypt,
            "performance.raft_multiplier": raft.multiplier,
            "raft_protocol": raft.protocol,
            "raft_snapshot_threshold": raft.snapshot_threshold,
            "raft_snapshot_interval": raft.snapshot_interval,
            "raft_trailing_logs": raft.trailing_logs,
            "autopilot": autopilot,
            "limits.https_handshake_timeout": limits.https_handshake_timeout,
            "limits.rpc_handshake_timeout": limits.rpc_handshake_timeout,
            "limits.kv_max_value_size": limits.kv_max_value_size,
            "limits.txn_max_req_len": limits.txn_max_req_len,
            "domain": dns.domain,
            "alt_domain": dns.alt_domain,
            "http_config": http,
            "telemetry.metrics_prefix": telemetry.metrics_prefix,
            "telemetry.disable_hostname": telemetry.disable_hostname,
            "telemetry.filter_default": telemetry.filter_default,
            "telemetry.prometheus_retention_time": telemetry.prometheus_retention_time,
            "telemetry.statsd_address": telemetry.statsd_addr,
            "telemetry.statsite_address": telemetry.statsite_addr,
            "telemetry.dogstatsd_addr": telemetry.dogstatsd_addr,
            "telemetry.dogstatsd_tags": telemetry.dogstatsd_tags,
            "log_json": logging.json,
            "log_file": logging.file,
            "log_rotate_duration": logging.rotate_duration,
            "log_rotate_bytes": logging.rotate_bytes,
            "log_rotate_max_files": logging.rotate_max_files,
            "enable_syslog": logging.syslog,
            "syslog_facility": logging.syslog_facility,
            "acl.enabled": acl.enabled,
            "acl.default_policy": acl.default_policy,
            "acl.down_policy": acl.down_policy,
            "connect": connect,
            "ui_config": ui,
            "enable_script_checks": checks_policy.enable_remote_scripts,
            "enable_local_script_checks": checks_policy.enable_local_scripts,
            "check_update_interval": checks_policy.update_interval,
            "check_output_max_size": checks_policy.output_max_size,
            "default_query_time": default_query_time,
            "max_query_time": max_query_time,
            "session_ttl_min": session_ttl_min,
            "leave_on_terminate": leave_on_terminate,
            "skip_leave_on_interrupt": skip_leave_on_interrupt,
            "performance.leave_drain_time": leave_drain_time,
            "performance.rpc_hold_timeout": rpc_hold_timeout,
            "disable_coordinates": disable_coordinates,
            "disable_remote_exec": disable_remote_exec,
            "enable_debug": enable_debug,
            "discovery_max_stale": discovery_max_stale,
            "pid_file": pid_file,
            "protocol": protocol,
        });
        diff
    }
}
