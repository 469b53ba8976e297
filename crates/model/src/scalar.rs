//! Byte strings and the empty struct, as the wire and the JSON API write them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte string. Wire: raw bytes, nil when empty. JSON: base64 text, `null` when empty.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blob(Box<[u8]>);

impl Blob {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes, given away.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into_boxed_slice())
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_none()
        } else if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

struct BlobVisitor {
    base64: bool,
}

impl Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.base64 { "base64 text" } else { "a byte string" })
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
        if self.base64 {
            STANDARD.decode(text).map(Blob::from).map_err(E::custom)
        } else {
            Ok(text.as_bytes().into())
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Blob, E> {
        Ok(Blob::default())
    }

    fn visit_none<E: de::Error>(self) -> Result<Blob, E> {
        Ok(Blob::default())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(BlobVisitor { base64: true })
        } else {
            deserializer.deserialize_byte_buf(BlobVisitor { base64: false })
        }
    }
}

/// A struct without fields: an empty map on the wire, where a unit would be nil.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_is_base64_in_json_and_raw_on_the_wire() {
        let blob = Blob::from(vec![0xff, 0x00]);
        let json = serde_json::to_string(&blob).unwrap();
        assert_eq!(json, "\"/wA=\"");
        assert_eq!(serde_json::from_str::<Blob>(&json).unwrap(), blob);
        let wire = msgpack::to_vec(&blob).unwrap();
        assert_eq!(wire, [0xa2, 0xff, 0x00]);
        assert_eq!(msgpack::from_slice::<Blob>(&wire).unwrap(), blob);
    }

    #[test]
    fn empty_blob_is_nil() {
        assert_eq!(msgpack::to_vec(&Blob::default()).unwrap(), [0xc0]);
        assert_eq!(serde_json::to_string(&Blob::default()).unwrap(), "null");
        assert!(serde_json::from_str::<Blob>("\"***\"").is_err());
    }

    #[test]
    fn empty_struct_is_an_empty_map() {
        assert_eq!(msgpack::to_vec(&Empty {}).unwrap(), [0x80]);
    }
}
