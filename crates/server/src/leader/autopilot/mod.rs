//! Autopilot: watches the health of the servers, gives votes to those that have been stable, and
//! clears away those that died.

mod health;
mod roster;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::ServerId;
use futures::future::join_all;
use model::methods::StatusRaftStats;
use model::operator::{
    AutopilotConfig, AutopilotHealthReply, AutopilotSetConfigRequest, AutopilotState, RaftStats,
};
use model::scalar::Empty;
use parking_lot::Mutex;
use state::WatchSet;

use crate::core::{CommandType, Core};
use crate::lookup::LanServer;

use health::{Health, Sample};

/// How often every server is asked how far it is.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// How often the voters are looked over.
const ROSTER_INTERVAL: Duration = Duration::from_secs(10);
/// The same while somebody has no vote yet.
const LEARNER_INTERVAL: Duration = Duration::from_secs(2);
/// How long a server may take to tell how far it is.
const ASK: Duration = Duration::from_secs(1);

/// What autopilot knows; empty unless this server leads.
#[derive(Debug, Default)]
pub(crate) struct Autopilot {
    health: Mutex<Health>,
    /// Servers that may be no peers and are to be: adding them was refused, as it is while another change is under
    /// way, or they were removed as dead.
    wanted: Mutex<HashSet<ServerId>>,
}

impl Autopilot {
    /// State of all servers, as the operator endpoint shows it.
    pub fn state(&self) -> AutopilotState {
        self.health.lock().state()
    }

    /// The older form of the same.
    pub fn health(&self) -> AutopilotHealthReply {
        self.health.lock().reply()
    }

    pub(super) fn clear(&self) {
        *self.health.lock() = Health::default();
        // What an operator decided under another leader is not known here.
        self.wanted.lock().clear();
    }
}

impl Core {
    /// Autopilot's settings: what an operator wrote, or what this server was started with.
    pub(crate) fn autopilot_config(&self) -> AutopilotConfig {
        let (_, written) = self.store.view().autopilot(&mut WatchSet::none());
        written.map_or_else(|| self.config.autopilot.clone(), |config| (*config).clone())
    }

    /// A server of the pool becomes a Raft peer: without a vote first, which autopilot gives.
    pub(crate) async fn join_raft(&self, server: &LanServer) {
        let members = self.raft.membership();
        match members.iter().find(|member| member.id == server.id) {
            Some(member) if member.address == server.rpc => {}
            Some(_) => {
                if let Err(error) = self.raft.set_address(server.id, server.rpc).await {
                    tracing::warn!(target: "server.autopilot", server = %server.name, error = %error, "failed to update the address of a Raft peer");
                }
            }
            None => match self.raft.add_learner(server.id, server.rpc).await {
                Ok(()) => {
                    self.leader_only.autopilot.wanted.lock().remove(&server.id);
                    tracing::info!(target: "server", server = %server.name, "adding server as a Raft peer")
                }
                Err(error) => {
                    self.leader_only.autopilot.wanted.lock().insert(server.id);
                    tracing::error!(target: "server", server = %server.name, error = %error, "failed to add Raft peer");
                }
            },
        }
    }

    /// A server that left is no peer any more.
    pub(crate) async fn leave_raft(&self, server: &LanServer) {
        if !self.raft.membership().iter().any(|member| member.id == server.id) {
            return;
        }
        match self.raft.remove(server.id).await {
            Ok(()) => tracing::info!(target: "server", server = %server.name, "removing server by ID"),
            Err(error) => {
                tracing::error!(target: "server", server = %server.name, error = %error, "failed to remove Raft peer");
            }
        }
    }
}

/// Runs while this server leads.
pub(super) async fn run(core: Arc<Core>) {
    initialise(&core).await;
    tokio::join!(watch_health(&core), keep_roster(&core));
}

/// Writes the settings that this server was started with, unless there are some.
async fn initialise(core: &Core) {
    if core.store.view().autopilot(&mut WatchSet::none()).1.is_some() {
        return;
    }
    let request = AutopilotSetConfigRequest {
        config: core.config.autopilot.clone(),
        datacenter: core.datacenter().to_owned(),
        ..AutopilotSetConfigRequest::default()
    };
    if let Err(error) = core.propose(CommandType::Autopilot, &request).await {
        tracing::error!(target: "server.autopilot", error = %error, "failed to initialize config");
    }
}

