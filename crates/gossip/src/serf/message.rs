//! The messages of this layer and their bytes: one type byte, then a msgpack map whose keys are
//! the field names. They travel as user messages of the layer below, as the user state of a full
//! exchange, or inside the payload of a query.

use super::clock::LamportTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Type byte of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    Leave = 0,
    Join = 1,
    PushPull = 2,
    UserEvent = 3,
    Query = 4,
    QueryResponse = 5,
    ConflictResponse = 6,
    KeyRequest = 7,
    KeyResponse = 8,
    Relay = 9,
}

/// What is wrong with the bytes of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing there.
    #[error("empty message")]
    Empty,
    /// No such type, or not one that may appear in this place.
    #[error("unexpected message type ({0})")]
    Type(u8),
    /// The body is not what the type says.
    #[error("malformed {kind} message: {reason}")]
    Body {
        /// Name of the type.
        kind: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The value has no msgpack form.
    #[error("cannot encode {kind} message: {reason}")]
    Encode {
        /// Name of the type.
        kind: &'static str,
        /// What the encoder said.
        reason: String,
    },
}

/// A message with its own type byte.
pub trait Message: Serialize + DeserializeOwned {
    /// Its type byte.
    const TYPE: MessageType;
    /// Its name in errors.
    const KIND: &'static str;

    /// Type byte and body.
    fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let body = msgpack::to_vec(self)
            .map_err(|e| MessageError::Encode { kind: Self::KIND, reason: e.to_string() })?;
        let mut out = Vec::with_capacity(1 + body.len());
        out.push(Self::TYPE as u8);
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Reads the body, the type byte being off already. Bytes after the value are ignored.
    fn decode_body(body: &[u8]) -> Result<Self, MessageError> {
        let (value, _used) = msgpack::from_slice_prefix(body)
            .map_err(|e| MessageError::Body { kind: Self::KIND, reason: e.to_string() })?;
        Ok(value)
    }

    /// Reads type byte and body.
    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes.split_first() {
            None => Err(MessageError::Empty),
            Some((&t, body)) if t == Self::TYPE as u8 => Self::decode_body(body),
            Some((&t, _)) => Err(MessageError::Type(t)),
        }
    }
}

macro_rules! message {
    ($name:ident, $variant:ident, $kind:literal) => {
        impl Message for $name {
            const TYPE: MessageType = MessageType::$variant;
            const KIND: &'static str = $kind;
        }
    };
}

/// Somebody leaves or is made to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Leave {
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub node: String,
    /// Forget the member at once.
    pub prune: bool,
}
message!(Leave, Leave, "leave");

/// Somebody joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Join {
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub node: String,
}
message!(Join, Join, "join");

/// The state exchanged in full.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PushPull {
    #[serde(rename = "EventLTime")]
    pub event_ltime: LamportTime,
    /// The ring of recent events, one slot per time modulo its size.
    pub events: Option<Vec<Option<RecentEvents>>>,
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub left_members: Option<Vec<String>>,
    #[serde(rename = "QueryLTime")]
    pub query_ltime: LamportTime,
    /// Status time of every member known.
    #[serde(rename = "StatusLTimes")]
    pub status_ltimes: Option<BTreeMap<String, LamportTime>>,
}
message!(PushPull, PushPull, "pushPull");

/// The events of one time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RecentEvents {
    pub events: Option<Vec<RecentEvent>>,
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
}

/// A remembered user event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RecentEvent {
    pub name: String,
    pub payload: Option<ByteBuf>,
}

/// A user event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UserEvent {
    /// May be coalesced with others of its name.
    #[serde(rename = "CC")]
    pub cc: bool,
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub name: String,
    pub payload: Option<ByteBuf>,
}
message!(UserEvent, UserEvent, "userEvent");

/// Query flag: the asker wants acks.
pub const QUERY_ACK: u32 = 1;
/// Query flag: do not pass it on.
pub const QUERY_NO_BROADCAST: u32 = 2;
/// Response flag: this is an ack, not an answer.
pub const RESPONSE_ACK: u32 = 1;

/// A question to the pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Query {
    /// Where answers go, 4 or 16 bytes.
    pub addr: Option<ByteBuf>,
    pub filters: Option<Vec<ByteBuf>>,
    pub flags: u32,
    #[serde(rename = "ID")]
    pub id: u32,
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub name: String,
    pub payload: Option<ByteBuf>,
    pub port: u16,
    pub relay_factor: u8,
    pub source_node: String,
    /// Nanoseconds.
    pub timeout: i64,
}
message!(Query, Query, "query");

