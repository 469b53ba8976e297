//! How the rest of the agent talks to a pool.

use super::config::PoolConfig;
use super::resolve::resolve;
use super::task;
use crate::coordinate::Coordinate;
use crate::serf::snapshot::SnapshotError;
use crate::serf::{
    EventError, KeyOp, KeyReport, Member, MemberEventKind, QueryError, QueryNotice, QueryOptions,
    QueryUpdate, ReplyTo, SetupError, Stats, Tags, UserEventNotice,
};
use crate::swim::Tick;
use arc_swap::ArcSwap;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a pool did not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The sockets could not be opened.
    #[error("Failed to start gossip on {addr}: {source}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The any-address cannot be told to others.
    #[error("Advertise address cannot be 0.0.0.0, :: or [::]")]
    Advertise,
    /// Tags or settings cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The thread that writes files could not be started.
    #[error("Failed to start the disk thread: {0}")]
    Thread(io::Error),
}

/// The pool has been shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gossip pool is shut down")]
pub struct Closed;

/// Why a key operation did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The query could not be sent.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The pool is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What happens in a pool.
#[derive(Debug, Clone)]
pub enum PoolEvent {
    /// A member is there, for the first time or again.
    MemberJoin(Arc<Member>),
    /// A member is gone on purpose.
    MemberLeave(Arc<Member>),
    /// A member is gone without a word.
    MemberFailed(Arc<Member>),
    /// A member changed its tags or its address.
    MemberUpdate(Arc<Member>),
    /// A member has been forgotten.
    MemberReap(Arc<Member>),
    /// A user event.
    User(Arc<UserEventNotice>),
    /// A question; only when [`SerfConfig::deliver_queries`](crate::serf::SerfConfig) is set.
    Query(Arc<QueryNotice>),
    /// Another member has our name and the pool decided for it; only when
    /// [`SerfConfig::resolve_conflicts`](crate::serf::SerfConfig) is set.
    ConflictLost,
}

impl PoolEvent {
    pub(super) fn member(kind: MemberEventKind, member: Arc<Member>) -> Self {
        match kind {
            MemberEventKind::Join => PoolEvent::MemberJoin(member),
            MemberEventKind::Leave => PoolEvent::MemberLeave(member),
            MemberEventKind::Failed => PoolEvent::MemberFailed(member),
            MemberEventKind::Update => PoolEvent::MemberUpdate(member),
            MemberEventKind::Reap => PoolEvent::MemberReap(member),
        }
    }
}

/// What came of a join, by address as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinReport {
    /// In the order given: how many of its addresses were joined, or why none was.
    pub results: Vec<(String, Result<usize, String>)>,
}

impl JoinReport {
    /// Number of addresses joined.
    pub fn joined(&self) -> usize {
        self.results.iter().filter_map(|(_, r)| r.as_ref().ok()).sum()
    }

    /// All errors, in the form the reference shows them; `None` when there are none.
    pub fn error(&self) -> Option<String> {
        let errors: Vec<&String> = self.results.iter().filter_map(|(_, r)| r.as_ref().err()).collect();
        let plural = match errors.len() {
            0 => return None,
            1 => "1 error occurred:".to_owned(),
            n => format!("{n} errors occurred:"),
        };
        let lines: String = errors.iter().map(|e| format!("\t* {e}\n")).collect();
        Some(format!("{plural}\n{lines}\n"))
    }
}

/// A question that is running.
#[derive(Debug)]
pub struct Question {
    pub(super) updates: mpsc::Receiver<QueryUpdate>,
}

impl Question {
    /// The next ack or answer; `None` when the time is over.
    pub async fn next(&mut self) -> Option<QueryUpdate> {
        match self.updates.recv().await {
            Some(QueryUpdate::Done) | None => None,
            Some(update) => Some(update),
        }
    }
}

pub(super) enum Command {
    Join {
        to: SocketAddr,
        ignore_old: bool,
        reply: oneshot::Sender<Result<(), String>>,
    },
    AnnounceJoin,
    Leave,
    ForceLeave {
        name: String,
        prune: bool,
        reply: oneshot::Sender<()>,
    },
    UserEvent {
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
        reply: oneshot::Sender<Result<(), EventError>>,
    },
    Query {
        name: String,
        payload: Vec<u8>,
        options: QueryOptions,
        reply: oneshot::Sender<Result<Question, QueryError>>,
    },
    Respond {
        to: ReplyTo,
        payload: Vec<u8>,
        reply: oneshot::Sender<Result<(), QueryError>>,
    },
    Keys {
        op: KeyOp,
        key: Vec<u8>,
        relay_factor: u8,
        reply: oneshot::Sender<Result<KeyReport, QueryError>>,
    },
    SetTags {
        tags: Tags,
        reply: oneshot::Sender<Result<(), SetupError>>,
    },
    Coordinate {
        reply: oneshot::Sender<Option<Coordinate>>,
    },
    CachedCoordinate {
        name: String,
        reply: oneshot::Sender<Option<Coordinate>>,
    },
    Stats {
        reply: oneshot::Sender<Stats>,
    },
}

