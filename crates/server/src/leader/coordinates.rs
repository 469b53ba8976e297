//! Coordinates come often and matter little: the leader collects them and writes them in batches.

use std::collections::HashMap;
use std::sync::Arc;

use model::coordinate::Coordinate;
use parking_lot::Mutex;

use crate::core::{CommandType, Core};

/// Nodes that may wait for the next batch; what comes beyond is dropped and comes again.
const MAX_WAITING: usize = 65_536;

/// The newest coordinate of each node since the last batch, by node and segment.
#[derive(Debug, Default)]
pub(crate) struct CoordinateBuffer {
    waiting: Mutex<HashMap<(String, String), Coordinate>>,
}

impl CoordinateBuffer {
    /// Keeps a coordinate for the next batch.
    pub fn put(&self, coordinate: Coordinate) {
        let mut waiting = self.waiting.lock();
        let key = (coordinate.node.clone(), coordinate.segment.clone());
        if waiting.len() < MAX_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, coordinate);
        }
    }

    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }

    fn take(&self) -> Vec<Coordinate> {
        let mut all: Vec<_> = std::mem::take(&mut *self.waiting.lock()).into_values().collect();
        all.sort_by(|a, b| (&a.node, &a.segment).cmp(&(&b.node, &b.segment)));
        all
    }
}

/// Writes what has been collected, once a period.
pub(super) async fn run(core: Arc<Core>) {
    let mut period = tokio::time::interval(core.config.coordinate_period);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let all = core.leader_only.coordinates.take();
        let limit = core.config.coordinate_batch.max(1);
        let room = limit * core.config.coordinate_batches;
        if all.len() > room {
            tracing::warn!(target: "server.coordinate", number_discarded = all.len() - room, "Discarded coordinate updates");
        }
        for batch in all.chunks(limit).take(core.config.coordinate_batches) {
            if let Err(error) = core.propose(CommandType::CoordinateBatchUpdate, &batch).await {
                tracing::warn!(target: "server.coordinate", error = %error, "Batch update failed");
            }
        }
    }
}
