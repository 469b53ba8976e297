//! What a leader does besides answering: a file for each duty.
//!
//! Duties start when this server has become leader and caught up, and end, all of them, when it no
//! longer leads. They write through the log like anybody else, so that a duty which runs a moment
//! too long does no harm.

mod autopilot;
mod bootstrap;
mod coordinates;
mod lock_delay;
mod reconcile;
mod sessions;
mod tombstones;

use std::sync::Arc;
use std::time::Duration;

use consensus::Role;
use gossip::serf::consul::NEW_LEADER_EVENT;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use state::Effect;

use crate::core::Core;

pub(crate) use autopilot::Autopilot;
pub(crate) use coordinates::CoordinateBuffer;
pub(crate) use lock_delay::LockDelays;
pub(crate) use sessions::SessionTimers;

/// How long after an election gossip has had time to find everybody again. When a whole datacenter
/// restarts, Raft is up before the pool is whole: who is missing then is not gone.
const SETTLE: Duration = Duration::from_secs(30);
/// Pause before a leader that could not take over tries again.
const RETRY: Duration = Duration::from_millis(200);

/// State that only a leader keeps; empty on the others.
#[derive(Default)]
pub(crate) struct LeaderOnly {
    pub sessions: SessionTimers,
    pub lock_delays: LockDelays,
    pub coordinates: CoordinateBuffer,
    pub autopilot: Autopilot,
}

/// Follows leadership for the life of the server.
pub(crate) async fn follow(core: Arc<Core>) {
    let lead = async {
        let mut state = core.raft.watch();
        loop {
            if state.wait_for(|state| state.role == Role::Leader && state.leader.is_some()).await.is_err() {
                return;
            }
            let term = CancellationToken::new();
            let duties = TaskTracker::new();
            let ended = async {
                // An error means that the Raft engine is gone, which ends the term as well.
                let _ = state.wait_for(|state| state.role != Role::Leader).await;
            };
            tokio::select! {
                () = serve_term(&core, &term, &duties) => {}
                () = ended => {}
            }
            term.cancel();
            duties.close();
            duties.wait().await;
            core.leader_only.clear();
            tracing::info!(target: "server", "cluster leadership lost");
        }
    };
    tokio::select! {
        () = lead => {}
        () = bootstrap::run(&core) => {}
        () = core.stop.cancelled() => {}
    }
}

impl LeaderOnly {
    /// Takes in what applying a command brought about. Called on every server, so that a new leader
    /// knows the lock delays too; it must not wait for anything.
    pub(crate) fn take(&self, effect: Effect) {
        match effect {
            Effect::LockDelay { key, delay } => self.lock_delays.delay(key, delay.to_std()),
            Effect::SessionEnded { id } => self.sessions.forget(&id),
            // The reaper looks at the newest tombstone itself, once in a while.
            Effect::Tombstones { .. } => {}
        }
    }

    fn clear(&self) {
        self.sessions.clear();
        self.coordinates.clear();
        self.autopilot.clear();
    }
}

/// Takes over, starts the duties, and stays until it is dropped.
async fn serve_term(core: &Arc<Core>, term: &CancellationToken, duties: &TaskTracker) {
    // The state has to hold everything of earlier terms before anything is decided by it.
    while let Err(error) = core.linearizable().await {
        tracing::warn!(target: "server", error = %error, "failed to wait for barrier");
        tokio::time::sleep(RETRY).await;
    }
    tracing::info!(target: "server", payload = %core.config.node_name, "New leader elected");
    core.leader_only.sessions.start(&core.store.view());
    spawn(duties, term, sessions::run(core.clone()));
    spawn(duties, term, tombstones::run(core.clone()));
    spawn(duties, term, coordinates::run(core.clone()));
    spawn(duties, term, autopilot::run(core.clone()));
    spawn(duties, term, reconcile::run(core.clone()));
    // Agents that wait for a leader try again as soon as they hear of one.
    let name = core.config.node_name.clone();
    if let Err(error) = core.lan.user_event(NEW_LEADER_EVENT, name.as_bytes(), false).await {
        tracing::warn!(target: "server", error = %error, "failed to broadcast new leader event");
    }
    std::future::pending().await
}

fn spawn(duties: &TaskTracker, term: &CancellationToken, duty: impl Future<Output = ()> + Send + 'static) {
    let term = term.clone();
    duties.spawn(async move {
        tokio::select! {
            () = duty => {}
            () = term.cancelled() => {}
        }
    });
}
