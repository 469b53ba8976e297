//! What alive, suspect and dead messages do to the member table.

use std::net::IpAddr;
use std::sync::Arc;

use super::core::{Swim, Timer};
use super::suspicion::Suspicion;
use super::table::{Slot, bit_of, newcomer};
use super::{Delegate, MAX_META, Node, NodeInfo, NodeState};
use crate::wire::{self, Accusation, Alive, MessageType, Raw};

/// An accusation or statement may run ahead of what we know by this much at most. Larger jumps
/// are not made by members that count up, and would bring the counter to its end, from where no
/// refutation wins any more.
const MAX_INCARNATION_JUMP: u32 = 1 << 24;

impl Swim {
    /// A statement of a member about itself. `heard_from` is the bit of the member that told us.
    pub(super) fn alive(&mut self, msg: &Alive<'_>, heard_from: u64, delegate: &mut dyn Delegate) {
        let known = self.table.find(msg.node);
        let is_me = known == Some(self.me);
        if is_me && self.leaving {
            return;
        }
        let Ok(vsn) = <[u8; 6]>::try_from(msg.vsn.0) else {
            tracing::warn!(node = msg.node, "memberlist: ignoring alive message because Vsn is not present");
            self.counters.dropped += 1;
            return;
        };
        if vsn[0] == 0 || vsn[1] == 0 || vsn[0] > vsn[1] {
            tracing::warn!(node = msg.node, "memberlist: ignoring alive message with invalid versions");
            self.counters.dropped += 1;
            return;
        }
        let Some(ip) = address(msg.addr) else {
            tracing::warn!(node = msg.node, "memberlist: ignoring alive message with malformed address");
            self.counters.dropped += 1;
            return;
        };
        let port = if msg.port == 0 { self.local().info.port } else { msg.port };

        // Most of what arrives repeats what is known; find that out before anything is built.
        if let Some(node) = known.and_then(|slot| self.table.get(slot))
            && !is_me
            && (node.info.ip, node.info.port) == (ip, port)
            && msg.incarnation <= node.incarnation
        {
            return;
        }
        if msg.meta.0.len() > MAX_META {
            tracing::warn!(
                node = msg.node,
                "memberlist: ignoring alive message: Encoded length of tags exceeds limit of {MAX_META} bytes"
            );
            self.counters.dropped += 1;
            return;
        }
        let floor = known.and_then(|slot| self.table.get(slot)).map_or(0, |n| n.incarnation);
        if msg.incarnation > floor.saturating_add(MAX_INCARNATION_JUMP)
            && (known.is_some() || msg.incarnation > u32::MAX - MAX_INCARNATION_JUMP)
        {
            tracing::warn!(
                node = msg.node,
                incarnation = msg.incarnation,
                "memberlist: ignoring alive message with absurd incarnation"
            );
            self.counters.dropped += 1;
            return;
        }
        let info = self.share(NodeInfo { name: msg.node.into(), ip, port, meta: msg.meta.0.into(), vsn });
        let node = Node { info, changed: self.now, incarnation: msg.incarnation, state: NodeState::Alive };
        if !is_me && let Err(reason) = delegate.check_alive(&node) {
            tracing::warn!("memberlist: ignoring alive message for '{}': {reason}", msg.node);
            self.counters.dropped += 1;
            return;
        }
        let moved = known
            .and_then(|slot| self.table.get(slot))
            .is_some_and(|n| (n.info.ip, n.info.port) != (ip, port));
        if (known.is_none() || moved) && !self.address_allowed(ip) {
            tracing::debug!("memberlist: Blocked alive.Addr={ip} for '{}'", msg.node);
            self.counters.dropped += 1;
            return;
        }

        let slot = match known {
            None => {
                let record = newcomer(node.info.clone(), self.now);
                self.table.insert(record, &mut self.rng)
            }
            Some(slot) => slot,
        };
        let Some(old) = self.table.get(slot).cloned() else { return };
        if moved && !self.may_take_over(&old) {
            tracing::error!(
                "memberlist: Conflicting address for {}. Mine: {} Theirs: {} Old state: {}",
                msg.node,
                old.addr(),
                node.addr(),
                old.state as u8
            );
            delegate.conflict(&old, &node);
            return;
        }
        if is_me {
            let same = msg.incarnation == old.incarnation
                && node.info.meta == old.info.meta
                && node.info.vsn == old.info.vsn;
            if msg.incarnation >= old.incarnation && !same {
                self.refute(msg.incarnation);
            }
            return;
        }
        if known.is_some() && !moved && msg.incarnation <= old.incarnation {
            return;
        }

        self.suspicions.remove(&slot);
        let now = self.now;
        self.table.update(slot, |record| {
            if record.state != NodeState::Alive {
                record.changed = now;
            }
            record.info = node.info.clone();
            record.incarnation = node.incarnation;
            record.state = NodeState::Alive;
        });
        self.counters.alive += 1;
        let told = heard_from | bit_of(slot).unwrap_or(0);
        self.broadcast(MessageType::Alive, msg, &node.info.name, told);
        let Some(record) = self.table.get(slot).cloned() else { return };
        if old.state.is_gone() {
            self.found(record.name());
            delegate.member_joined(&record);
        } else if old.info.meta != record.info.meta || moved {
            delegate.member_updated(&record);
        }
    }

