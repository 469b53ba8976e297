//! Join flooding: whoever is in the LAN pool as a server belongs into the WAN pool too.

use std::net::SocketAddr;

/// A server as the LAN pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanServer {
    /// Node name.
    pub name: String,
    /// Its LAN address with the port of its WAN pool; `None` if it has no WAN pool.
    pub wan: Option<SocketAddr>,
}

/// Name of a server in the WAN pool.
pub fn wan_name(node: &str, datacenter: &str) -> String {
    format!("{node}.{datacenter}")
}

/// The servers to join, as `(name, address)`: alive LAN servers with a WAN pool that the WAN member
/// list does not have. Any status there counts as present, since gossip itself brings a failed one
/// back.
pub fn missing<'a>(
    datacenter: &str,
    alive_lan_servers: impl IntoIterator<Item = &'a LanServer>,
    is_wan_member: impl Fn(&str) -> bool,
) -> Vec<(String, SocketAddr)> {
    alive_lan_servers
        .into_iter()
        .filter_map(|server| {
            let name = wan_name(&server.name, datacenter);
            let address = server.wan?;
            (!is_wan_member(&name)).then_some((name, address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_missing_ones_with_a_wan_pool() {
        let address: SocketAddr = "127.0.1.2:8302".parse().unwrap();
        let server = |name: &str, wan| LanServer { name: name.into(), wan };
        let lan = [server("s1", Some(address)), server("s2", Some(address)), server("s3", None)];
        let found = missing("dc1", &lan, |name| name == "s1.dc1");
        assert_eq!(found, [("s2.dc1".to_owned(), address)]);
    }
}
