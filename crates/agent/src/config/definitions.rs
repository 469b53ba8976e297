//! Services and checks that stand in configuration files.

use std::collections::BTreeMap;

use model::catalog::{ServiceAddress, ServiceConnect, Weights};
use model::definition::{
    CheckType, ConnectProxyConfig, ExposeConfig, ExposePath, MeshGatewayConfig, ServiceDefinition, Upstream,
};

use super::runtime::CheckDefinition;
use super::tree::Tree;
use super::validate::service_meta;
use super::view::{View, texts_of};

pub(crate) fn checks(view: &View) -> Vec<CheckDefinition> {
    view.list("checks").iter().map(|tree| check(view, tree)).collect()
}

pub(crate) fn services(view: &View) -> Vec<ServiceDefinition> {
    view.list("services").iter().map(|tree| service(view, tree)).collect()
}

fn check(outer: &View, tree: &Tree) -> CheckDefinition {
    let id = match tree.at("id") {
        Some(Tree::Str(id)) => id.clone(),
        _ => String::new(),
    };
    let v = outer.within(tree, format!("check[{id}]."));
    CheckDefinition {
        service_id: v.text("service_id"),
        token: v.text("token"),
        check: CheckType {
            check_id: id,
            name: v.text("name"),
            notes: v.text("notes"),
            status: v.text("status"),
            script_args: v.texts("args"),
            http: v.text("http"),
            header: headers(&v),
            method: v.text("method"),
            body: v.text("body"),
            output_max_size: v.int("output_max_size"),
            tcp: v.text("tcp"),
            interval: v.go_duration("interval"),
            docker_container_id: v.text("docker_container_id"),
            shell: v.text("shell"),
            grpc: v.text("grpc"),
            grpc_use_tls: v.flag("grpc_use_tls"),
            tls_skip_verify: v.flag("tls_skip_verify"),
            alias_node: v.text("alias_node"),
            alias_service: v.text("alias_service"),
            timeout: v.go_duration("timeout"),
            ttl: v.go_duration("ttl"),
            success_before_passing: v.int("success_before_passing"),
            failures_before_critical: v.int("failures_before_critical"),
            deregister_critical_service_after: v.go_duration("deregister_critical_service_after"),
            ..CheckType::default()
        },
    }
}

fn headers(v: &View) -> BTreeMap<String, Vec<String>> {
    let Some(map) = v.map("header") else { return BTreeMap::new() };
    map.iter()
        .map(|(name, values)| {
            let values = match values {
                Tree::List(list) => texts_of(list),
                _ => Vec::new(),
            };
            (name.clone(), values)
        })
        .collect()
}

fn service(outer: &View, tree: &Tree) -> ServiceDefinition {
    let name = match tree.at("name") {
        Some(Tree::Str(name)) => name.clone(),
        _ => String::new(),
    };
    let v = outer.within(tree, format!("service[{name}]."));
    let meta = v.text_map("meta");
    if let Err(e) = service_meta(&meta) {
        v.error(format!("invalid meta for service {name}: {e}"));
    }
    let mut weights = Weights { passing: 1, warning: 1 };
    if v.given("weights.passing") {
        weights.passing = v.int("weights.passing");
    }
    if v.given("weights.warning") {
        weights.warning = v.int("weights.warning");
    }
    if let Err(e) = weights_in_range(&weights) {
        v.error(format!("Invalid weight definition for service {name}: {e}"));
    }
    ServiceDefinition {
        kind: v.text("kind"),
        id: v.text("id"),
        tags: v.texts("tags"),
        address: v.text("address"),
        tagged_addresses: tagged_addresses(&v),
        meta,
        port: v.int("port"),
        check: v.at("check").map(|tree| check(&v, tree).check).unwrap_or_default(),
        checks: v.list("checks").iter().map(|tree| check(&v, tree).check).collect(),
        token: v.text("token"),
        weights: Some(weights),
        enable_tag_override: v.flag("enable_tag_override"),
        proxy: v.at("proxy").map(|tree| proxy(&v.within(tree, format!("service[{name}].proxy.")))),
        connect: v.at("connect").map(|tree| ServiceConnect {
            native: matches!(tree.at("native"), Some(Tree::Bool(true))),
            sidecar_service: tree.at("sidecar_service").map(|tree| Box::new(service(&v, tree))),
        }),
        name,
    }
}

fn weights_in_range(weights: &Weights) -> Result<(), &'static str> {
    if weights.passing < 1 {
        return Err("Passing must be greater than 0");
    }
    if weights.warning < 0 {
        return Err("Warning must be greater or equal than 0");
    }
    if weights.passing > 65535 || weights.warning > 65535 {
        return Err("DNS Weight must be between 0 and 65535");
    }
    Ok(())
}

fn tagged_addresses(v: &View) -> BTreeMap<String, ServiceAddress> {
    let Some(map) = v.map("tagged_addresses") else { return BTreeMap::new() };
    map.iter()
        .map(|(name, tree)| {
            let v = v.within(tree, String::new());
            (name.clone(), ServiceAddress { address: v.text("address"), port: v.int("port") })
        })
        .collect()
}

fn proxy(v: &View) -> ConnectProxyConfig {
    ConnectProxyConfig {
        destination_service_name: v.text("destination_service_name"),
        destination_service_id: v.text("destination_service_id"),
        local_service_address: v.text("local_service_address"),
        local_service_port: v.int("local_service_port"),
        config: free_map(v),
        mesh_gateway: mesh_gateway(v),
        expose: ExposeConfig {
            checks: v.flag("expose.checks"),
            paths: v
                .list("expose.paths")
                .iter()
                .map(|tree| {
                    let p = v.within(tree, String::new());
                    ExposePath {
                        listener_port: p.int("listener_port"),
                        local_path_port: p.int("local_path_port"),
                        path: p.text("path"),
                        protocol: p.text("protocol"),
                        parsed_from_check: false,
                    }
                })
                .collect(),
        },
        upstreams: v.list("upstreams").iter().map(|tree| upstream(&v.within(tree, String::new()))).collect(),
    }
}

fn upstream(v: &View) -> Upstream {
    Upstream {
        destination_type: v.set_text("destination_type").unwrap_or_else(|| "service".to_owned()),
        destination_namespace: v.text("destination_namespace"),
        destination_name: v.text("destination_name"),
        datacenter: v.text("datacenter"),
        local_bind_address: v.text("local_bind_address"),
        local_bind_port: v.int("local_bind_port"),
        config: free_map(v),
        mesh_gateway: mesh_gateway(v),
        ..Upstream::default()
    }
}

fn mesh_gateway(v: &View) -> MeshGatewayConfig {
    MeshGatewayConfig { mode: v.text("mesh_gateway.mode") }
}

fn free_map(v: &View) -> BTreeMap<String, serde_json::Value> {
    match v.free_form("config") {
        serde_json::Value::Object(map) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
