//! `reload`: lets the agent read its configuration again.

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, OrFail, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `reload`.
pub const COMMAND: Command = Command {
    name: "reload",
    synopsis: "Makes the agent read its configuration again",
    usage: "[options]",
    about: "Makes the agent read its configuration again. Mistakes are reported here and change nothing.",
    flags: &[CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let api = Api::from_flags(&parsed)?;
    api.put("/v1/agent/reload").ok().await.or_fail("Error reloading")?;
    ui::line("Configuration reload triggered");
    Ok(0)
}
