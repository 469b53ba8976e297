//! Counting what is in a state, record by record, without understanding the records.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Count and bytes of one type of record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeSummary {
    /// The type byte.
    pub kind: u8,
    /// Its name.
    pub name: String,
    /// How many records.
    pub count: u64,
    /// Their bytes, type bytes included.
    pub bytes: u64,
}

/// Goes through a state (`state.bin`: one header, then a type byte and one MessagePack value per
/// record) and returns the types by falling size.
///
/// # Errors
/// `UnexpectedEof` or `InvalidData` if it is cut off or no MessagePack.
pub fn summarize(state: impl Read) -> io::Result<Vec<TypeSummary>> {
    let mut reader = Counting { inner: io::BufReader::new(state), read: 0 };
    skip_value(&mut reader)?;
    let mut types: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
    loop {
        let start = reader.read;
        let mut kind = [0];
        if reader.read(&mut kind)? == 0 {
            break;
        }
        skip_value(&mut reader)?;
        let entry = types.entry(kind[0]).or_default();
        entry.0 += 1;
        entry.1 += reader.read - start;
    }
    let mut types: Vec<TypeSummary> = types
        .into_iter()
        .map(|(kind, (count, bytes))| TypeSummary { kind, name: type_name(kind), count, bytes })
        .collect();
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(types)
}

/// The name of a record type.
#[must_use]
pub fn type_name(kind: u8) -> String {
    const NAMES: [&str; 32] = [
        "Register",
        "Deregister",
        "KVS",
        "Session",
        "ACL (Deprecated)",
        "Tombstone",
        "CoordinateBatchUpdate",
        "PreparedQuery",
        "Txn",
        "Autopilot",
        "Area",
        "ACLBootstrap",
        "Intention",
        "ConnectCA",
        "ConnectCAProviderState",
        "ConnectCAConfig",
        "Index",
        "ACLToken",
        "ACLTokenDelete",
        "ACLPolicy",
        "ACLPolicyDelete",
        "ConnectCALeaf",
        "ConfigEntry",
        "ACLRole",
        "ACLRoleDelete",
        "ACLBindingRule",
        "ACLBindingRuleDelete",
        "ACLAuthMethod",
        "ACLAuthMethodDelete",
        "ChunkingState",
        "FederationState",
        "SystemMetadata",
    ];
    NAMES.get(usize::from(kind)).map_or_else(|| format!("Unknown({kind})"), |name| (*name).to_owned())
}

struct Counting<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.read += n as u64;
        Ok(n)
    }
}

/// Skips one value. Containers add to a count of values still to come, so depth costs nothing.
fn skip_value(reader: &mut impl Read) -> io::Result<()> {
    let mut pending: u64 = 1;
    while pending > 0 {
        pending -= 1;
        let tag = uint(reader, 1)? as u8;
        let (payload, values) = match tag {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            0x80..=0x8f => (0, 2 * u64::from(tag & 0x0f)),
            0x90..=0x9f => (0, u64::from(tag & 0x0f)),
            0xa0..=0xbf => (u64::from(tag & 0x1f), 0),
            0xc4 | 0xd9 => (uint(reader, 1)?, 0),
            0xc5 | 0xda => (uint(reader, 2)?, 0),
            0xc6 | 0xdb => (uint(reader, 4)?, 0),
            0xc7 => (uint(reader, 1)? + 1, 0),
            0xc8 => (uint(reader, 2)? + 1, 0),
            0xc9 => (uint(reader, 4)? + 1, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xd4..=0xd8 => ((1 << (tag - 0xd4)) + 1, 0),
            0xdc => (0, uint(reader, 2)?),
            0xdd => (0, uint(reader, 4)?),
            0xde => (0, 2 * uint(reader, 2)?),
            0xdf => (0, 2 * uint(reader, 4)?),
            0xc1 => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not MessagePack: byte 0xc1"));
            }
        };
        if io::copy(&mut reader.take(payload), &mut io::sink())? != payload {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Each announced value is at least one byte, so the count cannot outgrow the input by
        // more than the reader would notice; saturate anyway.
        pending = pending.saturating_add(values);
    }
    Ok(())
}

fn uint(reader: &mut impl Read, width: usize) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes[8 - width..])?;
    Ok(u64::from_be_bytes(bytes))
}
