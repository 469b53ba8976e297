//! Proxies and connect settings of services.

use std::collections::BTreeMap;

use model::catalog::ServiceConnect;
use model::definition::{ConnectProxyConfig, ExposeConfig, Upstream};

use super::{Object, array, key, serde};

fn opaque(object: &mut Object<'_>, key: &'static str, config: &BTreeMap<String, serde_json::Value>) {
    if !config.is_empty() {
        serde(object.key(key), config);
    }
}

fn expose(out: &mut Vec<u8>, expose: &ExposeConfig) {
    let mut object = Object::new(out);
    object.opt_bool(key!("Checks"), expose.checks);
    if !expose.paths.is_empty() {
        array(object.key(key!("Paths")), &expose.paths, |out, path| {
            let mut object = Object::new(out);
            object.opt_i64(key!("ListenerPort"), path.listener_port);
            object.opt_str(key!("Path"), &path.path);
            object.opt_i64(key!("LocalPathPort"), path.local_path_port);
            object.opt_str(key!("Protocol"), &path.protocol);
            object.opt_bool(key!("ParsedFromCheck"), path.parsed_from_check);
            object.end();
        });
    }
    object.end();
}

fn mesh_gateway(out: &mut Vec<u8>, mode: &str) {
    let mut object = Object::new(out);
    object.opt_str(key!("Mode"), mode);
    object.end();
}

fn upstream(out: &mut Vec<u8>, upstream: &Upstream) {
    let mut object = Object::new(out);
    object.opt_str(key!("DestinationType"), &upstream.destination_type);
    object.opt_str(key!("DestinationNamespace"), &upstream.destination_namespace);
    object.str(key!("DestinationName"), &upstream.destination_name);
    object.opt_str(key!("Datacenter"), &upstream.datacenter);
    object.opt_str(key!("LocalBindAddress"), &upstream.local_bind_address);
    object.opt_i64(key!("LocalBindPort"), upstream.local_bind_port);
    opaque(&mut object, key!("Config"), &upstream.config);
    mesh_gateway(object.key(key!("MeshGateway")), &upstream.mesh_gateway.mode);
    if !upstream.ingress_hosts.is_empty() {
        super::strings(object.key(key!("IngressHosts")), &upstream.ingress_hosts);
    }
    object.end();
}

/// The proxy part of a service.
pub fn proxy(out: &mut Vec<u8>, proxy: &ConnectProxyConfig) {
    let mut object = Object::new(out);
    object.opt_str(key!("DestinationServiceName"), &proxy.destination_service_name);
    object.opt_str(key!("DestinationServiceID"), &proxy.destination_service_id);
    object.opt_str(key!("LocalServiceAddress"), &proxy.local_service_address);
    object.opt_i64(key!("LocalServicePort"), proxy.local_service_port);
    opaque(&mut object, key!("Config"), &proxy.config);
    if !proxy.upstreams.is_empty() {
        array(object.key(key!("Upstreams")), &proxy.upstreams, upstream);
    }
    mesh_gateway(object.key(key!("MeshGateway")), &proxy.mesh_gateway.mode);
    expose(object.key(key!("Expose")), &proxy.expose);
    object.end();
}

/// The connect part of a service.
pub fn connect(out: &mut Vec<u8>, connect: &ServiceConnect) {
    let mut object = Object::new(out);
    object.opt_bool(key!("Native"), connect.native);
    if let Some(sidecar) = &connect.sidecar_service {
        serde(object.key(key!("SidecarService")), sidecar);
    }
    object.end();
}
