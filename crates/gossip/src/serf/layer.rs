//! The state of this layer and its face towards the layer below.

use super::clock::{LamportClock, LamportTime};
use super::coalesce::Coalescer;
use super::config::SerfConfig;
use super::keys::KeyOp;
use super::member::{Member, MemberStatus};
use super::message::{self, Message, MessageType, RecentEvent};
use super::output::{Event, MemberEventKind, Output, ReplyTo};
use super::queries::Running;
use super::recent::Recent;
use super::snapshot::Record;
use crate::coordinate::{self, Coordinate};
use crate::swim::queue::{Spread, TransmitQueue};
use crate::swim::{Delegate, ExchangeId, Node, Tick};
use bytes::Bytes;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// First byte of an ack payload carrying a coordinate.
const PING_VERSION: u8 = 1;

/// Where we are in life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the pool.
    Alive,
    /// On the way out.
    Leaving,
    /// Out.
    Left,
}

/// What we hold of one member.
#[derive(Debug)]
pub(super) struct Entry {
    pub member: Arc<Member>,
    /// Time of the newest announcement about it.
    pub status_ltime: LamportTime,
}

/// A remembered announcement about a member we do not know yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intent {
    pub leave: bool,
    pub ltime: LamportTime,
    pub since: Tick,
}

/// What must be done to the layer below once it has returned.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send a user message (type byte of this layer included).
    Send { to: SocketAddr, bytes: Bytes },
    /// Do something to the keyring and answer.
    Key { reply: ReplyTo, op: KeyOp, key: Vec<u8> },
    /// Drop the record of a member that is gone.
    Forget(Arc<str>),
    /// Find out who owns our name.
    ResolveConflict,
}

/// Everything but the layer below.
pub(super) struct Layer {
    pub cfg: SerfConfig,
    pub name: Arc<str>,
    pub addr: SocketAddr,
    pub gossip_interval: Duration,
    pub now: Tick,
    pub rng: SmallRng,
    pub phase: Phase,
    pub clock: LamportClock,
    pub event_clock: LamportClock,
    pub query_clock: LamportClock,
    pub members: BTreeMap<Arc<str>, Entry>,
    pub intents: HashMap<String, Intent>,
    /// Members to be forgotten because they were pruned while still there.
    pub prune_at: Vec<(Tick, Arc<str>)>,
    pub intent_queue: TransmitQueue,
    pub query_queue: TransmitQueue,
    pub event_queue: TransmitQueue,
    pub recent_events: Recent<RecentEvent>,
    pub recent_queries: Recent<u32>,
    pub running: HashMap<(LamportTime, u32), Running>,
    pub next_query: u64,
    /// Running joins that want nothing of the past.
    pub ignore_old: HashSet<ExchangeId>,
    pub coordinates: Option<coordinate::Client>,
    pub cached: HashMap<Arc<str>, Coordinate>,
    pub coalescer: Option<Coalescer>,
    pub effects: Vec<Effect>,
    pub out: VecDeque<Output>,
    /// Counts changes of the members.
    pub version: u64,
}

impl Layer {
    pub fn emit(&mut self, event: Event) {
        let now = self.now;
        let event = match &mut self.coalescer {
            Some(coalescer) => coalescer.hold(event, now),
            None => Some(event),
        };
        self.out.extend(event.map(Output::Event));
    }

    /// Tells what was held back, when it is time.
    pub fn coalesced_due(&mut self) {
        let now = self.now;
        if let Some(coalescer) = &mut self.coalescer {
            self.out.extend(coalescer.release(now).into_iter().map(Output::Event));
        }
    }

    pub fn emit_member(&mut self, kind: MemberEventKind, member: Arc<Member>) {
        self.version += 1;
        self.emit(Event::Member(kind, member));
    }

    pub fn note(&mut self, record: Record) {
        self.out.push_back(Output::Snapshot(record));
    }

    /// Most broadcasts one queue may hold.
    pub fn queue_depth(&self) -> usize {
        self.cfg.min_queue_depth.max(2 * self.members.len())
    }

    pub fn queue_intent(&mut self, bytes: impl Into<Bytes>, token: Option<u64>) {
        let keep = self.queue_depth();
        self.intent_queue.push(bytes.into(), None, token);
        self.intent_queue.prune(keep);
        metrics::histogram!("serf.queue.Intent").record(self.intent_queue.len() as f64);
    }

    pub fn count_alive(&self) -> usize {
        self.members.values().filter(|e| e.member.status == MemberStatus::Alive).count()
    }

    /// Replaces what is known of a member, giving the new value its new status.
    pub fn set_status(&mut self, name: &str, status: MemberStatus) -> Option<Arc<Member>> {
        let now = self.now;
        let entry = self.members.get_mut(name)?;
        let mut member = (*entry.member).clone();
        member.status = status;
        member.status_time = now;
        entry.member = Arc::new(member);
        self.version += 1;
        Some(entry.member.clone())
    }

