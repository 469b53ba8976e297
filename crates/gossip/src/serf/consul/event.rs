//! User events of the HTTP API, inside user events of the pool.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Sent by each new leader; the payload is its node name.
pub const NEW_LEADER_EVENT: &str = "consul:new-leader";
/// What the name of a user event of the HTTP API begins with.
pub const EVENT_PREFIX: &str = "consul:event:";

/// The bytes are no such event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed user event: {0}")]
pub struct PayloadError(String);

/// A user event of the HTTP API. The filters are regular expressions, applied by the receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FireEvent {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name.
    #[serde(rename = "n")]
    pub name: String,
    /// Matched against the node name.
    #[serde(rename = "nf", skip_serializing_if = "String::is_empty")]
    pub node_filter: String,
    /// What it carries.
    #[serde(rename = "p", skip_serializing_if = "is_empty")]
    pub payload: Option<ByteBuf>,
    /// Matched against the service names.
    #[serde(rename = "sf", skip_serializing_if = "String::is_empty")]
    pub service_filter: String,
    /// Matched against the tags of a matching service.
    #[serde(rename = "tf", skip_serializing_if = "String::is_empty")]
    pub tag_filter: String,
    /// Version, 1.
    #[serde(rename = "v")]
    pub version: i64,
}

fn is_empty(payload: &Option<ByteBuf>) -> bool {
    payload.as_ref().is_none_or(|p| p.is_empty())
}

impl FireEvent {
    /// Name of the user event carrying this one.
    pub fn event_name(&self) -> String {
        format!("{EVENT_PREFIX}{}", self.name)
    }

    /// Payload of the user event carrying this one. Written in the newer msgpack forms, which
    /// peers insist on here and only here.
    pub fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        msgpack::to_vec_new_format(self).map_err(|e| PayloadError(e.to_string()))
    }

    /// From the payload of a user event.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let (event, _) = msgpack::from_slice_prefix(payload).map_err(|e| PayloadError(e.to_string()))?;
        Ok(event)
    }
}
