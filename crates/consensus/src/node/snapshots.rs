//! When snapshots are taken, and user restores.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use rand::Rng;

use super::{Consensus, telemetry};
use crate::error::ConsensusError;
use crate::fsm::Fsm;
use crate::machine;
use crate::restore::{CHUNK, Piece};
use crate::snapshot::Crc64;
use crate::types::CommandKind;
use crate::types::alias::LogId;

/// A log this many thresholds long is not left to the interval.
const URGENT: u64 = 8;
const URGENT_CHECK: Duration = Duration::from_secs(1);

/// Takes a snapshot when enough entries were applied since the last one. It is
/// looked at once in every interval to twice the interval, so that servers do not
/// all write at once; a fast growing log is looked at every second, because all of
/// it has to be applied again after a restart.
pub async fn run<F: Fsm>(node: Consensus<F>, (): ()) {
    let config = &node.shared.config;
    loop {
        let pause = config.snapshot_interval.mul_f64(rand::rng().random_range(1.0..2.0));
        let wake = tokio::time::Instant::now() + pause;
        let mut wanted = false;
        while tokio::time::Instant::now() < wake && !wanted {
            tokio::select! {
                () = tokio::time::sleep(URGENT_CHECK.min(pause)) => {
                    wanted = since_snapshot(&node) > config.snapshot_threshold.saturating_mul(URGENT)
                        || is_heavy(&node);
                }
                () = node.shared.progress.snapshot_wanted.notified() => wanted = true,
            }
        }
        if !wanted && since_snapshot(&node) < config.snapshot_threshold {
            continue;
        }
        if let Err(error) = node.snapshot_now().await {
            tracing::error!(%error, "snapshot was not taken");
        }
    }
}

fn since_snapshot<F: Fsm>(node: &Consensus<F>) -> u64 {
    let metrics = node.shared.raft.metrics();
    let metrics = metrics.borrow_watched();
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    index(metrics.last_applied).saturating_sub(index(metrics.snapshot))
}

/// Whether applying the log again would take longer than reading a snapshot.
fn is_heavy<F: Fsm>(node: &Consensus<F>) -> bool {
    let shared = &node.shared;
    let snapshot = shared.snapshots.current().map_or(0, |s| s.snapshot.size);
    shared.progress.bytes_since_snapshot() > shared.config.snapshot_bytes.max(snapshot)
}

impl<F: Fsm> Consensus<F> {
    /// Writes a snapshot of what is applied here and lets the log shrink. Returns
    /// its index. With nothing new since the last one, that one's.
    pub async fn snapshot_now(&self) -> Result<u64, ConsensusError> {
        let shared = &self.shared;
        let _one_at_a_time = shared.snapshot_lock.lock().await;
        let capture = shared
            .raft
            .with_state_machine(|machine| {
                let capture = machine.capture();
                Box::pin(async move { capture })
            })
            .await?
            .ok_or_else(|| {
                ConsensusError::Storage("there is no complete state to take a snapshot of now".into())
            })?;
        let last = capture.meta.last_log_id;
        let index = last.map_or(0, |l| l.index) + capture.offset;
        if shared.snapshots.current().is_some_and(|s| s.meta.last_log_id >= last) {
            return Ok(index);
        }
        let began = Instant::now();
        let bytes = capture.bytes;
        machine::write(shared.snapshots.clone(), capture)
            .await
            .map_err(|e| ConsensusError::Storage(e.to_string()))?;
        telemetry::snapshot_written(began);
        shared.progress.kept(bytes);
        shared.raft.trigger().snapshot().await?;
        shared
            .raft
            .wait(Some(Duration::from_secs(30)))
            .metrics(|m| m.snapshot >= last, "snapshot is known to the engine")
            .await
            .map_err(|_| ConsensusError::Timeout)?;
        Ok(index)
    }

    /// Replaces the state on all servers by what `archive` holds: the bytes that
    /// [`Fsm::restore`] reads. `archive_index` is the newest index in them. Returns
    /// the index at which the new state stands, above both the archive's and ours.
    ///
    /// # Errors
    /// `Restore` when the state machine refuses the bytes; nothing changed then.
    pub async fn restore_from(
        &self,
        mut archive: impl Read + Send + 'static,
        archive_index: u64,
    ) -> Result<u64, ConsensusError> {
        let (tx, mut chunks) = tokio::sync::mpsc::channel::<io::Result<Vec<u8>>>(2);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = archive.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
                let item = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(chunk),
                    Err(error) => Err(error),
                };
                let stop = item.is_err();
                if tx.blocking_send(item).is_err() || stop {
                    return;
                }
            }
        });
        let session = rand::rng().random();
        let mut crc = Crc64::default();
        let mut size = 0;
        self.piece(&Piece::Begin { session }).await?;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            crc.update(&chunk);
            size += chunk.len() as u64;
            let bytes = chunk.into();
            self.piece(&Piece::Chunk { session, bytes }).await?;
        }
        let (crc, index) = (crc.value(), archive_index);
        self.piece(&Piece::Commit { session, size, crc, index }).await
    }

    async fn piece(&self, piece: &Piece) -> Result<u64, ConsensusError> {
        let applied = self.submit(CommandKind::Restore, piece.encode()).await?;
        match applied.refused {
            None => Ok(applied.index),
            Some(why) => Err(ConsensusError::Restore(why)),
        }
    }
}
