//! Finding failures: direct probe, probe through others, probe over a stream (SWIM, section 4.1;
//! Lifeguard, section IV).

use std::net::SocketAddr;
use std::time::Duration;

use super::core::{Swim, Timer};
use super::io::StreamFailure;
use super::rules::{address, with_octets};
use super::table::Slot;
use super::{Delegate, ExchangeId, Node, NodeState, Tick};
use crate::wire::{self, Accusation, Ack, IndirectPing, MessageType, Nack, Ping, Raw};

/// Members that can be probed over a stream say so with at least this protocol version.
const TCP_PING_PROTOCOL: u8 = 3;
/// Members that send nacks say so with at least this protocol version.
const NACK_PROTOCOL: u8 = 4;
/// Members that understand checksums.
const CRC_PROTOCOL: u8 = 5;
/// Most probes that are relayed for others at a time.
const MAX_RELAYS: usize = 4096;
/// Most members waiting to be probed out of turn.
const MAX_URGENT: usize = 8;

/// The running probe. There is one at a time.
#[derive(Debug)]
pub(super) struct Probe {
    seq: u32,
    slot: Slot,
    /// The member as it was when the probe began.
    node: Node,
    sent: Tick,
    deadline: Tick,
    /// The time for the direct ack is over and others were asked.
    widened: bool,
    expected_nacks: u32,
    nacks: u32,
    stream: Option<ExchangeId>,
    stream_ok: bool,
    refused: bool,
}

/// A probe that somebody else asked for.
#[derive(Debug)]
pub(super) struct Relay {
    requester: SocketAddr,
    seq: u32,
    nack: bool,
}

