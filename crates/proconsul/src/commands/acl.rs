//! `acl token list`: the tokens of a datacenter.

use std::fmt::Write as _;

use serde_json::Value;

use super::no_arguments;
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const LIST_FLAGS: &[Flag] = &[
    Flag::new("format", Kind::Text, "pretty or json.").or("pretty"),
    Flag::new("meta", Kind::Switch, "Also show hashes and indexes."),
];

/// The commands of this file.
pub const COMMANDS: [Command; 3] = [
    Command::group("acl", "Works with access control", "Shows who may do what in a datacenter."),
    Command::group("acl token", "Works with tokens", "Shows the tokens of a datacenter."),
    Command {
        name: "acl token list",
        synopsis: "Lists tokens",
        usage: "[options]",
        about: "Lists the tokens of a datacenter, without their secrets.",
        flags: &[LIST_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(list(parsed))),
    },
];

async fn list(parsed: Parsed) -> Outcome {
    no_arguments(&parsed.args)?;
    let format = parsed.text("format");
    if !["pretty", "json"].contains(&format) {
        return Err(Failure::new(format!("Unknown format: {format}")));
    }
    let api = Api::from_flags(&parsed)?;
    let tokens: Value =
        api.get("/v1/acl/tokens").json().await.or_fail("Failed to retrieve the token list")?;
    match format {
        "json" => ui::line(format_args!("{tokens:#}")),
        _ => {
            tokens.as_array().into_iter().flatten().for_each(|token| ui::line(text(token, parsed.on("meta"))))
        }
    }
    Ok(0)
}

fn text(token: &Value, meta: bool) -> String {
    let mut out = String::new();
    let mut field = |label: &str, name: &str| {
        let value = match &token[name] {
            Value::String(text) => text.clone(),
            Value::Null => return,
            other => other.to_string(),
        };
        let _infallible = writeln!(out, "{:18}{value}", format!("{label}:"));
    };
    field("AccessorID", "AccessorID");
    field("Description", "Description");
    field("Local", "Local");
    field("Auth Method", "AuthMethod");
    field("Create Time", "CreateTime");
    field("Expiration Time", "ExpirationTime");
    if meta {
        field("Hash", "Hash");
        field("Create Index", "CreateIndex");
        field("Modify Index", "ModifyIndex");
    }
    field("Legacy", "Legacy");
    for (label, list) in [("Policies", "Policies"), ("Roles", "Roles")] {
        let links = token[list].as_array().filter(|links| !links.is_empty());
        let Some(links) = links else { continue };
        let _infallible = writeln!(out, "{label}:");
        for link in links {
            let part = |name: &str| link[name].as_str().unwrap_or_default();
            let _infallible = writeln!(out, "   {} - {}", part("ID"), part("Name"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_as_text() {
        let token = serde_json::json!({"AccessorID": "a", "Description": "d", "Local": false,
            "Policies": [{"ID": "1", "Name": "global-management"}], "Roles": null, "Legacy": false, "Hash": "h"});
        assert_eq!(
            text(&token, false),
            "AccessorID:       a\nDescription:      d\nLocal:            false\nLegacy:           false\n\
             Policies:\n   1 - global-management\n"
        );
        assert!(text(&token, true).contains("Hash:             h\n"));
    }
}
