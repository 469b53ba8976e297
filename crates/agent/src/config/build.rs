//! From the merged tree to typed values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;

use super::addresses::{Addresses, expanded};
use super::definitions;
use super::interfaces::{Cidr, InterfaceAddr};
use super::runtime::{
    Acl, AutoEncrypt, Autopilot, ChecksPolicy, Connect, Dns, Encrypt, Gossip, Http, Join, Limits, Logging,
    Ports, Raft, RuntimeConfig, Soa, Telemetry, Tls, Tokens, Ui,
};
use super::source::several;
use super::tree::Tree;
use super::view::View;
use super::{ConfigError, validate};

/// What the tree cannot tell.
pub(crate) struct Surroundings<'a> {
    pub dev_mode: bool,
    pub hostname: &'a str,
    pub interfaces: &'a [InterfaceAddr],
}

pub(crate) fn build(
    tree: &Tree,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<RuntimeConfig, ConfigError> {
    let errors = RefCell::new(Vec::new());
    let v = View::new(tree, &errors);
    let ports = ports(&v);
    let net = Addresses { view: &v, interfaces: around.interfaces, ports: &ports }
        .resolve()
        .map_err(ConfigError::one);
    let noted = |errors: &RefCell<Vec<String>>| {
        let found = errors.borrow();
        if found.is_empty() { Ok(()) } else { Err(ConfigError::one(several(&found))) }
    };
    // A mistake in a value beats one that only follows from it.
    let net = match net {
        Ok(net) => net,
        Err(e) => {
            noted(&errors)?;
            return Err(e);
        }
    };

    let server = v.flag("server");
    let datacenter = v.text("datacenter").to_lowercase();
    let primary_datacenter = v
        .set_text("primary_datacenter")
        .or_else(|| v.set_text("acl_datacenter"))
        .map_or_else(|| datacenter.clone(), |dc| dc.to_lowercase());
    let mut bootstrap = v.flag("bootstrap");
    let mut bootstrap_expect: u32 = v.count("bootstrap_expect");
    if bootstrap_expect == 1 {
        bootstrap = true;
        bootstrap_expect = 0;
        warnings.push("BootstrapExpect is set to 1; this is the same as Bootstrap mode.".to_owned());
    }
    let acl = acl(&v, &primary_datacenter);
    let auto_encrypt = auto_encrypt(&v, warnings);
    let connect = connect(&v, &auto_encrypt);
    let config = RuntimeConfig {
        node_name: v.set_text("node_name").unwrap_or_else(|| around.hostname.trim().to_owned()),
        node_id: node_id(&v),
        disable_host_node_id: v.flag("disable_host_node_id"),
        node_meta: v.text_map("node_meta"),
        datacenter,
        primary_datacenter,
        data_dir: v.set_text("data_dir").map(PathBuf::from),
        dev_mode: around.dev_mode,
        server,
        bootstrap,
        bootstrap_expect,
        net,
        ports,
        join: join(&v, around.interfaces),
        gossip_lan: gossip(&v, "gossip_lan"),
        gossip_wan: gossip(&v, "gossip_wan"),
        encrypt: encrypt(&v),
        raft: raft(&v),
        autopilot: autopilot(&v),
        limits: limits(&v),
        dns: dns(&v, around.interfaces),
        http: http(&v),
        telemetry: telemetry(&v, warnings),
        logging: logging(&v),
        acl,
        tls: tls(&v),
        auto_encrypt,
        connect,
        ui: ui(&v),
        checks_policy: checks_policy(&v),
        services: definitions::services(&v),
        checks: definitions::checks(&v),
        watches: v.free_forms("watches"),
        config_entries_bootstrap: v.free_forms("config_entries.bootstrap"),
        ae_interval: v.duration("ae_interval"),
        sync_coordinate_interval_min: v.duration("sync_coordinate_interval_min"),
        sync_coordinate_rate_target: v.float("sync_coordinate_rate_target"),
        coordinate_update_batch_size: v.count("consul.coordinate.update_batch_size"),
        coordinate_update_max_batches: v.count("consul.coordinate.update_max_batches"),
        coordinate_update_period: v.duration("consul.coordinate.update_period"),
        default_query_time: v.duration("default_query_time"),
        max_query_time: v.duration("max_query_time"),
        session_ttl_min: v.duration("session_ttl_min"),
        leave_on_terminate: v.opt_flag("leave_on_terminate").unwrap_or(!server),
        skip_leave_on_interrupt: v.opt_flag("skip_leave_on_interrupt").unwrap_or(server),
        leave_drain_time: v.duration("performance.leave_drain_time"),
        rpc_hold_timeout: v.duration("performance.rpc_hold_timeout"),
        disable_coordinates: v.flag("disable_coordinates"),
        disable_remote_exec: v.flag("disable_remote_exec"),
        disable_update_check: v.flag("disable_update_check"),
        disable_anonymous_signature: v.flag("disable_anonymous_signature"),
        disable_keyring_file: v.flag("disable_keyring_file"),
        enable_debug: v.flag("enable_debug"),
        discovery_max_stale: v.duration("discovery_max_stale"),
        pid_file: v.set_text("pid_file").map(PathBuf::from),
        cache_entry_fetch_rate: v.float("cache.entry_fetch_rate"),
        cache_entry_fetch_max_burst: v.count("cache.entry_fetch_max_burst"),
        rpc_enable_streaming: v.flag("rpc.enable_streaming"),
        use_streaming_backend: v.flag("use_streaming_backend"),
        enable_central_service_config: v.flag("enable_central_service_config"),
        protocol: v.count("protocol"),
        primary_gateways: v.texts("primary_gateways"),
        primary_gateways_interval: v.duration("primary_gateways_interval"),
    };
    noted(&errors)?;
    validate::validate(&config, v.int("performance.raft_multiplier"), warnings).map_err(ConfigError::one)?;
    Ok(config)
}

fn node_id(v: &View) -> Option<String> {
    let given = v.set_text("node_id")?.to_lowercase();
    if uuid::Uuid::try_parse(&given).is_err() || given.len() != 36 {
        v.error(format!("node_id {given:?} is not a valid UUID"));
    }
    Some(given)
}

fn ports(v: &View) -> Ports {
    Ports {
        dns: v.port("ports.dns"),
        http: v.port("ports.http"),
        https: v.port("ports.https"),
        grpc: v.port("ports.grpc"),
        serf_lan: v.port("ports.serf_lan"),
        serf_wan: v.port("ports.serf_wan"),
        server: v.port("ports.server"),
        proxy_min: v.port("ports.proxy_min_port"),
        proxy_max: v.port("ports.proxy_max_port"),
        sidecar_min: v.port("ports.sidecar_min_port"),
        sidecar_max: v.port("ports.sidecar_max_port"),
        expose_min: v.port("ports.expose_min_port"),
        expose_max: v.port("ports.expose_max_port"),
    }
}

fn join(v: &View, interfaces: &[InterfaceAddr]) -> Join {
    Join {
        start_lan: expanded(v, "start_join", interfaces),
        start_wan: expanded(v, "start_join_wan", interfaces),
        retry_lan: expanded(v, "retry_join", interfaces),
        retry_wan: expanded(v, "retry_join_wan", interfaces),
        retry_interval_lan: v.duration("retry_interval"),
        retry_interval_wan: v.duration("retry_interval_wan"),
        retry_max_lan: v.count("retry_max"),
        retry_max_wan: v.count("retry_max_wan"),
        rejoin_after_leave: v.flag("rejoin_after_leave"),
        reconnect_timeout_lan: v.opt_duration("reconnect_timeout"),
        reconnect_timeout_wan: v.opt_duration("reconnect_timeout_wan"),
        advertise_reconnect_timeout: v.opt_duration("advertise_reconnect_timeout"),
    }
}

fn gossip(v: &View, key: &str) -> Gossip {
    let at = |name: &str| format!("{key}.{name}");
    Gossip {
        gossip_nodes: v.count(&at("gossip_nodes")),
        gossip_interval: v.duration(&at("gossip_interval")),
        probe_interval: v.duration(&at("probe_interval")),
        probe_timeout: v.duration(&at("probe_timeout")),
        suspicion_mult: v.count(&at("suspicion_mult")),
        retransmit_mult: v.count(&at("retransmit_mult")),
    }
}

fn encrypt(v: &View) -> Encrypt {
    let key = v.set_text("encrypt").and_then(|text| {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&text);
        match decoded {
            Ok(key) if matches!(key.len(), 16 | 24 | 32) => Some(key),
            Ok(_) => {
                v.error("encrypt has invalid key: key size must be 16, 24 or 32 bytes");
                None
            }
            Err(_) => {
                v.error("encrypt has invalid key: illegal base64 data");
                None
            }
        }
    });
    Encrypt {
        key,
        verify_incoming: v.flag("encrypt_verify_incoming"),
        verify_outgoing: v.flag("encrypt_verify_outgoing"),
    }
}

