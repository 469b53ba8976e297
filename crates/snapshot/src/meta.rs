//! `meta.json`.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an archive holds. Restoring needs `version` (1), `index`, `term` and `size`; the rest
/// describes where it came from and may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meta {
    /// Format version: 1.
    pub version: u64,
    /// `<term>-<index>-<milliseconds>`.
    #[serde(rename = "ID", default)]
    pub id: String,
    /// The last log index the state includes.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// MessagePack list of the voters' addresses, an older form of `configuration`.
    #[serde(default, with = "base64_bytes")]
    pub peers: Vec<u8>,
    /// The servers of the cluster.
    #[serde(default)]
    pub configuration: Configuration,
    /// The log index of that configuration.
    #[serde(default)]
    pub configuration_index: u64,
    /// Bytes of `state.bin`.
    pub size: u64,
}

/// The servers that were part of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Configuration {
    /// In configuration order; `null` is read as none.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub servers: Vec<Server>,
}

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Server {
    /// 0 voter, 1 nonvoter, 2 staging.
    #[serde(default)]
    pub suffrage: u8,
    /// Node id.
    #[serde(rename = "ID", default)]
    pub id: String,
    /// `ip:port`.
    #[serde(default)]
    pub address: String,
}

fn null_is_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Server>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

mod base64_bytes {
    use super::{BASE64_STANDARD, Deserialize, Deserializer, Engine, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text: Option<String> = Option::deserialize(d)?;
        BASE64_STANDARD.decode(text.unwrap_or_default()).map_err(serde::de::Error::custom)
    }
}
