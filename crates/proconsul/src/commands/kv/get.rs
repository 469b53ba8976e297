//! `kv get`.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{Entry, key_argument};
use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("base64", Kind::Switch, "Show values in base64."),
    Flag::new("detailed", Kind::Switch, "Show all fields of an entry."),
    Flag::new("keys", Kind::Switch, "Show only the names of keys with this prefix."),
    Flag::new("recurse", Kind::Switch, "Show all keys with this prefix."),
    Flag::new("separator", Kind::Text, "With -keys: show names only up to this text after the prefix.")
        .or("/"),
];

/// `kv get`.
pub const COMMAND: Command = Command {
    name: "kv get",
    synopsis: "Reads keys",
    usage: "[options] [KEY_OR_PREFIX]",
    about: "Reads the value of a key, or all keys with a prefix.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let (keys, recurse, detailed) = (parsed.on("keys"), parsed.on("recurse"), parsed.on("detailed"));
    let key = key_argument(&parsed.args, keys || recurse)?;
    let api = Api::from_flags(&parsed)?;
    let failed = |e: ApiError| Failure::new(format!("Error querying Consul agent: {}", e.brief()));
    let path = format!("/v1/kv/{key}");
    if keys {
        let request = api.get(path).param("keys", "").param("separator", parsed.text("separator"));
        let (names, _) = request.json_or_absent::<Vec<String>>().await.map_err(failed)?;
        names.unwrap_or_default().iter().for_each(ui::line);
        return Ok(0);
    }
    let (entries, _) =
        api.get(path).flag("recurse", recurse).json_or_absent::<Vec<Entry>>().await.map_err(failed)?;
    let entries = entries.unwrap_or_default();
    if !recurse {
        let Some(entry) = entries.first() else {
            return Err(Failure::new(format!("Error! No key exists at: {key}")));
        };
        match (detailed, parsed.on("base64")) {
            (true, base64) => ui::line(details(entry, base64)),
            (false, true) => ui::line(BASE64_STANDARD.encode(&entry.value)),
            (false, false) => {
                ui::raw(&entry.value);
                ui::line("");
            }
        }
        return Ok(0);
    }
    for (i, entry) in entries.iter().enumerate() {
        if detailed {
            if i > 0 {
                ui::line("");
            }
            ui::line(details(entry, parsed.on("base64")));
        } else {
            ui::raw(format!("{}:", entry.key).as_bytes());
            ui::raw(&shown(&entry.value, parsed.on("base64")));
            ui::line("");
        }
    }
    Ok(0)
}

fn shown(value: &[u8], base64: bool) -> Vec<u8> {
    if base64 { BASE64_STANDARD.encode(value).into_bytes() } else { value.to_vec() }
}

fn details(entry: &Entry, base64: bool) -> String {
    let session = if entry.session.is_empty() { "-" } else { &entry.session };
    let value = shown(&entry.value, base64);
    [
        ("CreateIndex", entry.create_index.to_string()),
        ("Flags", entry.flags.to_string()),
        ("Key", entry.key.clone()),
        ("LockIndex", entry.lock_index.to_string()),
        ("ModifyIndex", entry.modify_index.to_string()),
        ("Session", session.to_owned()),
        ("Value", String::from_utf8_lossy(&value).into_owned()),
    ]
    .map(|(name, value)| format!("{name:17}{value}"))
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_line_up() {
        let entry: Entry = serde_json::from_str(
            r#"{"Key": "a", "CreateIndex": 5, "ModifyIndex": 6, "LockIndex": 0, "Flags": 7, "Value": "aGk="}"#,
        )
        .unwrap();
        assert_eq!(
            details(&entry, false),
            "CreateIndex      5\nFlags            7\nKey              a\nLockIndex        0\n\
             ModifyIndex      6\nSession          -\nValue            hi"
        );
        assert!(details(&entry, true).ends_with("aGk="));
    }
}
