//! Services and checks as their own agent tells them.

use model::catalog::{NodeService, Weights};
use model::definition::ConnectProxyConfig;
use model::health::HealthCheck;

use super::catalog::{service_addresses, weights};
use super::{Object, boolean, connect, key, null, proxy, string_map, strings};

/// A local service, with the hash of its content where that is wanted.
pub fn agent_service(out: &mut Vec<u8>, service: &NodeService, datacenter: &str, hash: Option<&str>) {
    let mut object = Object::new(out);
    object.opt_str(key!("Kind"), &service.kind);
    object.str(key!("ID"), &service.id);
    object.str(key!("Service"), &service.service);
    strings(object.key(key!("Tags")), &service.tags);
    string_map(object.key(key!("Meta")), &service.meta);
    object.i64(key!("Port"), service.port);
    object.str(key!("Address"), &service.address);
    if !service.tagged_addresses.is_empty() {
        service_addresses(object.key(key!("TaggedAddresses")), &service.tagged_addresses);
    }
    weights(object.key(key!("Weights")), &service.weights.clone().unwrap_or(DEFAULT_WEIGHTS));
    boolean(object.key(key!("EnableTagOverride")), service.enable_tag_override);
    object.opt_u64(key!("CreateIndex"), service.create_index);
    object.opt_u64(key!("ModifyIndex"), service.modify_index);
    if let Some(hash) = hash {
        object.str(key!("ContentHash"), hash);
    }
    if service.proxy != ConnectProxyConfig::default() {
        proxy(object.key(key!("Proxy")), &service.proxy);
    }
    if service.connect.native {
        connect(object.key(key!("Connect")), &service.connect);
    }
    object.str(key!("Datacenter"), datacenter);
    object.end();
}

const DEFAULT_WEIGHTS: Weights = Weights { passing: 1, warning: 1 };

/// A check in the form of the client library: the definition with all its older fields.
pub fn client_check(out: &mut Vec<u8>, check: &HealthCheck) {
    let definition = &check.definition;
    let mut object = Object::new(out);
    object.str(key!("Node"), &check.node);
    object.str(key!("CheckID"), &check.check_id);
    object.str(key!("Name"), &check.name);
    object.str(key!("Status"), &check.status);
    object.str(key!("Notes"), &check.notes);
    object.str(key!("Output"), &check.output);
    object.str(key!("ServiceID"), &check.service_id);
    object.str(key!("ServiceName"), &check.service_name);
    let tags = object.key(key!("ServiceTags"));
    if check.service_tags.is_empty() {
        null(tags);
    } else {
        strings(tags, &check.service_tags);
    }
    object.str(key!("Type"), "");
    let mut inner = Object::new(object.key(key!("Definition")));
    inner.str(key!("HTTP"), &definition.http);
    null(inner.key(key!("Header")));
    inner.str(key!("Method"), &definition.method);
    inner.str(key!("Body"), &definition.body);
    inner.bool(key!("TLSSkipVerify"), definition.tls_skip_verify);
    inner.str(key!("TCP"), &definition.tcp);
    inner.str(key!("Interval"), &definition.interval.to_string());
    inner.str(key!("Timeout"), &definition.timeout.to_string());
    inner.str(
        key!("DeregisterCriticalServiceAfter"),
        &definition.deregister_critical_service_after.to_string(),
    );
    inner.end();
    object.u64(key!("CreateIndex"), check.create_index);
    object.u64(key!("ModifyIndex"), check.modify_index);
    object.end();
}
