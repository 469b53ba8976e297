//! The state machine itself: what it holds, and the commands of its owner.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::exchange::Exchange;
use super::knock::Lost;
use super::probe::{Probe, Relay};
use super::queue::TransmitQueue;
use super::suspicion::Suspicion;
use super::table::{Slot, Table};
use super::{
    Delegate, ExchangeId, Input, LocalNode, MAX_META, Node, NodeInfo, NodeState, Output, SwimConfig, Tick,
};
use crate::wire::{self, Codec, Keyring, SealVersion};

/// Why a state machine could not be made, or a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwimError {
    /// Over [`MAX_META`].
    #[error("Encoded length of tags exceeds limit of {MAX_META} bytes")]
    MetaTooLong,
    /// Over 255 bytes.
    #[error("label is longer than 255 bytes")]
    LabelTooLong,
    /// Empty.
    #[error("node name is empty")]
    NoName,
    /// Zero where that would stop the machine or spin it.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}

/// What was received, sent and dropped since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets_received: u64,
    pub packet_bytes_received: u64,
    pub packets_sent: u64,
    pub packet_bytes_sent: u64,
    pub streams_received: u64,
    pub streams_opened: u64,
    /// Packets, parts of packets and streams that could not be read or were refused.
    pub dropped: u64,
    /// Alive, suspect and dead messages that changed something.
    pub alive: u64,
    pub suspect: u64,
    pub dead: u64,
    /// Times that somebody had to be told that we live.
    pub refuted: u64,
    pub probes: u64,
    pub probes_failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Probe,
    /// The direct probe with this number had time enough.
    ProbeTimeout(u32),
    /// The whole probe with this number had time enough.
    ProbeEnd(u32),
    /// The relayed probe with this number had time enough.
    Relay(u32),
    Suspicion(Slot),
    PushPull,
    Leave,
}

/// Membership and failure detection of one pool, without I/O.
///
/// Feed it with [`Swim::handle`], then fetch what is to be done with [`Swim::poll_output`] until
/// there is nothing more, then wait for input or [`Swim::poll_timeout`].
pub struct Swim {
    pub(super) cfg: SwimConfig,
    pub(super) codec: Codec,
    pub(super) table: Table,
    pub(super) me: Slot,
    pub(super) rng: SmallRng,
    pub(super) now: Tick,
    pub(super) queue: TransmitQueue,
    pub(super) counters: Counters,
    /// Number of our newest statement about ourselves.
    pub(super) incarnation: u32,
    /// Local health: 0 is well, higher is worse (Lifeguard, section IV-A).
    pub(super) health: u32,
    pub(super) sequence: u32,
    pub(super) probe: Option<Probe>,
    /// The tick of a probe came while another was still running.
    pub(super) probe_overdue: bool,
    /// Members to be probed before it is their turn.
    pub(super) urgent: VecDeque<Slot>,
    /// Members held dead that may come back.
    pub(super) lost: Vec<Lost>,
    /// Numbers of the pings to them that are not answered.
    pub(super) knocks: VecDeque<u32>,
    pub(super) relays: HashMap<u32, Relay>,
    pub(super) suspicions: HashMap<Slot, Suspicion>,
    pub(super) exchanges: HashMap<ExchangeId, Exchange>,
    last_exchange: u64,
    pub(super) leaving: bool,
    /// Others hold somebody else for the member of our name, as far as we heard last.
    pub(super) disowned: bool,
    /// The leave was asked for and is not over.
    leave_pending: bool,
    /// The next round of gossip, if there is something to tell by then.
    gossip_at: Tick,
    timers: BinaryHeap<Reverse<(Tick, u64, Timer)>>,
    last_timer: u64,
    outputs: VecDeque<Output>,
}

/// Token of the leave broadcast in the queue; no other broadcast of ours has one.
const LEAVE_TOKEN: u64 = 0;

