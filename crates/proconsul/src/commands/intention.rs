//! `intention list`: who may connect to whom.

use serde_json::Value;

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::columns::{columns, row};
use crate::command::{Command, OrFail, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// The commands of this file.
pub const COMMANDS: [Command; 2] = [
    Command::group("intention", "Works with intentions", "Shows which services may connect to which."),
    Command {
        name: "intention list",
        synopsis: "Lists intentions",
        usage: "[options]",
        about: "Lists which services may or may not connect to which.",
        flags: &[CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(list(parsed))),
    },
];

async fn list(parsed: Parsed) -> Outcome {
    let api = Api::from_flags(&parsed)?;
    let intentions: Value =
        api.get("/v1/connect/intentions").json().await.or_fail("Failed to retrieve the intentions list")?;
    let intentions = intentions.as_array().cloned().unwrap_or_default();
    match intentions.is_empty() {
        true => ui::error("There are no intentions."),
        false => ui::line(table(&intentions)),
    }
    Ok(0)
}

fn table(intentions: &[Value]) -> String {
    let mut rows = vec![row(["ID", "Source", "Action", "Destination", "Precedence"])];
    rows.extend(intentions.iter().map(|one| {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let precedence = one["Precedence"].as_i64().unwrap_or(0).to_string();
        // One with rules by path has no action of its own.
        let action = match one["Permissions"].as_array().map_or(0, Vec::len) {
            0 => text("Action").to_owned(),
            1 => "1 permission".to_owned(),
            many => format!("{many} permissions"),
        };
        row([text("ID"), text("SourceName"), &action, text("DestinationName"), &precedence])
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intentions_as_a_table() {
        let one = serde_json::json!({"ID": "", "SourceName": "web", "DestinationName": "db", "Action": "allow",
            "Precedence": 9});
        assert_eq!(
            table(&[one]),
            "ID  Source  Action  Destination  Precedence\n    web     allow   db           9"
        );
    }
}
