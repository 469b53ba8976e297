//! What an agent prints as it starts, for the person who started it.

use std::io::{self, Write as _};

use crate::config::{ClientAddr, RuntimeConfig};

/// The lines before the log begins. Nobody may be there to read them.
pub fn print(config: &RuntimeConfig, node_id: &str, warnings: &[String]) {
    let warnings: String = warnings.iter().map(|warning| format!("==> {warning}\n")).collect();
    let _unread = io::stdout().write_all((warnings + &lines(config, node_id)).as_bytes());
}

fn lines(config: &RuntimeConfig, node_id: &str) -> String {
    let port = |port: Option<u16>| port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let clients: Vec<String> = config.net.client_addrs.iter().map(ClientAddr::to_string).collect();
    let ports = &config.ports;
    [
        "==> Starting Proconsul agent...".to_owned(),
        format!("           Version: '{}' (Proconsul {})", model::VERSION_SPOKEN, env!("CARGO_PKG_VERSION")),
        format!("           Node ID: '{node_id}'"),
        format!("         Node name: '{}'", config.node_name),
        format!(
            "        Datacenter: '{}' (Segment: '{}')",
            config.datacenter,
            if config.server { "<all>" } else { "" }
        ),
        format!("            Server: {} (Bootstrap: {})", config.server, config.bootstrap),
        format!(
            "       Client Addr: [{}] (HTTP: {}, HTTPS: {}, gRPC: {}, DNS: {})",
            clients.join(" "),
            port(ports.http),
            port(ports.https),
            port(ports.grpc),
            port(ports.dns)
        ),
        format!(
            "      Cluster Addr: {} (LAN: {}, WAN: {})",
            config.net.advertise_lan,
            port(ports.serf_lan),
            port(ports.serf_wan)
        ),
        format!(
            "           Encrypt: Gossip: {}, TLS-Outgoing: false, TLS-Incoming: false, Auto-Encrypt-TLS: false",
            config.encrypt.key.is_some()
        ),
        String::new(),
        "==> Log data will now stream in as it occurs:\n\n".to_owned(),
    ]
    .join("\n")
}