    /// May another address have the name of this member?
    fn may_take_over(&self, old: &Node) -> bool {
        match old.state {
            NodeState::Left => true,
            NodeState::Dead => {
                !self.cfg.dead_node_reclaim.is_zero()
                    && self.now.since(old.changed) > self.cfg.dead_node_reclaim
            }
            NodeState::Alive | NodeState::Suspect => false,
        }
    }

    pub(super) fn address_allowed(&self, ip: IpAddr) -> bool {
        self.cfg.allowed_cidrs.as_ref().is_none_or(|all| all.iter().any(|c| c.contains(ip)))
    }

    /// `from` says that a member does not answer.
    pub(super) fn suspect(&mut self, msg: &Accusation<'_>, heard_from: u64) {
        let Some((slot, node)) = self.accused(msg) else { return };
        let told = heard_from | self.bit_of_name(msg.from);
        if let Some(suspicion) = self.suspicions.get_mut(&slot) {
            if suspicion.confirm(msg.from) {
                let deadline = suspicion.deadline;
                self.at(deadline, Timer::Suspicion(slot));
                self.broadcast(MessageType::Suspect, msg, &node.info.name, told);
            }
            return;
        }
        if node.state != NodeState::Alive {
            return;
        }
        if slot == self.me {
            tracing::warn!("memberlist: Refuting a suspect message (from: {})", msg.from);
            return self.refute(msg.incarnation);
        }
        self.counters.suspect += 1;
        self.broadcast(MessageType::Suspect, msg, &node.info.name, told);
        let now = self.now;
        self.table.update(slot, |n| {
            n.state = NodeState::Suspect;
            n.incarnation = msg.incarnation;
            n.changed = now;
        });
        let suspicion = Suspicion::new(
            msg.incarnation,
            msg.from.into(),
            self.table.len(),
            (self.cfg.suspicion_mult, self.cfg.suspicion_max_mult),
            self.cfg.probe_interval,
            now,
        );
        self.at(suspicion.deadline, Timer::Suspicion(slot));
        self.suspicions.insert(slot, suspicion);
        if *msg.from != **self.local().name() {
            self.consider_urgent(slot);
        }
    }

    /// A suspicion may have lasted long enough.
    pub(super) fn suspicion_due(&mut self, slot: Slot, delegate: &mut dyn Delegate) {
        let Some(suspicion) = self.suspicions.get(&slot) else { return };
        if suspicion.deadline > self.now {
            return;
        }
        let incarnation = suspicion.incarnation;
        self.suspicions.remove(&slot);
        let Some(node) = self.table.get(slot).cloned() else { return };
        if node.state != NodeState::Suspect {
            return;
        }
        tracing::info!("memberlist: Marking {} as failed, suspect timeout reached", node.name());
        let me = self.local().name().clone();
        self.dead(&Accusation { incarnation, node: node.name(), from: &me }, 0, delegate);
    }

