//! `event`: fires a user event.

use filter::regexp;

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("name", Kind::Text, "Name of the event. Required."),
    Flag::new("node", Kind::Text, "Only nodes whose name matches this regular expression."),
    Flag::new("service", Kind::Text, "Only nodes with a service that matches."),
    Flag::new("tag", Kind::Text, "Only nodes with a service that has a matching tag. Needs -service."),
];

/// `event`.
pub const COMMAND: Command = Command {
    name: "event",
    synopsis: "Fires a user event",
    usage: "[options] [payload]",
    about: "Fires a user event in the agent's datacenter. Agents see it within seconds; watches of type\nevent react to it.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// Checks the filters that `event` and `exec` share.
pub fn check_filters(parsed: &Parsed) -> Result<(), Failure> {
    for (flag, what) in [("node", "node"), ("service", "service"), ("tag", "tag")] {
        if let Some(pattern) = parsed.given(flag) {
            regexp::compile(pattern).or_fail(&format!("Failed to compile {what} filter regexp"))?;
        }
    }
    if parsed.is_set("tag") && parsed.text("service").is_empty() {
        return Err(Failure::new("Cannot provide tag filter without service filter."));
    }
    Ok(())
}

async fn run(parsed: Parsed) -> Outcome {
    if parsed.text("name").is_empty() {
        return Err(Failure::usage("Event name must be specified"));
    }
    check_filters(&parsed)?;
    if parsed.args.len() > 1 {
        return Err(Failure::usage("Too many command line arguments."));
    }
    let api = Api::from_flags(&parsed)?;
    let mut request = api.put(format!("/v1/event/fire/{}", parsed.text("name")));
    for flag in ["node", "service", "tag"] {
        if let Some(value) = parsed.given(flag).filter(|v| !v.is_empty()) {
            request = request.param(flag, value);
        }
    }
    if let Some(payload) = parsed.args.first() {
        request = request.body(payload.clone());
    }
    let fired: serde_json::Value = request.json().await.or_fail("Error firing event")?;
    ui::line(format_args!("Event ID: {}", fired["ID"].as_str().unwrap_or_default()));
    Ok(0)
}
