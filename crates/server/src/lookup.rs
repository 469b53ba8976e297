//! The servers of the own datacenter as LAN gossip tells them: from a Raft id to a name and an
//! address that can be dialled now.

use std::net::SocketAddr;

use arc_swap::ArcSwap;
use consensus::ServerId;
use std::collections::HashMap;
use std::sync::Arc;

/// A server of this datacenter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanServer {
    /// Its Raft and node id.
    pub id: ServerId,
    /// Node name.
    pub name: String,
    /// RPC address.
    pub rpc: SocketAddr,
    /// Address of its WAN pool, if it has one.
    pub wan: Option<SocketAddr>,
    /// `bootstrap` tag.
    pub bootstrap: bool,
    /// `expect` tag; 0 if absent.
    pub expect: u32,
    /// The level of the reference it speaks.
    pub build: String,
    /// Read replica: never a voter.
    pub read_replica: bool,
    /// Whether gossip holds it for alive.
    pub alive: bool,
    /// Version of the Raft protocol it speaks.
    pub raft_version: u32,
    /// Gossip status as `operator` endpoints number it: 1 alive, 2 leaving, 3 left, 4 failed.
    pub serf_status: i64,
}

/// The current servers; readers take a snapshot, one writer replaces it.
#[derive(Debug, Default)]
pub struct Lookup {
    servers: ArcSwap<HashMap<ServerId, LanServer>>,
}

impl Lookup {
    /// Replaces all.
    pub fn replace(&self, servers: impl IntoIterator<Item = LanServer>) {
        self.servers.store(Arc::new(servers.into_iter().map(|server| (server.id, server)).collect()));
    }

    /// All servers now.
    pub fn all(&self) -> Arc<HashMap<ServerId, LanServer>> {
        self.servers.load_full()
    }

    /// One server.
    pub fn get(&self, id: ServerId) -> Option<LanServer> {
        self.servers.load().get(&id).cloned()
    }
}
