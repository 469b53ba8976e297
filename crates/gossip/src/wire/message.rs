//! The messages of the membership protocol and their bodies.

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// First byte of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    Ping = 0,
    IndirectPing = 1,
    Ack = 2,
    Suspect = 3,
    Alive = 4,
    Dead = 5,
    PushPull = 6,
    Compound = 7,
    User = 8,
    Compress = 9,
    Encrypt = 10,
    Nack = 11,
    HasCrc = 12,
    Error = 13,
    HasLabel = 244,
}

impl MessageType {
    /// The type with this number.
    pub fn from_byte(n: u8) -> Option<Self> {
        use MessageType::*;
        Some(match n {
            0 => Ping,
            1 => IndirectPing,
            2 => Ack,
            3 => Suspect,
            4 => Alive,
            5 => Dead,
            6 => PushPull,
            7 => Compound,
            8 => User,
            9 => Compress,
            10 => Encrypt,
            11 => Nack,
            12 => HasCrc,
            13 => Error,
            244 => HasLabel,
            _ => return None,
        })
    }
}

/// Bytes of a message, borrowed from it. On the wire raw strings; null reads as empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

impl Raw<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string of bytes")
            }
            fn visit_borrowed_bytes<E>(self, v: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Raw(v))
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Raw(v.as_bytes()))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Raw(&[]))
            }
            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Raw(&[]))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                d.deserialize_bytes(self)
            }
        }
        d.deserialize_bytes(RawVisitor)
    }
}

/// Text of a message, borrowed from it. Other text than UTF-8 is refused; null reads as empty.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(d: D) -> Result<&'a str, D::Error> {
    let raw = Raw::deserialize(d)?;
    std::str::from_utf8(raw.0).map_err(|_| D::Error::custom("text is not UTF-8"))
}

/// No bytes are written as null, as peers without meta do.
fn null_if_empty<S: Serializer>(raw: &Raw<'_>, s: S) -> Result<S::Ok, S::Error> {
    if raw.is_empty() { s.serialize_none() } else { raw.serialize(s) }
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

/// Direct probe. The source fields say where the ack goes; old peers leave them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ping<'a> {
    pub seq_no: u32,
    #[serde(borrow, deserialize_with = "text")]
    pub node: &'a str,
    #[serde(borrow, skip_serializing_if = "Raw::is_empty")]
    pub source_addr: Raw<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    #[serde(borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub source_node: &'a str,
}

/// Request to probe somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IndirectPing<'a> {
    pub seq_no: u32,
    #[serde(borrow)]
    pub target: Raw<'a>,
    pub port: u16,
    #[serde(borrow, deserialize_with = "text")]
    pub node: &'a str,
    /// Answer with a nack when the target stays silent.
    pub nack: bool,
    #[serde(borrow, skip_serializing_if = "Raw::is_empty")]
    pub source_addr: Raw<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    #[serde(borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub source_node: &'a str,
}

/// Answer to a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ack<'a> {
    pub seq_no: u32,
    #[serde(borrow)]
    pub payload: Option<Raw<'a>>,
}

/// Answer to an indirect probe whose target stays silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Nack {
    pub seq_no: u32,
}

/// A request on a stream was not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ErrorReply<'a> {
    #[serde(borrow, deserialize_with = "text")]
    pub error: &'a str,
}

/// Body of suspect and of dead: `from` says that `node` does not answer, or is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Accusation<'a> {
    pub incarnation: u32,
    #[serde(borrow, deserialize_with = "text")]
    pub node: &'a str,
    #[serde(borrow, deserialize_with = "text")]
    pub from: &'a str,
}

/// A member's statement about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Alive<'a> {
    pub incarnation: u32,
    #[serde(borrow, deserialize_with = "text")]
    pub node: &'a str,
    #[serde(borrow)]
    pub addr: Raw<'a>,
    pub port: u16,
    #[serde(borrow, serialize_with = "null_if_empty")]
    pub meta: Raw<'a>,
    #[serde(borrow)]
    pub vsn: Raw<'a>,
}

/// First part of a full exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PushPullHeader {
    pub nodes: i64,
    pub user_state_len: i64,
    pub join: bool,
}

/// One member in a full exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PushNodeState<'a> {
    #[serde(borrow, deserialize_with = "text")]
    pub name: &'a str,
    #[serde(borrow)]
    pub addr: Raw<'a>,
    pub port: u16,
    #[serde(borrow, serialize_with = "null_if_empty")]
    pub meta: Raw<'a>,
    pub incarnation: u32,
    pub state: i64,
    #[serde(borrow)]
    pub vsn: Raw<'a>,
}

/// First part of a user message on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserHeader {
    pub user_msg_len: i64,
}

/// A compressed message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Compressed<'a> {
    pub algo: u8,
    #[serde(borrow)]
    pub buf: Raw<'a>,
}
