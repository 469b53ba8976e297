//! `force-leave`: declares a failed member left.

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};

const FLAGS: &[Flag] = &[Flag::new("prune", Kind::Switch, "Forget the member at once.")];

/// `force-leave`.
pub const COMMAND: Command = Command {
    name: "force-leave",
    synopsis: "Makes a failed member count as left",
    usage: "[options] NAME",
    about: "Makes a failed member count as left, so that it is not waited for any more. A member that is\nalive comes back by itself.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let [name] = parsed.args.as_slice() else {
        return Err(Failure::usage("A single node name must be specified to force leave."));
    };
    let api = Api::from_flags(&parsed)?;
    api.put(format!("/v1/agent/force-leave/{name}"))
        .flag("prune", parsed.on("prune"))
        .ok()
        .await
        .or_fail("Error force leaving")?;
    Ok(0)
}
