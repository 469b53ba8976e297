//! Metrics, under the reference's names (the recorder adds the prefix).
//! Durations are histograms in milliseconds.

use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::Role;

/// Handles looked up once, for what happens often.
pub struct Meters {
    /// Proposals made here.
    pub apply: Counter,
    /// From proposal to applied, for each.
    pub commit_time: Histogram,
}

impl Meters {
    pub fn new() -> Self {
        Self { apply: counter!("raft.apply"), commit_time: histogram!("raft.commitTime") }
    }
}

pub fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// Time to write a snapshot.
pub fn snapshot_written(began: Instant) {
    histogram!("raft.snapshot.create").record(millis(began.elapsed()));
}

/// Counts changes of role and leader.
pub fn role_changed(role: Role) {
    match role {
        Role::Leader => counter!("raft.state.leader").increment(1),
        Role::Candidate => counter!("raft.state.candidate").increment(1),
        Role::Follower | Role::Learner => counter!("raft.state.follower").increment(1),
        Role::Shutdown => {}
    }
}

/// On a leader: how long ago a majority answered last.
pub fn last_contact(age: Duration) {
    histogram!("raft.leader.lastContact").record(millis(age));
}

/// Indexes as gauges.
pub fn indexes(commit: u64, applied: u64) {
    gauge!("raft.commitIndex").set(commit as f64);
    gauge!("raft.appliedIndex").set(applied as f64);
}
