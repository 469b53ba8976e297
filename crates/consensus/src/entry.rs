//! One binary form of log entries, used on disk and between servers.
//!
//! All integers are little-endian.
//!
//! ```text
//! entry      := term u64 | index u64 | kind u8 | length u32 | payload
//! kind       := 0 blank | 1 command | 2 restore piece | 3 membership (msgpack)
//! entries    := count u32 | entry*
//! log id     := 0 u8  |  1 u8, term u64, index u64
//! vote       := term u64 | server id 16 bytes | committed u8
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::EntryPayload;

use crate::types::alias::{Entry, LogId, Membership, Vote, log_id};
use crate::types::{Command, CommandKind, ServerId};

const BLANK: u8 = 0;
const APPLY: u8 = 1;
const RESTORE: u8 = 2;
const MEMBERSHIP: u8 = 3;

/// Bytes an entry takes besides its payload.
pub const ENTRY_HEADER: usize = 8 + 8 + 1 + 4;

fn short(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("truncated {what}"))
}

fn need(input: &Bytes, bytes: usize, what: &str) -> io::Result<()> {
    if input.remaining() < bytes { Err(short(what)) } else { Ok(()) }
}

/// Approximate size of an entry in this form.
pub fn size_hint(entry: &Entry) -> usize {
    ENTRY_HEADER
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(command) => command.data.len(),
            EntryPayload::Membership(m) => 64 + 64 * m.nodes().count(),
        }
}

pub fn put_entry(out: &mut BytesMut, entry: &Entry) -> io::Result<()> {
    out.put_u64_le(entry.log_id.leader_id.term);
    out.put_u64_le(entry.log_id.index);
    match &entry.payload {
        EntryPayload::Blank => {
            out.put_u8(BLANK);
            out.put_u32_le(0);
        }
        EntryPayload::Normal(command) => {
            out.put_u8(match command.kind {
                CommandKind::Apply => APPLY,
                CommandKind::Restore => RESTORE,
            });
            let length = u32::try_from(command.data.len()).map_err(io::Error::other)?;
            out.put_u32_le(length);
            out.put_slice(&command.data);
        }
        EntryPayload::Membership(membership) => {
            let bytes = rmp_serde::to_vec_named(membership).map_err(io::Error::other)?;
            out.put_u8(MEMBERSHIP);
            out.put_u32_le(u32::try_from(bytes.len()).map_err(io::Error::other)?);
            out.put_slice(&bytes);
        }
    }
    Ok(())
}

/// Reads one entry. The payload shares the input's buffer.
pub fn get_entry(input: &mut Bytes) -> io::Result<Entry> {
    need(input, ENTRY_HEADER, "log entry")?;
    let term = input.get_u64_le();
    let index = input.get_u64_le();
    let kind = input.get_u8();
    let length = input.get_u32_le() as usize;
    need(input, length, "log entry payload")?;
    let data = input.split_to(length);
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        APPLY | RESTORE => EntryPayload::Normal(Command {
            kind: if kind == APPLY { CommandKind::Apply } else { CommandKind::Restore },
            data,
        }),
        MEMBERSHIP => {
            let membership: Membership = rmp_serde::from_slice(&data).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("membership entry {index}: {e}"))
            })?;
            EntryPayload::Membership(membership)
        }
        other => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log entry {index} has unknown kind {other}"),
            ));
        }
    };
    Ok(openraft::Entry { log_id: log_id(term, index), payload })
}

pub fn put_entries<'a>(
    out: &mut BytesMut,
    entries: impl ExactSizeIterator<Item = &'a Entry>,
) -> io::Result<()> {
    out.put_u32_le(u32::try_from(entries.len()).map_err(io::Error::other)?);
    for entry in entries {
        put_entry(out, entry)?;
    }
    Ok(())
}

pub fn get_entries(input: &mut Bytes) -> io::Result<Vec<Entry>> {
    need(input, 4, "entry count")?;
    let count = input.get_u32_le() as usize;
    // A count is only believed as far as the bytes can hold it.
    if count > input.remaining() / ENTRY_HEADER {
        return Err(short("log entries"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(get_entry(input)?);
    }
    Ok(entries)
}

pub fn put_log_id(out: &mut BytesMut, id: Option<&LogId>) {
    match id {
        None => out.put_u8(0),
        Some(id) => {
            out.put_u8(1);
            out.put_u64_le(id.leader_id.term);
            out.put_u64_le(id.index);
        }
    }
}

pub fn get_log_id(input: &mut Bytes) -> io::Result<Option<LogId>> {
    need(input, 1, "log id")?;
    if input.get_u8() == 0 {
        return Ok(None);
    }
    need(input, 16, "log id")?;
    let term = input.get_u64_le();
    Ok(Some(log_id(term, input.get_u64_le())))
}

pub fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64_le(vote.leader_id.term);
    out.put_slice(vote.leader_id.voted_for.as_bytes());
    out.put_u8(u8::from(vote.committed));
}

pub fn get_vote(input: &mut Bytes) -> io::Result<Vote> {
    need(input, 25, "vote")?;
    let term = input.get_u64_le();
    let mut id = [0u8; 16];
    input.copy_to_slice(&mut id);
    let committed = input.get_u8() != 0;
    let id = ServerId::from_bytes(id);
    Ok(if committed { Vote::new_committed(term, id) } else { Vote::new(term, id) })
}