impl Swim {
    /// A state machine for a pool of which only the local member is known. The local member is not
    /// announced to the delegate. `rng_seed` decides every random choice; the random part of
    /// encryption is not taken from it.
    pub fn new(cfg: SwimConfig, local: LocalNode, rng_seed: u64, now: Tick) -> Result<Self, SwimError> {
        if local.meta.len() > MAX_META {
            return Err(SwimError::MetaTooLong);
        }
        if local.name.is_empty() {
            return Err(SwimError::NoName);
        }
        for (value, name) in [
            (cfg.probe_interval, "probe interval"),
            (cfg.probe_timeout, "probe timeout"),
            (cfg.gossip_interval, "gossip interval"),
            (cfg.push_pull_interval, "push/pull interval"),
        ] {
            if value.is_zero() {
                return Err(SwimError::Zero(name));
            }
        }
        let mut codec = Codec::new(&cfg.label, cfg.compression).ok_or(SwimError::LabelTooLong)?;
        codec.keyring = cfg.keyring.clone();
        codec.verify_incoming = cfg.verify_incoming;
        codec.verify_outgoing = cfg.verify_outgoing;
        if local.vsn[2] == 1 {
            codec.seal_version = SealVersion::V0;
        }
        let mut rng = SmallRng::seed_from_u64(rng_seed);
        let info = NodeInfo {
            name: local.name.into(),
            ip: local.addr,
            port: local.port,
            meta: local.meta.into(),
            vsn: local.vsn,
        };
        let info = match &cfg.interner {
            Some(interner) => interner.share(info),
            None => Arc::new(info),
        };
        let mut table = Table::new();
        let node = Node { info, changed: now, incarnation: 1, state: NodeState::Alive };
        let me = table.insert(node, &mut rng);
        let mut swim = Swim {
            codec,
            table,
            me,
            rng,
            now,
            queue: TransmitQueue::new(),
            counters: Counters::default(),
            incarnation: 1,
            health: 0,
            sequence: 0,
            probe: None,
            probe_overdue: false,
            urgent: VecDeque::new(),
            lost: Vec::new(),
            knocks: VecDeque::new(),
            relays: HashMap::new(),
            suspicions: HashMap::new(),
            exchanges: HashMap::new(),
            last_exchange: 0,
            leaving: false,
            disowned: false,
            leave_pending: false,
            gossip_at: now,
            timers: BinaryHeap::new(),
            last_timer: 0,
            outputs: VecDeque::new(),
            cfg,
        };
        swim.announce_self();
        let delay = swim.up_to(swim.cfg.gossip_interval);
        swim.gossip_at = now + delay;
        for (timer, interval) in
            [(Timer::Probe, swim.cfg.probe_interval), (Timer::PushPull, swim.cfg.push_pull_interval)]
        {
            let delay = swim.up_to(interval);
            swim.after(delay, timer);
        }
        Ok(swim)
    }

    /// Takes in what happened. `now` never goes back.
    pub fn handle(&mut self, input: Input, delegate: &mut dyn Delegate, now: Tick) {
        // Rounds that passed while there was nothing to tell are left out.
        let told = if self.has_news(delegate) { self.now } else { now };
        self.gossip_at = self.gossip_after(told);
        self.now = self.now.max(now);
        match input {
            Input::Packet { from, bytes } => self.packet(from, &bytes, delegate),
            Input::StreamRequest { id, from, bytes } => self.stream_request(id, from, &bytes, delegate),
            Input::StreamRejected { id, from, error } => self.stream_rejected(id, from, &error),
            Input::StreamAnswered { id, bytes } => self.stream_answered(id, &bytes, delegate),
            Input::StreamFailed { id, failure } => self.stream_failed(id, failure),
            Input::Timer => {}
        }
        self.run_timers(delegate);
        self.forget_answered();
        self.check_leave();
    }

    fn has_news(&self, delegate: &dyn Delegate) -> bool {
        !self.queue.is_empty() || delegate.has_broadcasts()
    }

