//! Linearizable reads: many callers, one round.
//!
//! A caller may share a round only if the round began after the call, so those
//! who come while one is under way wait together for the next.

use std::sync::Arc;
use std::time::Duration;

use openraft::{LinearizerOption, ReadPolicy};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::Engine;
use crate::error::ConsensusError;
use crate::fsm::Fsm;
use crate::machine::Progress;

type Waiter = oneshot::Sender<Result<u64, ReadFailure>>;

/// How long a round may wait for a majority.
const ROUND: Duration = Duration::from_secs(5);
/// Callers waiting at most; more are refused as a timeout.
const QUEUE: usize = 65536;

/// A failure that every caller of a round is told.
#[derive(Clone, Debug)]
enum ReadFailure {
    NotLeader(Option<crate::ServerId>),
    NoQuorum,
    Stopped,
}

impl From<ReadFailure> for ConsensusError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::NotLeader(leader) => Self::NotLeader { leader },
            ReadFailure::NoQuorum => Self::NoQuorum,
            ReadFailure::Stopped => Self::Shutdown,
        }
    }
}

pub struct ReadQueue(mpsc::Sender<Waiter>);

impl ReadQueue {
    pub async fn wait(&self) -> Result<u64, ConsensusError> {
        let (tx, rx) = oneshot::channel();
        self.0.try_send(tx).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ConsensusError::Timeout,
            mpsc::error::TrySendError::Closed(_) => ConsensusError::Shutdown,
        })?;
        Ok(rx.await.map_err(|_| ConsensusError::Shutdown)??)
    }
}

async fn round<F: Fsm>(raft: &Engine<F>, progress: &Progress) -> Result<u64, ReadFailure> {
    let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(ROUND);
    match tokio::time::timeout(ROUND * 2, raft.ensure_linearizable(option)).await {
        Err(_) => Err(ReadFailure::NoQuorum),
        Ok(Ok(_)) => Ok(progress.applied()),
        Ok(Err(error)) => Err(match ConsensusError::from(error) {
            ConsensusError::NotLeader { leader } => ReadFailure::NotLeader(leader),
            ConsensusError::NoQuorum => ReadFailure::NoQuorum,
            _ => ReadFailure::Stopped,
        }),
    }
}

pub fn spawn<F: Fsm>(
    tasks: &mut JoinSet<()>,
    raft: Engine<F>,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> ReadQueue {
    let (tx, mut rx) = mpsc::channel::<Waiter>(QUEUE);
    tasks.spawn(async move {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                n = rx.recv_many(&mut waiting, QUEUE) => if n == 0 { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let result = tokio::select! {
                result = round(&raft, &progress) => result,
                _ = stop.wait_for(|stop| *stop) => Err(ReadFailure::Stopped),
            };
            for waiter in waiting.drain(..) {
                let _ = waiter.send(result.clone());
            }
            if waiting.capacity() > 4096 {
                waiting = Vec::new();
            }
        }
    });
    ReadQueue(tx)
}
