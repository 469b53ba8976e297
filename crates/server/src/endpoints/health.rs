//! `Health`: checks, and the health view of services.

use filter::schema;
use model::error::RpcError;
use model::health::{
    CheckServiceNode, ChecksInStateRequest, HealthCheck, IndexedCheckServiceNodes, IndexedHealthChecks,
};
use model::methods::{HealthChecksInState, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes};
use model::options::{NodeSpecificRequest, QueryMeta, ServiceSpecificRequest};
use state::{Select, WatchSet};

use super::catalog::filtered;
use super::{refuse, sort};
use crate::read::ReadContext;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.read::<HealthChecksInState>(in_state);
    registry.read::<HealthNodeChecks>(node_checks);
    registry.read::<HealthServiceChecks>(service_checks);
    registry.read::<HealthServiceNodes>(service_nodes);
}

fn in_state(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &ChecksInStateRequest,
) -> Result<IndexedHealthChecks, RpcError> {
    let (index, mut checks) = cx.view.checks_in_state(watched, &args.state, &args.node_meta_filters);
    filtered::<HealthCheck, _>(&args.options.filter, &schema::HEALTH_CHECK, &mut checks)?;
    sort::by_distance(cx, &args.source, &mut checks, |check| &check.node);
    Ok(IndexedHealthChecks { health_checks: checks, meta: meta(index) })
}

fn node_checks(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedHealthChecks, RpcError> {
    let (index, mut checks) = cx.view.node_checks(watched, &args.node);
    filtered::<HealthCheck, _>(&args.options.filter, &schema::HEALTH_CHECK, &mut checks)?;
    Ok(IndexedHealthChecks { health_checks: checks, meta: meta(index) })
}

fn service_checks(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &ServiceSpecificRequest,
) -> Result<IndexedHealthChecks, RpcError> {
    let (index, mut checks) = cx.view.service_checks(watched, &args.service_name, &args.node_meta_filters);
    filtered::<HealthCheck, _>(&args.options.filter, &schema::HEALTH_CHECK, &mut checks)?;
    sort::by_distance(cx, &args.source, &mut checks, |check| &check.node);
    Ok(IndexedHealthChecks { health_checks: checks, meta: meta(index) })
}

fn service_nodes(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &ServiceSpecificRequest,
) -> Result<IndexedCheckServiceNodes, RpcError> {
    if args.service_name.is_empty() {
        return refuse("Must provide service name");
    }
    let (index, mut nodes) = cx.view.check_service_nodes(watched, &Select::from(args));
    if args.ingress {
        // Gateways are bound to services by configuration entries, of which there are none.
        nodes.clear();
    }
    if args.ingress {
        // Configuration entries bind ingress gateways to services, and there are none of those yet.
        nodes.clear();
    }
    filtered::<CheckServiceNode, _>(&args.options.filter, &schema::CHECK_SERVICE_NODE, &mut nodes)?;
    sort::by_distance(cx, &args.source, &mut nodes, |instance| &instance.node.node);
    Ok(IndexedCheckServiceNodes { nodes, meta: meta(index) })
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
