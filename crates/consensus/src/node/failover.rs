//! A hint that makes failover prompt.
//!
//! When the leader's process dies, the kernel closes its connections, long before
//! any timeout. A follower that sees such a close dials the leader once. If that
//! is *refused*, nothing listens there any more, and the follower asks for
//! pre-votes as soon as the lease is over instead of waiting the further random
//! time. Safety does not lean on the hint: the lease is waited for, the pre-vote
//! must be granted by a majority whose leases are over too, and a wrong hint ends
//! in a refused pre-vote. Voters take turns by the order of their ids, so that two
//! of them rarely campaign at once.

use std::io;
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Consensus, Role};
use crate::fsm::Fsm;
use crate::net::LeaderGone;
use crate::types::ServerId;

/// Head start of each voter over the next.
const TURN: Duration = Duration::from_millis(60);
/// Pause between pre-votes, while others' leases run out.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES: usize = 8;

pub async fn run<F: Fsm>(node: Consensus<F>, mut gone: mpsc::Receiver<LeaderGone>) {
    while let Some(LeaderGone(id)) = gone.recv().await {
        if !follows(&node, id) || !refuses(&node, id).await {
            continue;
        }
        tracing::info!(leader = %id, "leader is gone, campaigning when its lease is over");
        campaign(&node, id).await;
    }
}

/// Whether this server is a voter that (still) follows `id`.
fn follows<F: Fsm>(node: &Consensus<F>, id: ServerId) -> bool {
    let state = node.shared.state.borrow();
    state.role == Role::Follower && state.leader == Some(id) && state.voters().any(|v| v == node.id())
}

async fn refuses<F: Fsm>(node: &Consensus<F>, id: ServerId) -> bool {
    let context = &node.shared.context;
    let hint = node.state().members.iter().find(|m| m.id == id).map(|m| m.address);
    let Some(address) = context.addresses.resolve(id).or(hint) else {
        return false;
    };
    let dial = context.dial.dial(address);
    matches!(
        tokio::time::timeout(Duration::from_millis(300), dial).await,
        Ok(Err(error)) if is_refusal(&error)
    )
}

/// Whether a dial failed because nobody listens. A dialer may have wrapped the
/// socket's error, so its causes are looked at too, and at last its words.
fn is_refusal(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return true;
    }
    let mut cause = error.get_ref().map(|e| e as &(dyn std::error::Error + 'static));
    while let Some(e) = cause {
        if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = e.source();
    }
    error.to_string().to_lowercase().contains("connection refused")
}

/// When it is this server's turn to campaign, of all voters but the one that is gone.
pub(super) fn turn<F: Fsm>(node: &Consensus<F>, gone: Option<ServerId>) -> Duration {
    let state = node.shared.state.borrow();
    let before = state.voters().filter(|v| Some(*v) != gone && *v < node.id()).count();
    let jitter = rand::rng().random_range(Duration::ZERO..TURN / 2);
    TURN * u32::try_from(before).unwrap_or(0) + jitter
}

async fn campaign<F: Fsm>(node: &Consensus<F>, leader: ServerId) {
    let lease = node.shared.config.timings.election_max;
    let heard = *node.shared.contact.lock();
    let left = heard.map_or(Duration::ZERO, |at| lease.saturating_sub(at.elapsed()));
    let bound = node.shared.serve.bound_until.map(|until| until.saturating_duration_since(Instant::now()));
    let left = left.max(bound.unwrap_or_default());
    tokio::time::sleep(left + Duration::from_millis(5) + turn(node, Some(leader))).await;
    for _ in 0..TRIES {
        if !follows(node, leader) || *node.shared.contact.lock() != heard {
            return;
        }
        if node.shared.raft.trigger().elect(true).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised_through_wrappers() {
        let plain = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(is_refusal(&plain()));
        assert!(is_refusal(&io::Error::other(plain())));
        assert!(is_refusal(&io::Error::other("dial tcp 10.0.0.1:8300: connect: connection refused")));
        assert!(!is_refusal(&io::ErrorKind::TimedOut.into()));
        assert!(!is_refusal(&io::Error::other("no route to host")));
    }
}
