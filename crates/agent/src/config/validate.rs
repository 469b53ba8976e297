//! Which combinations make no sense, and which deserve a word.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::runtime::{Listen, RuntimeConfig};

const MAX_META_PAIRS: usize = 64;
const MAX_META_KEY: usize = 128;
const MAX_META_VALUE: usize = 512;
const MAX_RAFT_MULTIPLIER: i64 = 10;
/// The gossip keyrings in the data folder.
const KEYRINGS: [(&str, &str); 2] = [("LAN", "serf/local.keyring"), ("WAN", "serf/remote.keyring")];
const CLUSTER_SIZES: &str = "See https://www.consul.io/docs/internals/consensus.html#deployment-table";

pub(crate) fn validate(
    config: &RuntimeConfig,
    raft_multiplier: i64,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    required(config, raft_multiplier)?;
    node(config, warnings)?;
    dns(config)?;
    bootstrapping(config, warnings)?;
    roles(config)?;
    ui(config)?;
    encryption(config, warnings);
    listeners(config)?;
    scripts(config, warnings);
    Ok(())
}

fn required(config: &RuntimeConfig, raft_multiplier: i64) -> Result<(), String> {
    if !(1..=MAX_RAFT_MULTIPLIER).contains(&raft_multiplier) {
        return Err(format!(
            "performance.raft_multiplier cannot be {raft_multiplier}. Must be between 1 and {MAX_RAFT_MULTIPLIER}"
        ));
    }
    basic_name("datacenter", &config.datacenter)?;
    basic_name("primary_datacenter", &config.primary_datacenter)?;
    let Some(dir) = &config.data_dir else {
        return if config.dev_mode { Ok(()) } else { Err("data_dir cannot be empty".to_owned()) };
    };
    if !config.dev_mode {
        match std::fs::metadata(dir) {
            Ok(kind) if !kind.is_dir() => {
                return Err(format!("data_dir {:?} is not a directory", dir.display().to_string()));
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("Error getting info on data_dir: {e}"));
            }
            _ => {}
        }
    }
    if config.checks_policy.output_max_size < 1 {
        return Err("check_output_max_size must be positive, to discard check output use the discard_check_output flag"
            .to_owned());
    }
    if !matches!(config.protocol, 2 | 3) {
        return Err(format!("protocol version {} is not supported. Must be 2 or 3", config.protocol));
    }
    if config.raft.protocol != 3 {
        return Err(format!(
            "raft_protocol version {} is not supported by this version",
            config.raft.protocol
        ));
    }
    Ok(())
}

/// Lower case letters, digits, `-` and `_`; names of datacenters and the like.
fn basic_name(key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{key} cannot be empty"));
    }
    if value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')) {
        return Ok(());
    }
    Err(format!("{key} can only contain lowercase alphanumeric, - or _ characters. received: {value:?}"))
}

fn node(config: &RuntimeConfig, warnings: &mut Vec<String>) -> Result<(), String> {
    let name = &config.node_name;
    if name.is_empty() {
        return Err("node_name cannot be empty".to_owned());
    }
    if name.chars().any(|c| !c.is_ascii_alphanumeric() && c != '-') {
        warnings.push(format!(
            "Node name {name:?} will not be discoverable via DNS due to invalid characters. \
             Valid characters include all alpha-numerics and dashes."
        ));
    } else if name.len() > 63 {
        warnings.push(format!(
            "Node name {name:?} will not be discoverable via DNS due to it being too long. \
             Valid lengths are between 1 and 63 bytes."
        ));
    }
    node_meta(&config.node_meta).map_err(|e| format!("node_meta invalid: {e}"))
}

/// A node's metadata: bounded, and without the keys that are ours.
pub fn node_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    if meta.len() > MAX_META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"));
    }
    meta.iter().try_for_each(|(key, value)| meta_pair(key, value))
}

/// A service's metadata.
pub fn service_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    if meta.len() > MAX_META_PAIRS {
        return Err(format!("Service metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"));
    }
    meta.iter().try_for_each(|(key, value)| meta_pair(key, value))
}

