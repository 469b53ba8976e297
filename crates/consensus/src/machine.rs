//! Between the engine and the application's state machine.
//!
//! # Index offset
//!
//! The engine numbers log entries without gaps. The application's index may have
//! to jump: after a user restore it must exceed every index inside the restored
//! data. So the application sees `log index + offset`; the offset only grows, it
//! changes only by applying a restore, and it is part of every snapshot, hence
//! the same on every server at the same entry.
//!
//! # User restore
//!
//! The archive travels through the log in pieces (`restore` module), so every
//! server replaces its state at the same entry. At the last piece it is read again
//! from the log: to apply needs no space of its own on the disk. While pieces
//! gather no snapshot is taken (the log would lose them). A restore whose proposer
//! went away is forgotten after [`ABANDON_AFTER`] other entries.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::background::{background, detached};
use crate::fsm::{Fsm, SnapshotWriter};
use crate::log::LogStorage;
use crate::restore::{Piece, Session};
use crate::snapshot::{SnapshotData, SnapshotStore};
use crate::types::alias::{LogId, Snapshot, SnapshotMeta, StoredMembership};
use crate::types::{Applied, CommandKind, TypeConfig};

/// Commands passed to the application in one call.
const APPLY_BATCH: usize = 512;
/// Entries without a further piece after which a restore is forgotten.
const ABANDON_AFTER: u64 = 8192;

/// Facts others may read while entries are applied.
#[derive(Default)]
pub struct Progress {
    /// Application index up to which entries were applied.
    applied: AtomicU64,
    offset: AtomicU64,
    /// Bytes of commands applied in this life of the server.
    bytes: AtomicU64,
    /// How many of these the newest snapshot holds.
    bytes_kept: AtomicU64,
    restoring: AtomicBool,
    /// Signalled when a snapshot would be useful now.
    pub snapshot_wanted: Notify,
}

impl Progress {
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Bytes of commands that a restart would have to apply again.
    pub fn bytes_since_snapshot(&self) -> u64 {
        let kept = self.bytes_kept.load(Ordering::Relaxed);
        self.bytes.load(Ordering::Relaxed).saturating_sub(kept)
    }

