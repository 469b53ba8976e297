//! `translate_wan_addrs`: what another datacenter's things are reached by from here.

use std::sync::Arc;

use model::catalog::{Node, NodeService, ServiceNode};
use model::health::CheckServiceNode;

const WAN: &str = "wan";

/// Gives a node its WAN address, if it has another.
pub fn node(node: &mut Arc<Node>) {
    if let Some(wan) = node.tagged_addresses.get(WAN)
        && !wan.is_empty()
        && *wan != node.address
    {
        let wan = wan.clone();
        Arc::make_mut(node).address = wan;
    }
}

/// Gives a service instance its WAN address and port, if it has others.
pub fn service(service: &mut Arc<NodeService>) {
    if let Some(wan) = service.tagged_addresses.get(WAN)
        && !wan.address.is_empty()
        && (wan.address != service.address || (wan.port != 0 && wan.port != service.port))
    {
        let wan = wan.clone();
        let service = Arc::make_mut(service);
        service.address = wan.address;
        if wan.port != 0 {
            service.port = wan.port;
        }
    }
}

/// The same for an instance joined with its node.
pub fn service_node(entry: &mut ServiceNode) {
    if let Some(wan) = entry.tagged_addresses.get(WAN)
        && !wan.is_empty()
    {
        wan.clone_into(&mut entry.address);
    }
    if let Some(wan) = entry.service_tagged_addresses.get(WAN)
        && !wan.address.is_empty()
    {
        wan.address.clone_into(&mut entry.service_address);
        if wan.port != 0 {
            entry.service_port = wan.port;
        }
    }
}

/// The same for health entries.
pub fn entries(entries: &mut [CheckServiceNode]) {
    for entry in entries {
        node(&mut entry.node);
        service(&mut entry.service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::catalog::ServiceAddress;

    #[test]
    fn wan_addresses_replace_lan_ones() {
        let mut far = Arc::new(Node {
            address: "10.0.0.1".to_owned(),
            tagged_addresses: [("wan".to_owned(), "198.51.100.7".to_owned())].into(),
            ..Node::default()
        });
        let shared = Arc::clone(&far);
        node(&mut far);
        assert_eq!(far.address, "198.51.100.7");
        assert_eq!(shared.address, "10.0.0.1", "the shared original changed");

        let wan = ServiceAddress { address: "198.51.100.9".to_owned(), port: 0 };
        let mut instance = Arc::new(NodeService {
            address: "10.0.0.2".to_owned(),
            port: 80,
            tagged_addresses: [("wan".to_owned(), wan)].into(),
            ..NodeService::default()
        });
        service(&mut instance);
        assert_eq!((instance.address.as_str(), instance.port), ("198.51.100.9", 80));
    }
}
