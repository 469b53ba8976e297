//! Proposals that come together reach the engine together.
//!
//! The engine's task runs as soon as it is told of one. What dozens of requests propose in the same moment would be
//! dozens of appends to the log and to every follower, of one entry each. So a task stands before it that lets
//! the requests that are ready have their say first, and then hands on what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::type_config::alias::OneshotReceiverOf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Engine;
use crate::error::ConsensusError;
use crate::fsm::Fsm;
use crate::types::{Applied, Command, TypeConfig};

type Responder = ProgressResponder<TypeConfig, ClientWriteResult<TypeConfig>>;
type Answer = OneshotReceiverOf<TypeConfig, ClientWriteResult<TypeConfig>>;

/// Proposals that wait to be handed on; more wait to wait.
const QUEUE: usize = 4096;

struct Proposal(Command, Responder);

pub struct ProposalQueue {
    queue: mpsc::Sender<Proposal>,
    /// Proposals that are not answered yet.
    under_way: Arc<AtomicUsize>,
}

struct UnderWay<'q>(&'q AtomicUsize);

impl<'q> UnderWay<'q> {
    fn new(count: &'q AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ProposalQueue {
    /// The result of the command once it is applied. A caller that gives up does not take it back.
    ///
    /// # Errors
    /// Those of [`super::Consensus::propose`]; `Shutdown` also when the engine has failed.
    pub async fn propose(&self, command: Command) -> Result<Applied, ConsensusError> {
        let _under_way = UnderWay::new(&self.under_way);
        let (responder, answer): (Responder, Answer) = Responder::complete_only();
        let proposal = Proposal(command, responder);
        self.queue.send(proposal).await.map_err(|_| ConsensusError::Shutdown)?;
        Ok(answer.await.map_err(|_| ConsensusError::Shutdown)??.data)
    }
}

pub fn spawn<F: Fsm>(
    tasks: &mut JoinSet<()>,
    raft: Engine<F>,
    mut stop: watch::Receiver<bool>,
) -> ProposalQueue {
    let (queue, mut proposals) = mpsc::channel(QUEUE);
    let under_way = Arc::new(AtomicUsize::new(0));
    let others = under_way.clone();
    tasks.spawn(async move {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                n = proposals.recv_many(&mut batch, QUEUE) => if n == 0 { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // Alone there is nobody to wait for.
            if others.load(Ordering::Relaxed) > batch.len() {
                tokio::task::yield_now().await;
                while batch.len() < QUEUE
                    && let Ok(proposal) = proposals.try_recv()
                {
                    batch.push(proposal);
                }
            }
            for Proposal(command, responder) in batch.drain(..) {
                if raft.client_write_ff(command, Some(responder)).await.is_err() {
                    // The engine has stopped; whoever waits learns it by what is dropped here.
                    return;
                }
            }
        }
    });
    ProposalQueue { queue, under_way }
}