    /// The first round of gossip after `now`; rounds keep their pace.
    fn gossip_after(&self, now: Tick) -> Tick {
        if self.gossip_at > now {
            return self.gossip_at;
        }
        let interval = u64::try_from(self.cfg.gossip_interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let late = now.as_nanos() - self.gossip_at.as_nanos();
        Tick::from_nanos(now.as_nanos().saturating_add(interval - late % interval))
    }

    /// Drops timers at the head whose probes have ended.
    fn forget_answered(&mut self) {
        while let Some(Reverse((_, _, timer))) = self.timers.peek() {
            let over = match timer {
                Timer::ProbeTimeout(seq) | Timer::ProbeEnd(seq) => !self.is_probing(*seq),
                Timer::Relay(seq) => !self.relays.contains_key(seq),
                _ => false,
            };
            if !over {
                break;
            }
            self.timers.pop();
        }
    }

    fn run_timers(&mut self, delegate: &mut dyn Delegate) {
        if self.gossip_at <= self.now {
            self.gossip_tick(delegate);
            self.gossip_at = self.gossip_after(self.now);
        }
        while let Some(Reverse((at, _, timer))) = self.timers.peek().copied()
            && at <= self.now
        {
            self.timers.pop();
            match timer {
                Timer::Probe => {
                    self.probe_tick(delegate);
                    self.again(at, self.cfg.probe_interval, timer);
                }
                Timer::PushPull => {
                    self.push_pull_tick(delegate);
                    self.again(at, self.push_pull_interval(), timer);
                }
                Timer::ProbeTimeout(seq) => self.probe_timeout(seq),
                Timer::ProbeEnd(seq) => self.probe_end(seq, delegate),
                Timer::Relay(seq) => self.relay_timeout(seq, delegate),
                Timer::Suspicion(slot) => self.suspicion_due(slot, delegate),
                Timer::Leave => self.finish_leave(true),
            }
        }
    }

    /// When to call [`Swim::handle`] with [`Input::Timer`], if nothing else comes before.
    pub fn poll_timeout(&self, delegate: &dyn Delegate) -> Option<Tick> {
        let timer = self.timers.peek().map(|Reverse((at, _, _))| *at);
        let gossip = self.has_news(delegate).then(|| self.gossip_after(self.now));
        timer.into_iter().chain(gossip).min()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    // ---- commands -------------------------------------------------------------------------

    /// Changes what we say of ourselves and lets everyone know.
    pub fn update_meta(
        &mut self,
        meta: Vec<u8>,
        delegate: &mut dyn Delegate,
        now: Tick,
    ) -> Result<(), SwimError> {
        self.now = self.now.max(now);
        if meta.len() > MAX_META {
            return Err(SwimError::MetaTooLong);
        }
        let old = self.local().info.clone();
        let info =
            NodeInfo { name: old.name.clone(), ip: old.ip, port: old.port, meta: meta.into(), vsn: old.vsn };
        let info = self.share(info);
        self.incarnation = self.incarnation.saturating_add(1);
        let incarnation = self.incarnation;
        self.table.update(self.me, |n| {
            n.info = info;
            n.incarnation = incarnation;
        });
        if !self.leaving {
            self.announce_self();
        }
        let node = self.local().clone();
        delegate.member_updated(&node);
        Ok(())
    }

    /// Starts a joining exchange with the member at `to`; ends in [`Output::JoinDone`].
    pub fn begin_join(&mut self, to: SocketAddr, delegate: &mut dyn Delegate, now: Tick) -> ExchangeId {
        self.now = self.now.max(now);
        self.begin_exchange(to, true, delegate)
    }

    /// Tells everyone that we leave; ends in [`Output::LeaveDone`]. Probes are answered all the same.
    pub fn leave(&mut self, now: Tick) {
        self.now = self.now.max(now);
        if self.leaving {
            if !self.leave_pending {
                self.output(Output::LeaveDone { timed_out: false });
            }
            return;
        }
        self.leaving = true;
        self.leave_pending = true;
        let name = self.local().name().clone();
        let alone = self.table.num_alive() <= 1;
        let now = self.now;
        self.table.update(self.me, |n| {
            n.state = NodeState::Left;
            n.changed = now;
        });
        if alone || self.disowned {
            return self.finish_leave(false);
        }
        let gone = wire::Accusation { incarnation: self.incarnation, node: &name, from: &name };
        match wire::encode(wire::MessageType::Dead, &gone) {
            Ok(message) => self.queue.push(message.into(), Some(name.clone()), Some(LEAVE_TOKEN)),
            Err(error) => tracing::error!(%error, "memberlist: cannot encode leave message"),
        }
        self.after(self.cfg.leave_timeout, Timer::Leave);
    }

    fn check_leave(&mut self) {
        if self.leave_pending && self.queue.take_finished().contains(&LEAVE_TOKEN) {
            self.finish_leave(false);
        }
    }

    fn finish_leave(&mut self, timed_out: bool) {
        if self.leave_pending {
            self.leave_pending = false;
            self.output(Output::LeaveDone { timed_out });
        }
    }

    /// Sends a message of the layer above (without type byte) in a packet of its own.
    pub fn send_user(&mut self, to: SocketAddr, message: &[u8]) {
        let message = wire::user_message(message);
        self.send_packet(to, &[message], false);
    }

    /// Sends a message of the layer above (without type byte) over a stream.
    pub fn send_user_stream(&mut self, to: SocketAddr, message: &[u8], now: Tick) -> ExchangeId {
        self.now = self.now.max(now);
        self.begin_user_stream(to, message)
    }

    /// Drops the record of a member that is dead or left, now instead of later, and does not look
    /// for it any more.
    pub fn forget(&mut self, name: &str) -> bool {
        self.found(name);
        let Some(slot) = self.table.find(name) else { return false };
        if slot == self.me || !self.table.get(slot).is_some_and(|n| n.state.is_gone()) {
            return false;
        }
        self.drop_records(|n| &**n.name() == name);
        true
    }

    /// Takes in members as if they were known long since: nobody is told, the delegate neither. A
    /// simulation begins with a pool that has converged this way; ours is left out.
    pub fn preload<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>) {
        for node in nodes {
            if self.table.find(node.name()).is_none() {
                let node = Node { changed: self.now, ..node.clone() };
                self.table.insert(node, &mut self.rng);
            }
        }
        self.queue = TransmitQueue::new();
    }

    // ---- questions ------------------------------------------------------------------------

    /// All known members, whatever their state, ourselves among them.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.table.iter()
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&Node> {
        self.table.get(self.table.find(name)?)
    }

    /// Our own record.
    pub fn local(&self) -> &Node {
        // The own record is made first and never dropped.
        self.table.get(self.me).expect("own record")
    }

    /// Members that are alive, ourselves among them while we have not left.
    pub fn num_alive(&self) -> usize {
        self.table.num_alive()
    }

    /// Whether the pool holds somebody else for the member of our name. What we say in its name is not about us,
    /// so a leave is not announced.
    pub fn is_disowned(&self) -> bool {
        self.disowned
    }

    /// Members that are suspected to be dead but may still refute it.
    pub fn num_suspect(&self) -> usize {
        self.table.num_suspect()
    }

    /// All known members, also dead and left ones that are not dropped yet.
    pub fn num_members(&self) -> usize {
        self.table.len()
    }

    /// Local health: 0 is well, up to `awareness_max - 1`.
    pub fn health_score(&self) -> u32 {
        self.health
    }

    /// Settings in force.
    pub fn config(&self) -> &SwimConfig {
        &self.cfg
    }

    /// What was received, sent and dropped since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Broadcasts waiting to be sent.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The keys in force, if the pool is encrypted.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.codec.keyring.as_ref()
    }

