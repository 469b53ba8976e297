//! What the rest of the program watches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::RaftServerMetrics;
use openraft::{RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Config, Engine, Member, telemetry};
use crate::fsm::Fsm;
use crate::log::StorageHealth;
use crate::machine::Progress;
use crate::types::{ServerId, TypeConfig};

/// A server's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
    /// Receives the log, has no vote.
    Learner,
    Shutdown,
}

impl std::fmt::Display for Role {
    /// The names under which the reference shows them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Follower | Self::Learner => "Follower",
            Self::Candidate => "Candidate",
            Self::Leader => "Leader",
            Self::Shutdown => "Shutdown",
        })
    }
}

/// State of one server at one moment. Indexes are those the application sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RaftState {
    pub role: Role,
    /// `None` also for a leader that lost touch with the majority.
    pub leader: Option<ServerId>,
    pub term: u64,
    pub last_log: u64,
    pub commit: u64,
    pub applied: u64,
    /// The log is cut up to here; what is older is in a snapshot only.
    pub purged: u64,
    /// All servers of the configuration in force.
    pub members: Arc<Vec<Member>>,
    /// Index of the entry that made it.
    pub members_index: u64,
    /// Whether that entry is committed and no change is half done.
    pub members_settled: bool,
    /// Why this server stopped by itself, if it did: it can only be started anew. One that was told to
    /// stop has not failed.
    pub failed: Option<String>,
}

impl RaftState {
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().filter(|m| m.voter).map(|m| m.id)
    }

    pub fn learners(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().filter(|m| !m.voter).map(|m| m.id)
    }
}

type Metrics = RaftMetrics<TypeConfig>;

/// Asked for every read, so without the engine's own list of voters, which is made anew each time.
fn sole_voter(metrics: &Metrics) -> bool {
    let configs = metrics.membership_config.membership().get_joint_config();
    !configs.is_empty() && configs.iter().all(|voters| voters.len() == 1 && voters.contains(&metrics.id))
}

/// Whether a leader was confirmed by a majority within `lease`.
pub fn lease_valid(metrics: &Metrics, lease: Duration) -> bool {
    if metrics.running_state.is_err() || metrics.state != ServerState::Leader {
        return false;
    }
    sole_voter(metrics) || metrics.last_quorum_acked.is_some_and(|at| age(&at) < lease)
}

/// Whether a leader may answer from its state: its lease is valid, and it has applied an entry of its own
/// term, hence all that its predecessors committed.
pub fn may_answer(metrics: &Metrics, lease: Duration) -> bool {
    let applied = metrics.last_applied.map(|id| id.leader_id.term);
    applied == Some(metrics.current_term) && lease_valid(metrics, lease)
}

/// Time since a moment the engine noted.
pub fn age(at: &openraft::type_config::alias::SerdeInstantOf<TypeConfig>) -> Duration {
    openraft::Instant::elapsed(&at.into_inner())
}

/// Why the engine has ended, if nobody told it to. `gone`: it will say nothing more.
fn failure(metrics: &Metrics, gone: bool, stopping: bool) -> Option<String> {
    if stopping {
        return None;
    }
    match &metrics.running_state {
        Err(why) => Some(why.to_string()),
        Ok(()) => gone.then(|| Fatal::<TypeConfig>::Panicked.to_string()),
    }
}

fn observe(
    metrics: &Metrics,
    previous: &RaftState,
    progress: &Progress,
    lease: Duration,
    failed: Option<String>,
) -> RaftState {
    let offset = progress.offset();
    let visible = |index: Option<u64>| index.map_or(0, |i| i + offset);
    // The engine refuses proposals until a majority has answered a new leader, and
    // again when none did for a lease: it leads in name only.
    let leads = lease_valid(metrics, lease);
    let role = match metrics.state {
        _ if failed.is_some() || metrics.running_state.is_err() => Role::Shutdown,
        ServerState::Leader if leads => Role::Leader,
        ServerState::Leader | ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Shutdown,
    };
    let leader = match metrics.current_leader {
        _ if role == Role::Shutdown => None,
        Some(id) if id == metrics.id && role != Role::Leader => None,
        other => other,
    };
    let config = &metrics.membership_config;
    let members_index = visible(config.log_id().map(|l| l.index));
    let members = if members_index == previous.members_index && !previous.members.is_empty() {
        previous.members.clone()
    } else {
        Arc::new(Member::all(config))
    };
    RaftState {
        role,
        leader,
        term: metrics.current_term,
        last_log: visible(metrics.last_log_index),
        commit: visible(metrics.local_committed.map(|l| l.index)),
        applied: progress.applied(),
        purged: visible(metrics.purged.map(|l| l.index)),
        members,
        members_index,
        members_settled: metrics.committed_membership_config == metrics.membership_config
            && config.membership().get_joint_config().len() < 2,
        failed,
    }
}

