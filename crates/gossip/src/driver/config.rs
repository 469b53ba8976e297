//! What a pool is started with.

use crate::serf::{SerfConfig, Tags};
use crate::swim::SwimConfig;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one pool. Start from [`PoolConfig::lan`], [`PoolConfig::wan`] or
/// [`PoolConfig::local`] and change what differs.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Name of this member, unique in the pool.
    pub name: String,
    /// Address and port of the sockets; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Address told to the others; `None` = the bound one.
    pub advertise_addr: Option<IpAddr>,
    /// Port told to the others; `None` = the bound one.
    pub advertise_port: Option<u16>,
    /// Membership and failure detection, keys, allowed address ranges.
    pub swim: SwimConfig,
    /// Tags, events, queries, how long the gone are remembered, refusal rules.
    pub serf: SerfConfig,
    /// Where the keyring is written after a change.
    pub keyring_path: Option<PathBuf>,
    /// Where members and clocks are written down; `None` = nowhere.
    pub snapshot_path: Option<PathBuf>,
    /// Whether a restarted agent that had left returns to its pool by itself.
    pub rejoin_after_leave: bool,
}

/// Changes to a profile, as the configuration of an agent allows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Time between gossip rounds.
    pub gossip_interval: Option<Duration>,
    /// Members told per gossip round.
    pub gossip_nodes: Option<usize>,
    /// Time between probes.
    pub probe_interval: Option<Duration>,
    /// Time to wait for an ack before others are asked.
    pub probe_timeout: Option<Duration>,
    /// Factor of the time a suspicion lasts.
    pub suspicion_mult: Option<u32>,
    /// Factor of the number of times a broadcast is sent.
    pub retransmit_mult: Option<u32>,
}

impl PoolConfig {
    fn with(name: &str, bind: SocketAddr, swim: SwimConfig) -> Self {
        PoolConfig {
            name: name.to_owned(),
            bind,
            advertise_addr: None,
            advertise_port: None,
            swim,
            serf: SerfConfig::consul(),
            keyring_path: None,
            snapshot_path: None,
            rejoin_after_leave: false,
        }
    }

    /// For the agents of one datacenter.
    pub fn lan(name: &str, bind: SocketAddr) -> Self {
        Self::with(name, bind, SwimConfig::lan())
    }

    /// For the servers of several datacenters.
    pub fn wan(name: &str, bind: SocketAddr) -> Self {
        Self::with(name, bind, SwimConfig::wan())
    }

    /// For agents on one machine.
    pub fn local(name: &str, bind: SocketAddr) -> Self {
        Self::with(name, bind, SwimConfig::local())
    }

    /// Changes the profile.
    pub fn tune(&mut self, tuning: Tuning) {
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        set(&mut self.swim.gossip_interval, tuning.gossip_interval);
        set(&mut self.swim.gossip_nodes, tuning.gossip_nodes);
        set(&mut self.swim.probe_interval, tuning.probe_interval);
        set(&mut self.swim.probe_timeout, tuning.probe_timeout);
        set(&mut self.swim.suspicion_mult, tuning.suspicion_mult);
        set(&mut self.swim.retransmit_mult, tuning.retransmit_mult);
    }

    /// The same with these tags.
    #[must_use]
    pub fn tags(mut self, tags: Tags) -> Self {
        self.serf.tags = tags;
        self
    }
}
