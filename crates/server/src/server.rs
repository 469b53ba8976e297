//! The life of a server: start, leave, stop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use consensus::{BoxedIo, Consensus, ConsensusError, RaftDial, ServerId, Timings};
use futures::future::BoxFuture;
use gossip::driver::PoolHandle;
use gossip::serf::consul::ServerParts;
use model::decoded::DecodedReplies;
use model::encoded::EncodedAnswers;
use model::error::RpcError;
use model::internal::SnapshotRequest;
use model::options::QueryMeta;
use model::road::Road;
use rpc::{BoxIo, ConnHandler, ConnPool, Listener, ListenerConfig, PoolConfig, ServerAddr, first_byte};
use state::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ServerConfig;
use crate::core::Core;
use crate::endpoints;
use crate::forward::LocalRoad;
use crate::fsm::StoreFsm;
use crate::leader::{self, LeaderOnly};
use crate::lookup::{LanServer, Lookup};
use crate::members::lan_server;
use crate::remote::Remotes;
use crate::rpc_face::RpcFace;
use crate::snapshot::{ArchiveReader, SnapshotFace};
use crate::usage;
use crate::wan;

/// How long a handover of the leadership may take before the server leaves anyway.
const TRANSFER: Duration = Duration::from_secs(2);
/// How long a leaving server waits to be removed from the Raft peers.
const REMOVAL: Duration = Duration::from_secs(5);
/// How long calls in flight may take to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(1);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The RPC port cannot be had.
    #[error("Failed to start RPC layer: listen tcp {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log or the snapshots cannot be used.
    #[error("Failed to start Raft: {0}")]
    Raft(#[from] ConsensusError),
}

/// A running server.
pub struct Server {
    core: Arc<Core>,
    listener: Listener,
    tasks: TaskTracker,
}

/// Dials the Raft port of another server.
struct Dial {
    pool: Arc<ConnPool>,
    datacenter: String,
}

#[async_trait]
impl RaftDial for Dial {
    async fn dial(&self, address: SocketAddr) -> io::Result<BoxedIo> {
        let target =
            ServerAddr { name: address.to_string(), addr: address, datacenter: self.datacenter.clone() };
        let io = self.pool.dial(&target, first_byte::RAFT).await.map_err(io::Error::other)?;
        Ok(Box::new(io))
    }
}

/// Serves connections that begin with byte 1.
struct RaftFace(Consensus<StoreFsm>);

impl ConnHandler for RaftFace {
    fn serve(&self, io: BoxIo, peer: SocketAddr, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let raft = self.0.clone();
        Box::pin(async move {
            tokio::select! {
                result = raft.serve(Box::new(io)) => if let Err(error) = result {
                    tracing::debug!(target: "server.raft", %peer, error = %error, "raft connection ended");
                },
                () = stop.cancelled() => {}
            }
        })
    }
}