fn raft(v: &View) -> Raft {
    // The range is checked with the rest; here it only must not overflow.
    let multiplier = u32::try_from(v.int("performance.raft_multiplier").clamp(1, 10)).unwrap_or(1);
    let scaled = |path: &str| v.duration(path) * multiplier;
    Raft {
        election_timeout: scaled("consul.raft.election_timeout"),
        heartbeat_timeout: scaled("consul.raft.heartbeat_timeout"),
        leader_lease_timeout: scaled("consul.raft.leader_lease_timeout"),
        multiplier,
        protocol: v.count("raft_protocol"),
        snapshot_threshold: v.count("raft_snapshot_threshold"),
        snapshot_interval: v.duration("raft_snapshot_interval"),
        trailing_logs: v.count("raft_trailing_logs"),
        server_health_interval: v.duration("consul.server.health_interval"),
    }
}

fn autopilot(v: &View) -> Autopilot {
    Autopilot {
        cleanup_dead_servers: v.flag("autopilot.cleanup_dead_servers"),
        last_contact_threshold: v.duration("autopilot.last_contact_threshold"),
        max_trailing_logs: v.count("autopilot.max_trailing_logs"),
        min_quorum: v.count("autopilot.min_quorum"),
        server_stabilization_time: v.duration("autopilot.server_stabilization_time"),
        disable_upgrade_migration: v.flag("autopilot.disable_upgrade_migration"),
        redundancy_zone_tag: v.text("autopilot.redundancy_zone_tag"),
        upgrade_version_tag: v.text("autopilot.upgrade_version_tag"),
    }
}

