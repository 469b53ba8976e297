//! Members: what the layer below reports, what announcements say, and when they are forgotten.

use super::layer::{Effect, Entry, Intent, Layer, Phase};
use super::member::{Member, MemberStatus};
use super::message::{Join, Leave};
use super::output::MemberEventKind;
use super::snapshot::Record;
use super::tags;
use crate::swim::{Node, NodeState, Tick};
use std::sync::Arc;
use std::time::Duration;

/// Most announcements remembered about members that are not known.
const INTENTS_MAX: usize = 8192;

impl Layer {
    pub fn node_joined(&mut self, node: &Node) {
        metrics::counter!("serf.member.join").increment(1);
        let now = self.now;
        let mut status = MemberStatus::Alive;
        let mut ltime = 0;
        match self.members.get(node.name()) {
            Some(known) => {
                ltime = known.status_ltime;
                if known.member.status == MemberStatus::Failed
                    && now.since(known.member.status_time) < Duration::from_secs(60)
                {
                    metrics::counter!("serf.member.flap").increment(1);
                }
            }
            None => {
                if let Some(intent) = self.intents.get(&**node.name()) {
                    ltime = intent.ltime;
                    if intent.leave {
                        status = MemberStatus::Leaving;
                    }
                }
            }
        }
        let member = Arc::new(Member::from_info(node.info(), status, now));
        self.prune_at.retain(|(_, name)| name != node.name());
        self.members.insert(node.name().clone(), Entry { member: member.clone(), status_ltime: ltime });
        tracing::info!("serf: EventMemberJoin: {} {}", member.name, member.addr);
        self.note(Record::Alive(member.name.to_string(), member.socket_addr()));
        self.emit_member(MemberEventKind::Join, member);
    }

    pub fn node_left(&mut self, node: &Node) {
        let Some(entry) = self.members.get(node.name()) else {
            return;
        };
        let (status, kind) = match entry.member.status {
            MemberStatus::Leaving => (MemberStatus::Left, MemberEventKind::Leave),
            // Its farewell on the layer below came through, only that on this one was missed.
            MemberStatus::Alive if node.state() == NodeState::Left => {
                (MemberStatus::Left, MemberEventKind::Leave)
            }
            MemberStatus::Alive => (MemberStatus::Failed, MemberEventKind::Failed),
            _ => return,
        };
        self.gone(node.name(), status, kind);
    }

    pub fn gone(&mut self, name: &str, status: MemberStatus, kind: MemberEventKind) {
        let Some(member) = self.set_status(name, status) else {
            return;
        };
        if kind == MemberEventKind::Failed {
            metrics::counter!("serf.member.failed").increment(1);
            tracing::info!("serf: EventMemberFailed: {} {}", member.name, member.addr);
        } else {
            metrics::counter!("serf.member.left").increment(1);
            tracing::info!("serf: EventMemberLeave: {} {}", member.name, member.addr);
        }
        self.note(Record::NotAlive(member.name.to_string()));
        self.emit_member(kind, member);
    }

    pub fn node_updated(&mut self, node: &Node) {
        let Some(entry) = self.members.get_mut(node.name()) else {
            return;
        };
        let mut member = (*entry.member).clone();
        member.addr = node.addr().ip();
        member.port = node.addr().port();
        member.tags = Arc::new(tags::decode(node.meta()));
        member.vsn = node.vsn();
        entry.member = Arc::new(member);
        let member = entry.member.clone();
        metrics::counter!("serf.member.update").increment(1);
        tracing::info!("serf: EventMemberUpdate: {}", member.name);
        self.emit_member(MemberEventKind::Update, member);
    }

    /// Takes in a join announcement; true when it is to be passed on.
    pub fn join_intent(&mut self, join: &Join) -> bool {
        self.clock.witness(join.ltime);
        let Some(entry) = self.members.get_mut(join.node.as_str()) else {
            return self.remember_intent(&join.node, false, join.ltime);
        };
        if join.ltime <= entry.status_ltime {
            return false;
        }
        entry.status_ltime = join.ltime;
        if entry.member.status == MemberStatus::Leaving {
            self.set_status(&join.node, MemberStatus::Alive);
        }
        true
    }

