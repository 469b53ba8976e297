//! `kv export` and `kv import`: a subtree as JSON.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::{Entry, check_key, data_argument};
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `kv export`.
pub const EXPORT: Command = Command {
    name: "kv export",
    synopsis: "Prints a subtree as JSON",
    usage: "[options] [PREFIX]",
    about: "Prints all keys with a prefix as JSON, in the form kv import reads.",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(export(parsed))),
};

/// `kv import`.
pub const IMPORT: Command = Command {
    name: "kv import",
    synopsis: "Writes keys from JSON",
    usage: "[options] [DATA]",
    about: "Writes the keys of an export. DATA is the JSON itself, a file (@path), or standard input (-).",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(import(parsed))),
};

/// One key on its way; the value in base64.
#[derive(Debug, Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    value: Option<String>,
}

async fn export(parsed: Parsed) -> Outcome {
    let prefix = match parsed.args.as_slice() {
        [] => "",
        [prefix] => prefix.strip_prefix('/').unwrap_or(prefix),
        more => {
            return Err(Failure::new(format!("Error! Too many arguments (expected 1, got {})", more.len())));
        }
    };
    let api = Api::from_flags(&parsed)?;
    let (entries, _) = api
        .get(format!("/v1/kv/{prefix}"))
        .param("recurse", "")
        .json_or_absent::<Vec<Entry>>()
        .await
        .map_err(|e| Failure::new(format!("Error querying Consul agent: {}", e.brief())))?;
    let exported: Vec<Exported> = entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| Exported {
            key: entry.key,
            flags: entry.flags,
            value: Some(BASE64_STANDARD.encode(entry.value)),
        })
        .collect();
    ui::line(json(&exported).or_fail("Error exporting KV data")?);
    Ok(0)
}

/// Indented by tabs, as scripts that compare exports expect.
fn json(exported: &[Exported]) -> Result<String, serde_json::Error> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    exported.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn import(parsed: Parsed) -> Outcome {
    let data = match parsed.args.as_slice() {
        [] => return Err(Failure::new("Error! Missing DATA argument")),
        [data] => data,
        more => {
            return Err(Failure::new(format!("Error! Too many arguments (expected 1, got {})", more.len())));
        }
    };
    let data = data_argument(data).map_err(|e| Failure::new(format!("Error! {e}")))?;
    if data.is_empty() {
        return Err(Failure::new("Error! Empty DATA"));
    }
    let entries: Vec<Exported> = serde_json::from_slice(&data).or_fail("Cannot unmarshal data")?;
    let api = Api::from_flags(&parsed)?;
    for entry in entries {
        let value = BASE64_STANDARD
            .decode(entry.value.unwrap_or_default())
            .or_fail(&format!("Error base 64 decoding value for key {}", entry.key))?;
        check_key(&entry.key).or_fail(&format!("Error! Failed writing data for key {}", entry.key))?;
        let written: bool = api
            .put(format!("/v1/kv/{}", entry.key))
            .param("flags", entry.flags)
            .body(value)
            .json()
            .await
            .or_fail(&format!("Error! Failed writing data for key {}", entry.key))?;
        if !written {
            return Err(Failure::new(format!("Error! Failed writing data for key {}", entry.key)));
        }
        ui::line(format_args!("Imported: {}", entry.key));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_indented_by_tabs() {
        let one = Exported { key: "a".into(), flags: 5, value: Some("aGk=".into()) };
        assert_eq!(
            json(&[one]).unwrap(),
            "[\n\t{\n\t\t\"key\": \"a\",\n\t\t\"flags\": 5,\n\t\t\"value\": \"aGk=\"\n\t}\n]"
        );
        assert_eq!(json(&[]).unwrap(), "[]");
    }
}
