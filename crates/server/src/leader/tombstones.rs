//! Tombstones of deleted keys: kept for a while, so that blocked queries see the delete, then
//! collected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::kv::TombstoneRequest;
use model::ops::TombstoneOp;

use crate::config::{TOMBSTONE_GRANULARITY, TOMBSTONE_TTL};
use crate::core::{CommandType, Core};

/// Looks at the newest tombstone once a step; when a step's age passes the TTL, everything up to its
/// index goes.
pub(super) async fn run(core: Arc<Core>) {
    let mut steps: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut period = tokio::time::interval(TOMBSTONE_GRANULARITY);
    loop {
        period.tick().await;
        let now = Instant::now();
        if let Some(newest) = core.store.view().newest_tombstone()
            && steps.back().is_none_or(|(_, index)| *index < newest)
        {
            steps.push_back((now, newest));
        }
        while let Some((seen, index)) = steps.front().copied()
            && age(now, seen) >= TOMBSTONE_TTL
        {
            let request = TombstoneRequest {
                datacenter: core.datacenter().to_owned(),
                op: TombstoneOp::Reap,
                reap_index: index,
                token: String::new(),
            };
            if let Err(error) = core.propose(CommandType::Tombstone, &request).await {
                tracing::error!(target: "server", index, error = %error, "failed to reap tombstones");
                break;
            }
            steps.pop_front();
        }
    }
}

fn age(now: Instant, seen: Instant) -> Duration {
    now.saturating_duration_since(seen)
}
