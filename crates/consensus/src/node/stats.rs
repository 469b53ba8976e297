//! The `raft` section of the agent's `info`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Consensus, Role};
use crate::fsm::Fsm;

/// Names and values, all as text.
pub type Stats = BTreeMap<String, String>;

/// A duration as Go prints it, for the range met here.
fn go_duration(d: Duration) -> String {
    if d.is_zero() {
        "0".into()
    } else if d < Duration::from_millis(1) {
        format!("{}µs", d.as_nanos() as f64 / 1e3)
    } else if d < Duration::from_secs(1) {
        format!("{}ms", d.as_nanos() as f64 / 1e6)
    } else if d < Duration::from_secs(60) {
        format!("{}s", d.as_secs_f64())
    } else {
        let (m, s) = (d.as_secs() / 60, d.as_secs_f64() % 60.0);
        if m < 60 { format!("{m}m{s}s") } else { format!("{}h{}m{s}s", m / 60, m % 60) }
    }
}

impl<F: Fsm> Consensus<F> {
    /// The values the reference shows under the same names.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        let snapshot = self.shared.snapshots.current();
        let snapshot_id = snapshot.as_ref().and_then(|s| s.meta.last_log_id);
        let snapshot_index =
            snapshot.as_ref().map_or(0, |s| snapshot_id.map_or(0, |id| id.index) + s.snapshot.offset);
        let last = self.shared.log.last();
        let me = self.id();
        let voters = state.voters().count();
        let peers = voters - usize::from(state.voters().any(|v| v == me));
        let mut configuration = String::from("[");
        for (i, member) in state.members.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            let suffrage = if member.voter { "Voter" } else { "Nonvoter" };
            let address = self.shared.context.addresses.resolve(member.id).unwrap_or(member.address);
            let _ =
                write!(configuration, "{space}{{Suffrage:{suffrage} ID:{} Address:{address}}}", member.id);
        }
        configuration.push(']');
        let contact = match self.last_contact() {
            _ if state.role == Role::Leader => "0".into(),
            None => "never".into(),
            Some(d) => go_duration(d),
        };
        [
            ("state", state.role.to_string()),
            ("term", state.term.to_string()),
            ("last_log_index", state.last_log.to_string()),
            ("last_log_term", last.map_or(0, |l| l.leader_id.term).to_string()),
            ("commit_index", state.commit.to_string()),
            ("applied_index", state.applied.to_string()),
            ("fsm_pending", state.commit.saturating_sub(state.applied).to_string()),
            ("last_snapshot_index", snapshot_index.to_string()),
            ("last_snapshot_term", snapshot_id.map_or(0, |l| l.leader_id.term).to_string()),
            ("latest_configuration", configuration),
            ("latest_configuration_index", state.members_index.to_string()),
            ("num_peers", peers.to_string()),
            ("last_contact", contact),
            ("protocol_version", "3".into()),
            ("protocol_version_min", "0".into()),
            ("protocol_version_max", "3".into()),
            ("snapshot_version_min", "0".into()),
            ("snapshot_version_max", "1".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_gos() {
        assert_eq!(go_duration(Duration::ZERO), "0");
        assert_eq!(go_duration(Duration::from_micros(1500)), "1.5ms");
        assert_eq!(go_duration(Duration::from_millis(2250)), "2.25s");
        assert_eq!(go_duration(Duration::from_secs(61)), "1m1s");
        assert_eq!(go_duration(Duration::from_secs(3723)), "1h2m3s");
    }
}
