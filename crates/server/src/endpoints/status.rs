//! `Status`: is it there, who leads, who are the peers.

use std::sync::Arc;

use model::duration::{GoDuration, format_go};
use model::error::RpcError;
use model::methods::{StatusLeader, StatusPeers, StatusPing, StatusRaftStats};
use model::operator::RaftStats;
use model::options::DcSpecificRequest;
use model::scalar::Empty;

use crate::core::Core;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<StatusPing, _, _>(ping);
    registry.call::<StatusLeader, _, _>(leader);
    registry.call::<StatusPeers, _, _>(peers);
    registry.call::<StatusRaftStats, _, _>(raft_stats);
}

async fn ping(_: Arc<Core>, _: Empty) -> Result<Empty, RpcError> {
    Ok(Empty {})
}

/// The leader's RPC address, empty while there is none.
async fn leader(core: Arc<Core>, _: DcSpecificRequest) -> Result<String, RpcError> {
    Ok(core
        .leader()
        .and_then(|id| core.address_of(id))
        .map(|address| address.to_string())
        .unwrap_or_default())
}

/// The RPC addresses of all voters.
async fn peers(core: Arc<Core>, _: DcSpecificRequest) -> Result<Vec<String>, RpcError> {
    let mut peers: Vec<_> = core
        .raft
        .membership()
        .into_iter()
        .filter_map(|member| core.address_of(member.id).or(Some(member.address)))
        .collect();
    peers.sort_unstable();
    Ok(peers.into_iter().map(|address| address.to_string()).collect())
}

async fn raft_stats(core: Arc<Core>, _: Empty) -> Result<RaftStats, RpcError> {
    let state = core.raft.state();
    let last_contact = if core.is_leader() {
        "0".to_owned()
    } else {
        match core.raft.last_contact() {
            Some(since) => format_go(GoDuration::from(since)),
            None => "never".to_owned(),
        }
    };
    Ok(RaftStats { last_contact, last_index: state.last_log, last_term: state.term })
}
