//! `join`: brings the agent into a pool.

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, Failure, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] =
    &[Flag::new("wan", Kind::Switch, "Join servers of another datacenter instead of this one's members.")];

/// `join`.
pub const COMMAND: Command = Command {
    name: "join",
    synopsis: "Tells the agent to join others",
    usage: "[options] address ...",
    about: "Tells the agent to join the members at the given addresses. One that answers is enough.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    if parsed.args.is_empty() {
        return Err(Failure::usage("At least one address to join must be specified."));
    }
    let api = Api::from_flags(&parsed)?;
    let mut joined = 0;
    for address in &parsed.args {
        let mut request = api.put(format!("/v1/agent/join/{address}"));
        if parsed.on("wan") {
            request = request.param("wan", 1);
        }
        match request.ok().await {
            Ok(_) => joined += 1,
            Err(error) => ui::error(format_args!("Error joining address '{address}': {error}")),
        }
    }
    if joined == 0 {
        return Err(Failure::new("Failed to join any nodes."));
    }
    ui::line(format_args!("Successfully joined cluster by contacting {joined} nodes."));
    Ok(0)
}
