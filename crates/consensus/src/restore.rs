//! Pieces of a user restore, as they travel in log entries.
//!
//! ```text
//! begin   := 0 u8 | session u64
//! chunk   := 1 u8 | session u64 | bytes
//! commit  := 2 u8 | session u64 | size u64 | crc-64 u64 | index u64
//! ```

use std::io::{self, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::snapshot::{Incoming, SnapshotData};

/// Size of one chunk.
pub const CHUNK: usize = 256 << 10;

#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Begin {
        session: u64,
    },
    Chunk {
        session: u64,
        bytes: Bytes,
    },
    /// `index` is the newest index inside the archive.
    Commit {
        session: u64,
        size: u64,
        crc: u64,
        index: u64,
    },
}

impl Piece {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Begin { session } => {
                out.put_u8(0);
                out.put_u64_le(*session);
            }
            Self::Chunk { session, bytes } => {
                out.reserve(9 + bytes.len());
                out.put_u8(1);
                out.put_u64_le(*session);
                out.put_slice(bytes);
            }
            Self::Commit { session, size, crc, index } => {
                out.put_u8(2);
                for value in [session, size, crc, index] {
                    out.put_u64_le(*value);
                }
            }
        }
        out.freeze()
    }

    pub fn decode(mut input: Bytes) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "malformed restore piece");
        if input.len() < 9 {
            return Err(invalid());
        }
        let kind = input.get_u8();
        let session = input.get_u64_le();
        match kind {
            0 => Ok(Self::Begin { session }),
            1 => Ok(Self::Chunk { session, bytes: input }),
            2 if input.len() == 24 => Ok(Self::Commit {
                session,
                size: input.get_u64_le(),
                crc: input.get_u64_le(),
                index: input.get_u64_le(),
            }),
            _ => Err(invalid()),
        }
    }
}

/// A restore whose pieces are arriving.
pub struct Session {
    pub id: u64,
    /// Log index of the newest piece.
    pub last_piece: u64,
    incoming: Incoming,
}

impl Session {
    pub fn new(id: u64, log_index: u64, incoming: Incoming) -> Self {
        Self { id, last_piece: log_index, incoming }
    }

    pub fn add(&mut self, log_index: u64, bytes: &[u8]) -> io::Result<()> {
        self.last_piece = log_index;
        self.incoming.write_all(bytes)
    }

    pub fn finish(self) -> io::Result<SnapshotData> {
        self.incoming.finish(0)
    }
}
