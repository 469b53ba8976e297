//! What the members of the LAN pool are to a server of the same datacenter.

use std::net::SocketAddr;

use gossip::serf::Member;
use gossip::serf::MemberStatus;
use gossip::serf::consul::{MemberParts, ServerParts};

use crate::lookup::LanServer;

/// A member of the LAN pool as the catalog sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub role: Role,
    /// Node id; empty if the member does not tell it.
    pub node_id: String,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// A server of this datacenter.
    Server(Box<LanServer>),
    /// A client agent of this datacenter.
    Client,
    /// Neither: it takes no part in the catalog.
    Foreign,
}

impl Standing {
    /// Reads the tags of a member.
    pub fn of(member: &Member, datacenter: &str) -> Self {
        let role = match MemberParts::from_member(member) {
            MemberParts::Server(parts) if parts.datacenter == datacenter => match lan_server(&parts) {
                Some(server) => Role::Server(Box::new(server)),
                None => Role::Foreign,
            },
            MemberParts::Client { datacenter: other, .. } if other == datacenter => Role::Client,
            _ => Role::Foreign,
        };
        Self { role, node_id: member.tag("id").unwrap_or_default().to_owned() }
    }
}

/// A server whose node id can be a Raft id.
pub(crate) fn lan_server(parts: &ServerParts) -> Option<LanServer> {
    Some(LanServer {
        id: parts.id.parse().ok()?,
        name: parts.name.to_string(),
        rpc: parts.rpc_addr(),
        wan: parts.wan_join_port.map(|port| SocketAddr::new(parts.addr, port)),
        bootstrap: parts.bootstrap,
        expect: parts.expect,
        build: parts.build_text(),
        read_replica: parts.read_replica,
        alive: parts.status == MemberStatus::Alive,
        raft_version: parts.raft_version,
        serf_status: parts.status as i64,
    })
}