    /// Encodes a message; one that has no bytes is logged and dropped.
    pub fn encoded<M: Message>(&self, message: &M) -> Option<Bytes> {
        match message.encode() {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                tracing::error!(%error, "serf: Failed to encode a message");
                None
            }
        }
    }

    fn dispatch(&mut self, bytes: &[u8]) -> Result<(), message::MessageError> {
        let Some((&kind, body)) = bytes.split_first() else {
            return Err(message::MessageError::Empty);
        };
        match kind {
            k if k == MessageType::Leave as u8 => {
                let leave = message::Leave::decode_body(body)?;
                if self.leave_intent(&leave) {
                    self.queue_intent(Bytes::copy_from_slice(bytes), None);
                }
            }
            k if k == MessageType::Join as u8 => {
                let join = message::Join::decode_body(body)?;
                if self.join_intent(&join) {
                    self.queue_intent(Bytes::copy_from_slice(bytes), None);
                }
            }
            k if k == MessageType::UserEvent as u8 => {
                let event = message::UserEvent::decode_body(body)?;
                if self.user_event_seen(event) {
                    self.queue_event(Bytes::copy_from_slice(bytes));
                }
            }
            k if k == MessageType::Query as u8 => {
                let query = message::Query::decode_body(body)?;
                if self.query_seen(query) {
                    self.queue_query(Bytes::copy_from_slice(bytes));
                }
            }
            k if k == MessageType::QueryResponse as u8 => {
                self.query_response(message::QueryResponse::decode_body(body)?);
            }
            k if k == MessageType::Relay as u8 => self.relay(body)?,
            other => return Err(message::MessageError::Type(other)),
        }
        Ok(())
    }
}

impl Delegate for Layer {
    fn has_broadcasts(&self) -> bool {
        [&self.intent_queue, &self.query_queue, &self.event_queue].iter().any(|queue| !queue.is_empty())
    }

    fn broadcasts(&mut self, spread: &Spread, overhead: usize, limit: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut room = limit;
        for queue in [&mut self.intent_queue, &mut self.query_queue, &mut self.event_queue] {
            if queue.is_empty() {
                continue;
            }
            let some = queue.take(spread, overhead, room);
            let used: usize = some.iter().map(|m| m.len() + overhead).sum();
            room = room.saturating_sub(used);
            taken.extend(some);
        }
        for message in &taken {
            metrics::histogram!("serf.msgs.sent").record(message.len() as f64);
        }
        taken
    }

    fn user_message(&mut self, bytes: &[u8]) {
        metrics::histogram!("serf.msgs.received").record(bytes.len() as f64);
        if let Err(error) = self.dispatch(bytes) {
            tracing::error!(%error, "serf: Failed to handle a message");
        }
    }

    fn local_state(&mut self, _join: bool) -> Vec<u8> {
        self.exchange_state()
    }

    fn merge_remote_state(&mut self, state: &[u8], join: bool) {
        match message::PushPull::decode(state) {
            Ok(remote) => self.merge_exchange(remote, join),
            Err(error) => tracing::error!(%error, "serf: Failed to read a remote state"),
        }
    }

    fn ack_payload(&mut self) -> Vec<u8> {
        let Some(client) = &self.coordinates else {
            return Vec::new();
        };
        match msgpack::to_vec(client.coordinate()) {
            Ok(body) => {
                let mut payload = Vec::with_capacity(1 + body.len());
                payload.push(PING_VERSION);
                payload.extend_from_slice(&body);
                payload
            }
            Err(error) => {
                tracing::error!(%error, "serf: Failed to encode coordinate");
                Vec::new()
            }
        }
    }

    fn ping_complete(&mut self, node: &Node, rtt: Duration, payload: &[u8]) {
        let Some(client) = &mut self.coordinates else {
            return;
        };
        let Some((&version, body)) = payload.split_first() else {
            return;
        };
        if version != PING_VERSION {
            tracing::error!(version, "serf: Unsupported ping version");
            return;
        }
        let other = match msgpack::from_slice_prefix::<Coordinate>(body) {
            Ok((other, _)) => other,
            Err(error) => {
                tracing::error!(%error, node = %node.name(), "serf: Failed to decode coordinate");
                return;
            }
        };
        let before = client.coordinate().clone();
        if let Err(error) = client.update(node.name(), &other, rtt, &mut self.rng) {
            metrics::counter!("serf.coordinate.rejected").increment(1);
            tracing::trace!(%error, node = %node.name(), "serf: Rejected coordinate");
            return;
        }
        let moved = before.distance(client.coordinate()).unwrap_or_default();
        metrics::histogram!("serf.coordinate.adjustment-ms").record(moved.as_secs_f64() * 1e3);
        if self.members.contains_key(node.name()) {
            self.cached.insert(node.name().clone(), other);
        }
    }

    fn member_joined(&mut self, node: &Node) {
        self.node_joined(node);
    }

    fn member_left(&mut self, node: &Node) {
        self.node_left(node);
    }

    fn member_updated(&mut self, node: &Node) {
        self.node_updated(node);
    }

    fn conflict(&mut self, existing: &Node, other: &Node) {
        if *existing.name() == self.name {
            tracing::error!(
                "serf: Node name conflicts with another node at {}. Names must be unique! \
                 (Resolution enabled: {})",
                other.addr(),
                self.cfg.resolve_conflicts
            );
            if self.cfg.resolve_conflicts {
                self.effects.push(Effect::ResolveConflict);
            }
        } else {
            tracing::warn!(
                "serf: Name conflict for '{}' both {} and {} are claiming",
                existing.name(),
                existing.addr(),
                other.addr()
            );
        }
    }

    fn check_alive(&mut self, node: &Node) -> Result<(), String> {
        if *node.name() == self.name {
            return Ok(());
        }
        let member = Member::candidate(node, self.now);
        self.cfg.policy.admit(std::slice::from_ref(&member))
    }

    fn check_merge(&mut self, nodes: &[Node]) -> Result<(), String> {
        let members: Vec<Member> = nodes.iter().map(|n| Member::candidate(n, self.now)).collect();
        self.cfg.policy.admit(&members)
    }
}
