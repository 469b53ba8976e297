//! No configuration stays half changed.
//!
//! A voter comes and goes in two steps: for a moment decisions need a majority of the voters before the change
//! and one of those after it. The leader that made the first step may lose the lead before the second, and
//! whoever asked it may have given up. Until somebody goes on, one server less can be lost than it
//! seems: where the change was to take a vote from the second of three, both others are needed. So whoever leads finishes the change.

use std::time::Duration;

use super::{Consensus, Role};
use crate::fsm::Fsm;

/// Pause between looks at a configuration that does not settle.
const AGAIN: Duration = Duration::from_millis(100);

pub async fn run<F: Fsm>(node: Consensus<F>, (): ()) {
    let mut state = node.watch();
    loop {
        if state.wait_for(|state| state.role == Role::Leader && !state.members_settled).await.is_err() {
            return;
        }
        {
            // Who makes a change now has the turn until it is through.
            let _turn = node.shared.changes.lock().await;
            if node.is_leader() && node.is_between() {
                match node.settle().await {
                    Ok(()) => tracing::info!("finished a change of the members that was begun before"),
                    // Its first step may have to be committed yet.
                    Err(error) => tracing::debug!(%error, "a change of the members is not finished yet"),
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
