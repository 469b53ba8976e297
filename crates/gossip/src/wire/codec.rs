//! Envelopes: label, encryption, checksum, compression and compounds, of packets and streams.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::compress::{self, CompressError, MAX_DECOMPRESSED};
use super::crypto::{CryptoError, Keyring, SealVersion};
use super::message::{Compressed, MessageType, Raw};

/// Size of the buffer that packets are received into.
pub const MAX_PACKET: usize = 65_536;
/// Most parts of a compound that version 1.9 reads rightly: it multiplies the count in 8 bits.
pub const MAX_PARTS: usize = 127;
/// Bytes of a compound before its parts' lengths.
pub const COMPOUND_HEADER: usize = 2;
/// Bytes that each part of a compound costs besides itself.
pub const PART_OVERHEAD: usize = 2;
/// Most bytes that a label may have.
pub const MAX_LABEL: usize = 255;
/// Most bytes of one stream message, encrypted or not.
pub const MAX_STREAM: usize = 20 << 20;

/// Packets shorter than this are not worth an attempt to compress: their texts hardly repeat.
const COMPRESS_FROM: usize = 256;
/// Compound in compound, compress in compress: how deep is read.
const MAX_NESTING: u32 = 4;
const CRC_HEADER: usize = 5;
const ENCRYPT_HEADER: usize = 5;

/// Why a packet, or a part of one, was dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("packet is empty")]
    Empty,
    #[error("packet is longer than {MAX_PACKET} bytes")]
    TooLarge,
    #[error("label header is malformed")]
    Label,
    #[error("label does not match")]
    WrongLabel,
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    #[error("checksum {wanted:08x} does not match {found:08x}")]
    Checksum { wanted: u32, found: u32 },
    #[error(transparent)]
    Compress(#[from] CompressError),
    #[error("nested too deep")]
    Nesting,
    #[error("compound is cut off: {missing} parts missing")]
    Truncated { missing: usize },
    #[error("message type ({0}) not supported")]
    Type(u8),
    #[error("malformed {kind:?}: {reason}")]
    Malformed { kind: MessageType, reason: String },
}

/// Why a stream message was refused. The texts of the first five go to the other side and are
/// those of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("Remote state is encrypted and encryption is not configured")]
    NotConfigured,
    #[error("Encryption is configured but remote state is not encrypted")]
    NotEncrypted,
    #[error("Remote node state is larger than limit ({0})")]
    TooLarge(usize),
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    #[error(transparent)]
    Compress(#[from] CompressError),
    #[error("label header is malformed")]
    Label,
    #[error("label does not match")]
    WrongLabel,
    #[error("stream ended inside a message")]
    Truncated,
    #[error("received invalid msgType ({0})")]
    Type(u8),
    #[error("malformed message: {0}")]
    Malformed(String),
}

impl StreamError {
    /// Is the other side told about it?
    pub fn is_told(&self) -> bool {
        use StreamError::*;
        matches!(self, NotConfigured | NotEncrypted | TooLarge(_) | Crypto(_) | Compress(_))
    }
}

/// Opens and closes the envelopes of one pool.
#[derive(Clone, Debug)]
pub struct Codec {
    /// Keys; none = plaintext pool.
    pub keyring: Option<Keyring>,
    /// Refuse plaintext when there are keys.
    pub verify_incoming: bool,
    /// Encrypt when there are keys.
    pub verify_outgoing: bool,
    /// Compress what we send.
    pub compression: bool,
    /// Sealing format to write.
    pub seal_version: SealVersion,
    /// Label; empty = none.
    label: Vec<u8>,
}

impl Codec {
    /// A codec without keys. `None` if the label is too long.
    pub fn new(label: &str, compression: bool) -> Option<Self> {
        (label.len() <= MAX_LABEL).then(|| Codec {
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            compression,
            seal_version: SealVersion::V1,
            label: label.as_bytes().to_vec(),
        })
    }

    fn sealing(&self) -> Option<&Keyring> {
        self.keyring.as_ref().filter(|_| self.verify_outgoing)
    }

    fn put_label(&self, out: &mut Vec<u8>) {
        if !self.label.is_empty() {
            out.extend_from_slice(&[MessageType::HasLabel as u8, self.label.len() as u8]);
            out.extend_from_slice(&self.label);
        }
    }

    /// Bytes that the envelopes of a packet add at most: what the size bound must leave free.
    pub fn packet_overhead(&self) -> usize {
        let label = if self.label.is_empty() { 0 } else { 2 + self.label.len() };
        label + self.sealing().map_or(0, |_| self.seal_version.overhead())
    }