impl Server {
    /// Starts a server in pools that run already.
    ///
    /// # Errors
    /// When the RPC port cannot be bound, or what is on disk cannot be read.
    pub async fn start(
        config: ServerConfig,
        lan: PoolHandle,
        wan: Option<PoolHandle>,
    ) -> Result<Self, ServerError> {
        let listener_config = ListenerConfig {
            max_conns_per_client: config.rpc_max_conns_per_client,
            handshake_timeout: config.rpc_handshake_timeout,
            ..ListenerConfig::default()
        };
        let listener = Listener::bind(config.rpc_bind, listener_config)
            .await
            .map_err(|source| ServerError::Bind { address: config.rpc_bind, source })?;
        let source = Some(config.rpc_bind.ip()).filter(|ip| !ip.is_unspecified());
        let pool = Arc::new(ConnPool::plain(source, PoolConfig::default()));
        let lookup = Arc::new(Lookup::default());
        let store = Arc::new(Store::new());
        let leader_only = Arc::new(LeaderOnly::default());
        let fsm = StoreFsm::new(store.clone(), leader_only.clone());
        let dial = Arc::new(Dial { pool: pool.clone(), datacenter: config.datacenter.clone() });
        let addresses = lookup.clone();
        let book = Arc::new(move |id: ServerId| addresses.get(id).map(|server| server.rpc));
        let raft = Consensus::start(raft_config(&config), Arc::new(fsm), dial, book).await?;
        let core = Arc::new(Core {
            encoded: EncodedAnswers::default(),
            decoded: DecodedReplies::default(),
            remotes: Remotes::new(&config.datacenter, pool.clone()),
            store,
            registry: endpoints::registry(),
            raft,
            pool,
            lookup,
            lan,
            wan,
            leader_only,
            stop: CancellationToken::new(),
            config,
        });
        core.lookup.replace(core.lan_servers());
        listener.register(first_byte::RAFT, Arc::new(RaftFace(core.raft.clone())));
        listener.register(first_byte::SNAPSHOT, Arc::new(SnapshotFace(core.clone())));
        listener.serve_rpc(Arc::new(RpcFace(core.clone())));
        let tasks = TaskTracker::new();
        tasks.spawn(until_stopped(core.clone(), follow_lan(core.clone())));
        tasks.spawn(until_stopped(core.clone(), leader::follow(core.clone())));
        tasks.spawn(until_stopped(core.clone(), usage::run(core.clone())));
        if let Some(wan) = core.wan.clone() {
            tasks.spawn(until_stopped(core.clone(), wan::run(core.clone(), wan)));
        }
        Ok(Self { core, listener, tasks })
    }

    /// The road of this server's own faces.
    pub fn road(&self) -> Road {
        Road::new(Arc::new(LocalRoad(self.core.clone())))
    }

    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        self.core.is_leader()
    }

    /// RPC address of the leader, if one is known.
    pub fn leader_address(&self) -> Option<SocketAddr> {
        self.core.leader().and_then(|id| self.core.address_of(id))
    }

    /// Waits until its part in the consensus has ended by itself, and tells why. Such a server can only
    /// be started anew; one that is told to stop has not failed.
    pub async fn failed(&self) -> String {
        self.core.raft.failed().await
    }

    /// Whether it was started to found its datacenter alone.
    pub fn bootstrap(&self) -> bool {
        self.core.config.bootstrap
    }

    /// How many datacenters are known.
    pub fn known_datacenters(&self) -> usize {
        self.core.remotes.with_router(|router| router.datacenters().len())
    }

    /// What `info` shows of Raft.
    pub fn raft_stats(&self) -> BTreeMap<String, String> {
        self.core.raft.stats().into_iter().collect()
    }

    /// An archive of a datacenter's state.
    ///
    /// # Errors
    /// When no server that may answer can be reached, or the snapshot cannot be written.
    pub async fn save_snapshot(
        &self,
        request: &SnapshotRequest,
    ) -> Result<(QueryMeta, ArchiveReader), RpcError> {
        self.core.save_snapshot(request).await
    }

    /// Replaces a datacenter's state.
    ///
    /// # Errors
    /// When the archive is not sound, in which case nothing has changed, or there is no leader.
    pub async fn restore_snapshot(
        &self,
        request: &SnapshotRequest,
        archive: ArchiveReader,
    ) -> Result<(), RpcError> {
        self.core.restore_snapshot(request, archive).await
    }

    /// Makes a member that failed, or a server of this datacenter, one that left: in the LAN and, by
    /// its name there, in the WAN.
    pub async fn force_leave(&self, name: &str, prune: bool) {
        self.core.force_leave_everywhere(name, prune).await;
    }

    /// Leaves the datacenter for good: the leadership goes to another, and this server out of the
    /// Raft peers, before the pools are left.
    pub async fn leave(&self) {
        let core = &self.core;
        let own = core.config.node_id;
        let voters = core.raft.membership().into_iter().filter(|member| member.voter).count();
        let led = core.is_leader();
        if led && voters > 1 {
            match tokio::time::timeout(TRANSFER, core.raft.transfer_leadership(None)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(target: "server", error = %error, "failed to transfer the leadership");
                }
                Err(_) => tracing::warn!(target: "server", "transferring the leadership took too long"),
            }
        }
        if core.is_leader()
            && voters > 1
            && let Err(error) = core.raft.remove(own).await
        {
            tracing::error!(target: "server", error = %error, "failed to remove ourself as raft peer");
        }
        if let Some(wan) = &core.wan
            && let Err(error) = wan.leave().await
        {
            tracing::error!(target: "server", error = %error, "failed to leave WAN Serf cluster");
        }
        if let Err(error) = core.lan.leave().await {
            tracing::error!(target: "server", error = %error, "failed to leave LAN Serf cluster");
        }
        if voters > 1 {
            // The leader takes a server that left out of the configuration; after that nobody waits
            // for its vote.
            let mut state = core.raft.watch();
            let removed = state.wait_for(|state| !state.members.iter().any(|member| member.id == own));
            if tokio::time::timeout(REMOVAL, removed).await.is_err() {
                tracing::warn!(target: "server", "failed to leave raft configuration gracefully, timeout");
            }
        }
    }

    /// Stops without leaving. The leadership is handed over first, so that a restart costs the
    /// datacenter no election timeout.
    pub async fn shutdown(&self) {
        let core = &self.core;
        if core.is_leader() && core.raft.membership().iter().filter(|member| member.voter).count() > 1 {
            // It may fail; then the others find out by themselves.
            let _ = tokio::time::timeout(TRANSFER, core.raft.transfer_leadership(None)).await;
        }
        core.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.listener.shutdown(DRAIN).await;
        core.pool.shutdown().await;
        if let Err(error) = core.raft.shutdown().await {
            tracing::error!(target: "server.raft", error = %error, "error shutting down raft");
        }
    }
}

