//! `Catalog`: nodes and services.

use std::borrow::Borrow;
use std::sync::Arc;

use filter::{Filter, Filterable, Schema, schema};
use model::catalog::{
    DatacentersRequest, DeregisterRequest, IndexedNodeServiceList, IndexedNodeServices, IndexedNodes,
    IndexedServiceList, IndexedServiceNodes, IndexedServices, Node, NodeService, RegisterRequest,
    ServiceNode, Weights,
};
use model::error::{ErrorKind, RpcError};
use model::health::{HealthCheck, HealthCheckDefinition};
use model::methods::{
    CatalogDeregister, CatalogListDatacenters, CatalogListNodes, CatalogListServices, CatalogNodeServiceList,
    CatalogNodeServices, CatalogRegister, CatalogServiceList, CatalogServiceNodes,
};
use model::options::{DcSpecificRequest, NodeSpecificRequest, QueryMeta, ServiceSpecificRequest};
use model::rules::{check_connect, is_any_address};
use model::scalar::Empty;
use state::{Select, WatchSet};
use uuid::Uuid;

use super::{refuse, sort};
use crate::core::{CommandType, Core};
use crate::read::ReadContext;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<CatalogRegister, _, _>(apply_register);
    registry.call::<CatalogDeregister, _, _>(apply_deregister);
    registry.call::<CatalogListDatacenters, _, _>(datacenters);
    registry.read::<CatalogListNodes>(nodes);
    registry.read::<CatalogListServices>(services);
    registry.read::<CatalogServiceList>(service_list);
    registry.read::<CatalogServiceNodes>(service_nodes);
    registry.read::<CatalogNodeServices>(node_services);
    registry.read::<CatalogNodeServiceList>(node_service_list);
}

async fn apply_register(core: Arc<Core>, mut args: RegisterRequest) -> Result<Empty, RpcError> {
    complete(&mut args)?;
    core.propose(CommandType::Register, &args).await?;
    Ok(Empty {})
}

/// Checks a registration and fills in what it may leave out.
fn complete(args: &mut RegisterRequest) -> Result<(), RpcError> {
    complete_node(&args.node, &args.id)?;
    if args.address.is_empty() && !args.skip_node_update {
        return refuse("Must provide address if SkipNodeUpdate is not set");
    }
    if let Some(service) = &mut args.service {
        complete_service(service)?;
    }
    // The older field for a single check goes the way of the list.
    args.checks.extend(args.check.take().map(Arc::new));
    for check in &mut args.checks {
        let check = Arc::make_mut(check);
        if check.node.is_empty() {
            check.node.clone_from(&args.node);
        }
        complete_check(check);
        if check.node != args.node {
            return refuse(format!("check node {:?} does not match node {:?}", check.node, args.node));
        }
        if check.status.is_empty() {
            "critical".clone_into(&mut check.status);
        }
        if check.r#type.is_empty() {
            check_type(&check.definition).clone_into(&mut check.r#type);
        }
    }
    Ok(())
}

/// What a definition probes with.
fn check_type(definition: &HealthCheckDefinition) -> &'static str {
    if !definition.http.is_empty() {
        "http"
    } else if !definition.tcp.is_empty() {
        "tcp"
    } else if !definition.grpc.is_empty() {
        "grpc"
    } else if !definition.docker_container_id.is_empty() {
        "docker"
    } else if !definition.script_args.is_empty() {
        "script"
    } else if !definition.ttl.is_zero() {
        "ttl"
    } else if !definition.alias_node.is_empty() || !definition.alias_service.is_empty() {
        "alias"
    } else {
        ""
    }
}

/// Checks how a node is called, wherever it is written from.
pub(super) fn complete_node(name: &str, id: &str) -> Result<(), RpcError> {
    if name.is_empty() {
        return refuse("Must provide node");
    }
    match id.len() {
        0 => Ok(()),
        36 if Uuid::try_parse(id).is_ok() => Ok(()),
        36 => refuse("Bad node ID: uuid is improperly formatted"),
        _ => refuse("Bad node ID: uuid string is wrong length"),
    }
}

/// Fills in what a check may leave out, wherever it is written from.
pub(super) fn complete_check(check: &mut HealthCheck) {
    if check.check_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
}

