//! Who should have a vote, and who should go: a pure function of what is known.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use consensus::{RaftState, ServerId};
use model::operator::AutopilotConfig;

use super::health::Health;
use crate::lookup::LanServer;

/// Gossip's number for a failed member.
const SERF_FAILED: i64 = 4;
/// Gossip's number for one that left.
const SERF_LEFT: i64 = 3;

/// A peer to clear away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dead {
    pub id: ServerId,
    /// Its node name, where gossip still knows one.
    pub name: Option<String>,
}

/// Gossip's number for one that is alive.
const SERF_ALIVE: i64 = 1;

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Wanted, alive and no peers.
    pub join: Vec<LanServer>,
    pub promote: Vec<ServerId>,
    pub remove: Vec<Dead>,
}

/// Whether gossip says that it is gone.
pub(super) fn is_dead(server: &LanServer) -> bool {
    matches!(server.serf_status, SERF_FAILED | SERF_LEFT)
}

/// Of the servers that are `wanted`, as they were removed for dead or could not be added, those that are alive become
/// peers, whatever became of the event that said so: it may have come while they were peers still. Whom an
/// operator removed stays out, as in the reference, until the members are gone through the next time. Servers without a vote get one after they were healthy for the stabilization time. The dead go
/// if they are fewer than half of the voters, so that a partition never talks itself into a
/// majority, and never below `min_quorum` voters. Peers that gossip does not know are dead only when
/// `pool_is_settled`: after a restart of the whole datacenter Raft is up before the pool is whole.
pub(super) fn plan(
    config: &AutopilotConfig,
    state: &RaftState,
    servers: &HashMap<ServerId, LanServer>,
    wanted: &HashSet<ServerId>,
    health: &Health,
    pool_is_settled: bool,
    now: Instant,
) -> Plan {
    let mut plan = Plan::default();
    let missing = wanted.iter().filter_map(|id| servers.get(id)).filter(|server| {
        server.alive
            && server.serf_status == SERF_ALIVE
            && !state.members.iter().any(|member| member.id == server.id)
    });
    plan.join.extend(missing.cloned());
    for id in state.learners() {
        let wants_vote = servers.get(&id).is_some_and(|server| server.alive && !server.read_replica);
        if wants_vote && health.stable_for(id, now) >= config.server_stabilization_time.to_std() {
            plan.promote.push(id);
        }
    }
    if !config.cleanup_dead_servers {
        return plan;
    }
    let mut voters = state.voters().count();
    let half = voters.div_ceil(2).saturating_sub(1);
    let mut removed_voters = 0;
    for member in state.members.iter() {
        let server = servers.get(&member.id);
        let dead = match server {
            Some(server) => is_dead(server),
            None => pool_is_settled,
        };
        if !dead {
            continue;
        }
        if member.voter {
            if removed_voters >= half || (voters - 1) < config.min_quorum as usize {
                continue;
            }
            removed_voters += 1;
            voters -= 1;
        }
        plan.remove.push(Dead { id: member.id, name: server.map(|server| server.name.clone()) });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Member;
    use std::sync::Arc;

    fn id(number: u128) -> ServerId {
        ServerId::from_u128(number)
    }

    fn world(statuses: &[i64]) -> (RaftState, HashMap<ServerId, LanServer>) {
        let address = "127.0.0.1:8300".parse().unwrap();
        let mut state = RaftState::default();
        let mut members = Vec::new();
        let mut servers = HashMap::new();
        for (number, status) in statuses.iter().enumerate() {
            let id = id(number as u128 + 1);
            members.push(Member { id, address, voter: true });
            servers.insert(
                id,
                LanServer {
                    id,
                    name: format!("s{number}"),
                    rpc: address,
                    wan: None,
                    bootstrap: false,
                    expect: 3,
                    build: "1.9.8".into(),
                    read_replica: false,
                    alive: *status == 1,
                    raft_version: 3,
                    serf_status: *status,
                },
            );
        }
        state.members = Arc::new(members);
        (state, servers)
    }

    fn config() -> AutopilotConfig {
        AutopilotConfig { cleanup_dead_servers: true, ..AutopilotConfig::default() }
    }

    fn removed(statuses: &[i64], config: &AutopilotConfig) -> usize {
        let (state, servers) = world(statuses);
        plan(config, &state, &servers, &HashSet::new(), &Health::default(), true, Instant::now()).remove.len()
    }

    #[test]
    fn the_dead_go_only_while_a_majority_lives() {
        assert_eq!(removed(&[1, 1, 4], &config()), 1);
        assert_eq!(removed(&[1, 4, 4], &config()), 1);
        assert_eq!(removed(&[1, 4], &config()), 0);
        assert_eq!(removed(&[1, 1, 1, 4, 4], &config()), 2);
        assert_eq!(removed(&[1, 1, 1], &config()), 0);
    }

    #[test]
    fn unknown_peers_go_once_the_pool_is_settled() {
        let (state, mut servers) = world(&[1, 1, 1]);
        servers.remove(&id(3));
        let removed = |settled| {
            plan(&config(), &state, &servers, &HashSet::new(), &Health::default(), settled, Instant::now())
                .remove
                .len()
        };
        assert_eq!((removed(false), removed(true)), (0, 1));
    }

    #[test]
    fn a_server_that_came_back_while_it_was_removed_becomes_a_peer_again() {
        let (mut state, servers) = world(&[1, 1, 1]);
        state.members = Arc::new(state.members.iter().filter(|member| member.id != id(3)).cloned().collect());
        for cleanup in [true, false] {
            let config = AutopilotConfig { cleanup_dead_servers: cleanup, ..config() };
            let plan = plan(
                &config,
                &state,
                &servers,
                &HashSet::from([id(3)]),
                &Health::default(),
                true,
                Instant::now(),
            );
            let joins: Vec<_> = plan.join.iter().map(|server| server.id).collect();
            assert_eq!((joins, plan.remove.len()), (vec![id(3)], 0));
        }
    }

    #[test]
    fn only_the_living_become_peers() {
        for (status, joins) in [(1, 1), (2, 0), (3, 0), (4, 0)] {
            let (mut state, servers) = world(&[1, 1, status]);
            state.members =
                Arc::new(state.members.iter().filter(|member| member.id != id(3)).cloned().collect());
            let joins_of = |removed: &HashSet<ServerId>| {
                plan(&config(), &state, &servers, removed, &Health::default(), true, Instant::now())
                    .join
                    .len()
            };
            assert_eq!(joins_of(&HashSet::from([id(3)])), joins, "status {status}");
            assert_eq!(joins_of(&HashSet::new()), 0, "not removed as dead, status {status}");
        }
    }

    #[test]
    fn min_quorum_and_the_switch_keep_them() {
        assert_eq!(removed(&[1, 1, 4], &AutopilotConfig { min_quorum: 3, ..config() }), 0);
        assert_eq!(removed(&[1, 1, 4], &AutopilotConfig { cleanup_dead_servers: false, ..config() }), 0);
    }
}