    /// Puts messages (each with its type byte) into one packet; several become a compound of at
    /// most [`MAX_PARTS`], the rest being left out. `crc`: the receiver understands checksums.
    pub fn seal_packet(&self, messages: &[Bytes], crc: bool) -> Result<Bytes, CryptoError> {
        if let [one] = messages
            && !crc
            && one.len() < COMPRESS_FROM
            && self.label.is_empty()
            && self.sealing().is_none()
        {
            return Ok(one.clone());
        }
        let mut plain = Vec::with_capacity(1500);
        if crc {
            plain.extend_from_slice(&[MessageType::HasCrc as u8, 0, 0, 0, 0]);
        }
        let body = plain.len();
        match messages {
            [one] => plain.extend_from_slice(one),
            many => {
                let parts = &many[..many.len().min(MAX_PARTS)];
                plain.extend_from_slice(&[MessageType::Compound as u8, parts.len() as u8]);
                for part in parts {
                    plain.put_u16(part.len() as u16);
                }
                for part in parts {
                    plain.extend_from_slice(part);
                }
            }
        }
        if self.compression
            && plain.len() - body >= COMPRESS_FROM
            && let Some(packed) = compress_message(&plain[body..])
            && packed.len() < plain.len() - body
        {
            plain.truncate(body);
            plain.extend_from_slice(&packed);
        }
        if crc {
            let sum = crc32fast::hash(&plain[CRC_HEADER..]);
            plain[1..CRC_HEADER].copy_from_slice(&sum.to_be_bytes());
        }
        if self.label.is_empty() && self.sealing().is_none() {
            return Ok(plain.into());
        }
        let mut out = Vec::with_capacity(plain.len() + self.packet_overhead());
        self.put_label(&mut out);
        match self.sealing() {
            Some(ring) => ring.seal(self.seal_version, &plain, &self.label, &mut out)?,
            None => out.extend_from_slice(&plain),
        }
        Ok(out.into())
    }

    /// Takes label, encryption and checksum off a packet.
    pub fn open_packet<'a>(&self, packet: &'a [u8]) -> Result<Cow<'a, [u8]>, PacketError> {
        if packet.len() > MAX_PACKET {
            return Err(PacketError::TooLarge);
        }
        let (label, rest) = split_label(packet).ok_or(PacketError::Label)?;
        // A first byte that looks like a label cannot come from a pool without one: it is neither
        // a message type nor a version of the encryption.
        if label != self.label {
            return Err(PacketError::WrongLabel);
        }
        let mut plain = match &self.keyring {
            None => Cow::Borrowed(rest),
            Some(ring) => match ring.open(rest, &self.label) {
                Ok(plain) => Cow::Owned(plain),
                Err(_) if !self.verify_incoming => Cow::Borrowed(rest),
                Err(error) => return Err(error.into()),
            },
        };
        if plain.first() == Some(&(MessageType::HasCrc as u8)) && plain.len() >= CRC_HEADER {
            let (head, body) = plain.split_at(CRC_HEADER);
            let wanted = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let found = crc32fast::hash(body);
            if wanted != found {
                return Err(PacketError::Checksum { wanted, found });
            }
            plain = match plain {
                Cow::Borrowed(all) => Cow::Borrowed(&all[CRC_HEADER..]),
                Cow::Owned(mut all) => {
                    all.drain(..CRC_HEADER);
                    Cow::Owned(all)
                }
            };
        }
        if plain.is_empty() {
            return Err(PacketError::Empty);
        }
        Ok(plain)
    }

    /// Wraps a stream message. `dialled`: we opened the stream, so the label goes in front.
    pub fn seal_stream(&self, message: &[u8], dialled: bool) -> Result<Bytes, CryptoError> {
        let packed = if self.compression { compress_message(message) } else { None };
        let plain: &[u8] = packed.as_deref().unwrap_or(message);
        let mut out = Vec::with_capacity(plain.len() + 64 + self.label.len());
        if dialled {
            self.put_label(&mut out);
        }
        match self.sealing() {
            None => out.extend_from_slice(plain),
            Some(ring) => {
                let start = out.len();
                let sealed = match self.seal_version {
                    SealVersion::V0 => {
                        // Padding always adds at least one byte.
                        self.seal_version.overhead() - (plain.len() % 16) + plain.len()
                    }
                    SealVersion::V1 => self.seal_version.overhead() + plain.len(),
                };
                out.push(MessageType::Encrypt as u8);
                out.extend_from_slice(&(sealed as u32).to_be_bytes());
                let mut additional = out[start..].to_vec();
                additional.extend_from_slice(&self.label);
                ring.seal(self.seal_version, plain, &additional, &mut out)?;
            }
        }
        Ok(out.into())
    }

    /// Takes the envelopes off a complete stream message. `answer`: it came on a stream that we
    /// opened, so it carries no label.
    pub fn open_stream<'a>(&self, stream: &'a [u8], answer: bool) -> Result<Cow<'a, [u8]>, StreamError> {
        let rest = if answer {
            stream
        } else {
            let (label, rest) = split_label(stream).ok_or(StreamError::Label)?;
            if label != self.label {
                return Err(StreamError::WrongLabel);
            }
            rest
        };
        let plain = match (rest.first(), &self.keyring) {
            (None, _) => return Err(StreamError::Truncated),
            (Some(&t), None) if t == MessageType::Encrypt as u8 => return Err(StreamError::NotConfigured),
            (Some(&t), Some(ring)) if t == MessageType::Encrypt as u8 => {
                let (head, sealed) = rest.split_at_checked(ENCRYPT_HEADER).ok_or(StreamError::Truncated)?;
                let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                let sealed = sealed.get(..len).ok_or(StreamError::Truncated)?;
                let mut additional = head.to_vec();
                additional.extend_from_slice(&self.label);
                Cow::Owned(ring.open(sealed, &additional)?)
            }
            (Some(_), Some(_)) if self.verify_incoming => return Err(StreamError::NotEncrypted),
            _ => Cow::Borrowed(rest),
        };
        match plain.first() {
            None => Err(StreamError::Truncated),
            Some(&t) if t == MessageType::Compress as u8 => {
                let packed: Compressed =
                    msgpack::from_slice(&plain[1..]).map_err(|e| StreamError::Malformed(e.to_string()))?;
                let message = unpack(&packed)?;
                if message.is_empty() { Err(StreamError::Truncated) } else { Ok(Cow::Owned(message)) }
            }
            Some(_) => Ok(plain),
        }
    }
}

