//! Large files that come and go bit by bit.
//!
//! Others on the same disk wait, above all the log with its syncs: behind the pages of a file that is
//! written as a whole, and behind a file that is removed as a whole, when the file system tells the
//! disk of all the blocks that have become free.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use crate::background::detached;

/// Bytes after which what was written is put on the disk, and given back at once.
const STEP: u64 = 4 << 20;
/// Between one piece that is given back and the next.
const PAUSE: Duration = Duration::from_millis(5);

/// A file that goes to the disk in pieces while it is written.
#[derive(Debug)]
pub struct Paced {
    file: File,
    unsynced: u64,
}

impl Paced {
    pub fn new(file: File) -> Self {
        Self { file, unsynced: 0 }
    }

    pub fn get_ref(&self) -> &File {
        &self.file
    }

    /// The last piece may not be on the disk yet.
    pub fn into_inner(self) -> File {
        self.file
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written as u64;
        if self.unsynced >= STEP {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Empties a file that is of no use any more, so that little is left to free when it is closed. Blocking.
pub fn give_back(file: &File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    while left > STEP {
        left -= STEP;
        file.set_len(left)?;
        // What one sync covers is freed together.
        file.sync_data()?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// As [`give_back`], on a thread of its own that gives way to others.
pub fn give_back_later(file: File) {
    if file.metadata().is_ok_and(|facts| facts.len() <= STEP) {
        return;
    }
    let started = detached(move || {
        if let Err(error) = give_back(&file) {
            tracing::debug!(%error, "a file is freed as a whole");
        }
    });
    if let Err(error) = started {
        tracing::debug!(%error, "a file is freed as a whole");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_arrives_and_little_is_left_to_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let bytes: Vec<u8> = (0..3 * STEP as usize / 2).map(|n| (n % 251) as u8).collect();
        let mut out = Paced::new(File::create_new(&path).unwrap());
        for chunk in bytes.chunks(100_000) {
            out.write_all(chunk).unwrap();
        }
        let file = out.into_inner();
        assert!(std::fs::read(&path).unwrap() == bytes);
        give_back(&file).unwrap();
        let left = file.metadata().unwrap().len();
        assert!(left <= STEP, "{left}");
        // Nothing to do is fine too.
        give_back(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), left);
    }
}
