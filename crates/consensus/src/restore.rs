//! Pieces of a user restore, as they travel in log entries.
//!
//! ```text
//! begin   := 0 u8 | session u64
//! chunk   := 1 u8 | session u64 | bytes
//! commit  := 2 u8 | session u64 | size u64 | crc-64 u64 | index u64
//! ```

use std::io::{self, Read};
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::{EntryPayload, RaftLogReader};
use tokio::sync::mpsc;

use crate::snapshot::Crc64;
use crate::types::{CommandKind, TypeConfig};

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

/// A restore whose pieces are arriving. They stay where they are, in the log, until all are there.
pub struct Session {
    pub id: u64,
    /// Log index of its beginning.
    begin: u64,
    /// Log index of the newest piece.
    pub last_piece: u64,
    size: u64,
    crc: Crc64,
}

impl Session {
    pub fn new(id: u64, log_index: u64) -> Self {
        Self { id, begin: log_index, last_piece: log_index, size: 0, crc: Crc64::default() }
    }

    pub fn add(&mut self, log_index: u64, bytes: &[u8]) {
        self.last_piece = log_index;
        self.size += bytes.len() as u64;
        self.crc.update(bytes);
    }

    /// Whether what has arrived is what was sent.
    pub fn is_whole(&self, size: u64, crc: u64) -> bool {
        self.size == size && self.crc.value() == crc
    }

    /// The bytes of all pieces, read again from the log.
    pub fn archive<L: RaftLogReader<TypeConfig>>(&self, log: L) -> Archive {
        let (tx, chunks) = mpsc::channel(2);
        tokio::spawn(send_chunks(log, self.id, self.begin + 1..self.last_piece + 1, tx));
        Archive { chunks, chunk: Bytes::new(), left: self.size, failed: None }
    }
}

/// Sends the chunks of a session that the entries of this range hold, or an error.
async fn send_chunks<L: RaftLogReader<TypeConfig>>(
    mut log: L,
    id: u64,
    mut range: Range<u64>,
    tx: mpsc::Sender<io::Result<Bytes>>,
) {
    while !range.is_empty() {
        let entries = match log.limited_get_log_entries(range.start, range.end).await {
            Ok(entries) => entries,
            Err(error) => {
                let _ = tx.send(Err(error)).await;
                return;
            }
        };
        // Whoever reads misses what is not sent.
        let Some(last) = entries.last() else { return };
        range.start = last.log_id.index + 1;
        for entry in entries {
            if let EntryPayload::Normal(command) = entry.payload
                && command.kind == CommandKind::Restore
                && let Ok(Piece::Chunk { session, bytes }) = Piece::decode(command.data)
                && session == id
                && tx.send(Ok(bytes)).await.is_err()
            {
                return;
            }
        }
    }
}

/// Reads an archive, on a thread that may block.
pub struct Archive {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    left: u64,
    /// Why the log could not be read. Other errors are of the archive, the same on all servers.
    pub failed: Option<io::Error>,
}

impl Read for Archive {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.left > 0 && self.chunk.is_empty() {
            let next = self.chunks.blocking_recv();
            match next.unwrap_or_else(|| Err(io::Error::other("pieces of the archive are not in the log"))) {
                Ok(chunk) => self.chunk = chunk,
                Err(error) => {
                    let told = io::Error::new(error.kind(), error.to_string());
                    self.failed = Some(error);
                    return Err(told);
                }
            }
        }
        let n = self.chunk.len().min(out.len());
        self.chunk.split_to(n).copy_to_slice(&mut out[..n]);
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}
