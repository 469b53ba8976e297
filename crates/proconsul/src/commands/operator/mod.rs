//! `operator …`: the servers themselves.

mod autopilot;
mod raft;

use crate::command::Command;

/// The commands of this folder.
pub const COMMANDS: [Command; 8] = [
    Command::group(
        "operator",
        "Works on the servers",
        "Shows and changes how the servers of a datacenter work together. Mistakes here can cost data.",
    ),
    Command::group(
        "operator autopilot",
        "How servers are looked after",
        "Shows and changes how dead and new servers are dealt with.",
    ),
    autopilot::GET,
    autopilot::SET,
    autopilot::STATE,
    Command::group(
        "operator raft",
        "The servers' replication group",
        "Shows and changes which servers take part in replication.",
    ),
    raft::LIST,
    raft::REMOVE,
];
