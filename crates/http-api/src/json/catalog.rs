//! Nodes and services.

use std::collections::BTreeMap;

use model::catalog::{Node, NodeService, ServiceAddress, ServiceNode, Weights};

use super::{Object, boolean, connect, key, null, proxy, string_map, strings};

/// How empty tag lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empties {
    /// `[]`, as catalog and health answers have them.
    Lists,
    /// `null`, as transactions have them.
    Nulls,
}

/// A list of tags.
pub(super) fn tags(out: &mut Vec<u8>, tags: &[String], empties: Empties) {
    if tags.is_empty() && empties == Empties::Nulls {
        null(out);
    } else {
        strings(out, tags);
    }
}

/// A map that is `null` when empty.
pub(super) fn map_or_null(out: &mut Vec<u8>, map: &BTreeMap<String, String>) {
    if map.is_empty() {
        null(out);
    } else {
        string_map(out, map);
    }
}

/// A node.
pub fn node(out: &mut Vec<u8>, node: &Node) {
    let mut object = Object::new(out);
    object.str(key!("ID"), &node.id);
    object.str(key!("Node"), &node.node);
    object.str(key!("Address"), &node.address);
    object.str(key!("Datacenter"), &node.datacenter);
    map_or_null(object.key(key!("TaggedAddresses")), &node.tagged_addresses);
    map_or_null(object.key(key!("Meta")), &node.meta);
    object.u64(key!("CreateIndex"), node.create_index);
    object.u64(key!("ModifyIndex"), node.modify_index);
    object.end();
}

/// Tagged addresses of a service.
pub(crate) fn service_addresses(out: &mut Vec<u8>, addresses: &BTreeMap<String, ServiceAddress>) {
    let mut object = Object::new(out);
    for (name, address) in addresses {
        let mut entry = Object::new(object.dynamic_key(name));
        entry.str(key!("Address"), &address.address);
        entry.i64(key!("Port"), address.port);
        entry.end();
    }
    object.end();
}

/// Weights.
pub(crate) fn weights(out: &mut Vec<u8>, weights: &Weights) {
    let mut object = Object::new(out);
    object.i64(key!("Passing"), weights.passing);
    object.i64(key!("Warning"), weights.warning);
    object.end();
}

/// A service instance as its node holds it.
pub fn node_service(out: &mut Vec<u8>, service: &NodeService, empties: Empties) {
    let mut object = Object::new(out);
    object.opt_str(key!("Kind"), &service.kind);
    object.str(key!("ID"), &service.id);
    object.str(key!("Service"), &service.service);
    tags(object.key(key!("Tags")), &service.tags, empties);
    object.str(key!("Address"), &service.address);
    if !service.tagged_addresses.is_empty() {
        service_addresses(object.key(key!("TaggedAddresses")), &service.tagged_addresses);
    }
    map_or_null(object.key(key!("Meta")), &service.meta);
    object.i64(key!("Port"), service.port);
    match &service.weights {
        Some(value) => weights(object.key(key!("Weights")), value),
        None => null(object.key(key!("Weights"))),
    }
    boolean(object.key(key!("EnableTagOverride")), service.enable_tag_override);
    proxy(object.key(key!("Proxy")), &service.proxy);
    connect(object.key(key!("Connect")), &service.connect);
    object.u64(key!("CreateIndex"), service.create_index);
    object.u64(key!("ModifyIndex"), service.modify_index);
    object.end();
}

/// A service instance joined with its node.
pub fn service_node(out: &mut Vec<u8>, entry: &ServiceNode) {
    let mut object = Object::new(out);
    object.str(key!("ID"), &entry.id);
    object.str(key!("Node"), &entry.node);
    object.str(key!("Address"), &entry.address);
    object.str(key!("Datacenter"), &entry.datacenter);
    map_or_null(object.key(key!("TaggedAddresses")), &entry.tagged_addresses);
    map_or_null(object.key(key!("NodeMeta")), &entry.node_meta);
    object.str(key!("ServiceKind"), &entry.service_kind);
    object.str(key!("ServiceID"), &entry.service_id);
    object.str(key!("ServiceName"), &entry.service_name);
    strings(object.key(key!("ServiceTags")), &entry.service_tags);
    object.str(key!("ServiceAddress"), &entry.service_address);
    if !entry.service_tagged_addresses.is_empty() {
        service_addresses(object.key(key!("ServiceTaggedAddresses")), &entry.service_tagged_addresses);
    }
    weights(object.key(key!("ServiceWeights")), &entry.service_weights);
    string_map(object.key(key!("ServiceMeta")), &entry.service_meta);
    object.i64(key!("ServicePort"), entry.service_port);
    boolean(object.key(key!("ServiceEnableTagOverride")), entry.service_enable_tag_override);
    proxy(object.key(key!("ServiceProxy")), &entry.service_proxy);
    connect(object.key(key!("ServiceConnect")), &entry.service_connect);
    object.u64(key!("CreateIndex"), entry.create_index);
    object.u64(key!("ModifyIndex"), entry.modify_index);
    object.end();
}

/// The map from service names to their tags.
pub fn services_map(out: &mut Vec<u8>, services: &BTreeMap<String, Vec<String>>) {
    let mut object = Object::new(out);
    for (name, tags) in services {
        strings(object.dynamic_key(name), tags);
    }
    object.end();
}
