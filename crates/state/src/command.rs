//! Types of log commands and snapshot records (rpc protocol, "log commands").

use serde::Serialize;

pub const REGISTER: u8 = 0;
pub const DEREGISTER: u8 = 1;
pub const KVS: u8 = 2;
pub const SESSION: u8 = 3;
pub const LEGACY_ACL: u8 = 4;
pub const TOMBSTONE: u8 = 5;
pub const COORDINATES: u8 = 6;
pub const PREPARED_QUERY: u8 = 7;
pub const TXN: u8 = 8;
pub const AUTOPILOT: u8 = 9;
pub const AREA: u8 = 10;
pub const ACL_BOOTSTRAP: u8 = 11;
pub const INTENTION: u8 = 12;
pub const CONNECT_CA: u8 = 13;
pub const CONNECT_CA_PROVIDER_STATE: u8 = 14;
pub const CONNECT_CA_CONFIG: u8 = 15;
pub const INDEX: u8 = 16;
pub const ACL_TOKEN: u8 = 17;
pub const ACL_POLICY: u8 = 19;
pub const CONFIG_ENTRY: u8 = 22;
pub const ACL_ROLE: u8 = 23;
pub const ACL_BINDING_RULE: u8 = 25;
pub const ACL_AUTH_METHOD: u8 = 27;
pub const CHUNKING_STATE: u8 = 29;
pub const FEDERATION_STATE: u8 = 30;
pub const SYSTEM_METADATA: u8 = 31;

/// The bytes of a command: its type and its request.
pub fn encode<T: Serialize>(kind: u8, request: &T) -> Result<Vec<u8>, msgpack::Error> {
    let mut out = Vec::with_capacity(256);
    out.push(kind);
    msgpack::to_writer_vec(&mut out, request)?;
    Ok(out)
}
