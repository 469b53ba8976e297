//! What every part of a server shares: the state, the log, the ways to other servers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Consensus, ConsensusError, ServerId};
use gossip::driver::PoolHandle;
use model::decoded::DecodedReplies;
use model::encoded::EncodedAnswers;
use model::error::{ErrorKind, RpcError};
use rpc::{ConnPool, ServerAddr};
use serde::Serialize;
use state::{Answer, Store, Wake, WatchSet};
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::fsm::StoreFsm;
use crate::leader::LeaderOnly;
use crate::lookup::Lookup;
use crate::registry::Registry;
use crate::remote::Remotes;

/// The shared middle of a server.
pub struct Core {
    pub(crate) config: ServerConfig,
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Registry,
    pub(crate) raft: Consensus<StoreFsm>,
    pub(crate) pool: Arc<ConnPool>,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) remotes: Remotes,
    /// Answers to other agents, and theirs to us, that may be the same again.
    pub(crate) encoded: EncodedAnswers,
    pub(crate) decoded: DecodedReplies,
    pub(crate) lan: PoolHandle,
    pub(crate) wan: Option<PoolHandle>,
    /// What only a leader holds: session timers, lock delays, coordinates not yet written.
    pub(crate) leader_only: Arc<LeaderOnly>,
    pub(crate) stop: CancellationToken,
}

/// Number of a command in the log, its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CommandType {
    Register = 0,
    Deregister = 1,
    Kvs = 2,
    Session = 3,
    Tombstone = 5,
    CoordinateBatchUpdate = 6,
    PreparedQuery = 7,
    Txn = 8,
    Autopilot = 9,
}

impl Core {
    /// The own datacenter.
    pub fn datacenter(&self) -> &str {
        &self.config.datacenter
    }

    /// The leader, unless it has been silent for so long that an election is due.
    pub(crate) fn leader(&self) -> Option<ServerId> {
        let leader = self.raft.leader()?;
        let silent = self.last_contact() > self.config.leader_silence();
        (!silent).then_some(leader)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    pub(crate) fn leader_known(&self) -> bool {
        self.leader().is_some()
    }

    /// Whether there ever was a leader to hear of: before, a stale answer would be an empty one.
    pub(crate) fn ever_heard_of_leader(&self) -> bool {
        self.raft.is_leader() || self.raft.last_contact().is_some()
    }

    /// Time since the leader was heard; zero on the leader.
    pub(crate) fn last_contact(&self) -> Duration {
        if self.raft.is_leader() { Duration::ZERO } else { self.raft.last_contact().unwrap_or_default() }
    }

    /// A server of this datacenter, as the connection pool names it.
    pub(crate) fn server_addr(&self, name: String, addr: SocketAddr) -> ServerAddr {
        ServerAddr { name, addr, datacenter: self.config.datacenter.clone() }
    }

    /// Where a server of this datacenter is now: gossip knows better than the Raft configuration.
    pub(crate) fn address_of(&self, id: ServerId) -> Option<SocketAddr> {
        self.lookup.get(id).map(|server| server.rpc)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until another leader is known, at most for `pause`.
    pub(crate) async fn leadership_changed(&self, pause: Duration) {
        let mut watch = self.raft.watch();
        let before = watch.borrow_and_update().leader;
        let changed = async {
            while watch.changed().await.is_ok() {
                if watch.borrow_and_update().leader != before {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Proves that this server leads, and waits until everything acknowledged before is in the view.
    pub(crate) async fn linearizable(&self) -> Result<(), RpcError> {
        self.raft.linearizable().await.map(drop).map_err(read_error)
    }

    /// The `default` mode: the leader answers at once while its lease is valid. A former leader can
    /// do so for the length of the lease at most.
    pub(crate) async fn ensure_lease(&self) -> Result<(), RpcError> {
        if self.raft.lease_valid() { Ok(()) } else { self.linearizable().await }
    }

    /// Holds a blocking query until something that it read has changed, or its time is over.
    pub(crate) async fn wait_for_change(
        &self,
        watched: WatchSet,
        deadline: Instant,
    ) -> Result<Wake, RpcError> {
        tokio::select! {
            wake = watched.changed(deadline.into()) => Ok(wake),
            () = self.stop.cancelled() => Err(RpcError::no_leader()),
        }
    }

    /// Writes a command to the log and waits until it is applied here.
    pub(crate) async fn propose(&self, kind: CommandType, body: &impl Serialize) -> Result<Answer, RpcError> {
        let command = encode(kind, body)?;
        let (_, answer) = self.raft.propose(command).await.map_err(write_error)?;
        match answer {
            Answer::Error(text) => Err(RpcError::from_text(text)),
            answer => Ok(answer),
        }
    }
}

/// Space to encode in is kept up to this size.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A command as the log holds it. The log keeps it in memory for a while, so it gets exactly the bytes
/// it takes; what it would leave behind while it grows is spared by growing elsewhere.
fn encode(kind: CommandType, body: &impl Serialize) -> Result<Bytes, RpcError> {
    ENCODED.with_borrow_mut(|space| {
        space.clear();
        space.push(kind as u8);
        let encoded = msgpack::to_writer_vec(space, body);
        let command = Bytes::copy_from_slice(space);
        if space.capacity() > SCRATCH {
            *space = Vec::new();
        }
        encoded.map_err(|error| {
            RpcError::new(ErrorKind::Other, format!("cannot encode the command: {error}"))
        })?;
        Ok(command)
    })
}

/// A write that certainly did not run may be tried at the next leader; one that may have run may not.
fn write_error(error: ConsensusError) -> RpcError {
    match error {
        ConsensusError::NotLeader { .. } => RpcError::no_leader(),
        other => RpcError::new(ErrorKind::Other, other.to_string()),
    }
}

fn read_error(error: ConsensusError) -> RpcError {
    match error {
        ConsensusError::NotLeader { .. } => RpcError::no_leader(),
        ConsensusError::NoQuorum | ConsensusError::Timeout => {
            RpcError::from_text("Not ready to serve consistent reads")
        }
        other => RpcError::new(ErrorKind::Other, other.to_string()),
    }
}
