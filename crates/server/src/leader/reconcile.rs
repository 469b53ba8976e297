//! The reconcile duty: members of the LAN pool become nodes of the catalog, with the `serfHealth`
//! check that tells whether gossip holds them for alive; servers become Raft peers.
//!
//! What to write is decided by a pure function of the catalog and one member; nothing is written
//! that is so already.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use gossip::driver::PoolEvent;
use gossip::serf::{Member, MemberStatus};
use model::catalog::{DeregisterRequest, NodeService, RegisterRequest, Weights};
use model::error::RpcError;
use model::health::HealthCheck;
use state::{View, WatchSet};
use tokio::sync::broadcast::error::RecvError;

use crate::core::{CommandType, Core};
use crate::lookup::LanServer;
use crate::members::{Role, Standing};

/// Id of the check.
pub(crate) const SERF_CHECK_ID: &str = "serfHealth";
/// Name of the check.
const SERF_CHECK_NAME: &str = "Serf Health Status";
/// Its output for a member that answers.
const ALIVE_OUTPUT: &str = "Agent alive and reachable";
/// Its output for one that does not.
const FAILED_OUTPUT: &str = "Agent not live or unreachable";
/// Name and id of the service that servers are.
const SERVER_SERVICE: &str = "consul";

/// What the catalog lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Register(Box<RegisterRequest>),
    Deregister(Box<DeregisterRequest>),
}

/// Follows the pool's events, and compares everything once a period, for what events missed.
pub(super) async fn run(core: Arc<Core>) {
    let began = std::time::Instant::now();
    let mut events = core.lan.events();
    let mut period = tokio::time::interval(core.config.reconcile_interval);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = period.tick() => everything(&core, began.elapsed() >= super::SETTLE).await,
            event = events.recv() => match event {
                Ok(
                    PoolEvent::MemberJoin(member)
                    | PoolEvent::MemberUpdate(member)
                    | PoolEvent::MemberFailed(member),
                ) => one(&core, &member, false).await,
                Ok(PoolEvent::MemberLeave(member)) => one(&core, &member, false).await,
                Ok(PoolEvent::MemberReap(member)) => one(&core, &member, true).await,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => everything(&core, began.elapsed() >= super::SETTLE).await,
                Err(RecvError::Closed) => return std::future::pending().await,
            },
        }
    }
}

/// `settled`: who is not in the pool is gone.
async fn everything(core: &Arc<Core>, settled: bool) {
    let started = std::time::Instant::now();
    let members = core.lan.members();
    for member in members.iter() {
        one(core, member, false).await;
    }
    let known: HashSet<&str> = members.iter().map(|member| &*member.name).collect();
    let gone = if settled { vanished(&core.store.view(), &known) } else { Vec::new() };
    for node in gone {
        if node != core.config.node_name {
            report(core, &node, write(core, deregister(core.datacenter(), &node)).await);
        }
    }
    metrics::histogram!("leader.reconcile").record(started.elapsed().as_secs_f64() * 1e3);
}

async fn one(core: &Arc<Core>, member: &Member, reaped: bool) {
    let standing = Standing::of(member, core.datacenter());
    if standing.role == Role::Foreign {
        tracing::warn!(target: "server", name = %member.name, "skipping reconcile of node");
        return;
    }
    if let Role::Server(server) = &standing.role {
        match member.status {
            MemberStatus::Alive if !reaped => core.join_raft(server).await,
            MemberStatus::Left => core.leave_raft(server).await,
            MemberStatus::Failed if reaped => core.leave_raft(server).await,
            _ => {}
        }
    }
    // Its own removal is left to the next leader.
    let leaving = reaped || member.status == MemberStatus::Left;
    if leaving && *member.name == *core.config.node_name {
        return;
    }
    if let Some(change) = wanted(&core.store.view(), core.datacenter(), member, &standing, reaped) {
        report(core, &member.name, write(core, change).await);
    }
}

fn report(core: &Core, node: &str, result: Result<(), RpcError>) {
    if let Err(error) = result
        && core.is_leader()
    {
        tracing::error!(target: "server", member = %node, error = %error, "failed to reconcile member");
    }
}

async fn write(core: &Core, change: Change) -> Result<(), RpcError> {
    match change {
        Change::Register(request) => core.propose(CommandType::Register, &*request).await.map(drop),
        Change::Deregister(request) => core.propose(CommandType::Deregister, &*request).await.map(drop),
    }
}

/// Nodes that have the check but are no members any more.
fn vanished(view: &View, known: &HashSet<&str>) -> Vec<String> {
    let ws = &mut WatchSet::none();
    let (_, checks) = view.checks_in_state(ws, "any", &BTreeMap::new());
    checks
        .iter()
        .filter(|check| check.check_id == SERF_CHECK_ID && !known.contains(check.node.as_str()))
        .map(|check| check.node.clone())
        .collect()
}

fn deregister(datacenter: &str, node: &str) -> Change {
    Change::Deregister(Box::new(DeregisterRequest {
        datacenter: datacenter.to_owned(),
        node: node.to_owned(),
        ..DeregisterRequest::default()
    }))
}

