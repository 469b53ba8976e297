//! What a server is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use consensus::{ServerId, Timings};
use model::operator::AutopilotConfig;

use crate::read::QueryTimes;

/// Settings of a server; the agent makes them from its configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Own datacenter, an opaque label.
    pub datacenter: String,
    /// Node name.
    pub node_name: String,
    /// Node id, which is the Raft id too.
    pub node_id: ServerId,
    /// Where port 8300 is bound.
    pub rpc_bind: SocketAddr,
    /// Where other servers reach it.
    pub rpc_advertise: SocketAddr,
    /// Where the Raft log lives; `None` keeps everything in memory (`-dev`).
    pub data_dir: Option<PathBuf>,
    /// Elect itself without asking anybody (`-bootstrap`, `-dev`).
    pub bootstrap: bool,
    /// Servers to wait for before the first election; 0 if not set.
    pub bootstrap_expect: u32,
    /// How long a call is held while there is no leader (`performance.rpc_hold_timeout`).
    pub rpc_hold_timeout: Duration,
    /// How long the leader may take for a forwarded call that nobody holds back.
    pub leader_call_limit: Duration,
    /// Scales Raft's timing (`performance.raft_multiplier`).
    pub raft_multiplier: u32,
    /// Entries after which a snapshot is taken.
    pub raft_snapshot_threshold: Option<u64>,
    /// How often that is checked.
    pub raft_snapshot_interval: Option<Duration>,
    /// Entries kept behind a snapshot.
    pub raft_trailing_logs: Option<u64>,
    /// Connections to port 8300 from one address.
    pub rpc_max_conns_per_client: usize,
    /// Time for the first byte.
    pub rpc_handshake_timeout: Duration,
    /// Least TTL of a session.
    pub session_ttl_min: Duration,
    /// How long blocking queries wait.
    pub query_times: QueryTimes,
    /// Largest value of a key, bytes.
    pub kv_max_value_size: usize,
    /// Autopilot's settings until an operator writes others.
    pub autopilot: AutopilotConfig,
    /// Whether this server never becomes a voter.
    pub read_replica: bool,
    /// Time between passes of the reconcile duty.
    pub reconcile_interval: Duration,
    /// How long coordinates are collected before they are written.
    pub coordinate_period: Duration,
    /// Coordinates in one command.
    pub coordinate_batch: usize,
    /// Commands in one period; what is more is dropped and comes again.
    pub coordinate_batches: usize,
}

impl ServerConfig {
    /// After this time without a word from the leader, it is not told as the leader any more: every
    /// follower's election is due by then.
    pub(crate) fn leader_silence(&self) -> Duration {
        Timings::from_multiplier(self.raft_multiplier).election_max * 2
    }
}

/// How long the leader may take for a forwarded call that nobody holds back: longer than a leader
/// holds a call while it has no quorum.
pub const LEADER_CALL_LIMIT: Duration = Duration::from_secs(30);
/// Least TTL of a session unless the configuration asks for more.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(10);
/// Time between passes of the reconcile duty.
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// How long tombstones of deleted keys are kept at least, so that blocked queries see a delete.
pub const TOMBSTONE_TTL: Duration = Duration::from_secs(15 * 60);
/// Tombstones are collected in steps of this size.
pub const TOMBSTONE_GRANULARITY: Duration = Duration::from_secs(30);