    /// `from` says that a member is gone; about itself: that it leaves.
    pub(super) fn dead(&mut self, msg: &Accusation<'_>, heard_from: u64, delegate: &mut dyn Delegate) {
        let Some((slot, node)) = self.accused(msg) else { return };
        if slot == self.me {
            if !self.leaving {
                tracing::warn!("memberlist: Refuting a dead message (from: {})", msg.from);
                self.refute(msg.incarnation);
            }
            return;
        }
        self.suspicions.remove(&slot);
        if node.state.is_gone() {
            return;
        }
        self.counters.dead += 1;
        let told = heard_from | self.bit_of_name(msg.from);
        self.broadcast(MessageType::Dead, msg, &node.info.name, told);
        let now = self.now;
        self.table.update(slot, |n| {
            n.state = if msg.from == msg.node { NodeState::Left } else { NodeState::Dead };
            n.incarnation = msg.incarnation;
            n.changed = now;
        });
        if let Some(record) = self.table.get(slot).cloned() {
            if record.state == NodeState::Dead {
                self.lost(&record);
            }
            delegate.member_left(&record);
        }
    }

    /// The record that an accusation is about, if it is known, not outdated and not absurd.
    fn accused(&mut self, msg: &Accusation<'_>) -> Option<(Slot, Node)> {
        let slot = self.table.find(msg.node)?;
        let node = self.table.get(slot)?;
        if msg.incarnation < node.incarnation {
            return None;
        }
        if msg.incarnation - node.incarnation > MAX_INCARNATION_JUMP {
            tracing::warn!(
                node = msg.node,
                incarnation = msg.incarnation,
                "memberlist: ignoring message with absurd incarnation"
            );
            self.counters.dropped += 1;
            return None;
        }
        Some((slot, node.clone()))
    }

    /// Somebody holds something of us that is not true: say again that we live, louder.
    fn refute(&mut self, accused: u32) {
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        let incarnation = self.incarnation;
        self.counters.refuted += 1;
        self.adjust_health(1);
        self.table.update(self.me, |n| n.incarnation = incarnation);
        self.announce_self();
    }

    /// Queues our own alive message.
    pub(super) fn announce_self(&mut self) {
        let info = self.local().info.clone();
        with_octets(info.ip, |addr| {
            let alive = Alive {
                incarnation: self.incarnation,
                node: &info.name,
                addr: Raw(addr),
                port: info.port,
                meta: Raw(&info.meta),
                vsn: Raw(&info.vsn),
            };
            self.broadcast(MessageType::Alive, &alive, &info.name, 0);
        });
    }

    /// Queues a message about the member `subject`, replacing an older one about it.
    fn broadcast<T: serde::Serialize>(&mut self, kind: MessageType, body: &T, subject: &Arc<str>, told: u64) {
        match wire::encode(kind, body) {
            Ok(message) => self.queue.push_heard(message.into(), Some(subject.clone()), None, told),
            Err(error) => tracing::error!(%error, "memberlist: cannot encode broadcast"),
        }
    }

    fn bit_of_name(&self, name: &str) -> u64 {
        self.table.find(name).and_then(bit_of).unwrap_or(0)
    }
}

/// The address in 4 or 16 bytes.
pub(super) fn address(raw: Raw<'_>) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(raw.0) {
        return Some(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(raw.0).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

/// Runs `f` with the address in 4 or 16 bytes.
pub(super) fn with_octets<R>(ip: IpAddr, f: impl FnOnce(&[u8]) -> R) -> R {
    match ip {
        IpAddr::V4(v4) => f(&v4.octets()),
        IpAddr::V6(v6) => f(&v6.octets()),
    }
}