/// What has to be written for the catalog to show the member as it is.
pub(crate) fn wanted(
    view: &View,
    datacenter: &str,
    member: &Member,
    standing: &Standing,
    reaped: bool,
) -> Option<Change> {
    let ws = &mut WatchSet::none();
    let (_, node) = view.node(ws, &member.name);
    let status = if reaped { MemberStatus::Left } else { member.status };
    match status {
        MemberStatus::Leaving => None,
        MemberStatus::Left => node.map(|_| deregister(datacenter, &member.name)),
        MemberStatus::Failed => {
            node?;
            let check = serf_check(member, "critical", FAILED_OUTPUT);
            (!check_is(view, &check)).then(|| {
                Change::Register(Box::new(RegisterRequest {
                    datacenter: datacenter.to_owned(),
                    node: member.name.to_string(),
                    id: standing.node_id.clone(),
                    skip_node_update: true,
                    check: Some(check),
                    ..RegisterRequest::default()
                }))
            })
        }
        MemberStatus::Alive => {
            let address = member.addr.to_string();
            let check = serf_check(member, "passing", ALIVE_OUTPUT);
            let service = match &standing.role {
                Role::Server(server) => Some(server_service(member, server)),
                _ => None,
            };
            let node_fits =
                node.as_ref().is_some_and(|node| node.address == address && node.id == standing.node_id);
            if node_fits
                && check_is(view, &check)
                && service.as_ref().is_none_or(|s| service_is(view, member, s))
            {
                return None;
            }
            // The agent itself may register between this look and the write: what it said of its node stays.
            let known_otherwise = node.is_some() && !node_fits;
            let (tagged_addresses, node_meta) =
                node.map(|node| (node.tagged_addresses.clone(), node.meta.clone())).unwrap_or_default();
            Some(Change::Register(Box::new(RegisterRequest {
                datacenter: datacenter.to_owned(),
                node: member.name.to_string(),
                id: standing.node_id.clone(),
                address,
                skip_node_update: !known_otherwise,
                tagged_addresses,
                node_meta,
                service,
                check: Some(check),
                ..RegisterRequest::default()
            })))
        }
    }
}

fn serf_check(member: &Member, status: &str, output: &str) -> HealthCheck {
    HealthCheck {
        node: member.name.to_string(),
        check_id: SERF_CHECK_ID.to_owned(),
        name: SERF_CHECK_NAME.to_owned(),
        status: status.to_owned(),
        output: output.to_owned(),
        ..HealthCheck::default()
    }
}

fn check_is(view: &View, wanted: &HealthCheck) -> bool {
    let (_, checks) = view.node_checks(&mut WatchSet::none(), &wanted.node);
    checks.iter().any(|check| {
        check.check_id == wanted.check_id && check.status == wanted.status && check.output == wanted.output
    })
}

fn server_service(member: &Member, server: &LanServer) -> NodeService {
    let [min, max, current, ..] = member.vsn;
    let read_replica = server.read_replica;
    let meta = [
        ("non_voter", read_replica.to_string()),
        ("read_replica", read_replica.to_string()),
        ("raft_version", server.raft_version.to_string()),
        ("serf_protocol_current", current.to_string()),
        ("serf_protocol_min", min.to_string()),
        ("serf_protocol_max", max.to_string()),
        ("version", server.build.clone()),
    ];
    NodeService {
        id: SERVER_SERVICE.to_owned(),
        service: SERVER_SERVICE.to_owned(),
        port: server.rpc.port().into(),
        weights: Some(Weights { passing: 1, warning: 1 }),
        meta: meta.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..NodeService::default()
    }
}

fn service_is(view: &View, member: &Member, wanted: &NodeService) -> bool {
    let (_, list) = view.node_service_list(&mut WatchSet::none(), &member.name);
    list.iter()
        .flat_map(|list| &list.services)
        .any(|service| service.id == wanted.id && service.port == wanted.port && service.meta == wanted.meta)
}

#[cfg(test)]
mod tests {
    use gossip::swim::Tick;
    use state::{Store, command};

    use super::*;

    fn member() -> Member {
        Member {
            name: "a".into(),
            addr: [10, 0, 0, 1].into(),
            port: 8301,
            tags: Arc::default(),
            status: MemberStatus::Alive,
            status_time: Tick::default(),
            vsn: [1, 5, 2, 2, 5, 4],
        }
    }

    fn apply(store: &Store, index: u64, request: &RegisterRequest) {
        store.apply_batch(&[(index, command::encode(command::REGISTER, request).unwrap().into())]);
    }

    #[test]
    fn what_an_agent_says_of_its_node_meanwhile_stays() {
        let store = Store::new();
        let standing = Standing { role: Role::Client, node_id: String::new() };
        let ours = |store: &Store| match wanted(&store.view(), "dc1", &member(), &standing, false) {
            Some(Change::Register(request)) => Some(*request),
            _ => None,
        };
        let of_agent = |address: &str| RegisterRequest {
            datacenter: "dc1".to_owned(),
            node: "a".to_owned(),
            address: address.to_owned(),
            node_meta: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ..RegisterRequest::default()
        };
        let shown = |store: &Store| {
            let node = store.view().node(&mut WatchSet::none(), "a").1.expect("a node");
            (node.address.clone(), node.meta.get("k").cloned())
        };

        let late = ours(&store).expect("nothing is there yet");
        apply(&store, 1, &of_agent("10.0.0.1"));
        apply(&store, 2, &late);
        assert_eq!(shown(&store), ("10.0.0.1".to_owned(), Some("v".to_owned())));
        assert!(ours(&store).is_none(), "it is as wanted");

        apply(&store, 3, &of_agent("10.0.0.9"));
        apply(&store, 4, &ours(&store).expect("the address is another"));
        assert_eq!(shown(&store), ("10.0.0.1".to_owned(), Some("v".to_owned())));
    }
}
