//! `leave`: lets the agent go in good order.

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `leave`.
pub const COMMAND: Command = Command {
    name: "leave",
    synopsis: "Makes the agent leave and stop",
    usage: "[options]",
    about: "Makes the agent tell the others that it leaves, and stop.",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::usage(format_args!("Error found unexpected args: [{}]", parsed.args.join(" "))));
    }
    let api = Api::from_flags(&parsed)?;
    api.put("/v1/agent/leave").ok().await.or_fail("Error leaving")?;
    ui::line("Graceful leave complete");
    Ok(0)
}
