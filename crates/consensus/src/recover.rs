//! Recovery by hand after the loss of a majority: `peers.json`.
//!
//! An operator who has lost more servers than the quorum allows stops the rest,
//! puts the list of those that remain into `peers.json` in the Raft directory of
//! each, and starts them. The list becomes the configuration, as a log entry of a
//! term above all seen. Everything in the log counts as committed then. The file
//! is removed once it is in force.
//!
//! The servers may end at different entries. The new term makes their last
//! entries comparable: whoever has the longest log wins the election, and the
//! entry of the others, at a lower index, does not match and is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{EntryPayload, RaftLogReader};
use serde::Deserialize;

use crate::error::ConsensusError;
use crate::log::LogStorage;
use crate::snapshot::SnapshotStore;
use crate::types::alias::{Membership, Vote, log_id};
use crate::types::{Peer, ServerId};

const INFO: &str = "\
Recovery after the loss of a majority of servers

Stop the remaining servers. Write a file peers.json into this directory of each
of them, with all of them in it:

[
  {
    \"id\": \"adf4238a-882b-9ddc-4a9d-5b6758e4159e\",
    \"address\": \"10.1.0.1:8300\",
    \"non_voter\": false
  }
]

The id is the content of the file node-id of that server. Then start them again.
The file is read once and removed. What only the lost servers had is gone.
";

#[derive(Deserialize)]
struct Entry {
    id: String,
    address: SocketAddr,
    #[serde(default)]
    non_voter: bool,
}

fn parse(text: &[u8]) -> Result<Membership, String> {
    let entries: Vec<Entry> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let mut nodes = BTreeMap::new();
    let mut voters = BTreeSet::new();
    for entry in entries {
        let id: ServerId = entry.id.parse().map_err(|e| format!("id {:?}: {e}", entry.id))?;
        if nodes.insert(id, Peer { address: entry.address }).is_some() {
            return Err(format!("id {id} is there twice"));
        }
        if !entry.non_voter {
            voters.insert(id);
        }
    }
    if voters.is_empty() {
        return Err("there is no voter in it".into());
    }
    Membership::new(vec![voters], nodes).map_err(|e| e.to_string())
}

/// Puts `peers.json` in force if there is one, and leaves the text that tells of it.
pub async fn from_peers_file(
    dir: &Path,
    me: ServerId,
    log: &LogStorage,
    snapshots: &SnapshotStore,
) -> Result<(), ConsensusError> {
    let info = dir.join("peers.info");
    if !info.exists() {
        fs::write(info, INFO)?;
    }
    let path = dir.join("peers.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let membership = parse(&text).map_err(|e| ConsensusError::Config(format!("{}: {e}", path.display())))?;
    let mut log = log.clone();
    let vote = log.read_vote().await?;
    let snapshot = snapshots.current().and_then(|s| s.meta.last_log_id);
    if snapshot.is_none() && log.last().is_none() {
        return Err(ConsensusError::Config(format!("{}: there is no state to recover", path.display())));
    }
    if let Some(covered) = snapshot
        && log.last().is_none_or(|last| last < covered)
    {
        log.purge(covered).await?;
    }
    let last = log.last().max(snapshot);
    let seen = vote.map_or(0, |v| v.leader_id.term).max(last.map_or(0, |l| l.leader_id.term));
    let term = seen + 1;
    let entry = openraft::Entry {
        log_id: log_id(term, last.map_or(0, |l| l.index + 1)),
        payload: EntryPayload::Membership(membership),
    };
    tracing::warn!(index = entry.log_id.index, term, "configuration is recovered from peers.json");
    log.save_vote(&Vote::new(term, me)).await?;
    log.blocking_append(vec![entry]).await.map_err(|e| ConsensusError::Storage(e.to_string()))?;
    fs::remove_file(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read() {
        let id = "adf4238a-882b-9ddc-4a9d-5b6758e4159e";
        let one = format!(r#"[{{"id":"{id}","address":"127.0.0.1:8300"}}]"#);
        assert_eq!(parse(one.as_bytes()).unwrap().voter_ids().count(), 1);
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            r#"["127.0.0.1:8300"]"#.to_owned(),
            one.replace('}', r#","non_voter":true}"#),
            one.replace(id, "not-a-uuid"),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