impl Swim {
    /// Whether the probe with this number runs.
    pub(super) fn is_probing(&self, seq: u32) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.seq == seq)
    }

    /// It is time for a probe.
    pub(super) fn probe_tick(&mut self, delegate: &mut dyn Delegate) {
        self.knock();
        if self.probe.is_some() {
            // An interval stretched by bad health: begin as soon as it is over.
            self.probe_overdue = true;
            return;
        }
        if let Some(slot) = self.next_target() {
            self.start_probe(slot, delegate);
        }
    }

    /// Whom to probe: suspects first that others told of, then the next in order.
    fn next_target(&mut self) -> Option<Slot> {
        while let Some(slot) = self.urgent.pop_front() {
            if self.table.get(slot).is_some_and(|n| n.state == NodeState::Suspect) {
                return Some(slot);
            }
        }
        // Twice: the first walk may begin at the end of the order.
        for _ in 0..=self.table.len() * 2 {
            let Some(slot) = self.table.next_to_probe() else {
                self.forget_the_gone();
                self.table.shuffle(&mut self.rng);
                continue;
            };
            if slot != self.me && self.table.get(slot).is_some_and(|n| !n.state.is_gone()) {
                return Some(slot);
            }
        }
        None
    }

    /// Drops members that are dead or left for long enough that everyone knows.
    fn forget_the_gone(&mut self) {
        let (now, patience) = (self.now, self.cfg.gossip_to_the_dead);
        if self.table.num_alive() < self.table.len() {
            self.drop_records(|n| n.state.is_gone() && now.since(n.changed) > patience);
        }
    }

    fn start_probe(&mut self, slot: Slot, delegate: &mut dyn Delegate) {
        let Some(node) = self.table.get(slot).cloned() else { return };
        let seq = self.next_sequence();
        let interval = self.cfg.probe_interval * (1 + self.health);
        let deadline = self.now + interval;
        let Some(ping) = self.ping(seq, node.name()) else { return };
        self.counters.probes += 1;
        if node.state == NodeState::Alive {
            self.send_with_riders(node.addr(), Some(slot), ping.into(), delegate);
        } else {
            // Let it know at once that it is suspected, so that it can refute (Lifeguard's buddy
            // system).
            let me = self.local().name().clone();
            let suspect = Accusation { incarnation: node.incarnation, node: node.name(), from: &me };
            let Ok(suspect) = wire::encode(MessageType::Suspect, &suspect) else { return };
            let crc = node.protocol_max() >= CRC_PROTOCOL;
            self.send_packet(node.addr(), &[ping.into(), suspect.into()], crc);
        }
        self.probe = Some(Probe {
            seq,
            slot,
            node,
            sent: self.now,
            deadline,
            widened: false,
            expected_nacks: 0,
            nacks: 0,
            stream: None,
            stream_ok: false,
            refused: false,
        });
        self.after(self.cfg.probe_timeout, Timer::ProbeTimeout(seq));
        self.at(deadline, Timer::ProbeEnd(seq));
    }

    pub(super) fn ping(&self, seq_no: u32, node: &str) -> Option<Vec<u8>> {
        let encoded = self.with_source(|source_addr, source_port, source_node| {
            let ping = Ping { seq_no, node, source_addr, source_port, source_node };
            wire::encode(MessageType::Ping, &ping)
        });
        encoded.inspect_err(|error| tracing::error!(%error, "memberlist: cannot encode ping")).ok()
    }

    /// Runs `f` with our address, port and name as a probe tells them; empty if it need not.
    fn with_source<R>(&self, f: impl FnOnce(Raw<'_>, u16, &str) -> R) -> R {
        if !self.cfg.announce_source {
            return f(Raw::default(), 0, "");
        }
        let info = &self.local().info;
        with_octets(info.ip, |addr| f(Raw(addr), info.port, &info.name))
    }

    /// No ack in time: ask others, and try a stream.
    pub(super) fn probe_timeout(&mut self, seq: u32) {
        let Some(probe) = self.probe.as_mut().filter(|p| p.seq == seq) else { return };
        probe.widened = true;
        let (node, deadline) = (probe.node.clone(), probe.deadline);
        tracing::debug!("memberlist: Failed ping: {} (timeout reached)", node.name());

        let target = node.name().clone();
        let helpers = self.random_members(self.cfg.indirect_checks, &mut |n| *n.name() != target);
        let mut expected_nacks = 0;
        for helper in &helpers {
            let nack = helper.protocol_max() >= NACK_PROTOCOL;
            let request = with_octets(node.info.ip, |target| {
                self.with_source(|source_addr, source_port, source_node| {
                    let request = IndirectPing {
                        seq_no: seq,
                        target: Raw(target),
                        port: node.info.port,
                        node: node.name(),
                        nack,
                        source_addr,
                        source_port,
                        source_node,
                    };
                    wire::encode(MessageType::IndirectPing, &request)
                })
            });
            if let Ok(request) = request {
                self.send_packet(helper.addr(), &[request.into()], false);
                expected_nacks += u32::from(nack);
            }
        }
        let mut stream = None;
        if self.cfg.tcp_pings
            && node.protocol_max() >= TCP_PING_PROTOCOL
            && let Some(ping) = self.ping(seq, node.name())
        {
            stream = self.begin_stream_ping(node.addr(), seq, &ping, deadline);
        }
        if let Some(probe) = self.probe.as_mut() {
            probe.expected_nacks = expected_nacks;
            probe.stream = stream;
        }
    }

    /// The outcome of the probe over a stream.
    pub(super) fn stream_ping_done(&mut self, id: ExchangeId, result: Result<(), StreamFailure>) {
        let Some(probe) = self.probe.as_mut().filter(|p| p.stream == Some(id)) else { return };
        match result {
            Ok(()) => probe.stream_ok = true,
            Err(failure) => {
                tracing::debug!("memberlist: Failed fallback ping: {}", failure.text);
                if failure.refused && self.cfg.refused_suspicion > 0.0 {
                    // Only the others' answers can tell otherwise now, and they are quick if any.
                    probe.refused = true;
                    let seq = probe.seq;
                    self.after(self.cfg.probe_timeout / 2, Timer::ProbeEnd(seq));
                }
            }
        }
    }

    /// The time of the whole probe is over, without an ack.
    pub(super) fn probe_end(&mut self, seq: u32, delegate: &mut dyn Delegate) {
        let Some(probe) = self.probe.take_if(|p| p.seq == seq) else { return };
        if probe.stream_ok {
            tracing::warn!(
                "memberlist: Was able to connect to {} but other probes failed, network may be misconfigured",
                probe.node.name()
            );
            self.adjust_health(-1);
        } else {
            self.counters.probes_failed += 1;
            let delta = if probe.refused {
                0 // it is certainly not us
            } else if probe.expected_nacks > 0 {
                i64::from(probe.expected_nacks.saturating_sub(probe.nacks))
            } else {
                1
            };
            self.adjust_health(delta);
            tracing::info!("memberlist: Suspect {} has failed, no acks received", probe.node.name());
            let me = self.local().name().clone();
            let suspect =
                Accusation { incarnation: probe.node.incarnation, node: probe.node.name(), from: &me };
            self.suspect(&suspect, 0);
            if probe.refused {
                // Should it run again already, it can refute at once.
                if let Ok(suspect) = wire::encode(MessageType::Suspect, &suspect) {
                    let crc = probe.node.protocol_max() >= CRC_PROTOCOL;
                    self.send_packet(probe.node.addr(), &[suspect.into()], crc);
                }
                self.hard_evidence(probe.slot, probe.node.incarnation);
            }
        }
        self.next_probe(delegate);
    }

    /// The member's host says that nobody listens there: wait only long enough for a refutation.
    fn hard_evidence(&mut self, slot: Slot, incarnation: u32) {
        let deadline = self.now + self.cfg.probe_interval.mul_f64(self.cfg.refused_suspicion.min(1000.0));
        if let Some(suspicion) = self.suspicions.get_mut(&slot)
            && suspicion.incarnation == incarnation
        {
            suspicion.shorten(deadline);
            let deadline = suspicion.deadline;
            self.at(deadline, Timer::Suspicion(slot));
        }
    }

    fn next_probe(&mut self, delegate: &mut dyn Delegate) {
        if std::mem::take(&mut self.probe_overdue)
            && let Some(slot) = self.next_target()
        {
            self.start_probe(slot, delegate);
        }
    }

    /// Others suspect a member: perhaps look at it ourselves, out of turn, so that the suspicion
    /// is soon confirmed or refuted. Only a few in the whole pool do, whatever its size.
    pub(super) fn consider_urgent(&mut self, slot: Slot) {
        use rand::Rng;
        let chance = (f64::from(self.cfg.urgent_probers) / self.table.num_alive().max(1) as f64).min(1.0);
        if self.urgent.len() < MAX_URGENT && !self.urgent.contains(&slot) && self.rng.random_bool(chance) {
            self.urgent.push_back(slot);
        }
    }

    // ---- what arrives ---------------------------------------------------------------------

    pub(super) fn ping_received(&mut self, from: SocketAddr, ping: &Ping<'_>, delegate: &mut dyn Delegate) {
        if !ping.node.is_empty() && *ping.node != **self.local().name() {
            tracing::warn!("memberlist: Got ping for unexpected node '{}' from {from}", ping.node);
            self.counters.dropped += 1;
            return;
        }
        // Whoever asks for us by name here holds us for its owner.
        self.disowned &= ping.node.is_empty();
        let payload = delegate.ack_payload();
        let payload = if payload.is_empty() { None } else { Some(Raw(payload.as_slice())) };
        let to = reply_address(ping.source_addr, ping.source_port, from);
        let target = self.slot_of_source(ping.source_node, from);
        if let Ok(ack) = wire::encode(MessageType::Ack, &Ack { seq_no: ping.seq_no, payload }) {
            self.send_with_riders(to, target, ack.into(), delegate);
        }
    }

    pub(super) fn indirect_ping_received(&mut self, from: SocketAddr, request: &IndirectPing<'_>) {
        let Some(ip) = address(request.target) else {
            tracing::warn!("memberlist: indirect ping for malformed address from {from}");
            self.counters.dropped += 1;
            return;
        };
        if self.relays.len() >= MAX_RELAYS {
            self.counters.dropped += 1;
            return;
        }
        let port = if request.port == 0 { self.local().info.port } else { request.port };
        let seq = self.next_sequence();
        let Some(ping) = self.ping(seq, request.node) else { return };
        let requester = reply_address(request.source_addr, request.source_port, from);
        self.relays.insert(seq, Relay { requester, seq: request.seq_no, nack: request.nack });
        self.after(self.cfg.probe_timeout, Timer::Relay(seq));
        self.send_packet(SocketAddr::new(ip, port), &[ping.into()], false);
    }

    /// The target of a relayed probe stays silent.
    pub(super) fn relay_timeout(&mut self, seq: u32, delegate: &mut dyn Delegate) {
        let Some(relay) = self.relays.remove(&seq) else { return };
        if relay.nack
            && let Ok(nack) = wire::encode(MessageType::Nack, &Nack { seq_no: relay.seq })
        {
            self.send_with_riders(relay.requester, None, nack.into(), delegate);
        }
    }

    pub(super) fn ack_received(&mut self, from: SocketAddr, ack: &Ack<'_>, delegate: &mut dyn Delegate) {
        if self.knock_answered(ack.seq_no, from, delegate) {
            return;
        }
        if let Some(relay) = self.relays.remove(&ack.seq_no) {
            let ack = Ack { seq_no: relay.seq, payload: None };
            if let Ok(ack) = wire::encode(MessageType::Ack, &ack) {
                self.send_with_riders(relay.requester, None, ack.into(), delegate);
            }
            return;
        }
        let Some(probe) = self.probe.take_if(|p| p.seq == ack.seq_no) else { return };
        self.adjust_health(-1);
        if !probe.widened {
            let rtt: Duration = self.now - probe.sent;
            let node = self.table.get(probe.slot).cloned().unwrap_or(probe.node);
            delegate.ping_complete(&node, rtt, ack.payload.unwrap_or_default().0);
        }
        self.next_probe(delegate);
    }

    pub(super) fn nack_received(&mut self, nack: &Nack) {
        if let Some(probe) = self.probe.as_mut().filter(|p| p.seq == nack.seq_no) {
            probe.nacks += 1;
        }
    }
}

/// Where an answer goes: to the address in the request if there is one, else to the packet's source.
fn reply_address(addr: Raw<'_>, port: u16, from: SocketAddr) -> SocketAddr {
    match address(addr) {
        Some(ip) if port != 0 => SocketAddr::new(ip, port),
        _ => from,
    }
}
