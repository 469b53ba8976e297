//! Ordering answers by distance from whoever asks (`?near`).

use std::collections::HashMap;
use std::time::Duration;

use gossip::coordinate::Coordinate;
use model::coordinate::Coord;
use model::options::QuerySource;
use state::{View, WatchSet};

use crate::read::ReadContext;

/// A coordinate as the gossip layer reckons with it.
pub(crate) fn to_gossip(coord: &Coord) -> Coordinate {
    Coordinate {
        adjustment: coord.adjustment,
        error: coord.error,
        height: coord.height,
        vec: coord.vec.clone(),
    }
}

/// A coordinate as the catalog stores it.
pub(crate) fn to_model(coordinate: &Coordinate) -> Coord {
    Coord {
        adjustment: coordinate.adjustment,
        error: coordinate.error,
        height: coordinate.height,
        vec: coordinate.vec.clone(),
    }
}

/// Sorts by distance from the source's node; what has no known distance comes last, and equal
/// distances keep their order. Without a source in this datacenter nothing moves.
pub(super) fn by_distance<T>(
    cx: &ReadContext<'_>,
    source: &QuerySource,
    items: &mut [T],
    node_of: impl Fn(&T) -> &str,
) {
    if source.node.is_empty() || source.datacenter != cx.core.datacenter() {
        return;
    }
    from_node(cx.view, &source.node, items, node_of);
}

/// The same, from any node of this datacenter.
pub(super) fn from_node<T>(view: &View, node: &str, items: &mut [T], node_of: impl Fn(&T) -> &str) {
    let Some(origin) = coordinate(view, node) else { return };
    let mut distances: HashMap<String, Duration> = HashMap::new();
    for item in items.iter() {
        let name = node_of(item);
        if !distances.contains_key(name) {
            let distance = coordinate(view, name).and_then(|other| origin.distance(&other));
            distances.insert(name.to_owned(), distance.unwrap_or(Duration::MAX));
        }
    }
    items.sort_by_key(|item| distances.get(node_of(item)).copied().unwrap_or(Duration::MAX));
}

fn coordinate(view: &View, node: &str) -> Option<Coordinate> {
    let (_, coordinates) = view.node_coordinates(&mut WatchSet::none(), node);
    coordinates.first().and_then(|found| found.coord.as_ref()).map(to_gossip)
}
