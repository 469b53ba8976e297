//! The newest entries, in memory.
//!
//! Invariant: the entries held are consecutive and end with the newest entry
//! of the log. Only entries that are durable may be dropped from the front, and
//! only while more than [`KEEP_BYTES`] are held; without a disk nothing is
//! dropped until it is purged.

use std::collections::VecDeque;

use crate::entry;
use crate::types::alias::Entry;

/// Durable entries are kept up to this many bytes, what holds them included.
const KEEP_BYTES: usize = 1 << 20;

/// Bytes in memory of an entry: its place in the queue, which grows by doubling, the payload, and the
/// count of those who share that.
fn weight(entry: &Entry) -> usize {
    const SHARED: usize = 32;
    2 * size_of::<Entry>() + SHARED + entry::size_hint(entry)
}

#[derive(Debug, Default)]
pub struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Highest index known to be durable; `None` if entries are only held here.
    durable: Option<u64>,
}

impl Tail {
    /// `durable` is the last index found on disk, or `None` to keep everything.
    pub fn new(durable: Option<u64>) -> Self {
        Self { durable, ..Self::default() }
    }

    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|e| e.log_id.index)
    }

    pub fn append(&mut self, entries: &[Entry]) {
        for e in entries {
            self.bytes += weight(e);
            self.entries.push_back(e.clone());
        }
    }

    pub fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|e| e.log_id.index >= from) {
            self.pop_back();
        }
        if let Some(durable) = &mut self.durable {
            *durable = (*durable).min(from.saturating_sub(1));
        }
    }

    pub fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|e| e.log_id.index <= upto) {
            self.pop_front();
        }
    }

    /// Everything up to `index` is durable now; forget what memory need not hold.
    pub fn set_durable(&mut self, index: u64) {
        self.durable = Some(index);
        while self.bytes > KEEP_BYTES && self.entries.front().is_some_and(|e| e.log_id.index <= index) {
            self.pop_front();
        }
    }

    /// Entries of `from..to` held here; `None` if the range begins before them.
    pub fn read(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.first()?;
        if from < first {
            return None;
        }
        let skip = usize::try_from(from - first).ok()?;
        let mut bytes = 0;
        let mut found = Vec::with_capacity(self.entries.len().saturating_sub(skip).min((to - from) as usize));
        for e in self.entries.range(skip.min(self.entries.len())..) {
            if e.log_id.index >= to || (bytes > 0 && bytes >= max_bytes) {
                break;
            }
            bytes += entry::size_hint(e);
            found.push(e.clone());
        }
        Some(found)
    }

    fn pop_front(&mut self) {
        if let Some(e) = self.entries.pop_front() {
            self.bytes -= weight(&e);
        }
        self.give_back();
    }

    fn pop_back(&mut self) {
        if let Some(e) = self.entries.pop_back() {
            self.bytes -= weight(&e);
        }
        self.give_back();
    }

    /// A burst must not leave its high-water mark behind.
    fn give_back(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > 4096 {
            self.entries = VecDeque::new();
        }
    }
}
