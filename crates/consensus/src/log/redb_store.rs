//! The log in a redb file.
//!
//! Table `log` maps the index of the first entry of a record to the record. A
//! record holds the entries of one write (so that a write of many entries costs
//! one tree insertion), and ends in a CRC-32 of what precedes it. Table `meta`
//! holds the vote, the committed and the purged log id, and the format number.
//!
//! A commit of redb is atomic: a torn last write is rolled back when the file is
//! opened. A purge is recorded at once and its records are removed bit by bit.
//! Anything else that does not check out refuses to start, because a log
//! that silently lost acknowledged entries is worse than a server that is down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::file::LogFile;
use super::{Change, LogRead, LogStore, Recovered};
use crate::entry;
use crate::types::alias::{Entry, LogId};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const FORMAT: &[u8] = b"1";
/// Page cache; the newest entries are held by `Tail`, so this serves the tree's branches.
const CACHE_BYTES: usize = 1 << 20;
/// Records are cut at this size, so that reading or removing part of one stays cheap.
const RECORD_BYTES: usize = 64 << 10;
/// Records removed by one write after a purge: a purge of everything at once would hold
/// up the appends behind it.
const TRIM: usize = 64;
/// Files smaller than this are not worth compacting.
const COMPACT_ABOVE: u64 = 32 << 20;
/// While the store is in use, no more than this is moved: appends wait for it.
const COMPACT_LIVE: u64 = 16 << 20;

type Shared = Arc<RwLock<Option<Database>>>;

pub struct RedbStore {
    path: PathBuf,
    db: Shared,
    recovered: Recovered,
    /// Records below this index were purged and may still be in the file; 0 if none.
    trim_below: u64,
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "log store is closed after an earlier error")
}

/// Maps redb's errors to `io::Error`, keeping the kind of an I/O error.
fn io_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            invalid("log store ends too early".into())
        }
        redb::Error::Io(e) => e,
        redb::Error::Corrupted(what) => invalid(format!("log store is corrupt: {what}")),
        // Another thread met an error, and may reopen the store.
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => closed(),
        redb::Error::DatabaseAlreadyOpen => {
            io::Error::new(io::ErrorKind::WouldBlock, "log store is in use by another process")
        }
        other => io::Error::other(other),
    }
}

/// Runs `work`, turning a panic inside the storage engine into an error.
fn contain<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(invalid("log store failed an internal check".into())))
}