fn limits(v: &View) -> Limits {
    let rate = v.float("limits.rpc_rate");
    Limits {
        http_max_conns_per_client: v.count("limits.http_max_conns_per_client"),
        https_handshake_timeout: v.duration("limits.https_handshake_timeout"),
        rpc_handshake_timeout: v.duration("limits.rpc_handshake_timeout"),
        rpc_max_conns_per_client: v.count("limits.rpc_max_conns_per_client"),
        rpc_rate: if rate < 0.0 { f64::INFINITY } else { rate },
        rpc_max_burst: v.count("limits.rpc_max_burst"),
        kv_max_value_size: v.count("limits.kv_max_value_size"),
        txn_max_req_len: v.count("limits.txn_max_req_len"),
    }
}

/// Each of them once, where it stands first.
fn once(list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    list.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

fn dns(v: &View, interfaces: &[InterfaceAddr]) -> Dns {
    let service_ttl = v
        .text_map("dns_config.service_ttl")
        .into_iter()
        .map(|(name, text)| {
            let ttl = v.parse_duration(&format!("dns_config.service_ttl[{name:?}]"), &text);
            (name, ttl.to_std())
        })
        .collect();
    Dns {
        domain: v.text("domain"),
        alt_domain: v.text("alt_domain"),
        recursors: once(expanded(v, "recursors", interfaces)),
        allow_stale: v.flag("dns_config.allow_stale"),
        a_record_limit: v.count("dns_config.a_record_limit"),
        disable_compression: v.flag("dns_config.disable_compression"),
        enable_truncate: v.flag("dns_config.enable_truncate"),
        max_stale: v.duration("dns_config.max_stale"),
        node_ttl: v.duration("dns_config.node_ttl"),
        only_passing: v.flag("dns_config.only_passing"),
        recursor_timeout: v.duration("dns_config.recursor_timeout"),
        service_ttl,
        udp_answer_limit: v.count("dns_config.udp_answer_limit"),
        node_meta_txt: v.flag("dns_config.enable_additional_node_meta_txt"),
        soa: Soa {
            refresh: v.count("dns_config.soa.refresh"),
            retry: v.count("dns_config.soa.retry"),
            expire: v.count("dns_config.soa.expire"),
            min_ttl: v.count("dns_config.soa.min_ttl"),
        },
        use_cache: v.flag("dns_config.use_cache"),
        cache_max_age: v.duration("dns_config.cache_max_age"),
    }
}

/// Networks; `name` is how messages call them.
pub(crate) fn cidrs(v: &View, path: &str, name: &str) -> Vec<Cidr> {
    v.texts(path)
        .iter()
        .filter_map(|text| match text.parse() {
            Ok(cidr) => Some(cidr),
            Err(_) => {
                v.error(format!("{name}: invalid cidr: {text}"));
                None
            }
        })
        .collect()
}

fn http(v: &View) -> Http {
    let max: usize = v.count("http_config.max_header_bytes");
    Http {
        block_endpoints: v.texts("http_config.block_endpoints"),
        allow_write_from: cidrs(v, "http_config.allow_write_http_from", "allow_write_http_from"),
        response_headers: v.text_map("http_config.response_headers"),
        use_cache: v.opt_flag("http_config.use_cache").unwrap_or(true),
        max_header_bytes: (max > 0).then_some(max),
        disable_unprintable_char_filter: v.flag("disable_http_unprintable_char_filter"),
    }
}

fn telemetry(v: &View, warnings: &mut Vec<String>) -> Telemetry {
    let mut allowed = Vec::new();
    let mut blocked = Vec::new();
    for rule in v.texts("telemetry.prefix_filter") {
        match (rule.strip_prefix('+'), rule.strip_prefix('-')) {
            (Some(prefix), _) => allowed.push(prefix.to_owned()),
            (_, Some(prefix)) => blocked.push(prefix.to_owned()),
            _ if rule.is_empty() => {
                warnings.push("Cannot have empty filter rule in prefix_filter".to_owned())
            }
            _ => warnings.push(format!("Filter rule must begin with either '+' or '-': {rule:?}")),
        }
    }
    Telemetry {
        disable_compat_1_9: v.flag("telemetry.disable_compat_1.9"),
        disable_hostname: v.flag("telemetry.disable_hostname"),
        dogstatsd_addr: v.text("telemetry.dogstatsd_addr"),
        dogstatsd_tags: v.texts("telemetry.dogstatsd_tags"),
        filter_default: v.flag("telemetry.filter_default"),
        allowed_prefixes: allowed,
        blocked_prefixes: blocked,
        metrics_prefix: v.text("telemetry.metrics_prefix"),
        prometheus_retention_time: v.duration("telemetry.prometheus_retention_time"),
        statsd_addr: v.text("telemetry.statsd_address"),
        statsite_addr: v.text("telemetry.statsite_address"),
    }
}

fn logging(v: &View) -> Logging {
    Logging {
        level: v.text("log_level"),
        json: v.flag("log_json"),
        file: v.set_text("log_file").map(PathBuf::from),
        rotate_duration: v.opt_duration("log_rotate_duration").unwrap_or(Duration::from_secs(24 * 3600)),
        rotate_bytes: v.count("log_rotate_bytes"),
        rotate_max_files: v.int("log_rotate_max_files"),
        syslog: v.flag("enable_syslog"),
        syslog_facility: v.text("syslog_facility"),
    }
}

/// The newer key of a setting counts, or else the older one (which is where defaults stand).
fn acl(v: &View, primary_datacenter: &str) -> Acl {
    let text = |new: &str, old: &str| v.opt_text(new).unwrap_or_else(|| v.text(old));
    let token_ttl = if v.given("acl.token_ttl") { "acl.token_ttl" } else { "acl_ttl" };
    let replicates = v
        .opt_flag("acl.enable_token_replication")
        .or_else(|| v.opt_flag("enable_acl_replication"))
        .unwrap_or_else(|| v.given("acl_replication_token"));
    Acl {
        enabled: v.opt_flag("acl.enabled").unwrap_or_else(|| v.set_text("acl_datacenter").is_some()),
        datacenter: primary_datacenter.to_owned(),
        enable_token_replication: replicates,
        enable_token_persistence: v.flag("acl.enable_token_persistence"),
        enable_key_list_policy: v
            .opt_flag("acl.enable_key_list_policy")
            .unwrap_or_else(|| v.flag("acl_enable_key_list_policy")),
        policy_ttl: v.duration("acl.policy_ttl"),
        role_ttl: v.duration("acl.role_ttl"),
        token_ttl: v.duration(token_ttl),
        disabled_ttl: v.duration("acl.disabled_ttl"),
        default_policy: text("acl.default_policy", "acl_default_policy"),
        down_policy: text("acl.down_policy", "acl_down_policy"),
        tokens: Tokens {
            master: text("acl.tokens.master", "acl_master_token"),
            replication: text("acl.tokens.replication", "acl_replication_token"),
            agent_master: text("acl.tokens.agent_master", "acl_agent_master_token"),
            default: text("acl.tokens.default", "acl_token"),
            agent: text("acl.tokens.agent", "acl_agent_token"),
        },
    }
}

fn tls(v: &View) -> Tls {
    Tls {
        ca_file: v.text("ca_file"),
        ca_path: v.text("ca_path"),
        cert_file: v.text("cert_file"),
        key_file: v.text("key_file"),
        cipher_suites: v.text("tls_cipher_suites"),
        min_version: v.text("tls_min_version"),
        prefer_server_cipher_suites: v.flag("tls_prefer_server_cipher_suites"),
        server_name: v.text("server_name"),
        verify_incoming: v.flag("verify_incoming"),
        verify_incoming_https: v.flag("verify_incoming_https"),
        verify_incoming_rpc: v.flag("verify_incoming_rpc"),
        verify_outgoing: v.flag("verify_outgoing"),
        verify_server_hostname: v.flag("verify_server_hostname"),
        enable_agent_tls_for_checks: v.flag("enable_agent_tls_for_checks"),
    }
}

fn auto_encrypt(v: &View, warnings: &mut Vec<String>) -> AutoEncrypt {
    let mut ip_san: Vec<IpAddr> = Vec::new();
    for text in v.texts("auto_encrypt.ip_san") {
        match text.parse() {
            Ok(ip) => ip_san.push(ip),
            Err(_) => warnings.push(format!("Cannot parse ip {text:?} from AutoEncrypt.IPSAN")),
        }
    }
    AutoEncrypt {
        tls: v.flag("auto_encrypt.tls"),
        allow_tls: v.flag("auto_encrypt.allow_tls"),
        dns_san: v.texts("auto_encrypt.dns_san"),
        ip_san,
    }
}

fn connect(v: &View, auto_encrypt: &AutoEncrypt) -> Connect {
    Connect {
        // Handing out certificates needs the certificate authority.
        enabled: v.flag("connect.enabled") || auto_encrypt.allow_tls,
        ca_provider: v.text("connect.ca_provider"),
        ca_config: v.free_form("connect.ca_config"),
        mesh_gateway_wan_federation: v.flag("connect.enable_mesh_gateway_wan_federation"),
    }
}

fn ui(v: &View) -> Ui {
    let content_path = v
        .set_text("ui_content_path")
        .or_else(|| v.set_text("ui_config.content_path"))
        .unwrap_or("/ui/".to_owned());
    let trimmed = content_path.trim_matches('/');
    Ui {
        enabled: v.flag("ui_config.enabled") || v.flag("ui"),
        dir: v.set_text("ui_config.dir").unwrap_or_else(|| v.text("ui_dir")),
        content_path: if trimmed.is_empty() { "/".to_owned() } else { format!("/{trimmed}/") },
        metrics_provider: v.text("ui_config.metrics_provider"),
        metrics_provider_files: v.texts("ui_config.metrics_provider_files"),
        metrics_provider_options_json: v.text("ui_config.metrics_provider_options_json"),
        metrics_proxy_base_url: v.text("ui_config.metrics_proxy.base_url"),
        metrics_proxy_add_headers: v
            .list("ui_config.metrics_proxy.add_headers")
            .iter()
            .map(|tree| {
                let header = v.within(tree, String::new());
                (header.text("name"), header.text("value"))
            })
            .collect(),
        metrics_proxy_path_allowlist: v.texts("ui_config.metrics_proxy.path_allowlist"),
        dashboard_url_templates: v.text_map("ui_config.dashboard_url_templates"),
    }
}

fn checks_policy(v: &View) -> ChecksPolicy {
    let remote = v.flag("enable_script_checks");
    ChecksPolicy {
        enable_remote_scripts: remote,
        enable_local_scripts: remote || v.flag("enable_local_script_checks"),
        update_interval: v.duration("check_update_interval"),
        discard_output: v.flag("discard_check_output"),
        output_max_size: usize::try_from(v.int("check_output_max_size")).unwrap_or(0),
        deregister_interval_min: v.duration("check_deregister_interval_min"),
        reap_interval: v.duration("check_reap_interval"),
    }
}

/// Every tag of a node's addresses: the agent's own over the user's.
pub(crate) fn tagged_addresses(
    users: BTreeMap<String, String>,
    own: &[(&str, Option<IpAddr>)],
) -> BTreeMap<String, String> {
    let mut tagged = users;
    for (tag, ip) in own {
        if let Some(ip) = ip {
            tagged.insert((*tag).to_owned(), ip.to_string());
        }
    }
    tagged
}
