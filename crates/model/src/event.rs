//! User events of the HTTP API, as they travel inside user events of the gossip pool and in
//! `Internal.EventFire`.

use serde::{Deserialize, Serialize};

use crate::scalar::Blob;

/// What the name of a gossiped user event begins with when it carries one of the HTTP API.
pub const EVENT_PREFIX: &str = "consul:event:";

/// A user event of the HTTP API. The filters are regular expressions, applied by the receiver; empty
/// ones take all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FireEvent {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name.
    #[serde(rename = "n")]
    pub name: String,
    /// What it carries.
    #[serde(rename = "p", skip_serializing_if = "Blob::is_empty")]
    pub payload: Blob,
    /// Matched against the node's name.
    #[serde(rename = "nf", skip_serializing_if = "String::is_empty")]
    pub node_filter: String,
    /// Matched against the names of services.
    #[serde(rename = "sf", skip_serializing_if = "String::is_empty")]
    pub service_filter: String,
    /// Matched against the tags of a service that matches.
    #[serde(rename = "tf", skip_serializing_if = "String::is_empty")]
    pub tag_filter: String,
    /// Version, 1.
    #[serde(rename = "v")]
    pub version: u32,
}

impl FireEvent {
    /// Name of the gossiped user event that carries this one.
    pub fn gossip_name(&self) -> String {
        format!("{EVENT_PREFIX}{}", self.name)
    }

    /// The bytes that travel: in the newer msgpack forms, which peers insist on here and only here.
    ///
    /// # Errors
    /// None that an event can cause.
    pub fn encode(&self) -> Result<Vec<u8>, msgpack::Error> {
        msgpack::to_vec_new_format(self)
    }

    /// Reads the bytes of an event; what follows them is passed over.
    ///
    /// # Errors
    /// For anything but a map of such fields.
    pub fn decode(bytes: &[u8]) -> Result<Self, msgpack::Error> {
        msgpack::from_slice_prefix(bytes).map(|(event, _)| event)
    }
}