impl Query {
    /// Whether the asker wants acks.
    pub fn wants_ack(&self) -> bool {
        self.flags & QUERY_ACK != 0
    }

    /// Whether it may not be passed on.
    pub fn no_broadcast(&self) -> bool {
        self.flags & QUERY_NO_BROADCAST != 0
    }

    /// Where answers go.
    pub fn reply_to(&self) -> Option<SocketAddr> {
        let ip = ip_from_bytes(self.addr.as_deref()?)?;
        Some(SocketAddr::new(ip, self.port))
    }
}

/// An ack or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryResponse {
    pub flags: u32,
    pub from: String,
    #[serde(rename = "ID")]
    pub id: u32,
    #[serde(rename = "LTime")]
    pub ltime: LamportTime,
    pub payload: Option<ByteBuf>,
}
message!(QueryResponse, QueryResponse, "queryResponse");

impl QueryResponse {
    /// Whether this is only an ack.
    pub fn is_ack(&self) -> bool {
        self.flags & RESPONSE_ACK != 0
    }
}

/// Payload of a key query.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyRequest {
    pub key: Option<ByteBuf>,
}
message!(KeyRequest, KeyRequest, "keyRequest");

/// Payload of an answer to a key query.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyResponse {
    /// base64.
    pub keys: Option<Vec<String>>,
    pub message: String,
    /// base64.
    pub primary_key: String,
    pub result: bool,
}
message!(KeyResponse, KeyResponse, "keyResponse");

/// A member as another one knows it: the answer to a conflict query.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MemberRecord {
    pub addr: Option<ByteBuf>,
    pub delegate_cur: u8,
    pub delegate_max: u8,
    pub delegate_min: u8,
    pub name: String,
    pub port: u16,
    pub protocol_cur: u8,
    pub protocol_max: u8,
    pub protocol_min: u8,
    /// 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
    pub tags: Option<BTreeMap<String, String>>,
}

/// Answer to a conflict query; nothing when the member is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConflictResponse(pub Option<MemberRecord>);
message!(ConflictResponse, ConflictResponse, "conflictResponse");

/// Where a relayed message goes. The inner message follows the header with its own type byte.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RelayHeader {
    pub dest_addr: RelayAddr,
    pub dest_name: String,
}
message!(RelayHeader, Relay, "relay");

/// Address in a [`RelayHeader`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RelayAddr {
    #[serde(rename = "IP")]
    pub ip: Option<ByteBuf>,
    pub port: u16,
    /// IPv6 zone.
    pub zone: String,
}

impl RelayHeader {
    /// Header for `dest`, with the inner message behind it.
    pub fn wrap(dest: SocketAddr, name: &str, inner: &[u8]) -> Result<Vec<u8>, MessageError> {
        let header = RelayHeader {
            dest_addr: RelayAddr { ip: Some(ip_to_bytes(dest.ip())), port: dest.port(), zone: String::new() },
            dest_name: name.to_owned(),
        };
        let mut out = header.encode()?;
        out.extend_from_slice(inner);
        Ok(out)
    }

    /// Reads a relay message (type byte off): where to and the inner message.
    pub fn unwrap(body: &[u8]) -> Result<(RelayHeader, &[u8]), MessageError> {
        let (header, used) = msgpack::from_slice_prefix(body)
            .map_err(|e| MessageError::Body { kind: Self::KIND, reason: e.to_string() })?;
        Ok((header, body.get(used..).unwrap_or_default()))
    }

    /// Where to.
    pub fn dest(&self) -> Option<SocketAddr> {
        let ip = ip_from_bytes(self.dest_addr.ip.as_deref()?)?;
        Some(SocketAddr::new(ip, self.dest_addr.port))
    }
}

/// An address in 4 or 16 bytes.
pub fn ip_to_bytes(ip: IpAddr) -> ByteBuf {
    match ip {
        IpAddr::V4(v4) => ByteBuf::from(v4.octets()),
        IpAddr::V6(v6) => ByteBuf::from(v6.octets()),
    }
}

/// Back from 4 or 16 bytes; a mapped IPv4 address becomes an IPv4 address.
pub fn ip_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
    Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
}
