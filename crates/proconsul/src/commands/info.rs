//! `info`: counters of the agent, for a human eye.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, OrFail, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `info`.
pub const COMMAND: Command = Command {
    name: "info",
    synopsis: "Shows what the agent knows about itself",
    usage: "[options]",
    about: "Shows what the agent knows about itself, for finding out what it is doing.",
    flags: &[CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

type Stats = BTreeMap<String, BTreeMap<String, String>>;

async fn run(parsed: Parsed) -> Outcome {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Own {
        #[serde(default)]
        stats: Stats,
    }
    let api = Api::from_flags(&parsed)?;
    let own: Own = api.get("/v1/agent/self").json().await.or_fail("Error querying agent")?;
    ui::line(text(&own.stats).trim_end());
    Ok(0)
}

fn text(stats: &Stats) -> String {
    let mut text = String::new();
    for (section, values) in stats {
        let _infallible = writeln!(text, "{section}:");
        for (name, value) in values {
            let _infallible = writeln!(text, "\t{name} = {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn sections_and_values_are_sorted() {
        let stats = serde_json::from_str(r#"{"b": {"y": "2", "x": "1"}, "a": {}}"#).unwrap();
        assert_eq!(super::text(&stats), "a:\nb:\n\tx = 1\n\ty = 2\n");
    }
}