pub(super) struct Shared {
    pub name: Arc<str>,
    pub addr: SocketAddr,
    pub started: Instant,
    pub commands: mpsc::Sender<Command>,
    pub members: ArcSwap<Vec<Arc<Member>>>,
    pub members_version: watch::Sender<u64>,
    pub events: broadcast::Sender<PoolEvent>,
    pub left: watch::Sender<bool>,
    pub cancel: CancellationToken,
    pub tracker: TaskTracker,
    pub leave_bound: Duration,
}

/// Starts pools.
pub struct Pool;

impl Pool {
    /// Opens the sockets and starts the pool. When a snapshot says who was there before, one of
    /// them is joined in the background.
    pub async fn start(config: PoolConfig) -> Result<PoolHandle, PoolError> {
        let (shared, rejoin) = task::start(config).await?;
        let handle = PoolHandle { shared };
        if !rejoin.is_empty() {
            let pool = handle.clone();
            handle.shared.tracker.spawn(async move {
                let cancel = pool.shared.cancel.clone();
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = pool.rejoin(rejoin) => {}
                }
            });
        }
        Ok(handle)
    }
}

/// A running pool. Cheap to clone; the pool runs until [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct PoolHandle {
    shared: Arc<Shared>,
}

impl PoolHandle {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        self.shared.commands.send(command(reply)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }

    /// Our name.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// The address and port told to the others.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Joins the pools of these addresses (`[name/]host[:port]`), several at a time. Names are
    /// looked up anew at every call. `ignore_old`: the events of the past are not wanted.
    pub async fn join(&self, addrs: &[String], ignore_old: bool) -> JoinReport {
        const AT_ONCE: usize = 8;
        let mut report = JoinReport::default();
        for some in addrs.chunks(AT_ONCE) {
            let joins: Vec<_> = some.iter().map(|addr| self.join_one(addr, ignore_old)).collect();
            for (addr, result) in some.iter().zip(join_all(joins).await) {
                report.results.push((addr.clone(), result));
            }
        }
        if report.joined() > 0 {
            // A pool that is gone has nobody to tell.
            let _ = self.shared.commands.send(Command::AnnounceJoin).await;
        }
        report
    }

    async fn join_one(&self, text: &str, ignore_old: bool) -> Result<usize, String> {
        let mut joined = 0;
        let mut errors = Vec::new();
        for to in resolve(text, self.shared.addr.port()).await? {
            let result = self
                .ask(|reply| Command::Join { to, ignore_old, reply })
                .await
                .unwrap_or_else(|closed| Err(closed.to_string()));
            match result {
                Ok(()) => joined += 1,
                Err(reason) => errors.push(format!("Failed to join {}: {reason}", to.ip())),
            }
        }
        if joined > 0 { Ok(joined) } else { Err(errors.join("; ")) }
    }

    /// Tries those who were there in a former life, one after the other until one answers.
    async fn rejoin(&self, known: Vec<(String, SocketAddr)>) {
        for (name, to) in known {
            tracing::info!("serf: Attempting re-join to previously known node: {name}: {to}");
            let result = self.ask(|reply| Command::Join { to, ignore_old: false, reply }).await;
            match result {
                Ok(Ok(())) => {
                    tracing::info!("serf: Re-joined to previously known node: {name}: {to}");
                    return;
                }
                Ok(Err(error)) => tracing::debug!(%error, %to, "serf: re-join failed"),
                Err(Closed) => return,
            }
        }
        tracing::warn!("serf: Failed to re-join any previously known node");
    }

