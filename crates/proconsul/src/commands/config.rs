//! `config list`: the names of configuration entries.

use serde_json::Value;

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const LIST_FLAGS: &[Flag] = &[Flag::new("kind", Kind::Text, "The kind of the entries. Required.")];

/// The commands of this file.
pub const COMMANDS: [Command; 2] = [
    Command::group("config", "Works with configuration entries", "Shows the central configuration."),
    Command {
        name: "config list",
        synopsis: "Lists configuration entries",
        usage: "[options]",
        about: "Lists the names of all configuration entries of a kind.",
        flags: &[LIST_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(list(parsed))),
    },
];

async fn list(parsed: Parsed) -> Outcome {
    let kind = parsed.text("kind");
    if kind.is_empty() {
        return Err(Failure::new("Must specify the -kind parameter"));
    }
    let api = Api::from_flags(&parsed)?;
    let doing = format!("Error listing config entries for kind {kind:?}");
    let entries: Value = api.get(format!("/v1/config/{kind}")).json().await.or_fail(&doing)?;
    for entry in entries.as_array().into_iter().flatten() {
        ui::line(entry["Name"].as_str().unwrap_or_default());
    }
    Ok(0)
}