fn meta_pair(key: &str, value: &str) -> Result<(), String> {
    let why = if key.is_empty() {
        "Key cannot be blank".to_owned()
    } else if !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        "Key contains invalid characters".to_owned()
    } else if key.len() > MAX_META_KEY {
        format!("Key is too long (limit: {MAX_META_KEY} characters)")
    } else if key.starts_with("consul-") {
        "Key prefix 'consul-' is reserved for internal use".to_owned()
    } else if value.len() > MAX_META_VALUE {
        format!("Value is too long (limit: {MAX_META_VALUE} characters)")
    } else {
        return Ok(());
    };
    Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {why}"))
}

/// Whether it can be an address or a host name, with or without a port.
fn address_or_host(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(named) && port.parse::<u16>().is_ok()
}

fn dns(config: &RuntimeConfig) -> Result<(), String> {
    for recursor in &config.dns.recursors {
        let host = recursor.trim_start_matches('[').split(']').next().unwrap_or_default();
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
            || recursor.parse::<std::net::SocketAddr>().is_ok_and(|a| a.ip().is_unspecified())
        {
            return Err("DNS recursor address cannot be 0.0.0.0, :: or [::]".to_owned());
        }
        if !address_or_host(recursor) {
            return Err(format!("recursors: \"{recursor}\" is not an address"));
        }
    }
    let alt = config.dns.alt_domain.to_lowercase();
    let dc = config.datacenter.as_str();
    let reserved = ["service", "connect", "node", "query", "addr", dc];
    if reserved.iter().any(|word| alt.strip_prefix(word).is_some_and(|rest| rest.starts_with('.'))) {
        return Err(format!("alt_domain cannot start with {{service,connect,node,query,addr,{dc}}}"));
    }
    Ok(())
}

fn bootstrapping(config: &RuntimeConfig, warnings: &mut Vec<String>) -> Result<(), String> {
    let RuntimeConfig { server, bootstrap, bootstrap_expect: expect, dev_mode, .. } = config;
    let refused = [
        (*bootstrap && !server, "'bootstrap = true' requires 'server = true'"),
        (*expect > 0 && !server, "'bootstrap_expect > 0' requires 'server = true'"),
        (*expect > 0 && *dev_mode, "'bootstrap_expect > 0' not allowed in dev mode"),
        (*expect > 0 && *bootstrap, "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive"),
    ];
    if let Some((_, text)) = refused.iter().find(|(wrong, _)| *wrong) {
        return Err((*text).to_owned());
    }
    if *server && !bootstrap {
        if *expect == 2 {
            warnings.push(format!(
                "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance. {CLUSTER_SIZES}"
            ));
        } else if *expect > 2 && expect % 2 == 0 {
            warnings.push(format!(
                "bootstrap_expect is even number: A cluster with an even number of servers does not achieve \
                 optimum fault tolerance. {CLUSTER_SIZES}"
            ));
        }
        if *expect > 1 {
            warnings.push(format!("bootstrap_expect > 0: expecting {expect} servers"));
        }
    }
    if *server && *bootstrap && !dev_mode {
        warnings.push("bootstrap = true: do not enable unless necessary".to_owned());
    }
    Ok(())
}

fn roles(config: &RuntimeConfig) -> Result<(), String> {
    let server = config.server;
    let refused = [
        (server && config.auto_encrypt.tls, "auto_encrypt.tls can only be used on a client."),
        (!server && config.auto_encrypt.allow_tls, "auto_encrypt.allow_tls can only be used on a server."),
        (
            server && config.join.advertise_reconnect_timeout.is_some(),
            "advertise_reconnect_timeout can only be used on a client",
        ),
        (
            !server && config.connect.mesh_gateway_wan_federation,
            "'connect.enable_mesh_gateway_wan_federation = true' requires 'server = true'",
        ),
        (
            !server && !config.primary_gateways.is_empty(),
            "'primary_gateways' should only be configured in a server",
        ),
    ];
    match refused.iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err((*text).to_owned()),
        None => Ok(()),
    }
}