    /// The keys in force, to be changed.
    pub fn keyring_mut(&mut self) -> Option<&mut Keyring> {
        self.codec.keyring.as_mut()
    }

    /// Up to `k` random members that are alive, not ourselves, and `wanted`.
    pub fn random_members(&mut self, k: usize, wanted: &mut dyn FnMut(&Node) -> bool) -> Vec<Node> {
        let me = self.local().name().clone();
        let slots = self
            .table
            .pick(k, &mut self.rng, |n| n.state == NodeState::Alive && *n.name() != me && wanted(n));
        slots.into_iter().filter_map(|s| self.table.get(s).cloned()).collect()
    }

    // ---- shared by the parts --------------------------------------------------------------

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn after(&mut self, delay: Duration, timer: Timer) {
        self.at(self.now + delay, timer);
    }

    pub(super) fn at(&mut self, at: Tick, timer: Timer) {
        self.last_timer += 1;
        self.timers.push(Reverse((at, self.last_timer, timer)));
    }

    /// The next turn of something periodic; turns that were slept through are left out.
    fn again(&mut self, last: Tick, interval: Duration, timer: Timer) {
        let next = last + interval;
        self.at(if next > self.now { next } else { self.now + interval }, timer);
    }

    /// A random time below `interval`.
    fn up_to(&mut self, interval: Duration) -> Duration {
        let ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.rng.random_range(0..ns))
    }

    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(super) fn next_exchange(&mut self) -> ExchangeId {
        self.last_exchange += 1;
        ExchangeId(self.last_exchange)
    }

    pub(super) fn share(&self, info: NodeInfo) -> Arc<NodeInfo> {
        match &self.cfg.interner {
            Some(interner) => interner.share(info),
            None => Arc::new(info),
        }
    }

    pub(super) fn adjust_health(&mut self, delta: i64) {
        let worst = i64::from(self.cfg.awareness_max.max(1)) - 1;
        self.health = (i64::from(self.health) + delta).clamp(0, worst) as u32;
    }

    /// Drops records and everything that hangs on their slots.
    pub(super) fn drop_records(&mut self, gone: impl Fn(&Node) -> bool) {
        let me = self.local().name().clone();
        for slot in self.table.remove_if(|n| *n.name() != me && gone(n)) {
            self.suspicions.remove(&slot);
            self.urgent.retain(|&s| s != slot);
            if let Some(bit) = super::table::bit_of(slot) {
                self.queue.forget_told(bit);
            }
        }
    }

    pub(super) fn send_packet(&mut self, to: SocketAddr, messages: &[Bytes], crc: bool) {
        match self.codec.seal_packet(messages, crc) {
            Ok(bytes) => {
                self.counters.packets_sent += 1;
                self.counters.packet_bytes_sent += bytes.len() as u64;
                self.output(Output::Packet { to, bytes });
            }
            Err(error) => tracing::error!(%error, %to, "memberlist: cannot send packet"),
        }
    }
}