    /// Takes in a leave announcement; true when it is to be passed on.
    ///
    /// A prune is obeyed also when its time is the status time we hold: full exchanges of other
    /// implementations raise that time while the announcement is on its way.
    pub fn leave_intent(&mut self, leave: &Leave) -> bool {
        self.clock.witness(leave.ltime);
        let Some(entry) = self.members.get_mut(leave.node.as_str()) else {
            return self.remember_intent(&leave.node, true, leave.ltime);
        };
        let newer = leave.ltime > entry.status_ltime;
        let same_prune = leave.prune
            && leave.ltime == entry.status_ltime
            && matches!(entry.member.status, MemberStatus::Left | MemberStatus::Failed);
        if !newer && !same_prune {
            return false;
        }
        if *leave.node == *self.name && self.phase == Phase::Alive {
            tracing::debug!("serf: Refuting an older leave intent");
            self.broadcast_join();
            return false;
        }
        entry.status_ltime = leave.ltime;
        let status = entry.member.status;
        match status {
            MemberStatus::Alive => {
                self.set_status(&leave.node, MemberStatus::Leaving);
            }
            MemberStatus::Failed => {
                self.gone(&leave.node, MemberStatus::Left, MemberEventKind::Leave);
            }
            MemberStatus::Leaving | MemberStatus::Left => {}
        }
        if leave.prune && *leave.node != *self.name {
            self.prune(&leave.node, status);
        }
        true
    }

    fn prune(&mut self, name: &str, status: MemberStatus) {
        match status {
            MemberStatus::Alive | MemberStatus::Leaving => {
                let at = self.now + self.cfg.broadcast_timeout + self.cfg.leave_propagate_delay;
                if !self.prune_at.iter().any(|(_, n)| **n == *name) {
                    self.prune_at.push((at, name.into()));
                }
            }
            MemberStatus::Left | MemberStatus::Failed => self.forget(name),
        }
    }

    fn remember_intent(&mut self, node: &str, leave: bool, ltime: u64) -> bool {
        match self.intents.get(node) {
            Some(known) if known.ltime >= ltime => return false,
            Some(_) => {}
            None if self.intents.len() >= INTENTS_MAX => return false,
            None => {}
        }
        let since = self.now;
        self.intents.insert(node.to_owned(), Intent { leave, ltime, since });
        true
    }

    /// Tells the pool that we are here.
    pub fn broadcast_join(&mut self) {
        let ltime = self.clock.time();
        self.clock.witness(ltime);
        let join = Join { ltime, node: self.name.to_string() };
        self.join_intent(&join);
        if let Some(bytes) = self.encoded(&join) {
            self.queue_intent(bytes, None);
        }
    }

    /// Drops a member that is not there any more.
    fn forget(&mut self, name: &str) {
        let Some(entry) = self.members.remove(name) else {
            return;
        };
        if let Some(client) = &mut self.coordinates {
            client.forget(name);
        }
        self.cached.remove(name);
        self.prune_at.retain(|(_, n)| **n != *name);
        self.effects.push(Effect::Forget(name.into()));
        tracing::info!("serf: EventMemberReap: {}", name);
        self.emit_member(MemberEventKind::Reap, entry.member);
    }

    /// Forgets those gone for long enough, and old announcements.
    pub fn reap(&mut self) {
        let now = self.now;
        let expired: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|e| {
                let limit = match e.member.status {
                    MemberStatus::Failed => self.cfg.reconnect_timeout,
                    MemberStatus::Left => self.cfg.tombstone_timeout,
                    _ => return false,
                };
                let limit = self.cfg.policy.remember_for(&e.member).unwrap_or(limit);
                now.since(e.member.status_time) > limit
            })
            .map(|e| e.member.name.clone())
            .collect();
        for name in expired {
            self.forget(&name);
        }
        let keep = self.cfg.recent_intent_timeout;
        self.intents.retain(|_, i| now.since(i.since) <= keep);
    }

    /// Forgets pruned members whose time to spread the news is over.
    pub fn prune_due(&mut self) {
        let now = self.now;
        let due: Vec<Arc<str>> =
            self.prune_at.iter().filter(|(at, _)| *at <= now).map(|(_, n)| n.clone()).collect();
        self.prune_at.retain(|(at, _)| *at > now);
        for name in due {
            // Whoever refuted in the meantime stays.
            let status = self.members.get(&name).map(|e| e.member.status);
            if status.is_some_and(|s| s != MemberStatus::Alive) {
                self.forget(&name);
            }
        }
    }

    /// Earliest end of a prune.
    pub fn next_prune(&self) -> Option<Tick> {
        self.prune_at.iter().map(|(at, _)| *at).min()
    }

    /// Whether any member is gone.
    pub fn has_gone(&self) -> bool {
        self.members.values().any(|e| matches!(e.member.status, MemberStatus::Failed | MemberStatus::Left))
    }
}
