//! What the application gives: a state machine.

use std::io;

use bytes::Bytes;

/// Writes a snapshot taken earlier. Runs on a blocking thread.
pub type SnapshotWriter = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// The replicated state machine.
///
/// Calls come from one task at a time. `apply_batch` must be deterministic: no
/// clock, no randomness, no I/O that can fail; every server must reach the same
/// state from the same entries.
pub trait Fsm: Send + Sync + 'static {
    /// What a proposer gets back. Never leaves the process.
    type Answer: Send + Sync + 'static;

    /// Applies committed commands in order, one answer for each. The numbers are
    /// the indexes the application shows; they grow, but not always by one.
    fn apply_batch(&self, entries: &[(u64, Bytes)]) -> Vec<Self::Answer>;

    /// Takes a cheap copy now, to be written later.
    fn snapshot(&self) -> SnapshotWriter;

    /// Replaces the whole state at once, or fails and leaves it as it was.
    /// `last_index` is the index the state is current as of.
    fn restore(&self, reader: &mut dyn io::Read, last_index: u64) -> io::Result<()>;
}
