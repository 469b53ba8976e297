//! The handle the rest of the program holds.

#[cfg(test)]
mod failed_tests;
mod failover;
mod health;
mod members;
mod promise;
mod proposals;
mod reads;
mod settle;
mod snapshots;
mod state;
mod stats;
mod telemetry;

pub use members::Member;
pub use state::{RaftState, Role};
pub use stats::Stats;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::error::ConsensusError;
use crate::fsm::Fsm;
use crate::log::{LogStorage, StorageHealth};
use crate::machine::{Machine, Progress};
use crate::net::{AddressBook, BoxedIo, Context, Links, RaftDial, Refusals, Serve};
use crate::snapshot::SnapshotStore;
use crate::timing::Timings;
use crate::types::{Applied, Command, CommandKind, Peer, ServerId, TypeConfig};
use proposals::ProposalQueue;
use reads::ReadQueue;

/// How soon it is known why the engine has ended.
const FAILURE_TOLD: Duration = Duration::from_secs(1);

pub(crate) type Engine<F> = Raft<TypeConfig, Machine<F>>;

/// How a server takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where log and snapshots live; `None` keeps them in memory.
    pub dir: Option<PathBuf>,
    pub id: ServerId,
    /// This server's own address, told to the others when it is added.
    pub address: SocketAddr,
    /// Peers of another datacenter are refused.
    pub datacenter: String,
    pub timings: Timings,
    /// Entries after which a snapshot is taken (`raft_snapshot_threshold`, 16384).
    pub snapshot_threshold: u64,
    /// Bytes of commands after which one is taken, however few entries they are; not before they
    /// are as many as the snapshot itself, so that writing it does not cost more than they did.
    pub snapshot_bytes: u64,
    /// How often that is looked at (`raft_snapshot_interval`, 30 s).
    pub snapshot_interval: Duration,
    /// Entries kept behind a snapshot for followers that lag (`raft_trailing_logs`, 10240).
    pub trailing_logs: u64,
    /// How long a proposal may wait before its fate is reported as unknown.
    pub propose_timeout: Duration,
}

impl Config {
    /// Defaults for a server with this identity.
    pub fn new(id: ServerId, address: SocketAddr, datacenter: impl Into<String>) -> Self {
        Self {
            dir: None,
            id,
            address,
            datacenter: datacenter.into(),
            timings: Timings::default(),
            snapshot_threshold: 16384,
            snapshot_bytes: 64 << 20,
            snapshot_interval: Duration::from_secs(30),
            trailing_logs: 10240,
            propose_timeout: Duration::from_secs(30),
        }
    }

    /// `may_campaign`: from the start.
    fn engine(&self, may_campaign: bool) -> Result<Arc<openraft::Config>, ConsensusError> {
        let ms = |d: Duration| d.as_millis() as u64;
        let config = openraft::Config {
            cluster_name: self.datacenter.clone(),
            heartbeat_interval: ms(self.timings.heartbeat),
            election_timeout_min: ms(self.timings.election_min),
            election_timeout_max: ms(self.timings.election_max),
            max_payload_entries: 2048,
            max_append_entries: Some(8192),
            replication_lag_threshold: self.trailing_logs.max(self.snapshot_threshold),
            // Decided by `snapshots`, see `Machine::try_create_snapshot_builder`.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.trailing_logs,
            purge_batch_size: 256,
            // Channels allocate what they hold; these only bound it.
            api_channel_size: Some(16384),
            enable_pre_vote: Some(true),
            enable_elect: may_campaign,
            // A restarted leader has lost its state machine and must be elected again.
            enable_leader_restore: Some(false),
            // A follower that lost its disk and came back under its id is filled
            // again, as the reference does; the engine would else stop the leader.
            allow_log_reversion: Some(true),
            backoff: "50ms 100ms 200ms ...1s".into(),
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new).map_err(|e| ConsensusError::Config(e.to_string()))
    }
}

struct Shared<F: Fsm> {
    config: Config,
    raft: Engine<F>,
    log: LogStorage,
    health: Arc<StorageHealth>,
    snapshots: Arc<SnapshotStore>,
    progress: Arc<Progress>,
    context: Arc<Context>,
    serve: Serve<F>,
    contact: Arc<Mutex<Option<Instant>>>,
    state: watch::Receiver<RaftState>,
    reads: ReadQueue,
    proposals: ProposalQueue,
    meters: telemetry::Meters,
    /// The newest term in which this server asked another to take over. Its lease bound nobody from then on.
    waived: AtomicU64,
    snapshot_lock: tokio::sync::Mutex<()>,
    /// Held through a change of the members, both its steps.
    changes: tokio::sync::Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
    stopping: watch::Sender<bool>,
}

/// One server's part in the consensus. Clones are handles to the same server.
pub struct Consensus<F: Fsm> {
    shared: Arc<Shared<F>>,
}