/// Calls `each` with type and body of every message in an opened packet, in order. Parts that
/// cannot be read are passed to `bad` and do not keep the others from being read.
pub fn for_each_message(
    plain: &[u8],
    each: &mut dyn FnMut(MessageType, &[u8]),
    bad: &mut dyn FnMut(PacketError),
) {
    let mut budget = MAX_DECOMPRESSED;
    walk(plain, 0, &mut budget, each, bad);
}

fn walk(
    message: &[u8],
    depth: u32,
    budget: &mut usize,
    each: &mut dyn FnMut(MessageType, &[u8]),
    bad: &mut dyn FnMut(PacketError),
) {
    let Some((&first, body)) = message.split_first() else {
        return bad(PacketError::Empty);
    };
    if depth > MAX_NESTING {
        return bad(PacketError::Nesting);
    }
    use MessageType::*;
    match MessageType::from_byte(first) {
        Some(Compound) => {
            let Some((&count, rest)) = body.split_first() else {
                return bad(PacketError::Truncated { missing: 0 });
            };
            let count = usize::from(count);
            let Some((lengths, mut parts)) = rest.split_at_checked(count * 2) else {
                return bad(PacketError::Truncated { missing: count });
            };
            for (i, length) in lengths.chunks_exact(2).enumerate() {
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let Some((part, rest)) = parts.split_at_checked(length) else {
                    return bad(PacketError::Truncated { missing: count - i });
                };
                walk(part, depth + 1, budget, each, bad);
                parts = rest;
            }
        }
        Some(Compress) => {
            let packed: Compressed = match msgpack::from_slice(body) {
                Ok(packed) => packed,
                Err(e) => return bad(PacketError::Malformed { kind: Compress, reason: e.to_string() }),
            };
            match unpack_up_to(&packed, *budget) {
                Ok(inner) => {
                    *budget -= inner.len();
                    walk(&inner, depth + 1, budget, each, bad);
                }
                Err(e) => bad(e.into()),
            }
        }
        Some(kind @ (Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | User)) => each(kind, body),
        _ => bad(PacketError::Type(first)),
    }
}

fn unpack(packed: &Compressed<'_>) -> Result<Vec<u8>, CompressError> {
    unpack_up_to(packed, MAX_DECOMPRESSED)
}

fn unpack_up_to(packed: &Compressed<'_>, limit: usize) -> Result<Vec<u8>, CompressError> {
    match packed.algo {
        0 => compress::decompress(packed.buf.0, limit),
        other => Err(CompressError::Algorithm(other)),
    }
}

fn compress_message(message: &[u8]) -> Option<Vec<u8>> {
    let buf = compress::compress(message)?;
    encode(MessageType::Compress, &Compressed { algo: 0, buf: Raw(&buf) }).ok()
}

/// Type byte and body.
pub fn encode<T: serde::Serialize>(kind: MessageType, body: &T) -> Result<Vec<u8>, msgpack::Error> {
    let mut out = Vec::with_capacity(128);
    out.push(kind as u8);
    msgpack::to_writer_vec(&mut out, body)?;
    Ok(out)
}

/// A user message: type byte and the bytes of the layer above.
pub fn user_message(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 1);
    out.put_u8(MessageType::User as u8);
    out.put_slice(message);
    out.freeze()
}

/// Splits the label off; an empty one if there is none. `None`: malformed.
pub(super) fn split_label(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes.first() {
        Some(&t) if t == MessageType::HasLabel as u8 => match bytes.get(1) {
            None | Some(0) => None,
            Some(&n) => bytes[2..].split_at_checked(usize::from(n)),
        },
        _ => Some((&[], bytes)),
    }
}
