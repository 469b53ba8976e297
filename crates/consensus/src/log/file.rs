//! The file of the log, as redb sees it.
//!
//! When redb has no use for the end of the file any more it cuts it off, hundreds of megabytes at once
//! and in the middle of a commit. A disk that is told of so many free blocks is busy with them for a
//! while, and the commits that follow wait. So the file keeps its length at first; a thread frees what
//! is beyond the new end piece by piece, and only then is the file cut.
//!
//! A crash in between leaves a file with a hole at its end. redb goes by the length of the file then
//! and finds free pages there, as it has to after a crash that came before a cut.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::background::detached;

/// Bytes freed at once.
const STEP: u64 = 4 << 20;
/// Between one piece and the next.
const PAUSE: Duration = Duration::from_millis(5);

/// A backend of redb.
#[derive(Debug)]
pub struct LogFile {
    inner: FileBackend,
    cut: Arc<Cut>,
}

/// What is done to the end of the file.
#[derive(Debug)]
struct Cut {
    file: File,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    /// Where redb believes it to be.
    wanted: u64,
    /// Where it is.
    actual: u64,
    /// Nothing is in use from the wanted end to the actual one; from here on it is freed already.
    freed_from: u64,
    /// A thread is at work.
    busy: bool,
    closed: bool,
}

impl LogFile {
    /// Opens or creates it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let len = file.metadata()?.len();
        let end = End { wanted: len, actual: len, freed_from: len, busy: false, closed: false };
        let cut = Arc::new(Cut { file: file.try_clone()?, end: Mutex::new(end) });
        Ok(Self { inner: FileBackend::new(file).map_err(io::Error::other)?, cut })
    }
}

impl Cut {
    /// Sets the length here and now.
    fn set(&self, end: &mut End, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        (end.actual, end.freed_from) = (len, len);
        Ok(())
    }

    /// What is new has to be zero, also where something was before.
    fn grow(&self, end: &mut End, len: u64) -> io::Result<()> {
        let old = len.min(end.freed_from).saturating_sub(end.wanted);
        let zero = len <= end.actual && (old == 0 || free(&self.file, end.wanted, old).unwrap_or(false));
        if zero {
            end.freed_from = end.freed_from.max(len);
        } else {
            let wanted = end.wanted;
            if end.actual > wanted {
                self.set(end, wanted)?;
            }
            self.set(end, len)?;
        }
        end.wanted = len;
        Ok(())
    }

    /// Frees one piece; says whether there is more to do.
    fn step(&self) -> io::Result<bool> {
        let mut end = self.end.lock();
        if end.closed || end.actual <= end.wanted {
            end.busy = false;
            return Ok(false);
        }
        let from = end.freed_from.saturating_sub(STEP).max(end.wanted);
        let freed = match end.freed_from.checked_sub(from) {
            // All of it; or so little that it may go with the cut.
            None | Some(0) => false,
            Some(len) => free(&self.file, from, len)?,
        };
        if freed {
            end.freed_from = from;
        } else {
            let wanted = end.wanted;
            self.set(&mut end, wanted)?;
            end.busy = false;
        }
        drop(end);
        // What one sync covers is freed together.
        self.file.sync_data()?;
        Ok(freed)
    }

    fn run(&self) {
        loop {
            match self.step() {
                Ok(true) => std::thread::sleep(PAUSE),
                Ok(false) => return,
                // The file is as good as it was, only longer than it need be.
                Err(error) => {
                    tracing::warn!(%error, "the end of the log's file is not given back");
                    self.end.lock().busy = false;
                    return;
                }
            }
        }
    }
}