impl<F: Fsm> Clone for Consensus<F> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<F: Fsm> Consensus<F> {
    /// Opens the log and snapshots, restores the state, and takes part. A server
    /// with an empty log waits until it is bootstrapped or added by a leader.
    ///
    /// # Errors
    /// When files cannot be read, or what they hold does not check out.
    pub async fn start(
        config: Config,
        fsm: Arc<F>,
        dial: Arc<dyn RaftDial>,
        addresses: Arc<dyn AddressBook>,
    ) -> Result<Self, ConsensusError> {
        Self::start_on(config, fsm, dial, addresses, LogStorage::open).await
    }

    /// As [`Self::start`], with a log that `open` gives.
    async fn start_on(
        config: Config,
        fsm: Arc<F>,
        dial: Arc<dyn RaftDial>,
        addresses: Arc<dyn AddressBook>,
        open: impl FnOnce(Option<&Path>) -> std::io::Result<LogStorage> + Send + 'static,
    ) -> Result<Self, ConsensusError> {
        let began = tokio::time::Instant::now();
        let dir = config.dir.clone();
        let (log, snapshots) = tokio::task::spawn_blocking(move || {
            let snapshots = SnapshotStore::open(dir.as_deref())?;
            let log = open(dir.as_deref())?;
            Ok::<_, std::io::Error>((log, snapshots))
        })
        .await
        .map_err(std::io::Error::other)?
        .map_err(|e| ConsensusError::Storage(e.to_string()))?;
        let snapshots = Arc::new(snapshots);
        if let Some(dir) = &config.dir
            && let Err(error) = crate::recover::from_peers_file(dir, config.id, &log, &snapshots).await
        {
            log.close().await;
            return Err(error);
        }
        let progress = Arc::new(Progress::default());
        let context =
            Arc::new(Context { me: config.id, datacenter: config.datacenter.clone(), dial, addresses });
        let machine = Machine::new(fsm, log.clone(), snapshots.clone(), progress.clone());
        let bound_until =
            promise::binds(log.vote().as_ref(), config.id).then(|| began + config.timings.election_max);
        let engine = config.engine(bound_until.is_none())?;
        let raft = Raft::new(config.id, engine, Links(context.clone()), log.clone(), machine).await;
        let raft = match raft {
            Ok(raft) => raft,
            Err(error) => {
                // Releases the lock on the files before the caller hears of it.
                log.close().await;
                return Err(error.into());
            }
        };
        let contact = Arc::new(Mutex::new(None));
        // A burst of closed connections carries one message's worth of news.
        let (gone, gone_rx) = mpsc::channel(8);
        let serve = Serve {
            context: context.clone(),
            raft: raft.clone(),
            snapshots: snapshots.clone(),
            contact: contact.clone(),
            gone,
            refusals: Refusals::default(),
            bound_until,
        };
        let mut tasks = JoinSet::new();
        let (stopping, stop) = watch::channel(false);
        let state = state::spawn(
            &mut tasks,
            &config,
            &raft,
            progress.clone(),
            log.health(),
            contact.clone(),
            stop.clone(),
        );
        let reads = reads::spawn(&mut tasks, raft.clone(), progress.clone(), stop.clone());
        let proposals = proposals::spawn(&mut tasks, raft.clone(), stop);
        let shared = Arc::new(Shared {
            health: log.health(),
            config,
            raft,
            log,
            snapshots,
            progress,
            context,
            serve,
            contact,
            state,
            reads,
            proposals,
            meters: telemetry::Meters::new(),
            waived: AtomicU64::new(0),
            snapshot_lock: tokio::sync::Mutex::new(()),
            changes: tokio::sync::Mutex::new(()),
            tasks: Mutex::new(tasks),
            stopping,
        });
        let consensus = Self { shared };
        consensus.spawn_owned(failover::run, gone_rx);
        consensus.spawn_owned(snapshots::run, ());
        consensus.spawn_owned(health::run, ());
        consensus.spawn_owned(settle::run, ());
        if let Some(until) = bound_until {
            consensus.spawn_owned(promise::keep, until);
        }
        Ok(consensus)
    }

