//! `state.bin`: a header, then records until the end, each a type byte and a msgpack value (rpc
//! protocol, "state.bin").

mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::command;

pub use read::RestoreError;
pub(crate) use read::read;
pub(crate) use write::write;

/// What the file begins with.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Header {
    last_index: u64,
}

/// A record of type 16.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IndexRecord {
    key: String,
    value: u64,
}

/// The order of record types in a file: parents before children.
const ORDER: &[u8] = &[
    command::REGISTER,
    command::COORDINATES,
    command::SESSION,
    command::LEGACY_ACL,
    command::ACL_BOOTSTRAP,
    command::ACL_TOKEN,
    command::ACL_POLICY,
    command::ACL_ROLE,
    command::ACL_BINDING_RULE,
    command::ACL_AUTH_METHOD,
    command::KVS,
    command::TOMBSTONE,
    command::PREPARED_QUERY,
    command::AUTOPILOT,
    command::AREA,
    command::INTENTION,
    command::CONNECT_CA,
    command::CONNECT_CA_PROVIDER_STATE,
    command::CONNECT_CA_CONFIG,
    command::CONFIG_ENTRY,
    command::FEDERATION_STATE,
    command::SYSTEM_METADATA,
    command::INDEX,
    command::CHUNKING_STATE,
];

/// Whether records of this type are carried along unread.
fn is_opaque(kind: u8) -> bool {
    !matches!(
        kind,
        command::REGISTER
            | command::COORDINATES
            | command::SESSION
            | command::KVS
            | command::TOMBSTONE
            | command::PREPARED_QUERY
            | command::AUTOPILOT
            | command::SYSTEM_METADATA
            | command::INDEX
    ) && ORDER.contains(&kind)
}
