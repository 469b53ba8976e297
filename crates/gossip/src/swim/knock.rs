//! Finding the lost again: members that were held dead are asked now and then whether they are
//! back, so that a pool that was cut in two grows together soon after the cut is mended.
//!
//! The reference leaves this to the layer above, which tries a full join with one failed member
//! every 30 seconds; a datagram is so much cheaper that it can be sent far more often. It carries
//! the accusation and a ping: the member refutes, its refutation rides along with the ack, and a
//! full exchange settles the rest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::core::Swim;
use super::{Delegate, Node, NodeInfo, NodeState, Tick};
use crate::wire::{self, Accusation, MessageType};

/// Most lost members that are remembered.
const MAX_LOST: usize = 1024;
/// Knocks in the whole pool per probe interval, on average, for as long as the loss is fresh.
const KNOCKS: f64 = 8.0;
/// After this time there are half as many, after twice this time a third, and so on: most that
/// stay away for long stay away for good, and somebody else may live at their address.
const FRESH: Duration = Duration::from_secs(30 * 60);
/// Knocks that may be answered yet.
const MAX_OPEN: usize = 8;

/// A member that was held dead and not seen since.
#[derive(Debug)]
pub(super) struct Lost {
    info: Arc<NodeInfo>,
    incarnation: u32,
    since: Tick,
}

impl Swim {
    /// A member died.
    pub(super) fn lost(&mut self, node: &Node) {
        self.found(node.name());
        if self.cfg.knock_for.is_zero() {
            return;
        }
        if self.lost.len() >= MAX_LOST {
            self.lost.remove(0);
        }
        self.lost.push(Lost { info: node.info.clone(), incarnation: node.incarnation, since: self.now });
    }

    /// A member is there again, or nobody wants it back.
    pub(super) fn found(&mut self, name: &str) {
        self.lost.retain(|l| &*l.info.name != name);
    }

    /// Perhaps asks one of the lost whether it is back.
    pub(super) fn knock(&mut self) {
        let (now, patience) = (self.now, self.cfg.knock_for);
        if self.lost.is_empty() || self.leaving {
            return;
        }
        self.lost.retain(|l| now.since(l.since) <= patience);
        if self.lost.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.lost.len());
        let age = now.since(self.lost[at].since).as_secs_f64() / FRESH.as_secs_f64();
        let chance = KNOCKS / self.table.num_alive().max(1) as f64 / (1.0 + age);
        if !self.rng.random_bool(chance.min(1.0)) {
            return;
        }
        let (info, incarnation) = (self.lost[at].info.clone(), self.lost[at].incarnation);
        let to = SocketAddr::new(info.ip, info.port);
        // Somebody else runs at its address now.
        let alive = |slot| self.table.get(slot).is_some_and(|n| n.state == NodeState::Alive);
        if self.table.slot_of_address(to).is_some_and(alive) {
            self.lost.swap_remove(at);
            return;
        }
        let seq = self.next_sequence();
        let me = self.local().name().clone();
        let dead = Accusation { incarnation, node: &info.name, from: &me };
        let (Ok(dead), Some(ping)) = (wire::encode(MessageType::Dead, &dead), self.ping(seq, &info.name))
        else {
            return;
        };
        self.knocks.push_back(seq);
        if self.knocks.len() > MAX_OPEN {
            self.knocks.pop_front();
        }
        // The accusation first, so that the answer to the ping can carry the refutation.
        self.send_packet(to, &[dead.into(), ping.into()], false);
    }

    /// Was this ack for a knock? Then there is somebody to exchange states with.
    pub(super) fn knock_answered(&mut self, seq: u32, from: SocketAddr, delegate: &mut dyn Delegate) -> bool {
        if !self.knocks.contains(&seq) {
            return false;
        }
        // One exchange tells of all the others, too.
        self.knocks.clear();
        self.begin_exchange(from, false, delegate);
        true
    }
}
