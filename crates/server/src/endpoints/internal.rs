//! `Internal`: dumps for dashboards, user events, keyring operations.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use filter::schema;
use gossip::driver::PoolHandle;
use gossip::serf::KeyReport;
use model::catalog::{IndexedNodeDump, IndexedNodesWithGateways, NodeInfo, ServiceDumpRequest};
use model::error::RpcError;
use model::event::EVENT_PREFIX;
use model::health::CheckServiceNode;
use model::internal::{
    EventFireRequest, EventFireResponse, KeyringRequest, KeyringResponse, KeyringResponses,
};
use model::method::Method as _;
use model::methods::{
    InternalEventFire, InternalKeyringOperation, InternalNodeDump, InternalNodeInfo, InternalServiceDump,
};
use model::ops::KeyringOp;
use model::options::{DcSpecificRequest, NodeSpecificRequest, QueryMeta};
use state::WatchSet;

use super::catalog::filtered;
use super::refuse;
use crate::core::Core;
use crate::read::ReadContext;
use crate::registry::Registry;

/// The most members through which an answer to a key operation may come as well.
const MAX_RELAY_FACTOR: u8 = 5;

pub(super) fn register(registry: &mut Registry) {
    registry.read::<InternalNodeDump>(node_dump);
    registry.read::<InternalNodeInfo>(node_info);
    registry.read::<InternalServiceDump>(service_dump);
    registry.call::<InternalEventFire, _, _>(fire);
    registry.call::<InternalKeyringOperation, _, _>(keyring);
}

fn node_dump(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &DcSpecificRequest,
) -> Result<IndexedNodeDump, RpcError> {
    let (index, mut dump) = cx.view.node_dump(watched);
    filtered::<NodeInfo, _>(&args.options.filter, &schema::NODE_INFO, &mut dump)?;
    Ok(IndexedNodeDump { dump, meta: meta(index) })
}

fn node_info(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedNodeDump, RpcError> {
    let (index, dump) = cx.view.node_info(watched, &args.node);
    Ok(IndexedNodeDump { dump, meta: meta(index) })
}

fn service_dump(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &ServiceDumpRequest,
) -> Result<IndexedNodesWithGateways, RpcError> {
    let kind = args.use_service_kind.then_some(args.service_kind.as_str());
    let (index, mut nodes) = cx.view.service_dump(watched, kind);
    filtered::<CheckServiceNode, _>(&args.options.filter, &schema::CHECK_SERVICE_NODE, &mut nodes)?;
    Ok(IndexedNodesWithGateways { gateways: Vec::new(), nodes, meta: meta(index) })
}

/// Sends a user event into the LAN pool of this datacenter. The payload is encoded by whoever fires.
async fn fire(core: Arc<Core>, args: EventFireRequest) -> Result<EventFireResponse, RpcError> {
    let name = format!("{EVENT_PREFIX}{}", args.name);
    match core.lan.user_event(&name, args.payload.as_slice(), false).await {
        Ok(Ok(())) => Ok(EventFireResponse::default()),
        Ok(Err(error)) => {
            refuse(model::rules::several(&[format!("error broadcasting event to segment \"\": {error}")]))
        }
        Err(closed) => refuse(closed.to_string()),
    }
}

/// Operates on the keyrings of all pools: WAN, LAN, and through one server of every other
/// datacenter, theirs.
async fn keyring(core: Arc<Core>, args: KeyringRequest) -> Result<KeyringResponses, RpcError> {
    if args.relay_factor > MAX_RELAY_FACTOR {
        return refuse(format!("Relay factor must be in range: [0, {MAX_RELAY_FACTOR}]"));
    }
    if args.local_only && args.operation != KeyringOp::List {
        return refuse(format!("argument error: LocalOnly cannot be used for {}", args.operation));
    }
    let everywhere = !args.forwarded && !args.local_only;
    let mut responses = Vec::new();
    if let Some(wan) = core.wan.as_ref().filter(|_| everywhere) {
        responses.push(respond(wan, &core, &args, true).await?);
    }
    responses.push(respond(&core.lan, &core, &args, false).await?);
    if everywhere {
        for datacenter in core.datacenters_by_distance().await {
            if datacenter != core.datacenter() {
                responses.extend(elsewhere(&core, &datacenter, &args).await?);
            }
        }
    }
    Ok(KeyringResponses { responses, meta: QueryMeta::default() })
}

async fn elsewhere(
    core: &Core,
    datacenter: &str,
    args: &KeyringRequest,
) -> Result<Vec<KeyringResponse>, RpcError> {
    let mut forwarded = args.clone();
    forwarded.forwarded = true;
    datacenter.clone_into(&mut forwarded.datacenter);
    let raw = msgpack::to_vec(&forwarded).map_err(|error| RpcError::from_text(error.to_string()))?;
    let info = InternalKeyringOperation::INFO;
    let reply = core.remotes.call(datacenter, info, &raw, Duration::ZERO, None).await?;
    let reply: KeyringResponses =
        msgpack::from_slice(&reply).map_err(|error| RpcError::from_text(error.to_string()))?;
    Ok(reply.responses)
}

async fn respond(
    pool: &PoolHandle,
    core: &Core,
    args: &KeyringRequest,
    wan: bool,
) -> Result<KeyringResponse, RpcError> {
    // Whether its size is right is for every member to say.
    let key = STANDARD.decode(&args.key);
    let relay = args.relay_factor;
    let report = match (&args.operation, key) {
        (KeyringOp::List, _) => pool.list_keys(relay).await,
        (KeyringOp::Install, Ok(key)) => pool.install_key(&key, relay).await,
        (KeyringOp::Use, Ok(key)) => pool.use_key(&key, relay).await,
        (KeyringOp::Remove, Ok(key)) => pool.remove_key(&key, relay).await,
        (KeyringOp::Unset | KeyringOp::Other(_), _) => {
            return refuse(format!("Unrecognized keyring operation {:?}", args.operation.as_str()));
        }
        (_, Err(error)) => return refuse(error.to_string()),
    };
    let report = report.map_err(|error| RpcError::from_text(error.to_string()))?;
    Ok(response(report, core.datacenter(), wan))
}

fn response(report: KeyReport, datacenter: &str, wan: bool) -> KeyringResponse {
    let counts = |keys: std::collections::BTreeMap<String, usize>| {
        keys.into_iter().map(|(key, count)| (key, count as i64)).collect()
    };
    KeyringResponse {
        datacenter: datacenter.to_owned(),
        error: report.error().unwrap_or_default(),
        num_nodes: report.num_nodes as i64,
        messages: report.messages,
        keys: counts(report.keys),
        primary_keys: counts(report.primary_keys),
        segment: String::new(),
        wan,
    }
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