    /// Leaves gracefully and waits until that is done; the pool keeps answering until
    /// [`shutdown`](Self::shutdown).
    pub async fn leave(&self) -> Result<(), Closed> {
        let mut left = self.shared.left.subscribe();
        self.shared.commands.send(Command::Leave).await.map_err(|_| Closed)?;
        let waited = tokio::time::timeout(self.shared.leave_bound, left.wait_for(|l| *l)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Closed),
            Err(_) => {
                tracing::warn!("serf: leaving took too long");
                Ok(())
            }
        }
    }

    /// Makes a failed member a left one, everywhere; with `prune` it is forgotten.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Closed> {
        let name = name.to_owned();
        self.ask(|reply| Command::ForceLeave { name, prune, reply }).await
    }

    /// All members, in order of their names.
    pub fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.shared.members.load_full()
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<Arc<Member>> {
        let members = self.shared.members.load();
        members.binary_search_by(|m| (*m.name).cmp(name)).ok().map(|i| members[i].clone())
    }

    /// Ourselves.
    pub fn local_member(&self) -> Option<Arc<Member>> {
        self.member(&self.shared.name)
    }

    /// Changes whenever [`members`](Self::members) does.
    pub fn members_changed(&self) -> watch::Receiver<u64> {
        self.shared.members_version.subscribe()
    }

    /// How long a member has had its status.
    pub fn status_age(&self, member: &Member) -> Duration {
        Tick::from(self.shared.started.elapsed()).since(member.status_time)
    }

    /// What happens from now on. A slow receiver is told how many events it missed; it should
    /// then look at [`members`](Self::members).
    pub fn events(&self) -> broadcast::Receiver<PoolEvent> {
        self.shared.events.subscribe()
    }

    /// Sends a user event to everyone, ourselves included.
    pub async fn user_event(
        &self,
        name: &str,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<Result<(), EventError>, Closed> {
        let (name, payload) = (name.to_owned(), payload.to_vec());
        self.ask(|reply| Command::UserEvent { name, payload, coalesce, reply }).await
    }

    /// Asks everyone a question.
    pub async fn query(
        &self,
        name: &str,
        payload: &[u8],
        options: QueryOptions,
    ) -> Result<Result<Question, QueryError>, Closed> {
        let (name, payload) = (name.to_owned(), payload.to_vec());
        self.ask(|reply| Command::Query { name, payload, options, reply }).await
    }

    /// Answers a question of another member.
    pub async fn respond(&self, to: &ReplyTo, payload: Vec<u8>) -> Result<Result<(), QueryError>, Closed> {
        let to = to.clone();
        self.ask(|reply| Command::Respond { to, payload, reply }).await
    }

    async fn keys(&self, op: KeyOp, key: Vec<u8>, relay: u8) -> Result<KeyReport, KeysError> {
        let report = self.ask(|reply| Command::Keys { op, key, relay_factor: relay, reply }).await??;
        Ok(report)
    }

    /// Adds a key to every keyring. `relay_factor`: through how many others answers come as well.
    pub async fn install_key(&self, key: &[u8], relay_factor: u8) -> Result<KeyReport, KeysError> {
        self.keys(KeyOp::Install, key.to_vec(), relay_factor).await
    }

    /// Makes a key the primary one everywhere.
    pub async fn use_key(&self, key: &[u8], relay_factor: u8) -> Result<KeyReport, KeysError> {
        self.keys(KeyOp::Use, key.to_vec(), relay_factor).await
    }

    /// Drops a key from every keyring.
    pub async fn remove_key(&self, key: &[u8], relay_factor: u8) -> Result<KeyReport, KeysError> {
        self.keys(KeyOp::Remove, key.to_vec(), relay_factor).await
    }

    /// Which keys there are and how many members have each.
    pub async fn list_keys(&self, relay_factor: u8) -> Result<KeyReport, KeysError> {
        self.keys(KeyOp::List, Vec::new(), relay_factor).await
    }

    /// Changes what we say about ourselves.
    pub async fn set_tags(&self, tags: Tags) -> Result<Result<(), SetupError>, Closed> {
        self.ask(|reply| Command::SetTags { tags, reply }).await
    }

    /// Where we are in the coordinate space; `None` when coordinates are off.
    pub async fn coordinate(&self) -> Result<Option<Coordinate>, Closed> {
        self.ask(|reply| Command::Coordinate { reply }).await
    }

    /// Where a member was when it last answered a probe of ours.
    pub async fn cached_coordinate(&self, name: &str) -> Result<Option<Coordinate>, Closed> {
        let name = name.to_owned();
        self.ask(|reply| Command::CachedCoordinate { name, reply }).await
    }

    /// Counters, as numbers.
    pub async fn counters(&self) -> Result<Stats, Closed> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    /// Counters, as operators see them.
    pub async fn stats(&self) -> Result<BTreeMap<String, String>, Closed> {
        let s = self.counters().await?;
        Ok([
            ("members", s.members.to_string()),
            ("failed", s.failed.to_string()),
            ("left", s.left.to_string()),
            ("health_score", s.health_score.to_string()),
            ("member_time", s.member_time.to_string()),
            ("event_time", s.event_time.to_string()),
            ("query_time", s.query_time.to_string()),
            ("intent_queue", s.intent_queue.to_string()),
            ("event_queue", s.event_queue.to_string()),
            ("query_queue", s.query_queue.to_string()),
            ("encrypted", s.encrypted.to_string()),
            ("coordinate_resets", s.coordinate_resets.to_string()),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect())
    }

    /// Stops without a word and waits until everything of the pool has ended.
    pub async fn shutdown(&self) {
        self.shared.cancel.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}