impl RedbStore {
    /// Opens or creates `<dir>/log.redb`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("log.redb");
        let explain = |e: io::Error| {
            let advice = match e.kind() {
                io::ErrorKind::InvalidData => {
                    ". A corrupt log is not repaired by guessing: with a healthy quorum, move the directory \
                     away and let this server rejoin; without one, restore a snapshot"
                }
                _ => "",
            };
            io::Error::new(e.kind(), format!("{}: {e}{advice}", path.display()))
        };
        let db = contain(|| open_database(&path, true)).map_err(explain)?;
        let mut store = Self::over(db, path.clone()).map_err(explain)?;
        store.compact_up_to(u64::MAX)?;
        Ok(store)
    }

    /// Uses a database that was [`prepared`]; `path` is where its file is.
    fn over(db: Database, path: PathBuf) -> io::Result<Self> {
        let db: Shared = Arc::new(RwLock::new(Some(db)));
        let recovered = contain(|| recover(&db))?;
        let trim_below = recovered.purged.map_or(0, |id| id.index + 1);
        Ok(Self { path, db, recovered, trim_below })
    }

    /// As [`RedbStore::open`], on what stands in for a file.
    #[cfg(test)]
    pub(super) fn on_backend(backend: impl redb::StorageBackend) -> io::Result<Self> {
        let db = contain(|| prepared(builder().create_with_backend(backend).map_err(io_error)?))?;
        Self::over(db, PathBuf::new())
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_database(path: &Path, first: bool) -> io::Result<Database> {
    let shown = path.display().to_string();
    let db = builder()
        .set_repair_callback(move |session| {
            if first && session.progress() == 0.0 {
                tracing::info!(path = %shown, "log store was not closed cleanly, checking it");
            }
        })
        .create_with_backend(LogFile::open(path)?)
        .map_err(io_error)?;
    let db = prepared(db)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(db)
}

/// Sees that the tables are there and the format is ours.
fn prepared(db: Database) -> io::Result<Database> {
    // Tables exist from the first moment, so that readers need no special case.
    let tx = db.begin_write().map_err(io_error)?;
    {
        tx.open_table(LOG).map_err(io_error)?;
        let mut meta = tx.open_table(META).map_err(io_error)?;
        let format = meta.get("format").map_err(io_error)?.map(|v| v.value().to_vec());
        match format.as_deref() {
            None => {
                meta.insert("format", FORMAT).map_err(io_error)?;
            }
            Some(FORMAT) => {}
            Some(other) => {
                return Err(invalid(format!(
                    "log store has format {}, this program knows 1",
                    String::from_utf8_lossy(other)
                )));
            }
        }
    }
    tx.commit().map_err(io_error)?;
    Ok(db)
}

fn with_db<T>(shared: &Shared, work: impl FnOnce(&Database) -> io::Result<T>) -> io::Result<T> {
    let guard = shared.read();
    let db = guard.as_ref().ok_or_else(closed)?;
    work(db)
}

fn recover(shared: &Shared) -> io::Result<Recovered> {
    with_db(shared, |db| {
        let tx = db.begin_read().map_err(io_error)?;
        let meta = tx.open_table(META).map_err(io_error)?;
        let get = |key: &str| -> io::Result<Option<Bytes>> {
            Ok(meta.get(key).map_err(io_error)?.map(|v| Bytes::copy_from_slice(v.value())))
        };
        let log_id = |key: &str| -> io::Result<Option<LogId>> {
            match get(key)? {
                None => Ok(None),
                Some(mut bytes) => entry::get_log_id(&mut bytes),
            }
        };
        let vote = get("vote")?.map(|mut b| entry::get_vote(&mut b)).transpose()?;
        let committed = log_id("committed")?;
        let purged = log_id("purged")?;
        let table = tx.open_table(LOG).map_err(io_error)?;
        let mut last = purged;
        if let Some((key, value)) = table.last().map_err(io_error)? {
            let entries = decode_record(key.value(), value.value())?;
            if let Some(e) = entries.last()
                && purged.is_none_or(|p| e.log_id.index > p.index)
            {
                last = Some(e.log_id);
            }
        }
        Ok(Recovered { vote, committed, purged, last })
    })
}

fn encode_record(entries: &[&Entry]) -> io::Result<BytesMut> {
    let size: usize = entries.iter().map(|entry| entry::size_hint(entry)).sum();
    let mut out = BytesMut::with_capacity(size + 8);
    entry::put_entries(&mut out, entries.iter().copied())?;
    let crc = crc32fast::hash(&out);
    out.put_u32_le(crc);
    Ok(out)
}

fn decode_record(first: u64, bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let corrupt = |why: &str| invalid(format!("log record at index {first}: {why}"));
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(corrupt("too short"));
    };
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(corrupt("checksum mismatch"));
    }
    let mut body = Bytes::copy_from_slice(body);
    let entries = entry::get_entries(&mut body)?;
    let consecutive = entries.iter().enumerate().all(|(i, e)| e.log_id.index == first + i as u64);
    if !consecutive || entries.is_empty() {
        return Err(corrupt("entries are not consecutive"));
    }
    Ok(entries)
}

type LogTable<'t> = redb::Table<'t, u64, &'static [u8]>;

fn insert_entries(log: &mut LogTable<'_>, entries: &[&Entry]) -> io::Result<()> {
    let mut start = 0;
    let mut bytes = 0;
    for (i, e) in entries.iter().enumerate() {
        bytes += entry::size_hint(e);
        // Behind a snapshot of a leader the log goes on at a later index.
        let ends = entries.get(i + 1).is_none_or(|next| next.log_id.index != e.log_id.index + 1);
        if bytes >= RECORD_BYTES || ends {
            let record = encode_record(&entries[start..=i])?;
            log.insert(entries[start].log_id.index, &record[..]).map_err(io_error)?;
            start = i + 1;
            bytes = 0;
        }
    }
    Ok(())
}

/// The record that begins before `index`, if there is one.
fn record_before(log: &LogTable<'_>, index: u64) -> io::Result<Option<Vec<Entry>>> {
    match log.range(..index).map_err(io_error)?.next_back() {
        None => Ok(None),
        Some(found) => {
            let (key, value) = found.map_err(io_error)?;
            decode_record(key.value(), value.value()).map(Some)
        }
    }
}

