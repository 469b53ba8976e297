//! Frames: length u32 (of what follows), type u8, body. Little-endian.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::StreamAppendError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::entry;
use crate::types::TypeConfig;
use crate::types::alias::{Append, SnapshotMeta, Vote};

/// Largest frame accepted: one command of [`crate::MAX_COMMAND`] beside a usual batch.
pub const MAX_FRAME: usize = 32 << 20;

pub const APPEND: u8 = 1;
pub const VOTE: u8 = 2;
pub const PRE_VOTE: u8 = 3;
pub const TRANSFER: u8 = 4;
pub const SNAPSHOT: u8 = 5;
/// Added to the type of a request for its answer.
pub const ANSWER: u8 = 0x80;
/// Answer of a server that cannot: a text.
pub const FAILED: u8 = 0xff;

pub type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;

pub fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// A frame under construction; [`finish`] fills in the length.
pub fn start(kind: u8, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity + 5);
    out.put_u32_le(0);
    out.put_u8(kind);
    out
}

pub fn finish(mut out: BytesMut) -> io::Result<Bytes> {
    let length = out.len() - 4;
    if length > MAX_FRAME {
        return Err(invalid("frame is too large"));
    }
    out[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(out.freeze())
}

/// Writes a finished frame at once.
pub async fn write(io: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    io.write_all(frame).await?;
    io.flush().await
}

/// Reads one frame. Memory grows with what arrives, not with what is announced.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Bytes)> {
    let length = io.read_u32_le().await? as usize;
    if length == 0 || length > MAX_FRAME {
        return Err(invalid("bad frame length"));
    }
    let mut body = BytesMut::with_capacity(length.min(64 << 10));
    let mut limited = io.take(length as u64);
    while body.len() < length {
        if limited.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let kind = body.get_u8();
    Ok((kind, body.freeze()))
}

pub fn append_request(request: &Append) -> io::Result<Bytes> {
    let size: usize = request.entries.iter().map(entry::size_hint).sum();
    let mut out = start(APPEND, size + 96);
    entry::put_vote(&mut out, &request.vote);
    entry::put_log_id(&mut out, request.prev_log_id.as_ref());
    entry::put_log_id(&mut out, request.leader_commit.as_ref());
    entry::put_entries(&mut out, request.entries.iter())?;
    finish(out)
}

pub fn read_append_request(mut body: Bytes) -> io::Result<Append> {
    Ok(Append {
        vote: entry::get_vote(&mut body)?,
        prev_log_id: entry::get_log_id(&mut body)?,
        leader_commit: entry::get_log_id(&mut body)?,
        entries: entry::get_entries(&mut body)?,
    })
}

pub fn append_answer(result: &AppendResult) -> io::Result<Bytes> {
    let mut out = start(APPEND | ANSWER, 32);
    match result {
        Ok(matched) => {
            out.put_u8(0);
            entry::put_log_id(&mut out, matched.as_ref());
        }
        Err(StreamAppendError::Conflict(at)) => {
            out.put_u8(1);
            entry::put_log_id(&mut out, Some(at));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(2);
            entry::put_vote(&mut out, vote);
        }
    }
    finish(out)
}

pub fn read_append_answer(mut body: Bytes) -> io::Result<AppendResult> {
    if !body.has_remaining() {
        return Err(invalid("empty append answer"));
    }
    Ok(match body.get_u8() {
        0 => Ok(entry::get_log_id(&mut body)?),
        1 => Err(StreamAppendError::Conflict(
            entry::get_log_id(&mut body)?.ok_or_else(|| invalid("conflict without a log id"))?,
        )),
        2 => Err(StreamAppendError::HigherVote(entry::get_vote(&mut body)?)),
        _ => return Err(invalid("unknown append answer")),
    })
}

/// A message in msgpack, for the rare ones.
pub fn packed<T: serde::Serialize>(kind: u8, value: &T) -> io::Result<Bytes> {
    let bytes = rmp_serde::to_vec_named(value).map_err(invalid)?;
    let mut out = start(kind, bytes.len());
    out.put_slice(&bytes);
    finish(out)
}

pub fn unpack<T: serde::de::DeserializeOwned>(body: &Bytes) -> io::Result<T> {
    rmp_serde::from_slice(body).map_err(invalid)
}

/// Precedes the raw bytes of a snapshot.
pub struct SnapshotHeader {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub size: u64,
    pub crc: u64,
}

impl SnapshotHeader {
    pub fn encode(&self) -> io::Result<Bytes> {
        let meta = rmp_serde::to_vec_named(&self.meta).map_err(invalid)?;
        let mut out = start(SNAPSHOT, meta.len() + 64);
        entry::put_vote(&mut out, &self.vote);
        for value in [self.offset, self.size, self.crc] {
            out.put_u64_le(value);
        }
        out.put_slice(&meta);
        finish(out)
    }

    pub fn decode(mut body: Bytes) -> io::Result<Self> {
        let vote = entry::get_vote(&mut body)?;
        if body.remaining() < 24 {
            return Err(invalid("truncated snapshot header"));
        }
        let (offset, size, crc) = (body.get_u64_le(), body.get_u64_le(), body.get_u64_le());
        Ok(Self { vote, meta: unpack(&body)?, offset, size, crc })
    }
}
