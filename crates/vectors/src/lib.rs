//! Recorded bytes of the reference, each with its meaning; one place for the tests of all crates.
//!
//! For tests only: whatever is amiss in the files is a panic that says so.
#![allow(clippy::missing_panics_doc, reason = "a test that cannot read its data has failed")]

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use msgpack::Value;
use serde::Deserialize;
use serde_json::Value as Json;

/// One recording of what travels on port 8300, lies in the log or in an archive.
#[derive(Debug, Deserialize)]
pub struct Vector {
    pub name: String,
    /// What the bytes are: `rpc.request`, `yamux.c2s`, ...
    #[serde(default)]
    pub layer: String,
    #[serde(default)]
    hex: String,
    #[serde(default)]
    base64: String,
    /// What they mean.
    pub decoded: Json,
}

impl Vector {
    /// The recorded bytes.
    pub fn bytes(&self) -> Vec<u8> {
        if self.base64.is_empty() {
            unhex(&self.hex)
        } else {
            STANDARD.decode(&self.base64).unwrap_or_else(|e| panic!("{}: {e}", self.name))
        }
    }
}

/// The recordings of `data/rpc/FILE.json`.
pub fn rpc(file: &str) -> Vec<Vector> {
    let path = data(&format!("rpc/{file}.json"));
    serde_json::from_value(json(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The recording of this name in `data/rpc/FILE.json`.
pub fn rpc_named(file: &str, name: &str) -> Vector {
    rpc(file).into_iter().find(|v| v.name == name).unwrap_or_else(|| panic!("no {name} in {file}"))
}

/// All recorded packets and streams of gossip by name; each tells its `transport`, `key`, `hex` and `decoded`.
pub fn gossip() -> Vec<(String, Json)> {
    let dir = data("gossip");
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<(String, Json)> = files
        .map(|file| {
            let path = file.unwrap_or_else(|e| panic!("{}: {e}", dir.display())).path();
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            (name.unwrap_or_default(), json(&path))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 70, "only {} recordings", found.len());
    found
}

/// The recordings of gossip over `udp` or `tcp`.
pub fn gossip_over(transport: &str) -> Vec<(String, Json)> {
    gossip().into_iter().filter(|(_, v)| v["transport"] == transport).collect()
}

/// A recorded sequence of coordinate updates.
pub fn coordinate_updates() -> Json {
    json(&data("coordinate_updates.json"))
}

/// The bytes of a text of hexadecimal digits.
pub fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len())
        .step_by(2)
        .map(|at| byte(at).unwrap_or_else(|| panic!("not hexadecimal: {text}")))
        .collect()
}

/// Whether a value has the recorded meaning, in which byte strings are `{"$raw": hex}`.
pub fn same(value: &Value, meaning: &Json) -> bool {
    if let Some(raw) = meaning.get("$raw").and_then(Json::as_str) {
        return match value {
            Value::Bytes(bytes) => *bytes == unhex(raw),
            Value::Str(text) => text.as_bytes() == unhex(raw),
            _ => false,
        };
    }
    match (value, meaning) {
        (Value::Nil, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Str(a), Json::String(b)) => a == b,
        (Value::Int(a), Json::Number(b)) => b.as_i64() == Some(*a),
        (Value::UInt(a), Json::Number(b)) => b.as_u64() == Some(*a),
        (Value::Float(a), Json::Number(b)) => b.as_f64() == Some(*a),
        (Value::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

fn json(path: &std::path::Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
