//! `operator raft list-peers` and `remove-peer`.

use serde::Deserialize;

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::columns::{columns, row};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

/// `operator raft list-peers`.
pub const LIST: Command = Command {
    name: "operator raft list-peers",
    synopsis: "Lists the servers that replicate",
    usage: "[options]",
    about: "Lists the servers of the replication group, who leads, and who votes.",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(list(parsed))),
};

const REMOVE_FLAGS: &[Flag] = &[
    Flag::new("address", Kind::Text, "The server's ip:port."),
    Flag::new("id", Kind::Text, "The server's id."),
];

/// `operator raft remove-peer`.
pub const REMOVE: Command = Command {
    name: "operator raft remove-peer",
    synopsis: "Removes a server from replication",
    usage: "[options]",
    about: "Removes a server that will not come back and was not removed otherwise.",
    flags: &[REMOVE_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(remove(parsed))),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    node: String,
    address: String,
    leader: bool,
    #[serde(default)]
    protocol_version: String,
    voter: bool,
}

async fn list(parsed: Parsed) -> Outcome {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Group {
        servers: Vec<Server>,
    }
    let api = Api::from_flags(&parsed)?;
    let group: Group = api
        .get("/v1/operator/raft/configuration")
        .json()
        .await
        .or_fail("Error getting peers: Failed to retrieve raft configuration")?;
    ui::line(table(&group.servers));
    Ok(0)
}

fn table(servers: &[Server]) -> String {
    let mut rows = vec![row(["Node", "ID", "Address", "State", "Voter", "RaftProtocol"])];
    rows.extend(servers.iter().map(|server| {
        row([
            &server.node,
            &server.id,
            &server.address,
            if server.leader { "leader" } else { "follower" },
            if server.voter { "true" } else { "false" },
            if server.protocol_version.is_empty() { "<=1" } else { &server.protocol_version },
        ])
    }));
    columns(&rows)
}

async fn remove(parsed: Parsed) -> Outcome {
    let (address, id) = (parsed.text("address"), parsed.text("id"));
    let (name, value) = match (address, id) {
        ("", "") => {
            return Err(Failure::new(
                "Error removing peer: an address or id is required for the peer to remove",
            ));
        }
        (address, "") => ("address", address),
        ("", id) => ("id", id),
        _ => return Err(Failure::new("Error removing peer: cannot remove a peer by both address and id")),
    };
    let api = Api::from_flags(&parsed)?;
    api.delete("/v1/operator/raft/peer").param(name, value).ok().await.or_fail("Error removing peer")?;
    ui::line(format_args!("Removed peer with {name} \"{value}\""));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_table() {
        let servers: Vec<Server> = serde_json::from_str(
            r#"[{"ID": "7f", "Node": "s1", "Address": "127.0.1.1:8300", "Leader": true, "ProtocolVersion": "3", "Voter": true},
                {"ID": "80", "Node": "(unknown)", "Address": "127.0.1.2:8300", "Leader": false, "Voter": false}]"#,
        )
        .unwrap();
        assert_eq!(
            table(&servers),
            "Node       ID  Address         State     Voter  RaftProtocol\n\
             s1         7f  127.0.1.1:8300  leader    true   3\n\
             (unknown)  80  127.0.1.2:8300  follower  false  <=1"
        );
    }
}
