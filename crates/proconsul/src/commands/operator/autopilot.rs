//! `operator autopilot get-config`, `set-config` and `state`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

/// `operator autopilot get-config`.
pub const GET: Command = Command {
    name: "operator autopilot get-config",
    synopsis: "Shows the settings",
    usage: "[options]",
    about: "Shows the autopilot settings of a datacenter.",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(get(parsed))),
};

const SET_FLAGS: &[Flag] = &[
    Flag::new("cleanup-dead-servers", Kind::Switch, "Remove failed servers once there are new ones."),
    Flag::new("disable-upgrade-migration", Kind::Switch, "Kept for other editions; stored without effect."),
    Flag::new(
        "last-contact-threshold",
        Kind::Duration,
        "How long without contact a server counts as healthy.",
    ),
    Flag::new("max-trailing-logs", Kind::Uint, "How many entries a healthy server may be behind."),
    Flag::new("min-quorum", Kind::Uint, "Never remove dead servers below this number of servers."),
    Flag::new("redundancy-zone-tag", Kind::Text, "Kept for other editions; stored without effect."),
    Flag::new(
        "server-stabilization-time",
        Kind::Duration,
        "How long a new server must be healthy before it votes.",
    ),
    Flag::new("upgrade-version-tag", Kind::Text, "Kept for other editions; stored without effect."),
];

/// `operator autopilot set-config`.
pub const SET: Command = Command {
    name: "operator autopilot set-config",
    synopsis: "Changes the settings",
    usage: "[options]",
    about: "Changes the autopilot settings that are given as flags, and leaves the others.",
    flags: &[SET_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(set(parsed))),
};

const STATE_FLAGS: &[Flag] = &[Flag::new("format", Kind::Text, "pretty or json.").or("pretty")];

/// `operator autopilot state`.
pub const STATE: Command = Command {
    name: "operator autopilot state",
    synopsis: "Shows the health of the servers",
    usage: "[options]",
    about: "Shows how the servers are, as autopilot sees them.",
    flags: &[STATE_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(state(parsed))),
};

const CONFIGURATION: &str = "/v1/operator/autopilot/configuration";

async fn get(parsed: Parsed) -> Outcome {
    let api = Api::from_flags(&parsed)?;
    let config: Value =
        api.get(CONFIGURATION).json().await.or_fail("Error querying Autopilot configuration")?;
    ui::line(text(&config));
    Ok(0)
}

