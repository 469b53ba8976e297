//! Time constants and how they follow from `raft_multiplier`.
//!
//! The engine's rules, with `max` and `min` the election timeouts:
//!
//! * A follower that heard its leader grants no vote, and starts no pre-vote, for
//!   `max` after that: the *lease*. The leader counts the same time from when it
//!   *sent* what a quorum answered, so its lease ends before theirs.
//! * After the lease a follower waits a further random time in `min..max`, drawn
//!   anew for each campaign, and then asks for pre-votes. Only if a quorum would
//!   elect it, it raises its term. A server cut off from the others therefore
//!   never disturbs them when it comes back.
//! * A candidate that met a longer log than its own waits `2 * max` more, so that
//!   the owner of the longer log goes first.
//! * A server that followed a leader when it died does neither for `max` after it was started anew
//!   (`node::promise`).
//! * A sole voter elects itself at the next tick (13/64 of the heartbeat interval).
//!
//! So a lost leader is replaced between `max + min` and `2 * max` after its last
//! heartbeat. The hint in `node::failover` shortens this to just above `max` when
//! the leader's process is provably gone.
//!
//! | multiplier | heartbeat | min | max = lease | replaced after, silent loss |
//! |---|---|---|---|---|
//! | 1 | 100 ms | 200 ms | 400 ms | 0.6 - 0.8 s |
//! | 5 (default) | 300 ms | 600 ms | 1.2 s | 1.8 - 2.4 s |
//! | 10 | 550 ms | 1.1 s | 2.2 s | 3.3 - 4.4 s |
//!
//! Four heartbeats must be missed in a row before anyone campaigns. The reference
//! scales 1 s by the multiplier and needs about 13 s at the default; with
//! pre-vote a false suspicion costs nothing, which is why ours can be shorter.

use std::time::Duration;

/// Timings of one server; all servers of a datacenter should use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader contacts each follower at least.
    pub heartbeat: Duration,
    /// Shortest random wait after the lease.
    pub election_min: Duration,
    /// The lease, and the upper bound of the random wait.
    pub election_max: Duration,
}

impl Timings {
    /// Timings for a `raft_multiplier` of 1 to 10 (others are clamped).
    pub fn from_multiplier(multiplier: u32) -> Self {
        let m = u64::from(multiplier.clamp(1, 10));
        let max = 200 + 200 * m;
        Self {
            heartbeat: Duration::from_millis(max / 4),
            election_min: Duration::from_millis(max / 2),
            election_max: Duration::from_millis(max),
        }
    }
}

impl Default for Timings {
    /// Those of the default multiplier, 5.
    fn default() -> Self {
        Self::from_multiplier(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_replaces_a_leader_within_three_seconds() {
        let t = Timings::default();
        assert!(t.election_max * 2 + t.heartbeat < Duration::from_secs(3));
        assert!(t.heartbeat * 4 <= t.election_max);
    }
}
