//! The health of each server, and since when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consensus::{Member, RaftState, ServerId};
use model::duration::{GoDuration, parse_go};
use model::operator::{
    AutopilotConfig, AutopilotHealthReply, AutopilotServer, AutopilotServerHealth,
    AutopilotServerHealthState, AutopilotServerState, AutopilotServerStats, AutopilotState, RaftStats,
};
use model::time::Timestamp;

use crate::lookup::LanServer;

/// What was heard of a peer in one round.
pub(super) struct Sample {
    pub member: Member,
    pub server: Option<LanServer>,
    pub stats: Option<RaftStats>,
}

#[derive(Debug)]
struct Server {
    member: Member,
    server: Option<LanServer>,
    stats: Option<RaftStats>,
    healthy: bool,
    since: Instant,
    since_time: Timestamp,
}

/// All peers as of the last round.
#[derive(Debug, Default)]
pub(crate) struct Health {
    leader: Option<ServerId>,
    servers: BTreeMap<ServerId, Server>,
}

impl Health {
    /// Takes a round's samples in.
    pub(super) fn update(
        &mut self,
        config: &AutopilotConfig,
        state: &RaftState,
        leader: Option<ServerId>,
        samples: Vec<Sample>,
        now: Instant,
    ) {
        self.leader = leader;
        let mut old = std::mem::take(&mut self.servers);
        for Sample { member, server, stats } in samples {
            let id = member.id;
            let healthy = server.as_ref().is_some_and(|server| server.alive)
                && stats.as_ref().is_some_and(|stats| fits(config, state, stats));
            let (since, since_time) = match old.remove(&id) {
                Some(before) if before.healthy == healthy => (before.since, before.since_time),
                _ => (now, Timestamp::now()),
            };
            self.servers.insert(id, Server { member, server, stats, healthy, since, since_time });
        }
    }

    /// For how long a server has been healthy.
    pub(super) fn stable_for(&self, id: ServerId, now: Instant) -> Duration {
        match self.servers.get(&id) {
            Some(server) if server.healthy => now.saturating_duration_since(server.since),
            _ => Duration::ZERO,
        }
    }

    /// Whether all are.
    pub(super) fn is_healthy(&self) -> bool {
        self.servers.values().all(|server| server.healthy)
    }

    /// How many voters may fail before the rest is no majority.
    pub(super) fn failure_tolerance(&self) -> i64 {
        let voters = self.servers.values().filter(|server| server.member.voter).count();
        let healthy = self.servers.values().filter(|server| server.member.voter && server.healthy).count();
        let quorum = voters / 2 + 1;
        healthy.saturating_sub(quorum) as i64
    }

    /// The older form.
    pub(super) fn reply(&self) -> AutopilotHealthReply {
        AutopilotHealthReply {
            failure_tolerance: self.failure_tolerance(),
            healthy: self.is_healthy(),
            servers: self.servers.values().map(|server| self.server_health(server)).collect(),
        }
    }

    fn server_health(&self, server: &Server) -> AutopilotServerHealth {
        let (last_contact, last_index, last_term) = numbers(server.stats.as_ref());
        let known = server.server.as_ref();
        AutopilotServerHealth {
            address: known.map_or(server.member.address, |known| known.rpc).to_string(),
            healthy: server.healthy,
            id: server.member.id.to_string(),
            last_contact,
            last_index,
            last_term,
            leader: Some(server.member.id) == self.leader,
            name: known.map(|known| known.name.clone()).unwrap_or_default(),
            serf_status: known.map_or(0, |known| known.serf_status),
            stable_since: server.since_time,
            version: known.map(|known| known.build.clone()).unwrap_or_default(),
            voter: server.member.voter,
        }
    }

    /// The newer form.
    pub(super) fn state(&self) -> AutopilotState {
        let servers =
            self.servers.values().map(|server| (server.member.id.to_string(), self.server_state(server)));
        AutopilotState {
            ext: serde_json::Value::Null,
            failure_tolerance: self.failure_tolerance(),
            healthy: self.is_healthy(),
            leader: self.leader.map(|id| id.to_string()).unwrap_or_default(),
            servers: servers.collect(),
            voters: self
                .servers
                .values()
                .filter(|server| server.member.voter)
                .map(|server| server.member.id.to_string())
                .collect(),
        }
    }

    fn server_state(&self, server: &Server) -> AutopilotServerState {
        let (last_contact, last_index, last_term) = numbers(server.stats.as_ref());
        let known = server.server.as_ref();
        let leads = Some(server.member.id) == self.leader;
        let status = match known.map(|known| known.serf_status) {
            Some(1) => "alive",
            Some(2 | 3) => "left",
            Some(4) => "failed",
            _ => "unknown",
        };
        AutopilotServerState {
            health: AutopilotServerHealthState { healthy: server.healthy, stable_since: server.since_time },
            server: AutopilotServer {
                address: known.map_or(server.member.address, |known| known.rpc).to_string(),
                ext: serde_json::Value::Null,
                id: server.member.id.to_string(),
                is_leader: leads,
                meta: BTreeMap::new(),
                name: known.map(|known| known.name.clone()).unwrap_or_default(),
                node_status: status.to_owned(),
                node_type: "voter".to_owned(),
                raft_version: known.map_or(3, |known| known.raft_version.into()),
                version: known.map(|known| known.build.clone()).unwrap_or_default(),
            },
            state: match (leads, server.member.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "non-voter",
            }
            .to_owned(),
            stats: AutopilotServerStats { last_contact, last_index, last_term },
        }
    }
}

fn numbers(stats: Option<&RaftStats>) -> (GoDuration, u64, u64) {
    match stats {
        Some(stats) => (contact(stats).unwrap_or_default(), stats.last_index, stats.last_term),
        None => (GoDuration::ZERO, 0, 0),
    }
}

/// How long ago the server heard the leader; `None` if it never did.
fn contact(stats: &RaftStats) -> Option<GoDuration> {
    parse_go(&stats.last_contact).ok()
}

/// Whether a server follows closely enough.
fn fits(config: &AutopilotConfig, state: &RaftState, stats: &RaftStats) -> bool {
    contact(stats).is_some_and(|contact| contact <= config.last_contact_threshold)
        && stats.last_term == state.term
        && stats.last_index.saturating_add(config.max_trailing_logs) >= state.last_log
}
