//! The state machine of a pool: this layer around the one below.

use super::clock::LamportClock;
use super::coalesce::Coalescer;
use super::config::SerfConfig;
use super::events::EventError;
use super::keys::{KeyOp, KeyReport};
use super::layer::{Effect, Layer, Phase};
use super::member::{Member, MemberStatus};
use super::message::{KeyRequest, KeyResponse, Leave, Message};
use super::output::{MemberEventKind, Output, QueryId, ReplyTo};
use super::queries::{Purpose, QueryError, QueryOptions};
use super::recent::Recent;
use super::snapshot::{Record, State};
use super::tags::{self, Tags, TagsError};
use crate::coordinate::{self, Coordinate};
use crate::swim::queue::TransmitQueue;
use crate::swim::{
    self, Counters, ExchangeId, Input, LocalNode, Swim, SwimConfig, SwimError, Tick, VSN_CONSUL,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Names our own leave in the queue of announcements.
const LEAVE_TOKEN: u64 = 1;

/// How far a leave has come.
#[derive(Debug, Clone, Copy)]
enum LeaveStep {
    /// Nobody leaves.
    No,
    /// Our announcement is being spread, at most until then.
    Announcing(Tick),
    /// The layer below is leaving.
    Below,
    /// Lingering so that the news travels on.
    Lingering(Tick),
}

/// Why a pool could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The tags cannot be used.
    #[error(transparent)]
    Tags(#[from] TagsError),
    /// The layer below refused its settings.
    #[error(transparent)]
    Swim(#[from] SwimError),
}

/// Counters shown to operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub members: usize,
    pub failed: usize,
    pub left: usize,
    pub health_score: u32,
    pub member_time: u64,
    pub event_time: u64,
    pub query_time: u64,
    pub intent_queue: usize,
    pub event_queue: usize,
    pub query_queue: usize,
    pub encrypted: bool,
    pub coordinate_resets: u64,
}

/// A pool as one member sees it.
pub struct Serf {
    swim: Swim,
    layer: Layer,
    leave: LeaveStep,
    /// Reaping is looked at then; `None` while there is nothing to reap.
    reap_at: Option<Tick>,
    reconnect_at: Option<Tick>,
    /// Version of the members for which both are right.
    looked_at: Option<u64>,
    reconnects: HashSet<ExchangeId>,
    written: [u64; 3],
}

impl Serf {
    /// Starts a pool of one.
    ///
    /// `seed` makes the run repeatable; `restored` is what a former life wrote down.
    pub fn new(
        cfg: SerfConfig,
        swim_cfg: SwimConfig,
        name: &str,
        addr: SocketAddr,
        seed: u64,
        restored: Option<&State>,
        now: Tick,
    ) -> Result<Self, SetupError> {
        let meta = tags::encode(&cfg.tags)?;
        let mut rng = SmallRng::seed_from_u64(seed);
        let gossip_interval = swim_cfg.gossip_interval;
        let local =
            LocalNode { name: name.to_owned(), addr: addr.ip(), port: addr.port(), meta, vsn: VSN_CONSUL };
        let coordinates = cfg.coordinates.then(coordinate::Client::new);
        let coalescer = cfg.coalesce.map(Coalescer::new);
        let swim_seed = rng.random();
        let mut layer = Layer {
            cfg,
            name: name.into(),
            addr,
            gossip_interval,
            now,
            rng,
            phase: Phase::Alive,
            clock: LamportClock::default(),
            event_clock: LamportClock::default(),
            query_clock: LamportClock::default(),
            members: BTreeMap::new(),
            intents: HashMap::new(),
            prune_at: Vec::new(),
            intent_queue: TransmitQueue::new(),
            query_queue: TransmitQueue::new(),
            event_queue: TransmitQueue::new(),
            recent_events: Recent::default(),
            recent_queries: Recent::default(),
            running: HashMap::new(),
            next_query: 0,
            ignore_old: HashSet::new(),
            coordinates,
            cached: HashMap::new(),
            coalescer,
            effects: Vec::new(),
            out: VecDeque::new(),
            version: 0,
        };
        if let Some(state) = restored {
            layer.clock.witness(state.clock);
            layer.event_clock.witness(state.event_clock);
            layer.query_clock.witness(state.query_clock);
            layer.recent_events.raise_min_time(state.event_clock.saturating_add(1));
            layer.recent_queries.raise_min_time(state.query_clock.saturating_add(1));
        }
        let swim = Swim::new(swim_cfg, local, swim_seed, now)?;
        layer.node_joined(swim.local());
        let mut serf = Serf {
            swim,
            layer,
            leave: LeaveStep::No,
            reap_at: None,
            reconnect_at: None,
            looked_at: None,
            reconnects: HashSet::new(),
            written: [0; 3],
        };
        serf.settle(now);
        Ok(serf)
    }

    /// Takes in something from outside.
    pub fn handle(&mut self, input: Input, now: Tick) {
        self.layer.now = now;
        if matches!(input, Input::Timer) {
            if self.swim.poll_timeout(&self.layer).is_some_and(|at| at <= now) {
                self.swim.handle(Input::Timer, &mut self.layer, now);
            }
            self.timers(now);
        } else {
            self.swim.handle(input, &mut self.layer, now);
        }
        self.settle(now);
    }

    /// When [`Input::Timer`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Tick> {
        let leave = match self.leave {
            LeaveStep::Announcing(at) | LeaveStep::Lingering(at) => Some(at),
            LeaveStep::No | LeaveStep::Below => None,
        };
        [
            self.swim.poll_timeout(&self.layer),
            leave,
            self.reap_at,
            self.reconnect_at,
            self.layer.next_query_end(),
            self.layer.next_prune(),
            self.layer.coalescer.as_ref().and_then(Coalescer::due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.layer.out.pop_front()
    }

    fn timers(&mut self, now: Tick) {
        match self.leave {
            LeaveStep::Announcing(at) if at <= now => {
                tracing::warn!("serf: timeout while waiting for graceful leave");
                self.leave_below(now);
            }
            LeaveStep::Lingering(at) if at <= now => self.leave_finished(),
            _ => {}
        }
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reap_at = None;
            self.looked_at = None;
            self.layer.reap();
        }
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.reconnect_at = None;
            self.looked_at = None;
            self.reconnect(now);
        }
        self.layer.queries_due();
        self.layer.prune_due();
        self.layer.coalesced_due();
    }

    /// Does what was noted while the layer below was at work, and fetches its outputs.
    fn settle(&mut self, now: Tick) {
        loop {
            for effect in std::mem::take(&mut self.layer.effects) {
                self.apply(effect);
            }
            let mut quiet = true;
            while let Some(output) = self.swim.poll_output() {
                quiet = false;
                self.take_output(output, now);
            }
            let finished = self.layer.intent_queue.take_finished();
            if finished.contains(&LEAVE_TOKEN) && matches!(self.leave, LeaveStep::Announcing(_)) {
                self.leave_below(now);
                quiet = false;
            }
            if quiet && self.layer.effects.is_empty() {
                break;
            }
        }
        self.note_clocks();
        // Looking through all members is too much for every packet.
        if self.looked_at != Some(self.layer.version) {
            self.looked_at = Some(self.layer.version);
            if self.reap_at.is_none() && self.layer.has_gone() {
                self.reap_at = Some(now + self.layer.cfg.reap_interval);
            }
            if self.reconnect_at.is_none() && self.has_failed() {
                self.reconnect_at = Some(now + self.layer.cfg.reconnect_interval);
            }
        }
        if self.reap_at.is_none() && !self.layer.intents.is_empty() {
            self.reap_at = Some(now + self.layer.cfg.reap_interval);
        }
    }

    fn take_output(&mut self, output: swim::Output, now: Tick) {
        match output {
            swim::Output::LeaveDone { timed_out } => {
                if timed_out {
                    tracing::warn!("serf: timeout waiting for leave broadcast");
                }
                if matches!(self.leave, LeaveStep::Below) {
                    let linger = if self.has_other_alive() {
                        self.layer.cfg.leave_propagate_delay
                    } else {
                        Duration::ZERO
                    };
                    self.leave = LeaveStep::Lingering(now + linger);
                    if linger.is_zero() {
                        self.leave_finished();
                    }
                }
            }
            swim::Output::JoinDone { id, to, result } => {
                self.layer.ignore_old.remove(&id);
                if self.reconnects.remove(&id) {
                    if let Err(error) = result {
                        tracing::debug!("serf: reconnect to {to} failed: {error}");
                    }
                } else {
                    let done = swim::Output::JoinDone { id, to, result };
                    self.layer.out.push_back(Output::Io(done));
                }
            }
            other => self.layer.out.push_back(Output::Io(other)),
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, bytes } => self.swim.send_user(to, &bytes),
            Effect::Forget(name) => {
                self.swim.forget(&name);
            }
            Effect::Key { reply, op, key } => self.key_request(&reply, op, &key),
            Effect::ResolveConflict => self.layer.resolve_conflict(),
        }
    }

    fn key_request(&mut self, reply: &ReplyTo, op: KeyOp, key: &[u8]) {
        let mut changed = None;
        let mut answer = KeyResponse::default();
        match (self.swim.keyring_mut(), op) {
            (None, KeyOp::List) => {
                answer.message = "Keyring is empty (encryption not enabled)".to_owned();
            }
            (None, _) => {
                answer.message = "No keyring to modify (encryption not enabled)".to_owned();
            }
            (Some(ring), KeyOp::List) => {
                let keys: Vec<Vec<u8>> = ring.keys().map(<[u8]>::to_vec).collect();
                let room = self.layer.response_room(reply);
                if let Some(bytes) = self.layer.list_keys_answer(&keys, room) {
                    self.layer.answer(reply, bytes);
                }
                return;
            }
            (Some(ring), op) => {
                let result = match op {
                    KeyOp::Install => ring.install(key),
                    KeyOp::Use => ring.use_key(key),
                    KeyOp::Remove | KeyOp::List => ring.remove(key),
                };
                match result {
                    Ok(()) => {
                        answer.result = true;
                        changed = Some(ring.keys().map(<[u8]>::to_vec).collect());
                    }
                    Err(error) => answer.message = error.to_string(),
                }
            }
        }
        if let Some(keys) = changed {
            self.layer.out.push_back(Output::SaveKeyring(keys));
        }
        match answer.encode() {
            Ok(bytes) => self.layer.answer(reply, bytes),
            Err(error) => tracing::error!(%error, "serf: Failed to encode key response"),
        }
    }

    fn note_clocks(&mut self) {
        let times = [self.layer.clock.time(), self.layer.event_clock.time(), self.layer.query_clock.time()]
            .map(|t| t - 1);
        if times == self.written {
            return;
        }
        let records = [Record::Clock(times[0]), Record::EventClock(times[1]), Record::QueryClock(times[2])];
        for (i, record) in records.into_iter().enumerate() {
            if times[i] != self.written[i] {
                self.layer.note(record);
            }
        }
        self.written = times;
    }

    // ---- joining and leaving ---------------------------------------------------------------

    /// Starts a full exchange with an address; ends with [`swim::Output::JoinDone`].
    /// `ignore_old`: the events of the past are not wanted.
    pub fn begin_join(&mut self, to: SocketAddr, ignore_old: bool, now: Tick) -> ExchangeId {
        self.layer.now = now;
        let id = self.swim.begin_join(to, &mut self.layer, now);
        if ignore_old {
            self.layer.ignore_old.insert(id);
        }
        self.settle(now);
        id
    }

    /// Tells the pool that we joined it; called once after joining.
    pub fn announce_join(&mut self, now: Tick) {
        self.layer.now = now;
        self.layer.broadcast_join();
        self.settle(now);
    }

    /// Leaves gracefully; ends with [`Output::LeaveDone`]. A second call changes nothing.
    pub fn leave(&mut self, now: Tick) {
        self.layer.now = now;
        if self.layer.phase == Phase::Alive {
            self.layer.phase = Phase::Leaving;
            self.layer.note(Record::Leave);
            let leave =
                Leave { ltime: self.layer.clock.take(), node: self.layer.name.to_string(), prune: false };
            self.layer.leave_intent(&leave);
            let bytes = self.layer.encoded(&leave);
            match bytes {
                Some(bytes) if self.has_other_alive() && !self.swim.is_disowned() => {
                    self.layer.queue_intent(bytes, Some(LEAVE_TOKEN));
                    self.leave = LeaveStep::Announcing(now + self.layer.cfg.broadcast_timeout);
                }
                _ => self.leave_below(now),
            }
        }
        self.settle(now);
    }

    fn leave_below(&mut self, now: Tick) {
        self.leave = LeaveStep::Below;
        self.swim.leave(now);
    }

    fn leave_finished(&mut self) {
        self.leave = LeaveStep::No;
        self.layer.phase = Phase::Left;
        let name = self.layer.name.clone();
        let status = self.layer.members.get(&name).map(|e| e.member.status);
        if status == Some(MemberStatus::Leaving) {
            self.layer.gone(&name, MemberStatus::Left, MemberEventKind::Leave);
        }
        self.layer.out.push_back(Output::LeaveDone);
    }

    /// Makes a failed member a left one, everywhere; with `prune` it is also forgotten.
    ///
    /// The announcement gets a time above every status time known, so that it is news to everyone.
    pub fn force_leave(&mut self, name: &str, prune: bool, now: Tick) {
        self.layer.now = now;
        if let Some(entry) = self.layer.members.get(name) {
            self.layer.clock.witness(entry.status_ltime);
        }
        let leave = Leave { ltime: self.layer.clock.take(), node: name.to_owned(), prune };
        self.layer.leave_intent(&leave);
        if let Some(bytes) = self.layer.encoded(&leave) {
            self.layer.queue_intent(bytes, None);
        }
        self.settle(now);
    }

    fn has_other_alive(&self) -> bool {
        self.layer
            .members
            .values()
            .any(|e| e.member.status == MemberStatus::Alive && e.member.name != self.layer.name)
    }

    fn has_failed(&self) -> bool {
        self.layer.members.values().any(|e| e.member.status == MemberStatus::Failed)
    }

    /// Now and then one of the failed is tried, more likely the more have failed.
    fn reconnect(&mut self, now: Tick) {
        let failed: Vec<SocketAddr> = self
            .layer
            .members
            .values()
            .filter(|e| e.member.status == MemberStatus::Failed)
            .map(|e| e.member.socket_addr())
            .collect();
        if failed.is_empty() || self.layer.phase != Phase::Alive {
            return;
        }
        let alive = self.layer.count_alive().max(1);
        let probability = failed.len() as f64 / alive as f64;
        if self.layer.rng.random::<f64>() > probability {
            return;
        }
        let to = failed[self.layer.rng.random_range(0..failed.len())];
        tracing::info!("serf: attempting reconnect to {to}");
        let id = self.swim.begin_join(to, &mut self.layer, now);
        self.reconnects.insert(id);
    }

    // ---- events, queries, keys ---------------------------------------------------------------

    /// Sends a user event to everyone.
    pub fn user_event(
        &mut self,
        name: &str,
        payload: &[u8],
        coalesce: bool,
        now: Tick,
    ) -> Result<(), EventError> {
        self.layer.now = now;
        let sent = self.layer.send_user_event(name, payload, coalesce);
        self.settle(now);
        sent
    }

    /// Asks a question; answers come as [`Output::Query`].
    pub fn query(
        &mut self,
        name: &str,
        payload: &[u8],
        options: &QueryOptions,
        now: Tick,
    ) -> Result<QueryId, QueryError> {
        self.layer.now = now;
        let asked = self.layer.ask(name, Some(payload), options, Purpose::App);
        self.settle(now);
        asked
    }

    /// Answers a question of another member.
    pub fn respond(&mut self, reply: &ReplyTo, payload: Vec<u8>, now: Tick) -> Result<(), QueryError> {
        self.layer.now = now;
        let sent = self.layer.reply(reply, 0, Some(payload));
        self.settle(now);
        sent
    }

    /// Does something to everyone's keyring (`key` empty for [`KeyOp::List`]); the answers come as
    /// [`Output::Keys`].
    pub fn key_operation(
        &mut self,
        op: KeyOp,
        key: &[u8],
        relay_factor: u8,
        now: Tick,
    ) -> Result<QueryId, QueryError> {
        self.layer.now = now;
        let request = KeyRequest { key: Some(ByteBuf::from(key)) };
        let report = KeyReport { num_nodes: self.layer.count_alive(), ..KeyReport::default() };
        let options = QueryOptions { relay_factor, ..QueryOptions::default() };
        let payload = request.encode()?;
        let asked = self.layer.ask(op.query_name(), Some(&payload), &options, Purpose::Keys(report));
        self.settle(now);
        asked
    }

    /// Changes what we say about ourselves.
    pub fn set_tags(&mut self, tags: Tags, now: Tick) -> Result<(), SetupError> {
        let meta = tags::encode(&tags)?;
        self.layer.now = now;
        self.swim.update_meta(meta, &mut self.layer, now)?;
        self.layer.cfg.tags = tags;
        self.settle(now);
        Ok(())
    }

    // ---- looking ---------------------------------------------------------------------------

    /// Counts changes of [`members`](Self::members).
    pub fn members_version(&self) -> u64 {
        self.layer.version
    }

    /// All members, in order of their names.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.layer.members.values().map(|e| &e.member)
    }

    /// Ourselves.
    pub fn local_member(&self) -> Option<&Arc<Member>> {
        self.layer.members.get(&self.layer.name).map(|e| &e.member)
    }

    /// Where we are in the coordinate space; `None` when coordinates are off.
    pub fn coordinate(&self) -> Option<&Coordinate> {
        self.layer.coordinates.as_ref().map(coordinate::Client::coordinate)
    }

    /// Where another member was when it last answered a probe of ours; our own place for our name.
    pub fn cached_coordinate(&self, name: &str) -> Option<&Coordinate> {
        if *name == *self.layer.name {
            return self.coordinate();
        }
        self.layer.cached.get(name)
    }

    /// What the layer below counted.
    pub fn swim_counters(&self) -> &Counters {
        self.swim.counters()
    }

    /// Local health: 0 is well.
    pub fn health_score(&self) -> u32 {
        self.swim.health_score()
    }

    /// Counters shown to operators.
    pub fn stats(&self) -> Stats {
        let mut failed = 0;
        let mut left = 0;
        for entry in self.layer.members.values() {
            match entry.member.status {
                MemberStatus::Failed => failed += 1,
                MemberStatus::Left => left += 1,
                _ => {}
            }
        }
        Stats {
            members: self.layer.members.len(),
            failed,
            left,
            health_score: self.swim.health_score(),
            member_time: self.layer.clock.time(),
            event_time: self.layer.event_clock.time(),
            query_time: self.layer.query_clock.time(),
            intent_queue: self.layer.intent_queue.len(),
            event_queue: self.layer.event_queue.len(),
            query_queue: self.layer.query_queue.len(),
            encrypted: self.swim.keyring().is_some(),
            coordinate_resets: self.layer.coordinates.as_ref().map_or(0, coordinate::Client::resets),
        }
    }
}