fn ui(config: &RuntimeConfig) -> Result<(), String> {
    let ui = &config.ui;
    if !ui.content_path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-')) {
        return Err(format!(
            "ui-content-path can only contain alphanumeric, -, _, or /. received: {:?}",
            ui.content_path
        ));
    }
    let versioned = ui
        .content_path
        .strip_prefix("/v")
        .and_then(|rest| rest.strip_suffix('/'))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    if versioned {
        return Err(format!("ui-content-path cannot have 'v[0-9]'. received: {:?}", ui.content_path));
    }
    let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    if !ui.metrics_proxy_base_url.is_empty() && !is_url(&ui.metrics_proxy_base_url) {
        return Err("ui_config.metrics_proxy.base_url must be a valid http or https URL.".to_owned());
    }
    if !ui.metrics_provider.is_empty() {
        basic_name("ui_config.metrics_provider", &ui.metrics_provider)?;
    }
    let options = &ui.metrics_provider_options_json;
    if !options.is_empty() && serde_json::from_str::<serde_json::Map<_, _>>(options).is_err() {
        return Err("ui_config.metrics_provider_options_json must be empty or a string containing a valid JSON object."
            .to_owned());
    }
    for (name, url) in &ui.dashboard_url_templates {
        basic_name("ui_config.dashboard_url_templates key names", name)?;
        if !is_url(url) {
            return Err(
                "ui_config.dashboard_url_templates values must be a valid http or https URL.".to_owned()
            );
        }
    }
    if !config.dev_mode && ui.enabled && !ui.dir.is_empty() {
        return Err(
            "Both the ui_config.enabled and ui_config.dir (or -ui and -ui-dir) were specified, please \
                    provide only one.\nIf trying to use your own web UI resources, use ui_config.dir or the \
                    -ui-dir flag."
                .to_owned(),
        );
    }
    Ok(())
}

fn encryption(config: &RuntimeConfig, warnings: &mut Vec<String>) {
    let (Some(_), Some(dir)) = (&config.encrypt.key, &config.data_dir) else { return };
    for (pool, file) in KEYRINGS {
        if (pool == "LAN" || config.server) && dir.join(file).exists() {
            warnings.push(format!("WARNING: {pool} keyring exists but -encrypt given, using keyring"));
        }
    }
}

/// No two of them on one address.
fn listeners(config: &RuntimeConfig) -> Result<(), String> {
    let net = &config.net;
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut claim = |name: &'static str, addr: String| match taken.get(&addr) {
        Some(other) => Err(format!("{name} address {addr} already configured for {other}")),
        None => {
            taken.insert(addr, name);
            Ok(())
        }
    };
    for addr in &net.dns {
        claim("DNS", addr.to_string())?;
    }
    for (name, list) in [("HTTP", &net.http), ("HTTPS", &net.https), ("gRPC", &net.grpc)] {
        for listen in list {
            claim(
                name,
                match listen {
                    Listen::Tcp(addr) => addr.to_string(),
                    Listen::Unix(path) => path.display().to_string(),
                },
            )?;
        }
    }
    // Ports that are off have nothing to collide with.
    if net.rpc_advertise.port() > 0 {
        claim("RPC Advertise", net.rpc_advertise.to_string())?;
    }
    if net.serf_lan_advertise.port() > 0 {
        claim("Serf Advertise LAN", net.serf_lan_advertise.to_string())?;
    }
    if let Some(wan) = net.serf_wan_advertise {
        claim("Serf Advertise WAN", wan.to_string())?;
    }
    Ok(())
}

fn scripts(config: &RuntimeConfig, warnings: &mut Vec<String>) {
    if config.checks_policy.enable_remote_scripts
        && !config.acl.enabled
        && config.http.allow_write_from.is_empty()
    {
        warnings.push(
            "using enable-script-checks without ACLs and without allow_write_http_from is DANGEROUS, use \
             enable-local-script-checks instead, see \
             https://www.hashicorp.com/blog/protecting-consul-from-rce-risk-in-specific-configurations/"
                .to_owned(),
        );
    }
}