fn report(metrics: &Metrics, state: &RaftState) {
    telemetry::indexes(state.commit, state.applied);
    if let (Role::Leader, Some(at)) = (state.role, metrics.last_quorum_acked) {
        telemetry::last_contact(age(&at));
    }
}

/// Whether the next change of the metrics is one to look at: they are sent after the changes, and
/// whether a leader has its lease is known by what its followers answer.
fn expects_more(metrics: &Metrics, changes: &RaftServerMetrics<TypeConfig>, lease: Duration) -> bool {
    metrics.state != changes.state
        || metrics.vote != changes.vote
        || metrics.current_leader != changes.current_leader
        || metrics.membership_config != changes.membership_config
        || metrics.committed_membership_config != changes.committed_membership_config
        || (metrics.state == ServerState::Leader && !lease_valid(metrics, lease))
}

/// The state at this moment; `known` is an earlier one.
pub fn current<F: Fsm>(
    raft: &Engine<F>,
    known: &RaftState,
    progress: &Progress,
    lease: Duration,
    stopping: bool,
) -> RaftState {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    observe(&metrics, known, progress, lease, failure(&metrics, false, stopping))
}

/// Follows the engine. Roles, leaders and members are told at once; indexes, which change with
/// every write, only now and then.
pub fn spawn<F: Fsm>(
    tasks: &mut JoinSet<()>,
    config: &Config,
    raft: &Engine<F>,
    progress: Arc<Progress>,
    health: Arc<StorageHealth>,
    contact: Arc<Mutex<Option<Instant>>>,
    mut stop: watch::Receiver<bool>,
) -> watch::Receiver<RaftState> {
    let lease = config.timings.election_max;
    let mut metrics = raft.metrics();
    let mut changes = raft.server_metrics();
    let initial = observe(&metrics.borrow_watched(), &RaftState::default(), &progress, lease, None);
    let (tx, rx) = watch::channel(initial);
    tasks.spawn(async move {
        // Leadership can end by time alone, so it is looked at now and then too.
        let mut tick = tokio::time::interval(lease / 4);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        while open {
            let more = expects_more(&metrics.borrow_watched(), &changes.borrow_watched(), lease);
            tokio::select! {
                changed = changes.changed() => open = changed.is_ok(),
                changed = metrics.changed(), if more => open = changed.is_ok(),
                _ = tick.tick() => report(&metrics.borrow_watched(), &tx.borrow()),
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let next = {
                let metrics = metrics.borrow_watched();
                let failed = failure(&metrics, !open, *stop.borrow());
                observe(&metrics, &tx.borrow(), &progress, lease, failed)
            };
            if let Some(why) = &next.failed
                && tx.borrow().failed.is_none()
            {
                tracing::error!(why, problem = ?health.problem(), "consensus stopped");
            }
            let before = tx.borrow().role;
            if next.role != before {
                telemetry::role_changed(next.role);
            }
            if before == Role::Leader && next.role != before {
                // It was in touch with the majority until now.
                *contact.lock() = Some(Instant::now());
            }
            tx.send_if_modified(|state| {
                let changed = *state != next;
                *state = next;
                changed
            });
        }
        tx.send_modify(|state| {
            state.role = Role::Shutdown;
            state.leader = None;
        });
    });
    rx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_ends_unasked_has_failed() {
        let mut metrics = Metrics::new_initial(ServerId::from_u128(1));
        assert_eq!(failure(&metrics, false, false), None);
        // Its task panicked and left no word.
        assert_eq!(failure(&metrics, true, false).as_deref(), Some("panicked"));
        assert_eq!(failure(&metrics, true, true), None);
        metrics.running_state = Err(Fatal::Stopped);
        assert_eq!(failure(&metrics, false, false).as_deref(), Some("raft stopped"));
        assert_eq!(failure(&metrics, true, true), None);
    }
}
