//! Spreading what is known: gossip rounds, and broadcasts riding along in other packets.

use std::net::SocketAddr;

use bytes::Bytes;

use super::core::Swim;
use super::queue::{Spread, TELL_EVERYONE};
use super::table::{Slot, bit_of};
use super::{Delegate, Node, NodeState};
use crate::wire::{COMPOUND_HEADER, MAX_PARTS, PART_OVERHEAD};

/// Members that understand checksums say so with at least this protocol version.
const CRC_PROTOCOL: u8 = 5;

impl Swim {
    /// Tells a few members what is new.
    pub(super) fn gossip_tick(&mut self, delegate: &mut dyn Delegate) {
        let (me, now, patience) = (self.local().name().clone(), self.now, self.cfg.gossip_to_the_dead);
        let wanted = |n: &Node| {
            *n.name() != me
                && match n.state {
                    NodeState::Alive | NodeState::Suspect => true,
                    NodeState::Dead => now.since(n.changed) <= patience,
                    NodeState::Left => false,
                }
        };
        let k = self.cfg.gossip_nodes;
        // In small pools in turn, so that everyone is reached in the shortest time.
        let targets = if self.table.len() <= TELL_EVERYONE {
            self.table.in_turn(k, wanted)
        } else {
            self.table.pick(k, &mut self.rng, wanted)
        };
        let room = self.cfg.packet_bound.saturating_sub(COMPOUND_HEADER + self.codec.packet_overhead());
        for slot in targets {
            let Some(node) = self.table.get(slot) else { continue };
            let (to, crc) = (node.addr(), node.protocol_max() >= CRC_PROTOCOL);
            let messages = self.riders(Some(slot), room, MAX_PARTS, delegate);
            if messages.is_empty() {
                // For others there may be something: in small pools not everyone lacks the same.
                if self.table.len() > TELL_EVERYONE {
                    break;
                }
                continue;
            }
            self.send_packet(to, &messages, crc);
        }
    }

    /// Sends a message with as many broadcasts as fit behind it.
    pub(super) fn send_with_riders(
        &mut self,
        to: SocketAddr,
        target: Option<Slot>,
        message: Bytes,
        delegate: &mut dyn Delegate,
    ) {
        let taken = message.len() + COMPOUND_HEADER + PART_OVERHEAD + self.codec.packet_overhead();
        let room = self.cfg.packet_bound.saturating_sub(taken);
        let mut messages = vec![message];
        messages.extend(self.riders(target, room, MAX_PARTS - 1, delegate));
        self.send_packet(to, &messages, false);
    }

    /// Broadcasts for a packet to `target`, ours before those of the layer above.
    fn riders(
        &mut self,
        target: Option<Slot>,
        room: usize,
        most: usize,
        delegate: &mut dyn Delegate,
    ) -> Vec<Bytes> {
        let everyone = self.table.running() & !bit_of(self.me).unwrap_or(0);
        let spread = Spread::new(
            self.cfg.retransmit_mult,
            self.table.len(),
            self.cfg.thorough_spread,
            target.and_then(bit_of),
            everyone,
        );
        let mut messages = self.queue.take(&spread, PART_OVERHEAD, room);
        let used: usize = messages.iter().map(|m| m.len() + PART_OVERHEAD).sum();
        // The layer above's messages get a type byte in front.
        let theirs = delegate.broadcasts(&spread, PART_OVERHEAD + 1, room - used);
        messages.extend(theirs.iter().map(|m| crate::wire::user_message(m)));
        // The shortest message has 10 bytes, so that the bound on the size keeps the number down
        // as well; a raised bound does not.
        messages.truncate(most);
        messages
    }
}