fn truncate(log: &mut LogTable<'_>, from: u64) -> io::Result<()> {
    log.retain_in(from.., |_, _| false).map_err(io_error)?;
    if let Some(mut entries) = record_before(log, from)? {
        let before = entries.len();
        entries.retain(|e| e.log_id.index < from);
        if entries.len() != before {
            insert_entries(log, &entries.iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Removes up to [`TRIM`] records that lie wholly below `below`; says whether more remain.
fn trim(log: &mut LogTable<'_>, below: u64) -> io::Result<bool> {
    let mut keys = Vec::with_capacity(TRIM + 1);
    for item in log.range(..below).map_err(io_error)?.take(TRIM + 1) {
        keys.push(item.map_err(io_error)?.0.value());
    }
    let more = keys.len() > TRIM;
    for (i, key) in keys.iter().take(TRIM).enumerate() {
        // A record ends before the next begins; the last one has to be looked into.
        let whole = i + 1 < keys.len()
            || record_before(log, below)?.is_some_and(|r| r.last().is_some_and(|e| e.log_id.index < below));
        if whole {
            log.remove(key).map_err(io_error)?;
        }
    }
    Ok(more)
}

impl LogStore for RedbStore {
    fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut below = self.trim_below;
        let below = contain(|| {
            with_db(&self.db, |db| {
                let tx = db.begin_write().map_err(io_error)?;
                {
                    let mut log = tx.open_table(LOG).map_err(io_error)?;
                    let mut meta = tx.open_table(META).map_err(io_error)?;
                    // Entries that follow each other become one record, and of each fact only
                    // the newest is written.
                    let mut entries = Vec::new();
                    let (mut vote, mut committed, mut purged) = (None, None, None);
                    for change in changes {
                        match change {
                            Change::Append(more) => entries.extend(more),
                            Change::Truncate(from) => {
                                insert_entries(&mut log, &entries)?;
                                entries.clear();
                                truncate(&mut log, *from)?;
                            }
                            Change::Purge(id) => {
                                below = below.max(id.index + 1);
                                purged = Some(id);
                            }
                            Change::Vote(new) => vote = Some(new),
                            Change::Committed(id) => committed = Some(id),
                        }
                    }
                    insert_entries(&mut log, &entries)?;
                    let mut put = |key: &str, write: &dyn Fn(&mut BytesMut)| -> io::Result<()> {
                        let mut out = BytesMut::with_capacity(32);
                        write(&mut out);
                        meta.insert(key, &out[..]).map_err(io_error)?;
                        Ok(())
                    };
                    if let Some(vote) = vote {
                        put("vote", &|out| entry::put_vote(out, vote))?;
                    }
                    for (key, id) in [("committed", committed), ("purged", purged)] {
                        if id.is_some() {
                            put(key, &|out| entry::put_log_id(out, id))?;
                        }
                    }
                    if below > 0 && !trim(&mut log, below)? {
                        below = 0;
                    }
                }
                tx.commit().map_err(io_error)?;
                Ok(below)
            })
        })?;
        self.trim_below = below;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogRead> {
        Arc::new(RedbReader { db: self.db.clone() })
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut guard = self.db.write();
        *guard = None;
        *guard = Some(contain(|| open_database(&self.path, false))?);
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        self.compact_up_to(COMPACT_LIVE)
    }
}

impl RedbStore {
    /// Compacts the file unless more than `live` bytes in it are in use.
    fn compact_up_to(&mut self, live: u64) -> io::Result<()> {
        let size = fs::metadata(&self.path)?.len();
        if size < COMPACT_ABOVE {
            return Ok(());
        }
        let used = with_db(&self.db, |db| {
            let tx = db.begin_write().map_err(io_error)?;
            let stats = tx.stats().map_err(io_error)?;
            tx.abort().map_err(io_error)?;
            Ok(stats.allocated_pages() * stats.page_size() as u64)
        })?;
        if used > live.min(size / 4) {
            return Ok(());
        }
        let mut guard = self.db.write();
        if let Some(db) = guard.as_mut() {
            contain(|| db.compact().map_err(io_error))?;
            tracing::info!(path = %self.path.display(), before = size, used, "compacted log store");
        }
        Ok(())
    }
}

impl Drop for RedbStore {
    /// Closes the file even while readers remain; they get errors from then on.
    fn drop(&mut self) {
        *self.db.write() = None;
    }
}

struct RedbReader {
    db: Shared,
}

impl LogRead for RedbReader {
    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        contain(|| {
            with_db(&self.db, |db| {
                let tx = db.begin_read().map_err(io_error)?;
                let log = tx.open_table(LOG).map_err(io_error)?;
                let start = match log.range(..=from).map_err(io_error)?.next_back() {
                    Some(found) => found.map_err(io_error)?.0.value(),
                    None => from,
                };
                let mut found = Vec::new();
                let mut bytes = 0;
                for item in log.range(start..to).map_err(io_error)? {
                    let (key, value) = item.map_err(io_error)?;
                    for e in decode_record(key.value(), value.value())? {
                        if e.log_id.index < from || e.log_id.index >= to {
                            continue;
                        }
                        if bytes > 0 && bytes >= max_bytes {
                            return Ok(found);
                        }
                        bytes += entry::size_hint(&e);
                        found.push(e);
                    }
                }
                Ok(found)
            })
        })
    }
}
