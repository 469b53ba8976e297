//! Every key a configuration file may have: its type and what becomes of it.
//!
//! The table drives three things: reading (types, unknown keys), merging
//! (what overrides, what appends, what joins by key) and the warnings for keys
//! that are accepted without having an effect.

/// The type of a key.
pub(crate) enum Kind {
    Str,
    Bool,
    Int,
    Uint,
    Float,
    StrList,
    StrMap,
    /// Names with lists of strings, as HTTP headers.
    StrListMap,
    /// Free form: a map of anything.
    Any,
    AnyList,
    Struct(&'static [Field]),
    StructList(&'static [Field]),
    /// Names of the user's choice with a struct each.
    StructMap(&'static [Field]),
}

/// What becomes of a key that a user sets.
pub(crate) enum Fate {
    Used,
    /// Used; the warning names the key that replaces it.
    Deprecated(&'static str),
    /// Belongs to the reference's paid edition, which ignores it in the free one with a warning.
    Enterprise,
    /// Understood and kept, but nothing acts on it in this version: warned.
    NotYet,
    /// Set by the program, never by users; the reference ignores it silently, we say so.
    Fixed,
}

pub(crate) struct Field {
    pub key: &'static str,
    pub kind: Kind,
    pub fate: Fate,
}

const fn f(key: &'static str, kind: Kind) -> Field {
    Field { key, kind, fate: Fate::Used }
}

const fn old(key: &'static str, kind: Kind, instead: &'static str) -> Field {
    Field { key, kind, fate: Fate::Deprecated(instead) }
}

const fn paid(key: &'static str, kind: Kind) -> Field {
    Field { key, kind, fate: Fate::Enterprise }
}

const fn later(key: &'static str, kind: Kind) -> Field {
    Field { key, kind, fate: Fate::NotYet }
}

const fn fixed(key: &'static str, kind: Kind) -> Field {
    Field { key, kind, fate: Fate::Fixed }
}

use Kind::{
    Any, AnyList, Bool, Float, Int, Str, StrList, StrListMap, StrMap, Struct, StructList, StructMap, Uint,
};

pub(crate) static ROOT: &[Field] = &[
    old("acl_agent_master_token", Str, "acl.tokens.agent_master"),
    old("acl_agent_token", Str, "acl.tokens.agent"),
    old("acl_datacenter", Str, "primary_datacenter"),
    old("acl_default_policy", Str, "acl.default_policy"),
    old("acl_down_policy", Str, "acl.down_policy"),
    old("acl_enable_key_list_policy", Bool, "acl.enable_key_list_policy"),
    old("acl_master_token", Str, "acl.tokens.master"),
    old("acl_replication_token", Str, "acl.tokens.replication"),
    old("acl_ttl", Str, "acl.token_ttl"),
    old("acl_token", Str, "acl.tokens.default"),
    f("acl", Struct(ACL)),
    f("addresses", Struct(&[f("dns", Str), f("http", Str), later("https", Str), later("grpc", Str)])),
    f("advertise_addr", Str),
    f("advertise_addr_ipv4", Str),
    f("advertise_addr_ipv6", Str),
    f("advertise_addr_wan", Str),
    f("advertise_addr_wan_ipv4", Str),
    f("advertise_addr_wan_ipv6", Str),
    f("advertise_reconnect_timeout", Str),
    later("auto_config", Struct(AUTO_CONFIG)),
    f(
        "autopilot",
        Struct(&[
            f("cleanup_dead_servers", Bool),
            f("last_contact_threshold", Str),
            f("max_trailing_logs", Int),
            f("min_quorum", Uint),
            f("server_stabilization_time", Str),
            paid("disable_upgrade_migration", Bool),
            paid("redundancy_zone_tag", Str),
            paid("upgrade_version_tag", Str),
        ]),
    ),
    f("bind_addr", Str),
    f("bootstrap", Bool),
    f("bootstrap_expect", Int),
    later("cache", Struct(&[f("entry_fetch_max_burst", Int), f("entry_fetch_rate", Float)])),
    later("ca_file", Str),
    later("ca_path", Str),
    later("cert_file", Str),
    f("check", Struct(CHECK)),
    f("checks", StructList(CHECK)),
    f("check_output_max_size", Int),
    f("check_update_interval", Str),
    f("client_addr", Str),
    later("config_entries", Struct(&[f("bootstrap", AnyList)])),
    later(
        "auto_encrypt",
        Struct(&[f("tls", Bool), f("dns_san", StrList), f("ip_san", StrList), f("allow_tls", Bool)]),
    ),
    later(
        "connect",
        Struct(&[
            f("enabled", Bool),
            f("ca_provider", Str),
            f("ca_config", Any),
            f("enable_mesh_gateway_wan_federation", Bool),
            f("test_ca_leaf_root_change_spread", Str),
        ]),
    ),
    f("dns_config", Struct(DNS)),
    f("domain", Str),
    f("alt_domain", Str),
    f("recursors", StrList),
    f("data_dir", Str),
    f("datacenter", Str),
    f("default_query_time", Str),
    f("disable_anonymous_signature", Bool),
    f("disable_coordinates", Bool),
    f("disable_host_node_id", Bool),
    f("disable_http_unprintable_char_filter", Bool),
    f("disable_keyring_file", Bool),
    f("disable_remote_exec", Bool),
    f("disable_update_check", Bool),
    f("discard_check_output", Bool),
    f("discovery_max_stale", Str),
    old("enable_acl_replication", Bool, "acl.enable_token_replication"),
    later("enable_agent_tls_for_checks", Bool),
    later("enable_central_service_config", Bool),
    f("enable_debug", Bool),
    f("enable_script_checks", Bool),
    f("enable_local_script_checks", Bool),
    f("enable_syslog", Bool),
    f("encrypt", Str),
    f("encrypt_verify_incoming", Bool),
    f("encrypt_verify_outgoing", Bool),
    f("gossip_lan", Struct(GOSSIP)),
    f("gossip_wan", Struct(GOSSIP)),
    f(
        "http_config",
        Struct(&[
            f("block_endpoints", StrList),
            f("allow_write_http_from", StrList),
            f("response_headers", StrMap),
            f("use_cache", Bool),
            f("max_header_bytes", Int),
        ]),
    ),
    later("key_file", Str),
    f("leave_on_terminate", Bool),
    paid("license_path", Str),
    f(
        "limits",
        Struct(&[
            f("http_max_conns_per_client", Int),
            later("https_handshake_timeout", Str),
            f("rpc_handshake_timeout", Str),
            f("rpc_max_burst", Int),
            f("rpc_max_conns_per_client", Int),
            f("rpc_rate", Float),
            f("kv_max_value_size", Uint),
            f("txn_max_req_len", Uint),
        ]),
    ),
    f("log_level", Str),
    f("log_json", Bool),
    f("log_file", Str),
    f("log_rotate_duration", Str),
    f("log_rotate_bytes", Int),
    f("log_rotate_max_files", Int),
    f("max_query_time", Str),
    f("node_id", Str),
    f("node_meta", StrMap),
    f("node_name", Str),
    f(
        "performance",
        Struct(&[f("leave_drain_time", Str), f("raft_multiplier", Int), f("rpc_hold_timeout", Str)]),
    ),
    f("pid_file", Str),
    f(
        "ports",
        Struct(&[
            f("dns", Int),
            f("http", Int),
            later("https", Int),
            f("serf_lan", Int),
            f("serf_wan", Int),
            f("server", Int),
            later("grpc", Int),
            later("proxy_min_port", Int),
            later("proxy_max_port", Int),
            later("sidecar_min_port", Int),
            later("sidecar_max_port", Int),
            later("expose_min_port", Int),
            later("expose_max_port", Int),
        ]),
    ),
    f("primary_datacenter", Str),
    later("primary_gateways", StrList),
    later("primary_gateways_interval", Str),
    f("protocol", Int),
    f("raft_protocol", Int),
    f("raft_snapshot_threshold", Int),
    f("raft_snapshot_interval", Str),
    f("raft_trailing_logs", Int),
    f("reconnect_timeout", Str),
    f("reconnect_timeout_wan", Str),
    f("rejoin_after_leave", Bool),
    f("retry_interval", Str),
    f("retry_interval_wan", Str),
    f("retry_join", StrList),
    f("retry_max", Int),
    f("retry_max_wan", Int),
    f("retry_join_wan", StrList),
    f("serf_lan_allowed_cidrs", StrList),
    f("serf_wan_allowed_cidrs", StrList),
    f("serf_lan", Str),
    f("serf_wan", Str),
    f("server", Bool),
    later("server_name", Str),
    f("service", Struct(&SERVICE)),
    f("services", StructList(&SERVICE)),
    f("session_ttl_min", Str),
    f("skip_leave_on_interrupt", Bool),
    f("start_join", StrList),
    f("start_join_wan", StrList),
    f("syslog_facility", Str),
    later("tls_cipher_suites", Str),
    later("tls_min_version", Str),
    later("tls_prefer_server_cipher_suites", Bool),
    f("tagged_addresses", StrMap),
    f("telemetry", Struct(TELEMETRY)),
    f("translate_wan_addrs", Bool),
    old("ui", Bool, "ui_config.enabled"),
    old("ui_content_path", Str, "ui_config.content_path"),
    old("ui_dir", Str, "ui_config.dir"),
    f("ui_config", Struct(UI)),
    f("unix_sockets", Struct(&[f("group", Str), f("mode", Str), f("user", Str)])),
    later("verify_incoming", Bool),
    later("verify_incoming_https", Bool),
    later("verify_incoming_rpc", Bool),
    later("verify_outgoing", Bool),
    later("verify_server_hostname", Bool),
    f("watches", AnyList),
    later("rpc", Struct(&[f("enable_streaming", Bool)])),
    later("use_streaming_backend", Bool),
    paid("snapshot_agent", Any),
    fixed("acl_disabled_ttl", Str),
    fixed("ae_interval", Str),
    fixed("check_deregister_interval_min", Str),
    fixed("check_reap_interval", Str),
    fixed("consul", Struct(CONSUL)),
    fixed("revision", Str),
    fixed("segment_limit", Int),
    fixed("segment_name_limit", Int),
    fixed("sync_coordinate_interval_min", Str),
    fixed("sync_coordinate_rate_target", Float),
    fixed("version", Str),
    fixed("version_prerelease", Str),
    paid(
        "audit",
        Struct(&[
            f("enabled", Bool),
            f(
                "sink",
                StructMap(&[
                    f("name", Str),
                    f("type", Str),
                    f("format", Str),
                    f("path", Str),
                    f("delivery_guarantee", Str),
                    f("rotate_bytes", Int),
                    f("rotate_duration", Str),
                    f("rotate_max_files", Int),
                ]),
            ),
        ]),
    ),
    paid("read_replica", Bool),
    paid("segment", Str),
    paid(
        "segments",
        StructList(&[
            f("advertise", Str),
            f("bind", Str),
            f("name", Str),
            f("port", Int),
            f("rpc_listener", Bool),
        ]),
    ),
];

/// In the reference's files the timings stand flat below `consul`, in its
/// program one level deeper; both are taken.
static CONSUL: &[Field] = &[
    f("update_batch_size", Int),
    f("update_max_batches", Int),
    f("update_period", Str),
    f("election_timeout", Str),
    f("heartbeat_timeout", Str),
    f("leader_lease_timeout", Str),
    f("health_interval", Str),
    f(
        "coordinate",
        Struct(&[f("update_batch_size", Int), f("update_max_batches", Int), f("update_period", Str)]),
    ),
    f(
        "raft",
        Struct(&[f("election_timeout", Str), f("heartbeat_timeout", Str), f("leader_lease_timeout", Str)]),
    ),
    f("server", Struct(&[f("health_interval", Str)])),
];

static ACL: &[Field] = &[
    later("enabled", Bool),
    later("enable_token_replication", Bool),
    later("policy_ttl", Str),
    later("role_ttl", Str),
    later("token_ttl", Str),
    later("down_policy", Str),
    f("default_policy", Str),
    later("enable_key_list_policy", Bool),
    f(
        "tokens",
        Struct(&[
            later("master", Str),
            later("replication", Str),
            later("agent_master", Str),
            f("default", Str),
            f("agent", Str),
            paid("managed_service_provider", StructList(&[f("accessor_id", Str), f("secret_id", Str)])),
        ]),
    ),
    fixed("disabled_ttl", Str),
    later("enable_token_persistence", Bool),
    paid("msp_disable_bootstrap", Bool),
];

static AUTO_CONFIG: &[Field] = &[
    f("enabled", Bool),
    f("intro_token", Str),
    f("intro_token_file", Str),
    f("server_addresses", StrList),
    f("dns_sans", StrList),
    f("ip_sans", StrList),
    f(
        "authorization",
        Struct(&[
            f("enabled", Bool),
            f(
                "static",
                Struct(&[
                    f("claim_assertions", StrList),
                    f("allow_reuse", Bool),
                    f("jwt_supported_algs", StrList),
                    f("bound_audiences", StrList),
                    f("claim_mappings", StrMap),
                    f("list_claim_mappings", StrMap),
                    f("oidc_discovery_url", Str),
                    f("oidc_discovery_ca_cert", Str),
                    f("jwks_url", Str),
                    f("jwks_ca_cert", Str),
                    f("jwt_validation_pub_keys", StrList),
                    f("bound_issuer", Str),
                    f("expiration_leeway", Str),
                    f("not_before_leeway", Str),
                    f("clock_skew_leeway", Str),
                ]),
            ),
        ]),
    ),
];

static DNS: &[Field] = &[
    f("allow_stale", Bool),
    f("a_record_limit", Int),
    f("disable_compression", Bool),
    f("enable_truncate", Bool),
    f("max_stale", Str),
    f("node_ttl", Str),
    f("only_passing", Bool),
    f("recursor_timeout", Str),
    f("service_ttl", StrMap),
    f("udp_answer_limit", Int),
    f("enable_additional_node_meta_txt", Bool),
    f("soa", Struct(&[f("refresh", Uint), f("retry", Uint), f("expire", Uint), f("min_ttl", Uint)])),
    f("use_cache", Bool),
    f("cache_max_age", Str),
    paid("prefer_namespace", Bool),
];

static GOSSIP: &[Field] = &[
    f("gossip_nodes", Int),
    f("gossip_interval", Str),
    f("probe_interval", Str),
    f("probe_timeout", Str),
    f("suspicion_mult", Int),
    f("retransmit_mult", Int),
];

static TELEMETRY: &[Field] = &[
    later("circonus_api_app", Str),
    later("circonus_api_token", Str),
    later("circonus_api_url", Str),
    later("circonus_broker_id", Str),
    later("circonus_broker_select_tag", Str),
    later("circonus_check_display_name", Str),
    later("circonus_check_force_metric_activation", Str),
    later("circonus_check_id", Str),
    later("circonus_check_instance_id", Str),
    later("circonus_check_search_tag", Str),
    later("circonus_check_tags", Str),
    later("circonus_submission_interval", Str),
    later("circonus_submission_url", Str),
    f("disable_compat_1.9", Bool),
    f("disable_hostname", Bool),
    f("dogstatsd_addr", Str),
    f("dogstatsd_tags", StrList),
    f("filter_default", Bool),
    f("prefix_filter", StrList),
    f("metrics_prefix", Str),
    f("prometheus_retention_time", Str),
    f("statsd_address", Str),
    f("statsite_address", Str),
];

static UI: &[Field] = &[
    f("enabled", Bool),
    later("dir", Str),
    f("content_path", Str),
    later("metrics_provider", Str),
    later("metrics_provider_files", StrList),
    later("metrics_provider_options_json", Str),
    later(
        "metrics_proxy",
        Struct(&[
            f("base_url", Str),
            f("add_headers", StructList(&[f("name", Str), f("value", Str)])),
            f("path_allowlist", StrList),
        ]),
    ),
    later("dashboard_url_templates", StrMap),
];

pub(crate) static CHECK: &[Field] = &[
    f("id", Str),
    f("name", Str),
    f("notes", Str),
    f("service_id", Str),
    f("token", Str),
    f("status", Str),
    f("args", StrList),
    f("http", Str),
    f("header", StrListMap),
    f("method", Str),
    f("body", Str),
    f("output_max_size", Int),
    f("tcp", Str),
    f("interval", Str),
    f("docker_container_id", Str),
    f("shell", Str),
    f("grpc", Str),
    f("grpc_use_tls", Bool),
    f("tls_skip_verify", Bool),
    f("alias_node", Str),
    f("alias_service", Str),
    f("timeout", Str),
    f("ttl", Str),
    f("success_before_passing", Int),
    f("failures_before_critical", Int),
    f("deregister_critical_service_after", Str),
];

// An array and not a slice: it contains itself, by address.
pub(crate) static SERVICE: [Field; 15] = [
    f("kind", Str),
    f("id", Str),
    f("name", Str),
    f("tags", StrList),
    f("address", Str),
    f("tagged_addresses", StructMap(&[f("address", Str), f("port", Int)])),
    f("meta", StrMap),
    f("port", Int),
    f("check", Struct(CHECK)),
    f("checks", StructList(CHECK)),
    f("token", Str),
    f("weights", Struct(&[f("passing", Int), f("warning", Int)])),
    f("enable_tag_override", Bool),
    f("proxy", Struct(PROXY)),
    f("connect", Struct(&[f("native", Bool), f("sidecar_service", Struct(&SERVICE))])),
];

static MESH_GATEWAY: &[Field] = &[f("mode", Str)];

static PROXY: &[Field] = &[
    f("destination_service_name", Str),
    f("destination_service_id", Str),
    f("local_service_address", Str),
    f("local_service_port", Int),
    f("config", Any),
    f(
        "upstreams",
        StructList(&[
            f("destination_type", Str),
            f("destination_namespace", Str),
            f("destination_name", Str),
            f("datacenter", Str),
            f("local_bind_address", Str),
            f("local_bind_port", Int),
            f("config", Any),
            f("mesh_gateway", Struct(MESH_GATEWAY)),
        ]),
    ),
    f("mesh_gateway", Struct(MESH_GATEWAY)),
    f(
        "expose",
        Struct(&[
            f("checks", Bool),
            f("port", Int),
            f(
                "paths",
                StructList(&[
                    f("listener_port", Int),
                    f("path", Str),
                    f("protocol", Str),
                    f("local_path_port", Int),
                ]),
            ),
        ]),
    ),
];

/// The field a user's key means. Keys ignore case; in definitions of services
/// and checks (`definition`) the CamelCase spelling of the HTTP API is taken
/// as well.
pub(crate) fn find(fields: &'static [Field], key: &str, definition: bool) -> Option<&'static Field> {
    let exact = fields.iter().find(|f| f.key.eq_ignore_ascii_case(key));
    if exact.is_some() || !definition {
        return exact;
    }
    let plain = |s: &str| s.replace('_', "").to_ascii_lowercase();
    let wanted = match plain(key).as_str() {
        "scriptargs" => "args".to_string(),
        other => other.to_string(),
    };
    fields.iter().find(|f| plain(f.key) == wanted)
}
