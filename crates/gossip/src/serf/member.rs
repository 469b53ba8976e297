//! A member as this layer sees it.

use super::message::{MemberRecord, ip_to_bytes};
use super::tags::{self, Tags};
use crate::swim::{Node, NodeInfo, Tick};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is believed of a member. The numbers are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MemberStatus {
    /// There.
    Alive = 1,
    /// Announced that it leaves, still there.
    Leaving = 2,
    /// Gone on purpose.
    Left = 3,
    /// Gone without a word.
    Failed = 4,
}

impl MemberStatus {
    /// As operators see it.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberStatus::Alive => "alive",
            MemberStatus::Leaving => "leaving",
            MemberStatus::Left => "left",
            MemberStatus::Failed => "failed",
        }
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A member of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique in the pool.
    pub name: Arc<str>,
    /// Advertised address.
    pub addr: IpAddr,
    /// Advertised gossip port.
    pub port: u16,
    /// What it says about itself.
    pub tags: Arc<Tags>,
    /// What is believed of it.
    pub status: MemberStatus,
    /// Since when, on the pool's own clock.
    pub status_time: Tick,
    /// Versions: membership protocol min, max, current, then delegate min, max, current.
    pub vsn: [u8; 6],
}

impl Member {
    /// A member from what the layer below knows.
    pub fn from_info(info: &NodeInfo, status: MemberStatus, now: Tick) -> Self {
        Member {
            name: info.name.clone(),
            addr: info.ip,
            port: info.port,
            tags: Arc::new(tags::decode(&info.meta)),
            status,
            status_time: now,
            vsn: info.vsn,
        }
    }

    /// A member as handed to the refusal rules.
    pub fn candidate(node: &Node, now: Tick) -> Self {
        use crate::swim::NodeState;
        let status = match node.state() {
            NodeState::Left => MemberStatus::Left,
            NodeState::Dead => MemberStatus::Failed,
            _ => MemberStatus::Alive,
        };
        Self::from_info(node.info(), status, now)
    }

    /// Advertised address and port.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr, self.port)
    }

    /// Value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }

    /// As it goes into the answer to a conflict query.
    pub fn to_record(&self) -> MemberRecord {
        let [pmin, pmax, pcur, dmin, dmax, dcur] = self.vsn;
        MemberRecord {
            addr: Some(ip_to_bytes(self.addr)),
            delegate_cur: dcur,
            delegate_max: dmax,
            delegate_min: dmin,
            name: self.name.to_string(),
            port: self.port,
            protocol_cur: pcur,
            protocol_max: pmax,
            protocol_min: pmin,
            status: self.status as u8,
            tags: Some((*self.tags).clone()),
        }
    }
}