/// The same for a service.
pub(super) fn complete_service(service: &mut NodeService) -> Result<(), RpcError> {
    check_connect(&service.kind, service.port, &service.proxy, service.connect.native)
        .map_err(|broken| RpcError::new(ErrorKind::Other, broken))?;
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    if !service.id.is_empty() && service.service.is_empty() {
        return refuse("Must provide service name with ID");
    }
    // Said here and by the agent, as a registration there is not told what becomes of it here.
    if is_any_address(&service.address) {
        return refuse("Invalid service address");
    }
    let weights = service.weights.get_or_insert_default();
    if *weights == Weights::default() {
        *weights = Weights { passing: 1, warning: 1 };
    }
    weights.passing = weights.passing.max(1);
    Ok(())
}

async fn apply_deregister(core: Arc<Core>, args: DeregisterRequest) -> Result<Empty, RpcError> {
    if args.node.is_empty() {
        return refuse("Must provide node");
    }
    core.propose(CommandType::Deregister, &args).await?;
    Ok(Empty {})
}

/// All datacenters, the nearest first.
async fn datacenters(core: Arc<Core>, _: DatacentersRequest) -> Result<Vec<String>, RpcError> {
    Ok(core.datacenters_by_distance().await)
}

fn nodes(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &DcSpecificRequest,
) -> Result<IndexedNodes, RpcError> {
    let (index, mut nodes) = cx.view.nodes(watched, &args.node_meta_filters);
    filtered::<Node, _>(&args.options.filter, &schema::NODE, &mut nodes)?;
    sort::by_distance(cx, &args.source, &mut nodes, |node| &node.node);
    Ok(IndexedNodes { nodes, meta: meta(index) })
}

fn services(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &DcSpecificRequest,
) -> Result<IndexedServices, RpcError> {
    let (index, services) = cx.view.services(watched, &args.node_meta_filters);
    Ok(IndexedServices { services, meta: meta(index) })
}

fn service_list(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    _: &DcSpecificRequest,
) -> Result<IndexedServiceList, RpcError> {
    let (index, services) = cx.view.service_names(watched);
    Ok(IndexedServiceList { services, meta: meta(index) })
}

fn service_nodes(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &ServiceSpecificRequest,
) -> Result<IndexedServiceNodes, RpcError> {
    if args.service_name.is_empty() && args.service_address.is_empty() {
        return refuse("Must provide service name");
    }
    let (index, mut service_nodes) = cx.view.service_nodes(watched, &Select::from(args));
    filtered::<ServiceNode, _>(&args.options.filter, &schema::SERVICE_NODE, &mut service_nodes)?;
    sort::by_distance(cx, &args.source, &mut service_nodes, |instance| &instance.node);
    Ok(IndexedServiceNodes { service_nodes, meta: meta(index) })
}

fn node_services(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedNodeServices, RpcError> {
    if args.node.is_empty() {
        return refuse("Must provide node");
    }
    let (index, mut node_services) = cx.view.node_services(watched, &args.node);
    if let Some(found) = &mut node_services {
        let mut services: Vec<_> = std::mem::take(&mut found.services).into_values().collect();
        filtered::<NodeService, _>(&args.options.filter, &schema::NODE_SERVICE, &mut services)?;
        found.services = services.into_iter().map(|service| (service.id.clone(), service)).collect();
    }
    Ok(IndexedNodeServices { node_services, meta: meta(index) })
}

fn node_service_list(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedNodeServiceList, RpcError> {
    if args.node.is_empty() {
        return refuse("Must provide node");
    }
    let (index, node_services) = cx.view.node_service_list(watched, &args.node);
    let mut node_services = node_services.unwrap_or_default();
    filtered::<NodeService, _>(&args.options.filter, &schema::NODE_SERVICE, &mut node_services.services)?;
    Ok(IndexedNodeServiceList { node_services, meta: meta(index) })
}

/// Keeps what the caller's `?filter=` takes.
pub(super) fn filtered<F, T>(
    expression: &str,
    schema: &'static Schema,
    items: &mut Vec<T>,
) -> Result<(), RpcError>
where
    F: Filterable,
    T: Borrow<F>,
{
    let filter = Filter::parse(expression, schema)
        .map_err(|error| RpcError::new(ErrorKind::Other, error.to_string()))?;
    if !filter.is_all() {
        items.retain(|item| filter.matches(item.borrow()));
    }
    Ok(())
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
