//! Taking apart what arrives in packets.

use std::net::SocketAddr;

use super::Delegate;
use super::core::Swim;
use super::queue::TELL_EVERYONE;
use super::table::{Slot, bit_of};
use crate::wire::{self, Accusation, Ack, Alive, IndirectPing, MessageType, Nack, PacketError, Ping};

impl Swim {
    pub(super) fn packet(&mut self, from: SocketAddr, bytes: &[u8], delegate: &mut dyn Delegate) {
        self.counters.packets_received += 1;
        self.counters.packet_bytes_received += bytes.len() as u64;
        let plain = match self.codec.open_packet(bytes) {
            Ok(plain) => plain,
            Err(error) => return self.dropped(from, &error),
        };
        let heard_from = self.bit_of_address(from);
        let mut bad = Vec::new();
        wire::for_each_message(
            &plain,
            &mut |kind, body| {
                if let Err(error) = self.message(from, heard_from, kind, body, delegate) {
                    self.dropped(from, &error);
                }
            },
            &mut |error| bad.push(error),
        );
        for error in bad {
            self.dropped(from, &error);
        }
    }

    fn message(
        &mut self,
        from: SocketAddr,
        heard_from: u64,
        kind: MessageType,
        body: &[u8],
        delegate: &mut dyn Delegate,
    ) -> Result<(), PacketError> {
        let bad = |e: msgpack::Error| PacketError::Malformed { kind, reason: e.to_string() };
        match kind {
            MessageType::Ping => {
                let ping: Ping = msgpack::from_slice(body).map_err(bad)?;
                self.ping_received(from, &ping, delegate);
            }
            MessageType::IndirectPing => {
                let request: IndirectPing = msgpack::from_slice(body).map_err(bad)?;
                self.indirect_ping_received(from, &request);
            }
            MessageType::Ack => {
                let ack: Ack = msgpack::from_slice(body).map_err(bad)?;
                self.ack_received(from, &ack, delegate);
            }
            MessageType::Nack => {
                let nack: Nack = msgpack::from_slice(body).map_err(bad)?;
                self.nack_received(&nack);
            }
            MessageType::Suspect => {
                let suspect: Accusation = msgpack::from_slice(body).map_err(bad)?;
                self.suspect(&suspect, heard_from);
            }
            MessageType::Dead => {
                let dead: Accusation = msgpack::from_slice(body).map_err(bad)?;
                self.dead(&dead, heard_from, delegate);
            }
            MessageType::Alive => {
                if !self.address_allowed(from.ip()) {
                    tracing::debug!("memberlist: Blocked alive message: {} is not allowed", from.ip());
                    self.counters.dropped += 1;
                    return Ok(());
                }
                let alive: Alive = msgpack::from_slice(body).map_err(bad)?;
                self.alive(&alive, heard_from, delegate);
            }
            MessageType::User => delegate.user_message(body),
            other => return Err(PacketError::Type(other as u8)),
        }
        Ok(())
    }

    fn dropped(&mut self, from: SocketAddr, error: &PacketError) {
        self.counters.dropped += 1;
        tracing::warn!("memberlist: dropped packet or part of one from {from}: {error}");
    }

    /// The bit of the member at this address, in pools small enough to look.
    fn bit_of_address(&self, from: SocketAddr) -> u64 {
        self.slot_of_source("", from).and_then(bit_of).unwrap_or(0)
    }

    /// The member that a probe says it comes from, or else, in small pools, the one at this address.
    pub(super) fn slot_of_source(&self, name: &str, from: SocketAddr) -> Option<Slot> {
        if !name.is_empty() {
            self.table.find(name)
        } else if self.table.len() <= TELL_EVERYONE {
            self.table.slot_of_address(from)
        } else {
            None
        }
    }
}
