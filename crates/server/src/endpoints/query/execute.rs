//! Running a query: the healthy instances here, or else in the datacenters that it falls over to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::error::{ErrorKind, RpcError};
use model::health::CheckServiceNode;
use model::method::Method as _;
use model::methods::PreparedQueryExecuteRemote;
use model::query::{
    PreparedQuery, PreparedQueryExecuteRemoteRequest, PreparedQueryExecuteRequest,
    PreparedQueryExecuteResponse,
};
use rand::seq::SliceRandom as _;
use state::{Select, View, WatchSet};

use super::resolve;
use crate::core::Core;
use crate::endpoints::sort;

/// Stands for the agent that asks.
const NEAR_AGENT: &str = "_agent";
/// Stands for the node with the address that the question came from.
const NEAR_IP: &str = "_ip";

pub(super) async fn execute(
    core: Arc<Core>,
    args: PreparedQueryExecuteRequest,
) -> Result<PreparedQueryExecuteResponse, RpcError> {
    core.ensure_query_consistency(&args.options).await?;
    let (query, mut response) = {
        let view = core.store.view();
        let query = resolve(&view, &args.query_id_or_name)?;
        let mut nodes = here(&view, &query, args.connect);
        nodes.shuffle(&mut rand::rng());
        if let Some(near) = near(&view, &core, &query, &args) {
            sort::from_node(&view, &near, &mut nodes, |instance| &instance.node.node);
            bring_forward(&near, &mut nodes);
        }
        let response = respond(&core, &query, nodes, args.limit);
        (query, response)
    };
    if response.nodes.is_empty() {
        fail_over(&core, query, &args, &mut response).await;
    }
    Ok(response)
}

/// The same for a query that another datacenter has resolved.
pub(super) async fn execute_remote(
    core: Arc<Core>,
    args: PreparedQueryExecuteRemoteRequest,
) -> Result<PreparedQueryExecuteResponse, RpcError> {
    core.ensure_query_consistency(&args.options).await?;
    let view = core.store.view();
    let mut nodes = here(&view, &args.query, args.connect);
    nodes.shuffle(&mut rand::rng());
    Ok(respond(&core, &args.query, nodes, args.limit))
}

fn respond(
    core: &Core,
    query: &PreparedQuery,
    mut nodes: Vec<CheckServiceNode>,
    limit: i64,
) -> PreparedQueryExecuteResponse {
    if let Ok(limit) = usize::try_from(limit)
        && limit > 0
    {
        nodes.truncate(limit);
    }
    PreparedQueryExecuteResponse {
        dns: query.dns.clone(),
        datacenter: core.datacenter().to_owned(),
        failovers: 0,
        nodes,
        service: query.service.service.clone(),
        meta: core.query_meta(),
    }
}

/// The instances of this datacenter that the query takes.
fn here(view: &View, query: &PreparedQuery, connect: bool) -> Vec<CheckServiceNode> {
    let wanted = &query.service;
    let none = BTreeMap::new();
    let select = Select {
        service: &wanted.service,
        tags: &[],
        tag: None,
        address: "",
        connect: connect || wanted.connect,
        node_meta: &none,
    };
    let (_, mut nodes) = view.check_service_nodes(&mut WatchSet::none(), &select);
    let has = |all: &BTreeMap<String, String>, some: &BTreeMap<String, String>| {
        some.iter().all(|(key, value)| all.get(key) == Some(value))
    };
    nodes.retain(|instance| {
        is_healthy(instance, wanted.only_passing, &wanted.ignore_check_ids)
            && has(&instance.node.meta, &wanted.node_meta)
            && has(&instance.service.meta, &wanted.service_meta)
            && tags_fit(&instance.service.tags, &wanted.tags)
    });
    nodes
}

fn is_healthy(instance: &CheckServiceNode, only_passing: bool, ignored: &[String]) -> bool {
    instance.checks.iter().filter(|check| !ignored.contains(&check.check_id)).all(|check| {
        match check.status.as_str() {
            "passing" => true,
            "critical" => false,
            _ => !only_passing,
        }
    })
}

/// All tags have to be there, and none that is named with a `!`. Case does not count.
fn tags_fit(tags: &[String], wanted: &[String]) -> bool {
    let has = |tag: &str| tags.iter().any(|other| other.eq_ignore_ascii_case(tag));
    wanted.iter().all(|tag| match tag.strip_prefix('!') {
        Some(unwanted) => !has(unwanted),
        None => has(tag),
    })
}

/// The node from which distances count, if any: the query's own wish, else the caller's.
fn near(
    view: &View,
    core: &Core,
    query: &PreparedQuery,
    args: &PreparedQueryExecuteRequest,
) -> Option<String> {
    // What the caller asks for goes before what the query says.
    let wish = if args.source.node.is_empty() { &query.service.near } else { &args.source.node };
    match wish.as_str() {
        "" => None,
        NEAR_AGENT => (args.agent.datacenter == core.datacenter()).then(|| args.agent.node.clone()),
        NEAR_IP => {
            let (_, nodes) = view.nodes(&mut WatchSet::none(), &BTreeMap::new());
            nodes.iter().find(|node| node.address == args.source.ip).map(|node| node.node.clone())
        }
        node => Some(node.to_owned()),
    }
}

/// The node itself is nearest, whatever coordinates say.
fn bring_forward(near: &str, nodes: &mut [CheckServiceNode]) {
    if let Some(position) = nodes.iter().position(|instance| instance.node.node == near) {
        nodes[..=position].rotate_right(1);
    }
}

/// Asks one datacenter after the other until one has instances: the nearest first, then those named.
async fn fail_over(
    core: &Arc<Core>,
    query: PreparedQuery,
    args: &PreparedQueryExecuteRequest,
    response: &mut PreparedQueryExecuteResponse,
) {
    let known = core.datacenters_by_distance().await;
    let failover = &query.service.failover;
    let nearest =
        known.iter().filter(|name| *name != core.datacenter()).take(failover.nearest_n.max(0) as usize);
    let mut targets: Vec<String> = nearest.cloned().collect();
    for name in &failover.datacenters {
        if !known.contains(name) {
            tracing::debug!(target: "server.prepared_query", datacenter = %name, "Skipping unknown datacenter in prepared query");
        } else if !targets.contains(name) {
            targets.push(name.clone());
        }
    }
    for (tried, datacenter) in targets.into_iter().enumerate() {
        let failovers = tried as i64 + 1;
        let request = PreparedQueryExecuteRemoteRequest {
            connect: args.connect,
            datacenter: datacenter.clone(),
            limit: args.limit,
            query: query.clone(),
            options: args.options.clone(),
        };
        match ask(core, &request).await {
            Ok(mut remote) => {
                remote.failovers = failovers;
                let found = !remote.nodes.is_empty();
                *response = remote;
                if found {
                    return;
                }
            }
            Err(error) => {
                response.failovers = failovers;
                tracing::warn!(target: "server.prepared_query", datacenter, error = %error, "Failed querying for service in datacenter");
            }
        }
    }
}

async fn ask(
    core: &Core,
    request: &PreparedQueryExecuteRemoteRequest,
) -> Result<PreparedQueryExecuteResponse, RpcError> {
    let broken = |error: msgpack::Error| RpcError::new(ErrorKind::Other, error.to_string());
    let raw = msgpack::to_vec(request).map_err(broken)?;
    let info = PreparedQueryExecuteRemote::INFO;
    let reply = core.remotes.call(&request.datacenter, info, &raw, Duration::ZERO, None).await?;
    msgpack::from_slice(&reply).map_err(broken)
}
