//! What an agent prints as it starts, for the person who started it.

use crate::config::{ClientAddr, RuntimeConfig};

/// The lines before the log begins.
pub fn print(config: &RuntimeConfig, node_id: &str) {
    let port = |port: Option<u16>| port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let clients: Vec<String> = config.net.client_addrs.iter().map(ClientAddr::to_string).collect();
    let ports = &config.ports;
    println!("==> Starting Proconsul agent...");
    println!("           Version: '{}' (Proconsul {})", model::VERSION_SPOKEN, env!("CARGO_PKG_VERSION"));
    println!("           Node ID: '{node_id}'");
    println!("         Node name: '{}'", config.node_name);
    println!(
        "        Datacenter: '{}' (Segment: '{}')",
        config.datacenter,
        if config.server { "<all>" } else { "" }
    );
    println!("            Server: {} (Bootstrap: {})", config.server, config.bootstrap);
    println!(
        "       Client Addr: [{}] (HTTP: {}, HTTPS: {}, gRPC: {}, DNS: {})",
        clients.join(" "),
        port(ports.http),
        port(ports.https),
        port(ports.grpc),
        port(ports.dns)
    );
    println!(
        "      Cluster Addr: {} (LAN: {}, WAN: {})",
        config.net.advertise_lan,
        port(ports.serf_lan),
        port(ports.serf_wan)
    );
    println!(
        "           Encrypt: Gossip: {}, TLS-Outgoing: false, TLS-Incoming: false, Auto-Encrypt-TLS: false",
        config.encrypt.key.is_some()
    );
    println!();
    println!("==> Log data will now stream in as it occurs:\n");
}