    /// A snapshot is on disk that holds what had been applied when there were so many bytes.
    pub fn kept(&self, bytes: u64) {
        self.bytes_kept.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// A consistent copy of the state, not yet written.
pub struct Capture {
    pub meta: SnapshotMeta,
    pub offset: u64,
    /// Of the commands that are in it, see [`Progress::kept`].
    pub bytes: u64,
    pub writer: SnapshotWriter,
}

pub struct Machine<F: Fsm> {
    fsm: Arc<F>,
    log: LogStorage,
    snapshots: Arc<SnapshotStore>,
    progress: Arc<Progress>,
    applied: Option<LogId>,
    membership: StoredMembership,
    offset: u64,
    session: Option<Session>,
}

type Waiting = Vec<Option<ApplyResponder<TypeConfig>>>;

impl<F: Fsm> Machine<F> {
    pub fn new(fsm: Arc<F>, log: LogStorage, snapshots: Arc<SnapshotStore>, progress: Arc<Progress>) -> Self {
        Self {
            fsm,
            log,
            snapshots,
            progress,
            applied: None,
            membership: StoredMembership::default(),
            offset: 0,
            session: None,
        }
    }

    /// Copies the state for a snapshot; `None` while it cannot be taken.
    pub fn capture(&self) -> Option<Capture> {
        if self.session.is_some() {
            return None;
        }
        Some(Capture {
            meta: SnapshotMeta { last_log_id: Some(self.applied?), last_membership: self.membership.clone() },
            offset: self.offset,
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            writer: self.fsm.snapshot(),
        })
    }

    fn publish(&self) {
        let index = self.applied.map_or(0, |id| id.index + self.offset);
        self.progress.offset.store(self.offset, Ordering::Release);
        self.progress.applied.store(index, Ordering::Release);
        self.progress.restoring.store(self.session.is_some(), Ordering::Release);
    }

    fn flush(&mut self, batch: &mut Vec<(u64, Bytes)>, waiting: &mut Waiting) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        // A panic would end the engine's task for the state in silence, and the server would wait for it.
        let answers = catch_unwind(AssertUnwindSafe(|| self.fsm.apply_batch(batch)))
            .map_err(|_| io::Error::other("the state machine panicked"))?;
        if answers.len() != batch.len() {
            return Err(io::Error::other(format!(
                "state machine gave {} answers to {} commands",
                answers.len(),
                batch.len()
            )));
        }
        self.publish();
        for ((answer, responder), (index, _)) in answers.into_iter().zip(waiting.drain(..)).zip(batch.iter())
        {
            if let Some(responder) = responder {
                responder.send(Applied { index: *index, answer: Some(Box::new(answer)), refused: None });
            }
        }
        batch.clear();
        Ok(())
    }

    /// Applies one piece of a user restore; the error text is for its proposer.
    async fn restore_piece(&mut self, log_index: u64, data: Bytes) -> io::Result<Result<(), String>> {
        let piece = match Piece::decode(data) {
            Ok(piece) => piece,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match piece {
            Piece::Begin { session } => {
                self.session = Some(Session::new(session, log_index));
                Ok(Ok(()))
            }
            Piece::Chunk { session, bytes } => match &mut self.session {
                Some(current) if current.id == session => {
                    current.add(log_index, &bytes);
                    Ok(Ok(()))
                }
                _ => Ok(Err("restore was superseded or given up".into())),
            },
            Piece::Commit { session, size, crc, index } => {
                let Some(current) = self.session.take_if(|s| s.id == session) else {
                    return Ok(Err("restore was superseded or given up".into()));
                };
                if !current.is_whole(size, crc) {
                    return Ok(Err("restored bytes do not match their checksum".to_owned()));
                }
                let visible = (log_index + self.offset).max(index.saturating_add(1));
                let fsm = self.fsm.clone();
                let mut archive = current.archive(self.log.clone());
                let result = blocking(move || {
                    let result = fsm.restore(&mut archive, visible);
                    match archive.failed {
                        // The others may have read it: to refuse it here would be to differ from them.
                        Some(error) => Err(error),
                        None => Ok(result.map_err(|e| e.to_string())),
                    }
                })
                .await?;
                if result.is_ok() {
                    self.offset = visible - log_index;
                    self.progress.snapshot_wanted.notify_one();
                }
                Ok(result)
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl<F: Fsm> RaftStateMachine<TypeConfig> for Machine<F> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batch: Vec<(u64, Bytes)> = Vec::new();
        let mut waiting: Waiting = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let index = entry.log_id.index;
            let expected = self.applied.map_or(0, |id| id.index + 1);
            if index != expected {
                return Err(io::Error::other(format!("entry {index} follows where {expected} should")));
            }
            let visible = index + self.offset;
            if let EntryPayload::Normal(command) = &entry.payload {
                self.progress.bytes.fetch_add(command.data.len() as u64, Ordering::Relaxed);
            }
            match entry.payload {
                EntryPayload::Normal(command) if command.kind == CommandKind::Apply => {
                    self.applied = Some(entry.log_id);
                    batch.push((visible, command.data));
                    waiting.push(responder);
                    if batch.len() >= APPLY_BATCH {
                        self.flush(&mut batch, &mut waiting)?;
                        tokio::task::yield_now().await;
                    }
                }
                payload => {
                    self.flush(&mut batch, &mut waiting)?;
                    self.applied = Some(entry.log_id);
                    let mut answer = Applied::nothing(visible);
                    match payload {
                        EntryPayload::Membership(membership) => {
                            self.membership = StoredMembership::new(Some(entry.log_id), membership);
                        }
                        EntryPayload::Normal(command) => {
                            answer.refused = self.restore_piece(index, command.data).await?.err();
                            answer.index = index + self.offset;
                        }
                        EntryPayload::Blank => {}
                    }
                    self.publish();
                    if let Some(responder) = responder {
                        responder.send(answer);
                    }
                }
            }
            if self.session.as_ref().is_some_and(|s| index > s.last_piece + ABANDON_AFTER) {
                tracing::warn!("an unfinished restore was given up");
                self.session = None;
            }
        }
        self.flush(&mut batch, &mut waiting)?;
        self.publish();
        Ok(())
    }

    /// Snapshots are written by `node::snapshots` before the engine is told to
    /// build one, so that a full disk is a warning there and not the end of the
    /// engine here. What is handed out is the newest one that is complete.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        match self.snapshots.current() {
            Some(snapshot) => Some(Builder::Ready(snapshot)),
            None if force => Some(self.build_now()),
            None => None,
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.build_now()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let offset = snapshot.offset;
        let index = meta.last_log_id.map_or(0, |id| id.index + offset);
        let fsm = self.fsm.clone();
        let store = self.snapshots.clone();
        let kept = meta.clone();
        blocking(move || {
            let mut reader = snapshot.open()?;
            fsm.restore(&mut *reader, index)?;
            drop(reader);
            store.adopt(&kept, snapshot).map(|_| ())
        })
        .await?;
        let store = self.snapshots.clone();
        if let Err(error) = detached(move || store.prune()) {
            tracing::warn!(%error, "old snapshots are kept until the next one");
        }
        self.progress.kept(self.progress.bytes.load(Ordering::Relaxed));
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.offset = offset;
        self.session = None;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshots.current())
    }
}

impl<F: Fsm> Machine<F> {
    fn build_now(&self) -> Builder {
        match self.capture() {
            Some(capture) => Builder::Write(Mutex::new(Some(capture)), self.snapshots.clone()),
            None => match self.snapshots.current() {
                Some(snapshot) => Builder::Ready(snapshot),
                None => Builder::Write(Mutex::new(None), self.snapshots.clone()),
            },
        }
    }
}

/// Hands a snapshot to the engine.
pub enum Builder {
    Ready(Snapshot),
    /// The lock is never contended; the engine asks for a `Sync` type.
    Write(Mutex<Option<Capture>>, Arc<SnapshotStore>),
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        match self {
            Self::Ready(snapshot) => Ok(snapshot.clone()),
            Self::Write(capture, store) => {
                let capture = capture
                    .get_mut()
                    .take()
                    .ok_or_else(|| io::Error::other("there is no state to take a snapshot of"))?;
                write(store.clone(), capture).await
            }
        }
    }
}

/// Writes a captured state as the newest snapshot.
pub async fn write(store: Arc<SnapshotStore>, capture: Capture) -> io::Result<Snapshot> {
    background(move || store.write(&capture.meta, capture.offset, |out| (capture.writer)(out))).await
}
