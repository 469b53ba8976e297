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
        // In small pools in turn, so that everyone is reached in the shortest time, and past those
        // who lack nothing.
        let small = self.cfg.thorough_spread && self.table.len() <= TELL_EVERYONE;
        let targets =
            if small { self.table.in_turn(wanted) } else { self.table.pick(k, &mut self.rng, wanted) };
        let room = self.cfg.packet_bound.saturating_sub(COMPOUND_HEADER + self.codec.packet_overhead());
        let burst = self.cfg.gossip_burst.max(1);
        let mut told = 0;
        for slot in targets {
            let Some(node) = self.table.get(slot) else { continue };
            let (to, crc) = (node.addr(), node.protocol_max() >= CRC_PROTOCOL);
            let messages = self.riders(Some(slot), room * burst, delegate);
            if messages.is_empty() {
                if small {
                    continue;
                }
                break;
            }
            // What does not fit into one packet follows in the next: many joins at once are many
            // news, and at one packet per round they would take their time.
            let mut rest = messages.as_slice();
            while !rest.is_empty() {
                let (packet, next) = rest.split_at(fitting(rest, room));
                self.send_packet(to, packet, crc);
                rest = next;
            }
            told += 1;
            if told == k {
                if small {
                    self.table.turn_ends_with(slot);
                }
                break;
            }
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
        messages.extend(self.riders(target, room, delegate));
        // A message has 10 bytes at least, so only a raised bound lets in more than this.
        messages.truncate(MAX_PARTS);
        self.send_packet(to, &messages, false);
    }

    /// Broadcasts for a packet to `target`, ours before those of the layer above.
    fn riders(&mut self, target: Option<Slot>, room: usize, delegate: &mut dyn Delegate) -> Vec<Bytes> {
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
        messages
    }
}

/// How many of the messages go into one packet; at least one.
fn fitting(messages: &[Bytes], room: usize) -> usize {
    let mut used = 0;
    let fits = |m: &&Bytes| {
        used += m.len() + PART_OVERHEAD;
        used <= room
    };
    messages.iter().take(MAX_PARTS).take_while(fits).count().max(1)
}
