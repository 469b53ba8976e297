//! The replicated log of one server: what is durable, and who writes it.
//!
//! * [`LogStore`] is the small trait a storage engine implements: read what was
//!   there at start, write a batch durably, read a range.
//! * [`redb_store::RedbStore`] is the one used on disk.
//! * [`tail::Tail`] keeps the newest entries in memory, where replication and
//!   apply nearly always find what they need.
//! * [`storage::LogStorage`] joins them and is what the engine sees. Writes go
//!   to a thread of their own ([`writer`]), which puts everything that waits
//!   into one transaction: entries that wait together share one fsync.

mod file;
mod redb_store;
mod storage;
mod tail;
mod writer;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use crate::types::alias::{Entry, LogId, Vote};

pub use redb_store::RedbStore;
pub use storage::LogStorage;
pub use writer::StorageHealth;

/// What a store held when it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    pub vote: Option<Vote>,
    /// Newest entry known to be committed. Written lazily, so it may lag.
    pub committed: Option<LogId>,
    /// Newest entry that was removed after a snapshot.
    pub purged: Option<LogId>,
    /// Newest entry, or `purged` when there is none.
    pub last: Option<LogId>,
}

/// One change to the log.
#[derive(Clone, Debug)]
pub enum Change {
    /// Consecutive entries, following what is there.
    Append(Vec<Entry>),
    /// Remove entries with this index and above.
    Truncate(u64),
    /// Remove entries up to this one, inclusive.
    Purge(LogId),
    Vote(Vote),
    Committed(LogId),
}

/// Reads entries; shared with readers on other threads.
pub trait LogRead: Send + Sync {
    /// Entries with `from <= index < to`, stopping early once `max_bytes` of
    /// payload were collected (at least one entry if there is any).
    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>>;
}

/// A durable log. Implementations are driven by one thread.
pub trait LogStore: Send + 'static {
    fn recovered(&self) -> &Recovered;

    /// Makes all changes, in order, as one durable step: after an error or a
    /// crash either all or none of them are found.
    fn write(&mut self, changes: &[Change]) -> io::Result<()>;

    fn reader(&self) -> Arc<dyn LogRead>;

    /// Called after an error that may pass (no space): make the store usable again.
    fn reopen(&mut self) -> io::Result<()>;

    /// Give unused space back if that is worth it. Called when idle.
    fn compact(&mut self) -> io::Result<()>;
}
