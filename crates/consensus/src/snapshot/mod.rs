//! Snapshots: the state as of one log entry, in one piece.
//!
//! On disk a snapshot is a directory `<term>-<index>-<ms>` with `meta.json` and
//! `state.bin`. It is written under a name ending in `.tmp`, synced, and renamed;
//! the two newest are kept. Without a directory the newest one is kept in memory.

mod crc64;
mod meta;
mod store;

pub use crc64::Crc64;
pub use meta::MetaFile;
pub use store::{Incoming, SnapshotStore};

use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use bytes::Bytes;

/// Where the bytes of a snapshot are.
#[derive(Clone, Debug)]
pub enum Body {
    /// `state.bin` in this directory, which may still have its temporary name.
    Directory(PathBuf),
    Memory(Bytes),
}

/// A complete snapshot, without the facts the engine keeps about it.
#[derive(Clone, Debug)]
pub struct SnapshotData {
    /// What to add to a log index to get the index the application sees.
    pub offset: u64,
    /// Length of the state in bytes.
    pub size: u64,
    /// CRC-64/XZ of the state.
    pub crc: u64,
    pub body: Body,
    /// Of one that is not adopted yet; its directory is removed when the last user lets go of it.
    pub(crate) unfinished: Option<store::Unfinished>,
}

impl SnapshotData {
    /// Opens the state for reading. Blocking.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.body {
            Body::Directory(dir) => {
                let file = File::open(dir.join("state.bin"))?;
                // As long as it is read it is not emptied, see `SnapshotStore::prune`.
                if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "the snapshot was just removed"));
                }
                Box::new(BufReader::with_capacity(256 << 10, file))
            }
            Body::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        })
    }
}
