//! A leader whose disk is full can still commit by the others' disks, but it
//! takes no proposals. If another voter can lead, it should: one that has written
//! what this one could not. When nobody has, all disks are full, and an election,
//! whose votes must be written too, would only end what leadership there is.

use std::time::Duration;

use super::Consensus;
use crate::fsm::Fsm;

const LOOK: Duration = Duration::from_secs(1);
/// Pause after an attempt to hand over.
const AGAIN: Duration = Duration::from_secs(10);

pub async fn run<F: Fsm>(node: Consensus<F>, (): ()) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(problem) = node.storage_problem() else { continue };
        if !node.is_leader() || node.state().voters().count() < 2 {
            continue;
        }
        let Some(successor) = node.successor(0) else { continue };
        tracing::warn!(problem, to = %successor, "the log cannot be written, handing leadership over");
        if let Err(error) = node.transfer_leadership(Some(successor)).await {
            tracing::warn!(%error, "leadership was not handed over");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
