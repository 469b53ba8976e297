//! The background task of a refreshed entry.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::method::{Method, Reply as _, Routing as _};
use model::road::Road;
use parking_lot::Mutex;

use super::entry::Entry;
use super::{IDLE, Key, Slot};

/// How long one blocking query of the task waits.
const WAIT: Duration = Duration::from_secs(600);
/// Shortest time between two answers, so that a busy service does not keep an agent busy.
const PACE: Duration = Duration::from_millis(20);
/// Longest time between two tries while the servers cannot be asked.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Keeps an entry current until nobody asks for it any more.
pub async fn run<M: Method>(
    road: Road,
    mut args: M::Args,
    entry: Arc<Entry<M::Reply>>,
    slots: Weak<Mutex<HashMap<Key, Slot>>>,
    key: Key,
) {
    let mut index = 0;
    let mut failures = 0_u32;
    loop {
        if let Some(query) = args.query_options_mut() {
            query.min_query_index = index;
            query.max_query_time = WAIT.into();
        }
        match road.call::<M>(args.clone()).await {
            Ok(reply) => {
                let new = reply.query_meta().map_or(0, |meta| meta.index);
                // An index that goes back means another state: begin anew.
                index = if new < index { 0 } else { new };
                failures = 0;
                entry.succeeded(Arc::new(reply), new);
                tokio::time::sleep(if index == 0 { Duration::from_secs(1) } else { PACE }).await;
            }
            Err(error) => {
                if !entry.failed(error) {
                    // Nothing to go on with: the next request starts over.
                    forget(&slots, &key);
                    return;
                }
                failures = failures.saturating_add(1);
                let backoff = Duration::from_millis(500).saturating_mul(1 << failures.min(7));
                tokio::time::sleep(backoff.min(MAX_BACKOFF)).await;
            }
        }
        let Some(slots_now) = slots.upgrade() else { return };
        let idle =
            slots_now.lock().get(&key).is_none_or(|slot| Instant::now().duration_since(slot.used) >= IDLE);
        if idle {
            forget(&slots, &key);
            return;
        }
    }
}

fn forget(slots: &Weak<Mutex<HashMap<Key, Slot>>>, key: &Key) {
    if let Some(slots) = slots.upgrade() {
        let removed = slots.lock().remove(key);
        // Dropped outside the lock, and without aborting the task that is just ending.
        if let Some(mut slot) = removed {
            slot.refresher = None;
        }
    }
}
