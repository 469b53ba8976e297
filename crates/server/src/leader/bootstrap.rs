//! The first election of a datacenter.
//!
//! With `bootstrap` a server elects itself. With `bootstrap_expect` every server waits until so many
//! are in the LAN pool, asks them whether they have a cluster already, and if none has, starts one
//! of exactly these servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::error::RpcError;
use model::methods::StatusPeers;
use model::options::DcSpecificRequest;

use crate::core::Core;
use crate::lookup::LanServer;

/// How often the pool is looked at while nothing in it changes.
const POLL: Duration = Duration::from_secs(1);
/// How long one server may take to name its peers.
const ASK: Duration = Duration::from_secs(3);

/// Starts the cluster when this server is to start one; returns never, so that it can stand beside
/// the other duties.
pub(super) async fn run(core: &Arc<Core>) {
    if core.raft.is_fresh() && !core.config.read_replica {
        if core.config.bootstrap {
            start(core, vec![(core.config.node_id, core.config.rpc_advertise)]).await;
        } else if core.config.bootstrap_expect > 0 {
            expect(core).await;
        }
    }
    std::future::pending().await
}

async fn expect(core: &Arc<Core>) {
    let mut changed = core.lan.members_changed();
    // Ends as well when a leader elsewhere took this server in meanwhile.
    while core.raft.is_fresh() {
        let servers = core.lan_servers();
        let mut candidates: Vec<&LanServer> =
            servers.iter().filter(|server| server.alive && !server.read_replica).collect();
        candidates.sort_by_key(|server| server.id);
        match judge(core, &candidates).await {
            Verdict::Start => {
                let peers = candidates.iter().map(|server| (server.id, server.rpc)).collect();
                return start(core, peers).await;
            }
            Verdict::Join => {
                tracing::info!(target: "server", "Existing Raft peers reported, disabling bootstrap mode");
                return;
            }
            Verdict::Wait => {}
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

enum Verdict {
    Start,
    Join,
    Wait,
}

/// Only the server with the least id starts the cluster: if each did, two that see different
/// servers could start two.
async fn judge(core: &Arc<Core>, candidates: &[&LanServer]) -> Verdict {
    let expect = core.config.bootstrap_expect;
    if let Some(other) = candidates.iter().find(|server| server.expect != 0 && server.expect != expect) {
        tracing::error!(target: "server", server = %other.name, "Member has a conflicting expect value. All nodes should expect the same number");
        return Verdict::Wait;
    }
    if let Some(other) = candidates.iter().find(|server| server.bootstrap && server.id != core.config.node_id)
    {
        tracing::error!(target: "server", server = %other.name, "Member has bootstrap mode. Expect disabled");
        return Verdict::Wait;
    }
    if candidates.len() < expect as usize {
        return Verdict::Wait;
    }
    if candidates.first().is_none_or(|first| first.id != core.config.node_id) {
        return Verdict::Wait;
    }
    for server in candidates.iter().filter(|server| server.id != core.config.node_id) {
        match peers_of(core, server).await {
            Ok(peers) if peers.is_empty() => {}
            Ok(_) => return Verdict::Join,
            Err(error) => {
                tracing::error!(target: "server", server = %server.name, error = %error, "Failed to confirm peer status for server");
                return Verdict::Wait;
            }
        }
    }
    Verdict::Start
}

async fn peers_of(core: &Arc<Core>, server: &LanServer) -> Result<Vec<String>, RpcError> {
    let args = DcSpecificRequest { datacenter: core.datacenter().to_owned(), ..DcSpecificRequest::default() };
    let target = core.server_addr(server.name.clone(), server.rpc);
    core.pool.call::<StatusPeers>(&target, &args, Some(Instant::now() + ASK)).await
}

async fn start(core: &Arc<Core>, peers: Vec<(consensus::ServerId, std::net::SocketAddr)>) {
    let names: Vec<String> = peers.iter().map(|(_, address)| address.to_string()).collect();
    match core.raft.bootstrap(peers).await {
        Ok(()) => {
            tracing::info!(target: "server", peers = names.join(","), "Found expected number of peers, attempting bootstrap")
        }
        Err(error) => tracing::error!(target: "server", error = %error, "Failed to bootstrap cluster"),
    }
}