fn text(config: &Value) -> String {
    let plain = |name: &str| match &config[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let quoted = |name: &str| format!("{:?}", config[name].as_str().unwrap_or_default());
    [
        ("CleanupDeadServers", plain("CleanupDeadServers")),
        ("LastContactThreshold", plain("LastContactThreshold")),
        ("MaxTrailingLogs", plain("MaxTrailingLogs")),
        ("MinQuorum", config["MinQuorum"].as_u64().unwrap_or(0).to_string()),
        ("ServerStabilizationTime", plain("ServerStabilizationTime")),
        ("RedundancyZoneTag", quoted("RedundancyZoneTag")),
        ("DisableUpgradeMigration", plain("DisableUpgradeMigration")),
        ("UpgradeVersionTag", quoted("UpgradeVersionTag")),
    ]
    .map(|(name, value)| format!("{name} = {value}"))
    .join("\n")
}

async fn set(parsed: Parsed) -> Outcome {
    let api = Api::from_flags(&parsed)?;
    let mut config: Map<String, Value> =
        api.get(CONFIGURATION).json().await.or_fail("Error querying Autopilot configuration")?;
    let index = config.get("ModifyIndex").and_then(Value::as_u64).unwrap_or(0);
    change(&mut config, &parsed);
    let changed: bool = api
        .put(CONFIGURATION)
        .param("cas", index)
        .json_body(&config)
        .json()
        .await
        .or_fail("Error updating Autopilot configuration")?;
    if !changed {
        return Err(Failure::new("Configuration could not be atomically updated, please try again"));
    }
    ui::line("Configuration updated!");
    Ok(0)
}

fn change(config: &mut Map<String, Value>, parsed: &Parsed) {
    for (flag, field) in [
        ("cleanup-dead-servers", "CleanupDeadServers"),
        ("disable-upgrade-migration", "DisableUpgradeMigration"),
    ] {
        if parsed.is_set(flag) {
            config.insert(field.into(), json!(parsed.on(flag)));
        }
    }
    for (flag, field) in [("max-trailing-logs", "MaxTrailingLogs"), ("min-quorum", "MinQuorum")] {
        if parsed.is_set(flag) {
            config.insert(field.into(), json!(parsed.uint(flag)));
        }
    }
    for (flag, field) in [
        ("last-contact-threshold", "LastContactThreshold"),
        ("server-stabilization-time", "ServerStabilizationTime"),
        ("redundancy-zone-tag", "RedundancyZoneTag"),
        ("upgrade-version-tag", "UpgradeVersionTag"),
    ] {
        if let Some(value) = parsed.given(flag) {
            config.insert(field.into(), json!(value));
        }
    }
}

async fn state(parsed: Parsed) -> Outcome {
    let format = parsed.text("format");
    if !["pretty", "json"].contains(&format) {
        return Err(Failure::new(format!("Unknown format: {format}")));
    }
    let api = Api::from_flags(&parsed)?;
    let state: Value =
        api.get("/v1/operator/autopilot/state").json().await.or_fail("Error querying Autopilot state")?;
    ui::line(match format {
        "json" => format!("{state:#}"),
        _ => state_text(&state),
    });
    Ok(0)
}

fn state_text(state: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut out = String::new();
    for (label, field) in [
        ("Healthy", "Healthy"),
        ("Failure Tolerance", "FailureTolerance"),
        ("Optimistic Failure Tolerance", "OptimisticFailureTolerance"),
        ("Leader", "Leader"),
    ] {
        let _infallible = writeln!(out, "{:30}{}", format!("{label}:"), text(&state[field]));
    }
    let _infallible = writeln!(out, "Voters:");
    for voter in state["Voters"].as_array().into_iter().flatten() {
        let _infallible = writeln!(out, "   {}", text(voter));
    }
    let _infallible = writeln!(out, "Servers:");
    for (id, server) in state["Servers"].as_object().into_iter().flatten() {
        let _infallible = writeln!(out, "   {id}");
        for (label, field) in [
            ("Name", "Name"),
            ("Address", "Address"),
            ("Version", "Version"),
            ("Status", "Status"),
            ("Node Type", "NodeType"),
            ("Node Status", "NodeStatus"),
            ("Healthy", "Healthy"),
            ("Last Contact", "LastContact"),
            ("Last Term", "LastTerm"),
            ("Last Index", "LastIndex"),
        ] {
            let _infallible = writeln!(out, "      {:17}{}", format!("{label}:"), text(&server[field]));
        }
        let meta = server["Meta"].as_object().filter(|meta| !meta.is_empty());
        if let Some(meta) = meta {
            out.push_str("      Meta\n");
            for (name, value) in meta {
                let _infallible = writeln!(out, "         {name:?}: {value}");
            }
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Value {
        json!({"CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
            "MinQuorum": 0, "ServerStabilizationTime": "10s", "RedundancyZoneTag": "",
            "DisableUpgradeMigration": false, "UpgradeVersionTag": "", "CreateIndex": 4, "ModifyIndex": 4})
    }

    #[test]
    fn settings_as_text() {
        assert_eq!(
            text(&config()),
            "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\nMinQuorum = 0\n\
             ServerStabilizationTime = 10s\nRedundancyZoneTag = \"\"\nDisableUpgradeMigration = false\n\
             UpgradeVersionTag = \"\""
        );
    }

    #[test]
    fn servers_as_text() {
        let state = json!({"Healthy": true, "FailureTolerance": 0, "OptimisticFailureTolerance": 0, "Leader": "i1",
            "Voters": ["i1"], "Servers": {"i1": {"ID": "i1", "Name": "s1", "Address": "127.0.1.1:8300",
            "Version": "1.9.8", "Status": "leader", "NodeType": "voter", "NodeStatus": "alive", "Healthy": true,
            "LastContact": "0s", "LastTerm": 2, "LastIndex": 9, "Meta": {"consul-network-segment": ""}}}});
        assert_eq!(
            state_text(&state),
            "Healthy:                      true\n\
             Failure Tolerance:            0\n\
             Optimistic Failure Tolerance: 0\n\
             Leader:                       i1\n\
             Voters:\n   i1\n\
             Servers:\n   i1\n      \
             Name:            s1\n      \
             Address:         127.0.1.1:8300\n      \
             Version:         1.9.8\n      \
             Status:          leader\n      \
             Node Type:       voter\n      \
             Node Status:     alive\n      \
             Healthy:         true\n      \
             Last Contact:    0s\n      \
             Last Term:       2\n      \
             Last Index:      9\n      \
             Meta\n         \
             \"consul-network-segment\": \"\""
        );
    }

    #[test]
    fn only_given_settings_change() {
        let args = ["-cleanup-dead-servers=false", "-max-trailing-logs=99"].map(str::to_owned);
        let parsed = crate::flags::parse(&[SET_FLAGS], &args).unwrap();
        let mut config = config().as_object().unwrap().clone();
        change(&mut config, &parsed);
        assert_eq!(config["CleanupDeadServers"], json!(false));
        assert_eq!(config["MaxTrailingLogs"], json!(99));
        assert_eq!(config["ServerStabilizationTime"], json!("10s"));
    }
}
