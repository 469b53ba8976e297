//! `kv …`: the key-value store.

mod delete;
mod get;
mod put;
mod transfer;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Deserializer};

use crate::command::{Command, Failure};
use crate::files;

/// The commands of this folder.
pub const COMMANDS: [Command; 6] = [
    Command::group(
        "kv",
        "Works with the key-value store",
        "Reads and writes the key-value store of a datacenter.",
    ),
    delete::COMMAND,
    transfer::EXPORT,
    get::COMMAND,
    transfer::IMPORT,
    put::COMMAND,
];

/// An entry as the API shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    #[serde(default)]
    flags: u64,
    #[serde(default, deserialize_with = "base64_bytes")]
    value: Vec<u8>,
    #[serde(default)]
    session: String,
}

fn base64_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let text: Option<String> = Option::deserialize(d)?;
    BASE64_STANDARD.decode(text.unwrap_or_default()).map_err(serde::de::Error::custom)
}

/// The only key among the arguments; keys never start with a slash.
fn key_argument(args: &[String], may_be_empty: bool) -> Result<&str, Failure> {
    let key = match args {
        [] if may_be_empty => "",
        [] => return Err(Failure::new("Error! Missing KEY argument")),
        [key] => key.strip_prefix('/').unwrap_or(key),
        more => {
            return Err(Failure::new(format!("Error! Too many arguments (expected 1, got {})", more.len())));
        }
    };
    if key.is_empty() && !may_be_empty {
        return Err(Failure::new("Error! Missing KEY argument"));
    }
    Ok(key)
}

/// Keys never start with a slash. Where one is written a leading slash is a mistake rather than a way of
/// speaking.
fn check_key(key: &str) -> Result<(), String> {
    match key.starts_with('/') {
        true => Err(format!("Invalid key. Key must not begin with a '/': {key}")),
        false => Ok(()),
    }
}

/// Data given as an argument: itself, `@file`, or `-` for standard input.
fn data_argument(data: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    if data == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| format!("Failed to read stdin: {e}"))?;
        return Ok(bytes);
    }
    match data.strip_prefix('@') {
        Some(path) => files::read(path).map_err(|e| format!("Failed to read file: {e}")),
        None => Ok(data.as_bytes().to_vec()),
    }
}
