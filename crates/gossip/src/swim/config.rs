//! Timing and sizes, with the profiles of the reference.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Interner;
use crate::wire::Keyring;

/// Settings of one pool's state machine. Start from [`SwimConfig::lan`], [`SwimConfig::wan`] or
/// [`SwimConfig::local`].
#[derive(Clone, Debug)]
pub struct SwimConfig {
    /// Deadline of a whole conversation over a stream.
    pub tcp_timeout: Duration,
    /// How many others are asked to probe a member that does not answer (SWIM's k).
    pub indirect_checks: usize,
    /// A broadcast is sent `retransmit_mult * ceil(log10(n + 1))` times.
    pub retransmit_mult: u32,
    /// Send a broadcast as often as it takes for nobody to be missed (see
    /// [`Spread`](super::queue::Spread)), not only as often as the reference does. Default true.
    pub thorough_spread: bool,
    /// Shortest suspicion is `suspicion_mult * log10(n) * probe_interval`.
    pub suspicion_mult: u32,
    /// Longest suspicion is this many times the shortest.
    pub suspicion_max_mult: u32,
    /// A member whose host refuses connections is suspected for this many probe intervals only, if
    /// that is shorter (see [`StreamFailure::refused`](super::StreamFailure)). 0 turns this off. Default 1.
    pub refused_suspicion: f64,
    /// How many members, on average over the whole pool, probe a new suspect out of turn, so that
    /// the suspicion is soon confirmed or refuted. 0 turns this off, as in the reference. Default 6.
    pub urgent_probers: u32,
    /// Time between full exchanges in a pool of up to 32.
    pub push_pull_interval: Duration,
    /// Time between probes.
    pub probe_interval: Duration,
    /// Time to wait for an ack before others are asked.
    pub probe_timeout: Duration,
    /// Time between gossip rounds.
    pub gossip_interval: Duration,
    /// Members told per gossip round.
    pub gossip_nodes: usize,
    /// Most packets to one member per gossip round, when there is more news than fits into one.
    /// The reference sends one. Default 8.
    pub gossip_burst: usize,
    /// How long the dead are still told things, and remembered.
    pub gossip_to_the_dead: Duration,
    /// How long members that died are asked now and then whether they are back. Zero turns this off,
    /// as in the reference. Default 72 hours.
    pub knock_for: Duration,
    /// Local health score stays below this (Lifeguard's S + 1).
    pub awareness_max: u32,
    /// After this time the name of a dead member may be taken over by another address; zero = never.
    pub dead_node_reclaim: Duration,
    /// Bound on the size of packets that are put together from several messages.
    pub packet_bound: usize,
    /// Probe over a stream as well when a datagram was not answered.
    pub tcp_pings: bool,
    /// Tell in probes where the answer is to go. Can be left out if packets leave from the
    /// advertised address, to which answers go anyway; that is a sixth of the traffic at rest.
    pub announce_source: bool,
    /// Compress packets (where that makes them smaller) and streams.
    pub compression: bool,
    /// Keys; none = plaintext pool.
    pub keyring: Option<Keyring>,
    /// Refuse plaintext when there are keys.
    pub verify_incoming: bool,
    /// Encrypt what we send when there are keys.
    pub verify_outgoing: bool,
    /// Label of the pool; empty = none. Consul never sets one.
    pub label: String,
    /// Address ranges that members must be in; `None` = any.
    pub allowed_cidrs: Option<Vec<Cidr>>,
    /// How long a leave waits for its broadcast to be spread.
    pub leave_timeout: Duration,
    /// Share the members' descriptions with other state machines in this process (simulation).
    pub interner: Option<Arc<Interner>>,
}

impl SwimConfig {
    /// Profile for members in one datacenter.
    pub fn lan() -> Self {
        SwimConfig {
            tcp_timeout: Duration::from_secs(10),
            indirect_checks: 3,
            retransmit_mult: 4,
            thorough_spread: true,
            suspicion_mult: 4,
            suspicion_max_mult: 6,
            refused_suspicion: 1.0,
            urgent_probers: 6,
            push_pull_interval: Duration::from_secs(30),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_burst: 8,
            gossip_to_the_dead: Duration::from_secs(30),
            knock_for: Duration::from_secs(72 * 3600),
            awareness_max: 8,
            dead_node_reclaim: Duration::from_secs(30),
            packet_bound: 1400,
            tcp_pings: true,
            announce_source: true,
            compression: true,
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            label: String::new(),
            allowed_cidrs: None,
            leave_timeout: Duration::from_secs(5),
            interner: None,
        }
    }

    /// This profile without what we do beyond the reference, for comparison.
    pub fn like_reference(self) -> Self {
        SwimConfig {
            thorough_spread: false,
            refused_suspicion: 0.0,
            urgent_probers: 0,
            gossip_burst: 1,
            knock_for: Duration::ZERO,
            ..self
        }
    }

    /// Profile for the servers of several datacenters.
    pub fn wan() -> Self {
        SwimConfig {
            tcp_timeout: Duration::from_secs(30),
            suspicion_mult: 6,
            push_pull_interval: Duration::from_secs(60),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(500),
            gossip_to_the_dead: Duration::from_secs(60),
            ..Self::lan()
        }
    }

    /// Profile for members on one machine.
    pub fn local() -> Self {
        SwimConfig {
            tcp_timeout: Duration::from_secs(1),
            indirect_checks: 1,
            retransmit_mult: 2,
            suspicion_mult: 3,
            push_pull_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_millis(200),
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead: Duration::from_secs(15),
            dead_node_reclaim: Duration::ZERO,
            ..Self::lan()
        }
    }
}

/// The member that this state machine speaks for.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// Name, unique in the pool.
    pub name: String,
    /// Advertised address.
    pub addr: IpAddr,
    /// Advertised port.
    pub port: u16,
    /// Opaque application data of at most 512 bytes.
    pub meta: Vec<u8>,
    /// `[pmin, pmax, pcur, dmin, dmax, dcur]`; see [`VSN_CONSUL`](super::VSN_CONSUL).
    pub vsn: [u8; 6],
}

/// A range of addresses such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

impl Cidr {
    /// The range of addresses that share the first `bits` bits with `base`; `None` if `base` has fewer.
    pub fn new(base: IpAddr, bits: u8) -> Option<Self> {
        let width = if base.is_ipv4() { 32 } else { 128 };
        (bits <= width).then_some(Cidr { base, bits })
    }

    /// Reads `address/bits`.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        Self::new(base.parse().ok()?, bits.parse().ok()?)
    }

    /// Is the address in the range?
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.base, addr.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = u32::from(a) ^ u32::from(b);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = u128::from(a) ^ u128::from(b);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
