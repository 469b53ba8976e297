//! The agent's request cache: what `?cached` and, with `dns_config.use_cache`, DNS answer from.
//!
//! Two kinds. A *refreshed* entry is kept current by a blocking query of its own from the first
//! request on, so that later ones are answered at once and fresh. A *simple* entry is an answer
//! with a date. Both are forgotten after three days without use, and the least recently used goes
//! when there are too many.

mod entry;
mod refresh;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::error::{ErrorKind, RpcError};
use model::method::Method;
use model::options::QueryOptions;
use model::road::Road;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use entry::Entry;

/// Entries kept at most.
const MAX_ENTRIES: usize = 2048;
/// Entries nobody asked for in this time are forgotten.
const IDLE: Duration = Duration::from_secs(3 * 24 * 3600);
/// How long a blocking query on a refreshed entry waits by default.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);

/// How an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// An answer with a date.
    Simple,
    /// Kept current in the background.
    Refreshed,
}

/// Where an answer came from and how old it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Whether it was there already.
    pub hit: bool,
    /// For how long it may be outdated.
    pub age: Duration,
}

/// A method with its arguments, without what only says how to answer.
type Key = (&'static str, Vec<u8>);

struct Slot {
    entry: Arc<dyn Any + Send + Sync>,
    used: Instant,
    refresher: Option<AbortHandle>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(refresher) = &self.refresher {
            refresher.abort();
        }
    }
}

type Slots = Arc<Mutex<HashMap<Key, Slot>>>;

/// See the module.
pub struct Cache {
    road: Road,
    slots: Slots,
}

impl Cache {
    /// An empty cache over a road.
    pub fn new(road: Road) -> Self {
        Self { road, slots: Slots::default() }
    }

    /// Answers a read from the cache, or through it.
    ///
    /// # Errors
    /// Whatever the call ends with, when there is nothing to answer from.
    pub async fn get<M: Method>(
        &self,
        mut args: M::Args,
        kind: CacheKind,
    ) -> Result<(Arc<M::Reply>, Freshness), RpcError> {
        let wanted = take_options(&mut args);
        let encoded = msgpack::to_vec(&args).map_err(|error| {
            RpcError::new(ErrorKind::Other, format!("cannot encode {}: {error}", M::INFO.name))
        })?;
        let key = (M::INFO.name, encoded);
        match kind {
            CacheKind::Simple => {
                let entry = self.entry::<M>(&key, |_| None);
                entry.fetch::<M>(&self.road, args, &wanted).await
            }
            CacheKind::Refreshed => {
                let entry = self.entry::<M>(&key, |entry| {
                    let task = refresh::run::<M>(
                        self.road.clone(),
                        args.clone(),
                        Arc::clone(entry),
                        Arc::downgrade(&self.slots),
                        key.clone(),
                    );
                    Some(tokio::spawn(task).abort_handle())
                });
                entry.current(&wanted, DEFAULT_WAIT).await
            }
        }
    }

    /// Finds or makes an entry.
    fn entry<M: Method>(
        &self,
        key: &Key,
        start: impl FnOnce(&Arc<Entry<M::Reply>>) -> Option<AbortHandle>,
    ) -> Arc<Entry<M::Reply>> {
        let now = Instant::now();
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(key)
            && now.duration_since(slot.used) < IDLE
            && let Ok(entry) = Arc::clone(&slot.entry).downcast::<Entry<M::Reply>>()
        {
            slot.used = now;
            return entry;
        }
        if slots.len() >= MAX_ENTRIES {
            slots.retain(|_, slot| now.duration_since(slot.used) < IDLE);
            if slots.len() >= MAX_ENTRIES
                && let Some(oldest) =
                    slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone())
            {
                slots.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry::new());
        let refresher = start(&entry);
        slots.insert(
            key.clone(),
            Slot { entry: Arc::clone(&entry) as Arc<dyn Any + Send + Sync>, used: now, refresher },
        );
        entry
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.slots.lock().clear();
    }
}

/// Takes out of the arguments what says how to answer rather than what is asked.
fn take_options<A: model::method::Request>(args: &mut A) -> QueryOptions {
    let Some(query) = args.query_options_mut() else { return QueryOptions::default() };
    let wanted = query.clone();
    *query = QueryOptions {
        allow_stale: wanted.allow_stale,
        filter: wanted.filter.clone(),
        max_stale_duration: wanted.max_stale_duration,
        token: wanted.token.clone(),
        ..QueryOptions::default()
    };
    wanted
}

#[cfg(test)]
mod tests;
