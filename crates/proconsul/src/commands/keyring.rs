//! `keyring`: the gossip encryption keys of all pools.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("install", Kind::Text, "Add this key; it is used for decryption at once."),
    Flag::new("list", Kind::Switch, "Show all keys and how many members have them."),
    Flag::new("list-primary", Kind::Switch, "Show the keys used for encryption."),
    Flag::new("local-only", Kind::Switch, "List only what this agent's datacenter says. For listing."),
    Flag::new("relay-factor", Kind::Int, "Send answers also over this many (0 to 5) other members."),
    Flag::new("remove", Kind::Text, "Remove this key; it must not be the one in use."),
    Flag::new("use", Kind::Text, "Encrypt with this key from now on."),
];

/// `keyring`.
pub const COMMAND: Command = Command {
    name: "keyring",
    synopsis: "Manages gossip encryption keys",
    usage: "[options]",
    about: "Lists, adds, changes and removes the keys that encrypt gossip, in all datacenters.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    #[serde(rename = "WAN", default)]
    wan: bool,
    #[serde(default)]
    datacenter: String,
    #[serde(default)]
    segment: String,
    #[serde(default)]
    messages: Option<BTreeMap<String, String>>,
    #[serde(default)]
    keys: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    primary_keys: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    num_nodes: u64,
}

async fn run(parsed: Parsed) -> Outcome {
    let (install, remove, use_key) = (parsed.text("install"), parsed.text("remove"), parsed.text("use"));
    let (list, list_primary) = (parsed.on("list"), parsed.on("list-primary"));
    let actions = [!install.is_empty(), !remove.is_empty(), !use_key.is_empty(), list || list_primary];
    match actions.iter().filter(|on| **on).count() {
        0 => return Err(Failure::Usage(None)),
        1 => {}
        _ => return Err(Failure::new("Only a single action is allowed")),
    }
    let relay = parsed.int("relay-factor");
    if !(0..=5).contains(&relay) {
        return Err(Failure::new(format!(
            "Error parsing relay factor: invalid value for relay-factor {relay}: must be between 0 and 5"
        )));
    }
    if parsed.on("local-only") && !(list || list_primary) {
        return Err(Failure::new("Error validating local-only: -local-only is only valid for listing"));
    }
    let api = Api::from_flags(&parsed)?;
    let path = "/v1/operator/keyring";
    if list || list_primary {
        ui::line("==> Gathering installed encryption keys...");
        let mut request = api.get(path).param("relay-factor", relay);
        if parsed.on("local-only") {
            request = request.param("local-only", true);
        }
        let pools: Vec<Pool> = request.json().await.or_fail("error")?;
        ui::line(text(&pools, list_primary));
        return Ok(0);
    }
    let (request, key) = if actions[0] {
        ui::line("==> Installing new gossip encryption key...");
        (api.post(path), install)
    } else if actions[2] {
        ui::line("==> Changing primary gossip encryption key...");
        (api.put(path), use_key)
    } else {
        ui::line("==> Removing gossip encryption key...");
        (api.delete(path), remove)
    };
    request.param("relay-factor", relay).json_body(&json!({ "Key": key })).ok().await.or_fail("error")?;
    Ok(0)
}

fn text(pools: &[Pool], primary: bool) -> String {
    let mut text = String::new();
    for pool in pools {
        let name = match (pool.wan, pool.segment.as_str()) {
            (true, _) => "WAN".to_owned(),
            (false, "") => format!("{} (LAN)", pool.datacenter),
            (false, segment) => format!("{} (LAN) [{segment}]", pool.datacenter),
        };
        let _infallible = writeln!(text, "\n{name}:");
        for (node, message) in pool.messages.iter().flatten() {
            let _infallible = writeln!(text, "  ===> {node}: {message}");
        }
        let keys = if primary { &pool.primary_keys } else { &pool.keys };
        for (key, count) in keys.iter().flatten() {
            let _infallible = writeln!(text, "  {key} [{count}/{}]", pool.num_nodes);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_with_their_keys() {
        let pools: Vec<Pool> = serde_json::from_str(
            r#"[{"WAN": true, "Datacenter": "dc1", "Messages": null, "Keys": {"a=": 2}, "PrimaryKeys": {"p=": 2}, "NumNodes": 2},
                {"WAN": false, "Datacenter": "dc1", "Keys": {"a=": 1, "b=": 1}, "NumNodes": 1}]"#,
        )
        .unwrap();
        assert_eq!(text(&pools, false), "\nWAN:\n  a= [2/2]\n\ndc1 (LAN):\n  a= [1/1]\n  b= [1/1]");
        assert_eq!(text(&pools, true), "\nWAN:\n  p= [2/2]\n\ndc1 (LAN):");
    }
}