    /// Runs a task that ends when the server stops.
    fn spawn_owned<A, Fut>(&self, task: impl FnOnce(Consensus<F>, A) -> Fut, argument: A)
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut stop = self.shared.stopping.subscribe();
        let future = task(self.clone(), argument);
        self.shared.tasks.lock().spawn(async move {
            tokio::select! {
                () = future => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }

    pub fn id(&self) -> ServerId {
        self.shared.config.id
    }

    /// Whether this server has no log, no vote and no snapshot yet.
    pub fn is_fresh(&self) -> bool {
        self.shared.log.is_fresh() && self.shared.snapshots.current().is_none()
    }

    /// Gives a fresh server its first configuration. Every initial server may be
    /// told so, with the same voters; it must include this one.
    ///
    /// # Errors
    /// [`ConsensusError::AlreadyBootstrapped`] when there is a log already.
    pub async fn bootstrap(
        &self,
        voters: impl IntoIterator<Item = (ServerId, SocketAddr)>,
    ) -> Result<(), ConsensusError> {
        let voters: BTreeMap<ServerId, Peer> =
            voters.into_iter().map(|(id, address)| (id, Peer { address })).collect();
        self.shared.raft.initialize(voters).await?;
        Ok(())
    }

    /// Replicates a command and applies it here. Returns the index it was applied
    /// at, as the application sees it, and the state machine's answer.
    ///
    /// # Errors
    /// `NotLeader`: nothing was written. `LeadershipLost` and `Timeout`: the
    /// command may or may not have been, or may yet be, applied.
    pub async fn propose(&self, command: Bytes) -> Result<(u64, F::Answer), ConsensusError> {
        let applied = self.submit(CommandKind::Apply, command).await?;
        let answer = applied
            .answer
            .and_then(|any| any.downcast::<F::Answer>().ok())
            .ok_or_else(|| ConsensusError::Storage("the state machine gave no answer".into()))?;
        Ok((applied.index, *answer))
    }

    async fn submit(&self, kind: CommandKind, data: Bytes) -> Result<Applied, ConsensusError> {
        if data.len() > crate::MAX_COMMAND {
            return Err(ConsensusError::TooLarge(data.len()));
        }
        if let Some(problem) = self.shared.health.problem() {
            return Err(ConsensusError::Storage(problem));
        }
        self.shared.meters.apply.increment(1);
        let began = Instant::now();
        let write = self.shared.proposals.propose(Command { kind, data });
        let applied = tokio::time::timeout(self.shared.config.propose_timeout, write)
            .await
            .map_err(|_| ConsensusError::Timeout)?;
        let applied = match applied {
            // It ended and nobody stopped it, so it has failed, and says why in a moment.
            Err(ConsensusError::Shutdown) if !*self.shared.stopping.borrow() => {
                let why = tokio::time::timeout(FAILURE_TOLD, self.failed()).await;
                Err(why.map_or(ConsensusError::Shutdown, ConsensusError::Storage))
            }
            applied => applied,
        }?;
        self.shared.meters.commit_time.record(telemetry::millis(began.elapsed()));
        Ok(applied)
    }

    /// Confirms with a majority that this server still leads, waits until
    /// everything committed before is applied here, and returns the applied
    /// index. Concurrent callers share a round.
    pub async fn linearizable(&self) -> Result<u64, ConsensusError> {
        self.shared.reads.wait().await
    }

    /// Whether this server leads and a majority confirmed it within the lease, so
    /// that no other leader can have been elected yet (assuming clocks that run at
    /// about the same speed), and has applied everything that was acknowledged.
    pub fn lease_valid(&self) -> bool {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_term > self.shared.waived.load(Ordering::Acquire)
            && state::may_answer(&metrics, self.shared.config.timings.election_max)
    }

    pub fn is_leader(&self) -> bool {
        self.shared.state.borrow().role == Role::Leader
    }

    pub fn leader(&self) -> Option<ServerId> {
        self.shared.state.borrow().leader
    }

    /// The state, changing as it does; its indexes may be those of a moment ago.
    pub fn watch(&self) -> watch::Receiver<RaftState> {
        self.shared.state.clone()
    }

    /// Waits until this server's part has ended by itself (its log or its state can be trusted no more),
    /// and tells why. Never returns for one that is told to stop.
    pub async fn failed(&self) -> String {
        let mut state = self.watch();
        let seen = state.wait_for(|state| state.failed.is_some()).await;
        match seen.ok().and_then(|state| state.failed.clone()) {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// The state at this moment.
    pub fn state(&self) -> RaftState {
        let shared = &self.shared;
        let known = shared.state.borrow().clone();
        if known.role == Role::Shutdown {
            return known;
        }
        let stopping = *shared.stopping.borrow();
        state::current(&shared.raft, &known, &shared.progress, shared.config.timings.election_max, stopping)
    }

    /// Index up to which the state machine has applied, as the application sees it.
    pub fn applied_index(&self) -> u64 {
        self.shared.progress.applied()
    }

    /// Time since the leader was last heard; zero on the leader, `None` if never.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.is_leader() {
            return Some(Duration::ZERO);
        }
        self.shared.contact.lock().map(|at| at.elapsed())
    }

    /// Why the log cannot be written at the moment, if so (a full disk).
    pub fn storage_problem(&self) -> Option<String> {
        self.shared.health.problem()
    }

    /// Answers one accepted connection (after its protocol byte) until it ends.
    pub async fn serve(&self, io: BoxedIo) -> std::io::Result<()> {
        let mut stop = self.shared.stopping.subscribe();
        tokio::select! {
            ended = self.shared.serve.run(io) => ended,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        }
    }

    /// Ends this server's part: leadership is handed over if there is another
    /// voter to take it, then everything is made durable and closed.
    pub async fn shutdown(&self) -> Result<(), ConsensusError> {
        if self.is_leader() && self.state().voters().any(|id| id != self.id()) {
            // Nobody may be able to take it; then the others elect by timeout.
            if let Err(error) = self.transfer_leadership(None).await {
                tracing::info!(%error, "leadership was not handed over");
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Ends without handing over leadership.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let _ = self.shared.raft.shutdown().await;
        let mut tasks = std::mem::take(&mut *self.shared.tasks.lock());
        while tasks.join_next().await.is_some() {}
        self.shared.log.close().await;
    }
}
