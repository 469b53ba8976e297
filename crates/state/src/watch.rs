//! Waiting for change of what was read.
//!
//! A read notes in a [`WatchSet`] which things its answer depends on; a writer notes which things
//! a command changed. Both sides know a thing by a 64-bit hash. The hub has a fixed number of
//! slots; each holds the version of the last change of anything hashed to it and the waiters of
//! those things. A waiter first enters its slots and then compares the slots' versions with the
//! version of the view it read, so that a change between view and wait is never missed; equal
//! things have equal hashes, so a collision can only wake somebody in vain.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::text::lower;

/// Slots of a hub. 48 bytes each.
const SLOTS: usize = 1 << 14;

/// A thing that can be watched. Names in any case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thing<'a> {
    /// The table of nodes.
    Nodes,
    /// A node, its services.
    Node(&'a str),
    /// The checks of a node, its own and its services'.
    NodeChecks(&'a str),
    /// Any service instance.
    Services,
    /// The instances of a service, their nodes and checks.
    Service(&'a str),
    /// The instances that a connect-capable lookup of a service finds.
    Connect(&'a str),
    /// The instances of a kind.
    Kind(&'a str),
    /// Any check.
    Checks,
    /// The checks in a state.
    ChecksIn(&'a str),
    /// Any node, service or check.
    Catalog,
    /// A key, exactly.
    Key(&'a str),
    /// Everything below a prefix.
    Prefix(&'a str),
    Sessions,
    Session(&'a str),
    NodeSessions(&'a str),
    Coordinates,
    Queries,
    Autopilot,
    Metadata,
}

const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const PREFIX_TAG: u8 = 11;

fn feed(state: u64, byte: u8) -> u64 {
    (state ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 32;
    h = h.wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^= h >> 32;
    h
}

impl Thing<'_> {
    fn tag(self) -> u8 {
        match self {
            Self::Nodes => 0,
            Self::Node(_) => 1,
            Self::NodeChecks(_) => 2,
            Self::Services => 3,
            Self::Service(_) => 4,
            Self::Connect(_) => 5,
            Self::Kind(_) => 6,
            Self::Checks => 7,
            Self::ChecksIn(_) => 8,
            Self::Catalog => 9,
            Self::Key(_) => 10,
            Self::Prefix(_) => PREFIX_TAG,
            Self::Sessions => 12,
            Self::Session(_) => 13,
            Self::NodeSessions(_) => 14,
            Self::Coordinates => 15,
            Self::Queries => 16,
            Self::Autopilot => 17,
            Self::Metadata => 18,
        }
    }

    fn hash(self, seed: u64) -> u64 {
        let state = feed(seed, self.tag());
        let fold = |text: &str| lower(text).bytes().fold(state, feed);
        finish(match self {
            Self::Node(name)
            | Self::NodeChecks(name)
            | Self::Service(name)
            | Self::Connect(name)
            | Self::Kind(name)
            | Self::ChecksIn(name)
            | Self::NodeSessions(name) => fold(name),
            Self::Session(id) => fold(id),
            Self::Key(key) | Self::Prefix(key) => key.bytes().fold(state, feed),
            _ => state,
        })
    }
}

const WAITING: u8 = 0;
const CHANGED: u8 = 1;
const RESTORED: u8 = 2;

#[derive(Debug, Default)]
struct Waiter {
    state: AtomicU8,
    notify: Notify,
}

impl Waiter {
    fn wake(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

#[derive(Debug, Default)]
struct Slot {
    version: AtomicU64,
    waiting: AtomicU32,
    waiters: Mutex<Vec<(u64, Arc<Waiter>)>>,
}

/// Where readers wait and writers tell.
#[derive(Debug)]
pub(crate) struct Hub {
    seed: u64,
    slots: Box<[Slot]>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            // Keys are chosen by clients: an unknown seed keeps them from choosing collisions.
            seed: RandomState::new().build_hasher().finish(),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
        }
    }

    fn slot(&self, hash: u64) -> &Slot {
        &self.slots[hash as usize % SLOTS]
    }

    /// To be called when the root with this version can be read.
    pub(crate) fn tell(&self, version: u64, touched: &[u64]) {
        for hash in touched {
            self.slot(*hash).version.store(version, Ordering::Release);
        }
        // Pairs with the fence of `enter`: either the waiter sees the version or we see the waiter.
        fence(Ordering::SeqCst);
        for hash in touched {
            let slot = self.slot(*hash);
            if slot.waiting.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut waiters = slot.waiters.lock();
            let mut at = 0;
            while at < waiters.len() {
                if waiters[at].0 == *hash {
                    waiters.swap_remove(at).1.wake(CHANGED);
                } else {
                    at += 1;
                }
            }
            slot.settle(&mut waiters);
        }
    }

    /// Everything changed.
    pub(crate) fn tell_all(&self, version: u64) {
        for slot in &self.slots {
            slot.version.store(version, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        for slot in &self.slots {
            if slot.waiting.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut waiters = slot.waiters.lock();
            for (_, waiter) in waiters.drain(..) {
                waiter.wake(RESTORED);
            }
            slot.settle(&mut waiters);
        }
    }

    fn enter(&self, hashes: &[u64], waiter: &Arc<Waiter>) {
        for hash in hashes {
            let slot = self.slot(*hash);
            let mut waiters = slot.waiters.lock();
            waiters.push((*hash, Arc::clone(waiter)));
            slot.settle(&mut waiters);
        }
        fence(Ordering::SeqCst);
    }

    fn leave(&self, hashes: &[u64], waiter: &Arc<Waiter>) {
        for hash in hashes {
            let slot = self.slot(*hash);
            if slot.waiting.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut waiters = slot.waiters.lock();
            if let Some(at) = waiters.iter().position(|(_, other)| Arc::ptr_eq(other, waiter)) {
                waiters.swap_remove(at);
            }
            slot.settle(&mut waiters);
        }
    }

    fn changed_since(&self, hashes: &[u64], version: u64) -> bool {
        hashes.iter().any(|hash| self.slot(*hash).version.load(Ordering::Acquire) > version)
    }

    /// Waiters present, for tests and gauges.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.iter().map(|slot| slot.waiting.load(Ordering::Relaxed) as usize).sum()
    }
}

impl Slot {
    fn settle(&self, waiters: &mut Vec<(u64, Arc<Waiter>)>) {
        self.waiting.store(u32::try_from(waiters.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        if waiters.is_empty() {
            *waiters = Vec::new();
        }
    }
}

/// What a batch of commands changed.
#[derive(Debug)]
pub(crate) struct Touched {
    seed: u64,
    hashes: Vec<u64>,
    tidy_at: usize,
}

impl Touched {
    pub(crate) fn new(hub: &Hub) -> Self {
        Self { seed: hub.seed, hashes: Vec::new(), tidy_at: 4096 }
    }

    pub(crate) fn add(&mut self, thing: Thing<'_>) {
        self.push(thing.hash(self.seed));
    }

    /// A key and every prefix it stands under.
    pub(crate) fn add_key(&mut self, key: &str) {
        self.add(Thing::Key(key));
        let mut state = feed(self.seed, PREFIX_TAG);
        self.push(finish(state));
        for (at, byte) in key.bytes().enumerate() {
            state = feed(state, byte);
            if key.is_char_boundary(at + 1) {
                self.push(finish(state));
            }
        }
    }

    fn push(&mut self, hash: u64) {
        self.hashes.push(hash);
        // The deletion of a large tree names the same prefixes again and again.
        if self.hashes.len() >= self.tidy_at {
            self.tidy();
            self.tidy_at = 4096.max(2 * self.hashes.len());
        }
    }

    fn tidy(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Forgets what was added since `len` was asked. Too much forgotten would lose a wake-up, too
    /// little wakes in vain: when the list was tidied since, nothing is forgotten.
    pub(crate) fn truncate(&mut self, len: usize, tidy_mark: usize) {
        if self.tidy_at == tidy_mark {
            self.hashes.truncate(len);
        }
    }

    pub(crate) fn tidy_mark(&self) -> usize {
        self.tidy_at
    }

    pub(crate) fn into_hashes(mut self) -> Vec<u64> {
        // A few told twice cost less than sorting.
        if self.hashes.len() > 256 {
            self.tidy();
        }
        self.hashes
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something that was read may have changed: read again.
    Changed,
    /// The whole state was replaced: read again and answer, whatever the index.
    Restored,
    /// The deadline passed.
    Deadline,
}

/// What an answer depends on. Filled by the read functions of [`crate::View`].
///
/// One set belongs to one view: make a new one (or [`WatchSet::clear`]) for every run of a query.
#[derive(Debug, Default)]
pub struct WatchSet {
    active: bool,
    version: u64,
    hashes: SmallVec<[u64; 6]>,
    hub: Option<Arc<Hub>>,
}

impl WatchSet {
    /// A set to wait on.
    pub fn new() -> Self {
        Self { active: true, ..Self::default() }
    }

    /// A set that notes nothing, for reads that do not block.
    pub fn none() -> Self {
        Self::default()
    }

    /// Forgets everything, for the next run of the query.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.hub = None;
    }

    pub(crate) fn add(&mut self, hub: &Arc<Hub>, version: u64, thing: Thing<'_>) {
        if !self.active {
            return;
        }
        if self.hub.is_none() {
            self.hub = Some(Arc::clone(hub));
            self.version = version;
        }
        // Reads of two views in one set: the older one decides.
        self.version = self.version.min(version);
        let hash = thing.hash(hub.seed);
        if !self.hashes.contains(&hash) {
            self.hashes.push(hash);
        }
    }

    /// Waits until something in the set changed after its view was taken, or until the deadline.
    /// A set without entries waits for the deadline only. May be dropped at any point.
    pub async fn changed(&self, deadline: Instant) -> Wake {
        let Some(hub) = &self.hub else {
            tokio::time::sleep_until(deadline).await;
            return Wake::Deadline;
        };
        let entry = Entry { hub, hashes: &self.hashes, waiter: Arc::default() };
        hub.enter(&self.hashes, &entry.waiter);
        if hub.changed_since(&self.hashes, self.version) {
            return Wake::Changed;
        }
        let timed_out = tokio::time::timeout_at(deadline, entry.waiter.notify.notified()).await.is_err();
        match entry.waiter.state.load(Ordering::Acquire) {
            RESTORED => Wake::Restored,
            WAITING if timed_out => Wake::Deadline,
            _ => Wake::Changed,
        }
    }
}

/// A waiter's place in the hub, given up on drop.
struct Entry<'a> {
    hub: &'a Arc<Hub>,
    hashes: &'a [u64],
    waiter: Arc<Waiter>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.hub.leave(self.hashes, &self.waiter);
    }
}
