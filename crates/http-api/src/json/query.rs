//! Prepared queries and the figures that some answers carry in their body.

use std::collections::BTreeMap;

use model::health::CheckServiceNode;
use model::options::QueryMeta;
use model::query::PreparedQuery;

use super::catalog::{Empties, map_or_null, node, node_service};
use super::health::health_check;
use super::{Object, array, key, null, strings};

/// A list that is `null` when empty.
fn list_or_null(out: &mut Vec<u8>, list: &[String]) {
    if list.is_empty() {
        null(out);
    } else {
        strings(out, list);
    }
}

fn map(object: &mut Object<'_>, key: &'static str, map: &BTreeMap<String, String>) {
    map_or_null(object.key(key), map);
}

/// A query as it is stored.
pub fn prepared_query(out: &mut Vec<u8>, query: &PreparedQuery) {
    let mut object = Object::new(out);
    object.str(key!("ID"), &query.id);
    object.str(key!("Name"), &query.name);
    object.str(key!("Session"), &query.session);
    object.str(key!("Token"), &query.token);
    let mut template = Object::new(object.key(key!("Template")));
    template.str(key!("Type"), &query.template.r#type);
    template.str(key!("Regexp"), &query.template.regexp);
    template.bool(key!("RemoveEmptyTags"), query.template.remove_empty_tags);
    template.end();
    let wanted = &query.service;
    let mut service = Object::new(object.key(key!("Service")));
    service.str(key!("Service"), &wanted.service);
    let mut failover = Object::new(service.key(key!("Failover")));
    failover.i64(key!("NearestN"), wanted.failover.nearest_n);
    list_or_null(failover.key(key!("Datacenters")), &wanted.failover.datacenters);
    failover.end();
    service.bool(key!("OnlyPassing"), wanted.only_passing);
    list_or_null(service.key(key!("IgnoreCheckIDs")), &wanted.ignore_check_ids);
    service.str(key!("Near"), &wanted.near);
    list_or_null(service.key(key!("Tags")), &wanted.tags);
    map(&mut service, key!("NodeMeta"), &wanted.node_meta);
    map(&mut service, key!("ServiceMeta"), &wanted.service_meta);
    service.bool(key!("Connect"), wanted.connect);
    service.end();
    let mut dns = Object::new(object.key(key!("DNS")));
    dns.str(key!("TTL"), &query.dns.ttl);
    dns.end();
    object.u64(key!("CreateIndex"), query.create_index);
    object.u64(key!("ModifyIndex"), query.modify_index);
    object.end();
}

/// An instance that a query found; lists without members are `null` here.
pub fn query_node(out: &mut Vec<u8>, entry: &CheckServiceNode) {
    let mut object = Object::new(out);
    node(object.key(key!("Node")), &entry.node);
    node_service(object.key(key!("Service")), &entry.service, Empties::Nulls);
    let checks = object.key(key!("Checks"));
    if entry.checks.is_empty() {
        null(checks);
    } else {
        array(checks, &entry.checks, |out, check| health_check(out, check, Empties::Nulls));
    }
    object.end();
}

/// The figures of a read, inside its body. The index stays 0: what answers so cannot be watched.
pub fn query_meta(object: &mut Object<'_>, meta: &QueryMeta) {
    object.u64(key!("Index"), 0);
    object.i64(key!("LastContact"), meta.last_contact.0);
    object.bool(key!("KnownLeader"), meta.known_leader);
    object.str(key!("ConsistencyLevel"), &meta.consistency_level);
    object.bool(key!("NotModified"), meta.not_modified);
}
