//! Writing, listing and removing snapshot directories.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::{Body, Crc64, MetaFile, SnapshotData};
use crate::paced::{Paced, give_back};
use crate::types::alias::{Snapshot, SnapshotMeta};

/// Finished snapshots kept.
const KEEP: usize = 2;
/// What has to stay free beside a snapshot: its description, and something for the log.
const MARGIN: u64 = 1 << 20;

/// A directory that is removed unless it was renamed away.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub struct SnapshotStore {
    dir: Option<PathBuf>,
    current: Mutex<Option<Snapshot>>,
    serial: std::sync::atomic::AtomicU64,
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis())
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Counts and checks what passes through.
struct Checked<W> {
    inner: W,
    crc: Crc64,
    size: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.crc.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What is still to be done to a snapshot that is on the disk.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// What its directory shall be called.
    name: String,
    _guard: Arc<TempDir>,
}

impl SnapshotStore {
    /// Opens `<dir>/snapshots`: removes unfinished directories and picks the
    /// newest snapshot whose checksum fits. Blocking.
    pub fn open(dir: Option<&Path>) -> io::Result<Self> {
        let dir = dir.map(|d| d.join("snapshots"));
        let mut current = None;
        if let Some(dir) = &dir {
            fs::create_dir_all(dir)?;
            for (_, path) in list(dir)? {
                match load(&path) {
                    Ok(snapshot) => {
                        current = Some(snapshot);
                        break;
                    }
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "snapshot is unusable, trying an older one");
                    }
                }
            }
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().ends_with(".tmp") {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(Self { dir, current: Mutex::new(current), serial: 0.into() })
    }

    pub fn current(&self) -> Option<Snapshot> {
        self.current.lock().clone()
    }

    fn temp_dir(&self, dir: &Path) -> io::Result<PathBuf> {
        let serial = self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = dir.join(format!("writing-{}-{serial}.tmp", now_ms()));
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes a snapshot and makes it the current one. Blocking.
    pub fn write(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        state: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Snapshot> {
        let mut incoming = self.receive()?;
        state(&mut incoming)?;
        let data = incoming.finish(meta, offset)?;
        let snapshot = self.adopt(meta, data)?;
        self.prune();
        Ok(snapshot)
    }

    /// Begins a snapshot whose bytes come from elsewhere. Blocking.
    pub fn receive(&self) -> io::Result<Incoming> {
        let (sink, place) = match &self.dir {
            None => (Sink::Memory(Vec::new()), None),
            Some(dir) => {
                let path = self.temp_dir(dir)?;
                let guard = Arc::new(TempDir(path.clone()));
                let file = File::create(path.join("state.bin"))?;
                (Sink::File(BufWriter::with_capacity(256 << 10, Paced::new(file))), Some(guard))
            }
        };
        Ok(Incoming { sink: Checked { inner: sink, crc: Crc64::default(), size: 0 }, place })
    }

    /// Whether a snapshot of this size can be expected to find space.
    pub fn check_room(&self, size: u64) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        #[cfg(unix)]
        {
            let facts = rustix::fs::statvfs(dir)?;
            let free = facts.f_bavail.saturating_mul(facts.f_frsize);
            if free < size.saturating_add(MARGIN) {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("a snapshot of {size} bytes finds {free} bytes free in {}", dir.display()),
                ));
            }
        }
        Ok(())
    }

    /// Makes a finished snapshot the current one, durably. All that was to be
    /// written is on the disk already, so that a full one is no matter. Blocking.
    pub fn adopt(&self, meta: &SnapshotMeta, mut data: SnapshotData) -> io::Result<Snapshot> {
        if let (Some(dir), Body::Directory(path), Some(unfinished)) =
            (&self.dir, &data.body, &data.unfinished)
        {
            let target = dir.join(&unfinished.name);
            fs::rename(path, &target)?;
            sync_dir(dir)?;
            data.body = Body::Directory(target);
            data.unfinished = None;
        }
        let snapshot = Snapshot { meta: meta.clone(), snapshot: data };
        *self.current.lock() = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Removes all but the newest snapshots. Blocking, and not fast.
    pub fn prune(&self) {
        let Some(dir) = &self.dir else { return };
        let found = match list(dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "snapshots were not listed");
                return;
            }
        };
        for (_, path) in found.into_iter().skip(KEEP) {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "old snapshot was not removed");
            }
        }
    }
}