async fn watch_health(core: &Core) {
    let mut period = tokio::time::interval(HEALTH_INTERVAL);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let servers = core.lookup.all();
        let members = core.raft.membership();
        let asked = members.iter().map(|member| async {
            let server = servers.get(&member.id);
            let stats = match server {
                Some(_) if member.id == core.config.node_id => Some(own_stats(core)),
                Some(server) => ask(core, server).await,
                None => None,
            };
            Sample { member: member.clone(), server: server.cloned(), stats }
        });
        let samples = join_all(asked).await;
        let config = core.autopilot_config();
        let state = core.raft.state();
        let (healthy, tolerance) = {
            let mut health = core.leader_only.autopilot.health.lock();
            health.update(&config, &state, core.leader(), samples, Instant::now());
            (health.is_healthy(), health.failure_tolerance())
        };
        metrics::gauge!("autopilot.healthy").set(if healthy { 1.0 } else { 0.0 });
        metrics::gauge!("autopilot.failure_tolerance").set(tolerance as f64);
    }
}

fn own_stats(core: &Core) -> RaftStats {
    let state = core.raft.state();
    RaftStats { last_contact: "0".to_owned(), last_index: state.last_log, last_term: state.term }
}

async fn ask(core: &Core, server: &LanServer) -> Option<RaftStats> {
    let target = core.server_addr(server.name.clone(), server.rpc);
    core.pool.call::<StatusRaftStats>(&target, &Empty {}, Some(Instant::now() + ASK)).await.ok()
}

/// Promotes the stable, removes the dead and adds them again if they are not; looks again whenever the pool or
/// the configuration of the peers has changed.
async fn keep_roster(core: &Core) {
    let mut changed = core.lan.members_changed();
    let mut peers = core.raft.watch();
    let began = Instant::now();
    loop {
        let config = core.autopilot_config();
        let settled = began.elapsed() >= super::SETTLE;
        let (seen, plan) = {
            let health = core.leader_only.autopilot.health.lock();
            let (state, servers) = (core.raft.state(), core.lookup.all());
            let wanted = core.leader_only.autopilot.wanted.lock();
            if state.members_settled {
                let plan = roster::plan(&config, &state, &servers, &wanted, &health, settled, Instant::now());
                (Some(state.members_index), plan)
            } else {
                // A predecessor's change is being finished; who has a vote is known then.
                (None, roster::Plan::default())
            }
        };
        for server in &plan.join {
            core.join_raft(server).await;
        }
        for id in plan.promote {
            match core.raft.promote(id).await {
                Ok(()) => tracing::info!(target: "server.autopilot", id = %id, "Promoting server"),
                Err(error) => {
                    tracing::warn!(target: "server.autopilot", id = %id, error = %error, "failed to promote server");
                }
            }
        }
        // A vote is worth more than a look.
        let pause =
            if core.raft.state().learners().next().is_some() { LEARNER_INTERVAL } else { ROSTER_INTERVAL };
        for dead in plan.remove {
            // The changes before this one took time.
            let is_back = || core.lookup.get(dead.id).is_some_and(|server| !roster::is_dead(&server));
            if is_back() {
                continue;
            }
            tracing::info!(target: "server.autopilot", id = %dead.id, "Attempting removal of failed server node");
            if let Err(error) = core.raft.remove(dead.id).await {
                tracing::warn!(target: "server.autopilot", id = %dead.id, error = %error, "failed to remove server");
                continue;
            }
            // One that came back meanwhile is not told to leave: the next look makes it a peer again.
            core.leader_only.autopilot.wanted.lock().insert(dead.id);
            if let Some(name) = dead.name
                && !is_back()
            {
                core.force_leave_everywhere(&name, false).await;
            }
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            // Whoever came back between the plan and the change was a peer then, so no event adds it.
            settled = peers.wait_for(|peers| peers.members_settled && Some(peers.members_index) != seen) => {
                if settled.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}
