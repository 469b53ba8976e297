//! A server of a datacenter: endpoints, forwarding, and the leader's duties.
//!
//! A call comes in by the server's own faces ([`Server::road`]) or by port 8300, and in both cases
//! takes one road ([`forward`]): to another datacenter, to the leader, or to the endpoint here.
//! Reads are pure functions of an immutable view of the state ([`read`]); writes are commands in
//! the Raft log. Membership comes from gossip and is turned into the catalog by the leader
//! ([`leader`]).

mod config;
mod core;
mod endpoints;
mod forward;
mod fsm;
mod leader;
mod lookup;
mod members;
mod read;
mod registry;
mod remote;
mod rpc_face;
mod server;
mod snapshot;
mod spool;
mod usage;
mod wan;

pub use config::{LEADER_CALL_LIMIT, RECONCILE_INTERVAL, SESSION_TTL_MIN, ServerConfig};
pub use read::QueryTimes;
pub use server::{Server, ServerError};
pub use snapshot::{ArchiveReader, RESTORE, SAVE, request_restore, request_save};
