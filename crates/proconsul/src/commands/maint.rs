//! `maint`: takes the node or a service out of service discovery, and back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("disable", Kind::Switch, "End maintenance."),
    Flag::new("enable", Kind::Switch, "Start maintenance."),
    Flag::new("reason", Kind::Text, "Why, for others to read. With -enable."),
    Flag::new("service", Kind::Text, "The id of one service of this agent; the whole node without."),
];

/// `maint`.
pub const COMMAND: Command = Command {
    name: "maint",
    synopsis: "Controls maintenance of the node or a service",
    usage: "[options]",
    about: "Starts or ends maintenance. What is in maintenance has a critical check, so that nobody is\nsent to it. Without -enable and -disable, shows what is in maintenance.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    #[serde(default)]
    notes: String,
}

async fn run(parsed: Parsed) -> Outcome {
    let (enable, disable) = (parsed.on("enable"), parsed.on("disable"));
    let (reason, service) = (parsed.text("reason"), parsed.text("service"));
    if enable && disable {
        return Err(Failure::new("Only one of -enable or -disable may be provided"));
    }
    if !enable && !reason.is_empty() {
        return Err(Failure::new("Reason may only be provided with -enable"));
    }
    if !enable && !disable && !service.is_empty() {
        return Err(Failure::new("Service requires either -enable or -disable"));
    }
    let api = Api::from_flags(&parsed)?;
    let node = api.node_name().await.or_fail("Error querying Consul agent")?;
    if !enable && !disable {
        let checks: BTreeMap<String, Check> =
            api.get("/v1/agent/checks").json().await.or_fail("Error getting checks")?;
        let text = text(&node, checks.values());
        if !text.is_empty() {
            ui::line(text);
        }
        return Ok(0);
    }
    let verb = if enable { "enabling" } else { "disabling" };
    let (path, subject) = match service {
        "" => ("/v1/agent/maintenance".to_owned(), "node"),
        id => (format!("/v1/agent/service/maintenance/{id}"), "service"),
    };
    let mut request = api.put(path).param("enable", enable);
    if !reason.is_empty() {
        request = request.param("reason", reason);
    }
    request.ok().await.or_fail(&format!("Error {verb} {subject} maintenance"))?;
    let state = if enable { "enabled" } else { "disabled" };
    match service {
        "" => ui::line(format_args!("Node maintenance is now {state}")),
        id => ui::line(format_args!("Service maintenance is now {state} for \"{id}\"")),
    }
    Ok(0)
}

fn text<'a>(node: &str, checks: impl Iterator<Item = &'a Check> + Clone) -> String {
    let mut blocks: Vec<String> = checks
        .clone()
        .filter(|check| check.id == "_node_maintenance")
        .map(|check| format!("Node:\n  Name:   {node}\n  Reason: {}", check.notes))
        .collect();
    blocks.extend(checks.filter_map(|check| {
        let id = check.id.strip_prefix("_service_maintenance:")?;
        Some(format!("Service:\n  ID:     {id}\n  Reason: {}", check.notes))
    }));
    blocks.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_comes_before_its_services() {
        let check = |id: &str, notes: &str| Check { id: id.into(), notes: notes.into() };
        let checks =
            [check("_service_maintenance:w1", "b"), check("_node_maintenance", "a"), check("other", "")];
        assert_eq!(
            text("s1", checks.iter()),
            "Node:\n  Name:   s1\n  Reason: a\n\nService:\n  ID:     w1\n  Reason: b"
        );
        assert_eq!(text("s1", [].iter()), "");
    }
}