fn raft_config(config: &ServerConfig) -> consensus::Config {
    let mut raft = consensus::Config::new(config.node_id, config.rpc_advertise, config.datacenter.clone());
    raft.dir = config.data_dir.clone();
    raft.timings = Timings::from_multiplier(config.raft_multiplier);
    if let Some(threshold) = config.raft_snapshot_threshold {
        raft.snapshot_threshold = threshold;
    }
    if let Some(interval) = config.raft_snapshot_interval {
        raft.snapshot_interval = interval;
    }
    if let Some(trailing) = config.raft_trailing_logs {
        raft.trailing_logs = trailing;
    }
    raft
}

async fn until_stopped(core: Arc<Core>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = core.stop.cancelled() => {}
    }
}

/// Keeps the lookup equal to the LAN pool.
async fn follow_lan(core: Arc<Core>) {
    let mut changed = core.lan.members_changed();
    loop {
        // After subscribing, so that no change falls between the two.
        core.lookup.replace(core.lan_servers());
        if changed.changed().await.is_err() {
            return;
        }
    }
}

impl Core {
    /// The servers of this datacenter as the pool knows them now; `lookup` follows it a moment later.
    pub(crate) fn lan_servers(&self) -> Vec<LanServer> {
        let members = self.lan.members();
        let servers = members.iter().filter_map(|member| {
            let parts = ServerParts::from_member(member)?;
            (parts.datacenter == self.datacenter()).then(|| lan_server(&parts))?
        });
        servers.collect()
    }

    pub(crate) async fn force_leave_everywhere(&self, name: &str, prune: bool) {
        let suffix = format!(".{}", self.datacenter());
        let short = name.strip_suffix(&suffix).unwrap_or(name);
        if let Err(error) = self.lan.force_leave(short, prune).await {
            tracing::warn!(target: "server", name, error = %error, "failed to force the member out of the LAN pool");
        }
        // A name that the WAN pool knows is taken as it is: a failed server of another datacenter
        // can be forced out from here.
        let Some(wan) = &self.wan else { return };
        let long = format!("{short}{suffix}");
        for candidate in [long.as_str(), name] {
            if wan.member(candidate).is_some()
                && let Err(error) = wan.force_leave(candidate, prune).await
            {
                tracing::warn!(target: "server", name, error = %error, "failed to force the member out of the WAN pool");
            }
        }
    }
}
