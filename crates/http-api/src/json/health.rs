//! Checks and health entries.

use model::duration::GoDuration;
use model::health::{CheckServiceNode, HealthCheck, HealthCheckDefinition};

use super::catalog::{Empties, node, node_service, tags};
use super::{Object, array, key, string, strings};

fn opt_duration(object: &mut Object<'_>, key: &'static str, value: GoDuration) {
    if !value.is_zero() {
        string(object.key(key), &value.to_string());
    }
}

/// What a check does; empty fields are left out.
fn definition(out: &mut Vec<u8>, definition: &HealthCheckDefinition) {
    let mut object = Object::new(out);
    opt_duration(&mut object, key!("Interval"), definition.interval);
    object.opt_u64(key!("OutputMaxSize"), definition.output_max_size);
    opt_duration(&mut object, key!("Timeout"), definition.timeout);
    opt_duration(
        &mut object,
        key!("DeregisterCriticalServiceAfter"),
        definition.deregister_critical_service_after,
    );
    if !definition.script_args.is_empty() {
        strings(object.key(key!("ScriptArgs")), &definition.script_args);
    }
    object.opt_str(key!("HTTP"), &definition.http);
    if !definition.header.is_empty() {
        let mut headers = Object::new(object.key(key!("Header")));
        for (name, values) in &definition.header {
            strings(headers.dynamic_key(name), values);
        }
        headers.end();
    }
    object.opt_str(key!("Method"), &definition.method);
    object.opt_str(key!("Body"), &definition.body);
    object.opt_bool(key!("TLSSkipVerify"), definition.tls_skip_verify);
    object.opt_str(key!("TCP"), &definition.tcp);
    object.opt_str(key!("GRPC"), &definition.grpc);
    object.opt_bool(key!("GRPCUseTLS"), definition.grpc_use_tls);
    object.opt_str(key!("DockerContainerID"), &definition.docker_container_id);
    object.opt_str(key!("Shell"), &definition.shell);
    object.opt_str(key!("AliasNode"), &definition.alias_node);
    object.opt_str(key!("AliasService"), &definition.alias_service);
    opt_duration(&mut object, key!("TTL"), definition.ttl);
    object.end();
}

/// A check.
pub fn health_check(out: &mut Vec<u8>, check: &HealthCheck, empties: Empties) {
    let mut object = Object::new(out);
    object.str(key!("Node"), &check.node);
    object.str(key!("CheckID"), &check.check_id);
    object.str(key!("Name"), &check.name);
    object.str(key!("Status"), &check.status);
    object.str(key!("Notes"), &check.notes);
    object.str(key!("Output"), &check.output);
    object.str(key!("ServiceID"), &check.service_id);
    object.str(key!("ServiceName"), &check.service_name);
    tags(object.key(key!("ServiceTags")), &check.service_tags, empties);
    object.str(key!("Type"), &check.r#type);
    definition(object.key(key!("Definition")), &check.definition);
    object.u64(key!("CreateIndex"), check.create_index);
    object.u64(key!("ModifyIndex"), check.modify_index);
    object.end();
}

/// A service instance with its node and checks.
pub fn check_service_node(out: &mut Vec<u8>, entry: &CheckServiceNode) {
    let mut object = Object::new(out);
    node(object.key(key!("Node")), &entry.node);
    node_service(object.key(key!("Service")), &entry.service, Empties::Lists);
    array(object.key(key!("Checks")), &entry.checks, |out, check| health_check(out, check, Empties::Lists));
    object.end();
}
