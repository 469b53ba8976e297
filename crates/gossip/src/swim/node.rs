//! What is known of one member.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Tick;

/// State of a member as this agent sees it. The numbers are those of a push/pull node record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NodeState {
    /// Believed to be running.
    Alive = 0,
    /// Did not answer a probe; will be held dead unless it refutes in time.
    Suspect = 1,
    /// Failed.
    Dead = 2,
    /// Said itself that it leaves.
    Left = 3,
}

impl NodeState {
    /// The state with this number on the wire.
    pub fn from_wire(n: i64) -> Option<Self> {
        Some(match n {
            0 => NodeState::Alive,
            1 => NodeState::Suspect,
            2 => NodeState::Dead,
            3 => NodeState::Left,
            _ => return None,
        })
    }

    /// Dead or left.
    pub fn is_gone(self) -> bool {
        matches!(self, NodeState::Dead | NodeState::Left)
    }
}

/// What a member says of itself in its alive messages. Immutable and shared: a pool of n members
/// in one process (tests, simulation) holds it once, not n times.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NodeInfo {
    /// Name, unique in the pool.
    pub name: Arc<str>,
    /// Advertised address.
    pub ip: IpAddr,
    /// Advertised gossip port.
    pub port: u16,
    /// Opaque application data of at most 512 bytes (serf keeps the tags in it).
    pub meta: Arc<[u8]>,
    /// `[pmin, pmax, pcur, dmin, dmax, dcur]`: versions of this protocol and of the layer above.
    pub vsn: [u8; 6],
}

/// A member: what it says of itself, and what we hold of it.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) info: Arc<NodeInfo>,
    pub(super) changed: Tick,
    pub(super) incarnation: u32,
    pub(super) state: NodeState,
}

impl Node {
    /// Name, unique in the pool.
    pub fn name(&self) -> &Arc<str> {
        &self.info.name
    }

    /// Advertised gossip address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.info.ip, self.info.port)
    }

    /// Opaque application data.
    pub fn meta(&self) -> &Arc<[u8]> {
        &self.info.meta
    }

    /// `[pmin, pmax, pcur, dmin, dmax, dcur]`.
    pub fn vsn(&self) -> [u8; 6] {
        self.info.vsn
    }

    /// Highest version of the membership protocol that it understands.
    pub fn protocol_max(&self) -> u8 {
        self.info.vsn[1]
    }

    /// State as this agent sees it.
    pub fn state(&self) -> NodeState {
        self.state
    }

    /// When the state changed last.
    pub fn changed(&self) -> Tick {
        self.changed
    }

    /// Number of its newest accepted statement about itself.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Everything the member says of itself.
    pub fn info(&self) -> &Arc<NodeInfo> {
        &self.info
    }
}
