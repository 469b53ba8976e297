//! `Coordinate`: where nodes and datacenters are in the network.

use std::sync::Arc;

use model::coordinate::{Coordinate, CoordinateUpdateRequest, DatacenterMap, IndexedCoordinates};
use model::error::RpcError;
use model::methods::{CoordinateListDatacenters, CoordinateListNodes, CoordinateNode, CoordinateUpdate};
use model::options::{DcSpecificRequest, NodeSpecificRequest, QueryMeta};
use model::scalar::Empty;
use state::WatchSet;

use super::{refuse, sort};
use crate::core::Core;
use crate::read::ReadContext;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<CoordinateUpdate, _, _>(update);
    registry.call::<CoordinateListDatacenters, _, _>(datacenters);
    registry.read::<CoordinateListNodes>(nodes);
    registry.read::<CoordinateNode>(node);
}

/// Takes a coordinate in; the leader writes what it has collected once a period.
async fn update(core: Arc<Core>, args: CoordinateUpdateRequest) -> Result<Empty, RpcError> {
    let Some(coord) = args.coord else { return refuse("invalid coordinate") };
    let coordinate = sort::to_gossip(&coord);
    if !coordinate.is_valid() {
        return refuse("invalid coordinate");
    }
    if !coordinate.is_compatible(&gossip::coordinate::Coordinate::origin()) {
        return refuse("incompatible coordinate");
    }
    if !args.segment.is_empty() {
        return refuse("Network segments are not supported in this version of Consul");
    }
    core.leader_only.coordinates.put(Coordinate {
        coord: Some(coord),
        node: args.node,
        segment: args.segment,
    });
    Ok(Empty {})
}

fn nodes(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    _: &DcSpecificRequest,
) -> Result<IndexedCoordinates, RpcError> {
    let (index, coordinates) = cx.view.coordinates(watched);
    Ok(IndexedCoordinates { coordinates, meta: meta(index) })
}

fn node(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedCoordinates, RpcError> {
    let (index, coordinates) = cx.view.node_coordinates(watched, &args.node);
    Ok(IndexedCoordinates { coordinates, meta: meta(index) })
}

/// The servers of every datacenter with their WAN coordinates.
async fn datacenters(core: Arc<Core>, _: Empty) -> Result<Vec<DatacenterMap>, RpcError> {
    Ok(core.datacenter_maps().await)
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
