//! The thread that writes the log.
//!
//! It takes everything that waits in its queue, makes one durable write of it,
//! and then answers each request. While one fsync runs the next group gathers,
//! so the number of fsyncs follows the disk and not the number of clients.
//!
//! A full disk does not end the server: the group is held and tried again until
//! there is space, and [`StorageHealth`] says so meanwhile. Any other failure is
//! reported to the engine, which stops: what a failed write left behind is only
//! known after reopening.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::tail::Tail;
use super::{Change, LogStore};
use crate::types::alias::IoFlushed;

/// At most this many requests share one write.
const GROUP: usize = 1024;
/// How long to wait before trying a full disk again.
const RETRY: Duration = Duration::from_millis(500);
/// How often unused space is looked at.
const COMPACT_EVERY: Duration = Duration::from_secs(600);

/// Whether the log can be written at the moment.
#[derive(Debug, Default)]
pub struct StorageHealth {
    problem: Mutex<Option<String>>,
    /// A full disk is not waited for any longer.
    stopping: AtomicBool,
}

impl StorageHealth {
    /// Why writes do not proceed, if they do not.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Whether what fails now may succeed when there is space again.
    pub(super) fn may_pass(&self) -> bool {
        self.problem.lock().is_some() && !self.stopping.load(Ordering::Relaxed)
    }

    fn set(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }
}

pub enum Done {
    Nobody,
    Engine(IoFlushed),
    Caller(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn send(self, result: io::Result<()>) {
        match self {
            Self::Nobody => {}
            Self::Engine(flushed) => flushed.io_completed(result),
            Self::Caller(tx) => {
                let _ = tx.send(result);
            }
        }
    }
}

pub enum Request {
    Write(Change, Done),
    /// Answered when everything before it is durable; then the thread ends.
    Stop(oneshot::Sender<()>),
}

pub struct Writer {
    queue: Sender<Request>,
    health: Arc<StorageHealth>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn spawn(
        store: impl LogStore,
        tail: Arc<RwLock<Tail>>,
        health: Arc<StorageHealth>,
    ) -> io::Result<Self> {
        let (queue, requests) = channel();
        let told = health.clone();
        let thread = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || run(store, &requests, &tail, &told))?;
        Ok(Self { queue, health, thread: Mutex::new(Some(thread)) })
    }

    pub fn send(&self, change: Change, done: Done) -> io::Result<()> {
        self.queue.send(Request::Write(change, done)).map_err(|_| stopped())
    }

    /// Waits until `change` is durable.
    pub async fn write(&self, change: Change) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        self.send(change, Done::Caller(tx))?;
        rx.await.map_err(|_| stopped())?
    }

    /// Writes what waits, as far as there is space, and ends the thread.
    pub async fn stop(&self) {
        self.health.stopping.store(true, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        if self.queue.send(Request::Stop(tx)).is_ok() {
            let _ = rx.await;
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

fn run(mut store: impl LogStore, requests: &Receiver<Request>, tail: &RwLock<Tail>, health: &StorageHealth) {
    let mut compacted = Instant::now();
    let mut changes = Vec::new();
    let mut done = Vec::new();
    while let Ok(first) = requests.recv() {
        let mut stop = None;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write(change, callback) => {
                    changes.push(change);
                    done.push(callback);
                }
                Request::Stop(tx) => {
                    stop = Some(tx);
                    break;
                }
            }
            next = if changes.len() < GROUP { requests.try_recv().ok() } else { None };
        }
        let mut purged = false;
        if !changes.is_empty() {
            let result = write_until_done(&mut store, &changes, health);
            if result.is_ok()
                && let Some(last) = durable_after(&changes)
            {
                tail.write().set_durable(last);
            }
            purged = changes.iter().any(|c| matches!(c, Change::Purge(_)));
            changes.clear();
            for callback in done.drain(..) {
                callback.send(result.as_ref().copied().map_err(clone_error));
            }
        }
        if let Some(tx) = stop {
            // The store is closed (and its lock released) before the answer.
            drop(store);
            let _ = tx.send(());
            return;
        }
        if purged && compacted.elapsed() > COMPACT_EVERY {
            compacted = Instant::now();
            if let Err(error) = store.compact() {
                tracing::warn!(%error, "log store was not compacted");
                // What failed halfway, for want of space maybe, must not fail what comes next.
                if let Err(error) = store.reopen() {
                    tracing::error!(%error, "log store was not opened again");
                }
            }
        }
    }
}

/// The highest index this group made durable.
fn durable_after(changes: &[Change]) -> Option<u64> {
    changes.iter().rev().find_map(|c| match c {
        Change::Append(entries) => entries.last().map(|e| e.log_id.index),
        Change::Truncate(from) => Some(from.saturating_sub(1)),
        _ => None,
    })
}

fn clone_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn write_until_done(store: &mut impl LogStore, changes: &[Change], health: &StorageHealth) -> io::Result<()> {
    let mut started = None;
    loop {
        match store.write(changes) {
            Ok(()) => {
                if started.is_some() {
                    tracing::info!("log is writable again");
                    health.set(None);
                }
                return Ok(());
            }
            Err(error) if no_space(&error) && !health.stopping.load(Ordering::Relaxed) => {
                if started.is_none() {
                    tracing::error!(%error, "log cannot be written, waiting for space");
                    started = Some(Instant::now());
                }
                health.set(Some(error.to_string()));
                std::thread::sleep(RETRY);
                // A failed write closes the store; reopening rolls back what it left.
                while let Err(error) = store.reopen() {
                    if !no_space(&error) || health.stopping.load(Ordering::Relaxed) {
                        health.set(Some(error.to_string()));
                        return Err(error);
                    }
                    std::thread::sleep(RETRY);
                }
            }
            Err(error) => {
                tracing::error!(%error, "log cannot be written");
                health.set(Some(error.to_string()));
                return Err(error);
            }
        }
    }
}