/// Frees a part of a file without a change of its length, if that can be done here.
#[cfg(target_os = "linux")]
fn free(file: &File, from: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::FallocateFlags;
    match rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, len) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn free(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

impl StorageBackend for LogFile {
    fn len(&self) -> io::Result<u64> {
        let mut end = self.cut.end.lock();
        if end.wanted == end.actual {
            // Asked again once the locks are held: until then it may have been another's file.
            let len = self.cut.file.metadata()?.len();
            (end.wanted, end.actual, end.freed_from) = (len, len, len);
        }
        Ok(end.wanted)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut end = self.cut.end.lock();
        if len > end.wanted {
            return self.cut.grow(&mut end, len);
        }
        if end.actual - len <= STEP {
            self.cut.set(&mut end, len)?;
            end.wanted = len;
            return Ok(());
        }
        end.wanted = len;
        if end.busy {
            return Ok(());
        }
        let cut = self.cut.clone();
        if detached(move || cut.run()).is_err() {
            return self.cut.set(&mut end, len);
        }
        end.busy = true;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        let mut end = self.cut.end.lock();
        // From now on the file may be another's.
        end.closed = true;
        let wanted = end.wanted;
        let cut = if end.actual > wanted { self.cut.set(&mut end, wanted) } else { Ok(()) };
        self.inner.close().and(cut)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = 10 * STEP;

    fn full(dir: &tempfile::TempDir) -> LogFile {
        let file = LogFile::open(&dir.path().join("log")).unwrap();
        file.set_len(LONG).unwrap();
        let block = vec![7u8; STEP as usize];
        for n in 0..10 {
            file.write(n * STEP, &block).unwrap();
        }
        file
    }

    fn read(file: &LogFile, at: u64) -> u8 {
        let mut byte = [0];
        file.read(at, &mut byte).unwrap();
        byte[0]
    }

    fn on_disk(file: &LogFile) -> u64 {
        file.cut.file.metadata().unwrap().len()
    }

    fn settle(file: &LogFile) {
        while file.cut.end.lock().busy {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_long_end_goes_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let file = full(&dir);
        file.set_len(STEP + 1).unwrap();
        assert_eq!(file.len().unwrap(), STEP + 1);
        settle(&file);
        assert_eq!(on_disk(&file), STEP + 1);
        assert_eq!(read(&file, STEP), 7);
    }

    #[test]
    fn a_short_end_goes_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = full(&dir);
        file.set_len(9 * STEP).unwrap();
        assert_eq!(on_disk(&file), 9 * STEP);
        assert!(!file.cut.end.lock().busy);
    }

    /// The thread's steps are taken by hand, so that every moment has its turn.
    #[test]
    fn growth_is_of_zeros_at_any_moment() {
        for steps in 0..12 {
            for to in [2 * STEP, 5 * STEP + 1, LONG, LONG + STEP] {
                let dir = tempfile::tempdir().unwrap();
                let file = full(&dir);
                file.cut.end.lock().busy = true;
                file.set_len(STEP).unwrap();
                for _ in 0..steps {
                    file.cut.step().unwrap();
                }
                file.set_len(to).unwrap();
                assert_eq!(file.len().unwrap(), to);
                assert_eq!(read(&file, STEP - 1), 7);
                for at in [STEP, 2 * STEP - 1, to / 2 + STEP / 2, to - 1] {
                    assert_eq!(read(&file, at), 0, "{at} of {to} after {steps} steps");
                }
                // What is written there is kept, whatever is still under way.
                file.write(to - 1, &[9]).unwrap();
                while file.cut.step().unwrap() {}
                assert_eq!((read(&file, to - 1), read(&file, STEP - 1)), (9, 7));
                assert_eq!(on_disk(&file), to);
                // And is given back with the rest.
                file.cut.end.lock().busy = true;
                file.set_len(STEP).unwrap();
                while file.cut.step().unwrap() {}
                assert_eq!(on_disk(&file), STEP);
            }
        }
    }

    #[test]
    fn closing_cuts_and_leaves_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = full(&dir);
        file.cut.end.lock().busy = true;
        file.set_len(STEP).unwrap();
        file.close().unwrap();
        assert_eq!(on_disk(&file), STEP);
        // It is another's now.
        file.cut.file.set_len(LONG).unwrap();
        assert!(!file.cut.step().unwrap());
        assert_eq!(on_disk(&file), LONG);
    }
}
