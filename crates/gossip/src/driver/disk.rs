//! Files are written on a thread of their own, so that a slow disk never delays a probe's answer.

use crate::serf::keyring_file;
use crate::serf::snapshot::{Record, SnapshotFile};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most jobs waiting.
const BACKLOG: usize = 16 * 1024;
/// How long a line may wait in memory.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

enum Job {
    Record(Record),
    Keyring(Vec<Vec<u8>>),
}

/// The way to the thread.
pub struct Disk {
    jobs: Option<SyncSender<Job>>,
    finished: oneshot::Receiver<()>,
}

impl Disk {
    /// Starts the thread, unless there is nothing to write.
    pub fn start(snapshot: Option<SnapshotFile>, keyring: Option<PathBuf>) -> std::io::Result<Self> {
        let (done, finished) = oneshot::channel();
        if snapshot.is_none() && keyring.is_none() {
            return Ok(Disk { jobs: None, finished });
        }
        let (jobs, queue) = sync_channel(BACKLOG);
        std::thread::Builder::new().name("gossip-disk".to_owned()).spawn(move || {
            run(&queue, snapshot, keyring);
            // Nobody waits for it when the pool was dropped.
            let _ = done.send(());
        })?;
        Ok(Disk { jobs: Some(jobs), finished })
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && let Err(TrySendError::Full(_)) = jobs.try_send(job)
        {
            tracing::error!("serf: the disk is too slow, a snapshot record is lost");
        }
    }

    /// Writes a line of the snapshot.
    pub fn record(&self, record: Record) {
        self.submit(Job::Record(record));
    }

    /// Writes the keyring.
    pub fn keyring(&self, keys: Vec<Vec<u8>>) {
        self.submit(Job::Keyring(keys));
    }

    /// Waits until everything is written.
    pub async fn close(mut self) {
        if self.jobs.take().is_some() {
            // An error means that the thread is gone, which is what is waited for.
            let _ = self.finished.await;
        }
    }
}

fn run(queue: &Receiver<Job>, mut snapshot: Option<SnapshotFile>, keyring: Option<PathBuf>) {
    let mut flush_at: Option<Instant> = None;
    loop {
        let job = match flush_at {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match job {
            Ok(Job::Record(record)) => {
                if let Some(file) = &mut snapshot {
                    if let Err(error) = file.append(record) {
                        tracing::error!(%error, "serf: Failed to update snapshot");
                    }
                    flush_at.get_or_insert_with(|| Instant::now() + FLUSH_INTERVAL);
                }
            }
            Ok(Job::Keyring(keys)) => {
                if let Some(path) = &keyring
                    && let Err(error) = keyring_file::save(path, &keys)
                {
                    tracing::error!(%error, "serf: Failed to write keyring file");
                }
            }
            Err(end) => {
                flush_at = None;
                if let Some(file) = &mut snapshot
                    && let Err(error) = file.flush()
                {
                    tracing::error!(%error, "serf: Failed to flush snapshot");
                }
                if end == RecvTimeoutError::Disconnected {
                    return;
                }
            }
        }
    }
}