/// Removes a finished snapshot. Who is reading it may do so to its end.
fn remove(path: &Path) -> io::Result<()> {
    let state = File::options().write(true).open(path.join("state.bin"));
    fs::remove_dir_all(path)?;
    match state {
        Ok(state) if state.try_lock().is_ok() => give_back(&state),
        _ => Ok(()),
    }
}

/// Term, index and milliseconds, from the name of a snapshot.
type Name = (u64, u64, u128);

/// Finished snapshots, newest first.
fn list(dir: &Path) -> io::Result<Vec<(Name, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let mut parts = name.split('-');
        let (Some(term), Some(index), Some(ms), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if let (Ok(term), Ok(index), Ok(ms)) = (term.parse(), index.parse(), ms.parse()) {
            found.push(((term, index, ms), entry.path()));
        }
    }
    found.sort_by_key(|b| std::cmp::Reverse(b.0));
    Ok(found)
}

/// Reads and verifies a finished snapshot.
fn load(path: &Path) -> io::Result<Snapshot> {
    let meta: MetaFile =
        serde_json::from_slice(&fs::read(path.join("meta.json"))?).map_err(io::Error::other)?;
    let (engine, offset) = meta.engine_meta()?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let expected = meta.crc()?.ok_or_else(|| invalid("meta.json has no CRC"))?;
    let mut file = File::open(path.join("state.bin"))?;
    let mut crc = Crc64::default();
    let mut size = 0u64;
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        crc.update(&buffer[..n]);
        size += n as u64;
    }
    if size != meta.size {
        return Err(invalid("state.bin has another size than meta.json says"));
    }
    if crc.value() != expected {
        return Err(invalid("state.bin does not match its checksum"));
    }
    Ok(Snapshot {
        meta: engine,
        snapshot: SnapshotData {
            offset,
            size,
            crc: expected,
            body: Body::Directory(path.to_owned()),
            unfinished: None,
        },
    })
}

enum Sink {
    File(BufWriter<Paced>),
    Memory(Vec<u8>),
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(buf),
            Self::Memory(bytes) => bytes.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}

/// A snapshot being written. Dropping it unfinished removes it.
pub struct Incoming {
    sink: Checked<Sink>,
    place: Option<Arc<TempDir>>,
}

impl Write for Incoming {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sink.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Incoming {
    /// Puts it on the disk with its description, still under a temporary name. Blocking.
    pub fn finish(self, meta: &SnapshotMeta, offset: u64) -> io::Result<SnapshotData> {
        let Checked { inner, crc, size } = self.sink;
        let crc = crc.value();
        let (body, unfinished) = match (inner, self.place) {
            (Sink::Memory(bytes), _) => (Body::Memory(bytes.into()), None),
            (Sink::File(file), Some(guard)) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.into_inner().sync_all()?;
                let path = guard.0.clone();
                let (term, index) = meta.last_log_id.map_or((0, 0), |l| (l.leader_id.term, l.index));
                let name = format!("{term}-{}-{}", index + offset, now_ms());
                let mut json = serde_json::to_vec(&MetaFile::new(name.clone(), meta, offset, size, crc)?)
                    .map_err(io::Error::other)?;
                json.push(b'\n');
                let mut out = File::create(path.join("meta.json"))?;
                out.write_all(&json)?;
                out.sync_all()?;
                sync_dir(&path)?;
                (Body::Directory(path), Some(Unfinished { name, _guard: guard }))
            }
            (Sink::File(..), None) => return Err(io::Error::other("snapshot file without a directory")),
        };
        Ok(SnapshotData { offset, size, crc, body, unfinished })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::alias::{StoredMembership, log_id};

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: StoredMembership::default() }
    }

    #[test]
    fn who_reads_an_old_snapshot_reads_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(Some(dir.path())).unwrap();
        let state = |n: u8| vec![n; 10 << 20];
        let write = |n: u8| store.write(&meta(n.into()), 0, |out| out.write_all(&state(n))).unwrap();
        let mut reader = write(1).snapshot.open().unwrap();
        for n in 2..=4 {
            write(n);
        }
        let kept = list(&dir.path().join("snapshots")).unwrap();
        assert_eq!(kept.iter().map(|(name, _)| name.1).collect::<Vec<_>>(), [4, 3]);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == state(1));
        // What nobody reads is gone: 2. What is kept is whole.
        for (n, (_, path)) in [4, 3].into_iter().zip(&kept) {
            load(path).unwrap();
            assert!(fs::read(path.join("state.bin")).unwrap() == state(n));
        }
    }
}
