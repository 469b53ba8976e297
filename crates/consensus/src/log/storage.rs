//! The log as the engine sees it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::{Mutex, RwLock};

use super::tail::Tail;
use super::writer::{Done, StorageHealth, Writer};
use super::{Change, LogRead, LogStore, RedbStore};
use crate::types::TypeConfig;
use crate::types::alias::{Entry, IoFlushed, LogId, Vote};

/// Payload bytes put into one replication message (a single larger entry still travels).
const REPLICATE_BYTES: usize = 1 << 20;

/// How often a store that is closed is tried again while nobody says why it is.
const PATIENCE: u32 = 20;
/// Pause before that.
const REOPENED: Duration = Duration::from_millis(50);

/// Small facts kept beside the log.
#[derive(Debug, Default)]
struct Facts {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

/// The log, durable or (without a directory) in memory. Clones share it.
#[derive(Clone)]
pub struct LogStorage {
    tail: Arc<RwLock<Tail>>,
    facts: Arc<Mutex<Facts>>,
    disk: Option<Arc<Disk>>,
    health: Arc<StorageHealth>,
}

struct Disk {
    writer: Writer,
    reader: Arc<dyn LogRead>,
}

impl LogStorage {
    /// Opens the log under `dir`, or an empty one in memory.
    pub fn open(dir: Option<&Path>) -> io::Result<Self> {
        match dir {
            Some(dir) => Self::on(RedbStore::open(dir)?),
            None => Ok(Self {
                tail: Arc::new(RwLock::new(Tail::new(None))),
                facts: Arc::default(),
                disk: None,
                health: Arc::default(),
            }),
        }
    }

    /// Uses `store`, which may be any [`LogStore`].
    pub fn on(store: impl LogStore) -> io::Result<Self> {
        let recovered = store.recovered().clone();
        let tail = Arc::new(RwLock::new(Tail::new(recovered.last.map(|id| id.index))));
        let health = Arc::new(StorageHealth::default());
        let reader = store.reader();
        let writer = Writer::spawn(store, tail.clone(), health.clone())?;
        Ok(Self {
            tail,
            facts: Arc::new(Mutex::new(Facts {
                vote: recovered.vote,
                committed: recovered.committed,
                purged: recovered.purged,
                last: recovered.last,
            })),
            disk: Some(Arc::new(Disk { writer, reader })),
            health,
        })
    }

    pub fn health(&self) -> Arc<StorageHealth> {
        self.health.clone()
    }

    /// The newest entry of the log.
    pub fn last(&self) -> Option<LogId> {
        self.facts.lock().last
    }

    /// The newest vote.
    pub fn vote(&self) -> Option<Vote> {
        self.facts.lock().vote
    }

    /// Whether anything was ever written here.
    pub fn is_fresh(&self) -> bool {
        let facts = self.facts.lock();
        facts.vote.is_none() && facts.last.is_none()
    }

    /// Makes everything durable and releases the files.
    pub async fn close(&self) {
        let Some(disk) = &self.disk else { return };
        let committed = self.facts.lock().committed;
        if let Some(id) = committed {
            let _ = disk.writer.send(Change::Committed(id), Done::Nobody);
        }
        disk.writer.stop().await;
    }

    async fn write(&self, change: Change) -> io::Result<()> {
        match &self.disk {
            Some(disk) => disk.writer.write(change).await,
            None => Ok(()),
        }
    }

    /// Entries from memory and disk. Only a limit of bytes ends it before `to` or the end of the log: the
    /// engine takes entries that are not returned for applied.
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut next = from;
        while next < to {
            let (part, end) = self.read_part(next, to, max_bytes).await?;
            next = part.last().map_or(end, |e| e.log_id.index + 1);
            let limited = max_bytes != usize::MAX && !part.is_empty();
            let over = part.is_empty() && end == to;
            found.extend(part);
            if limited || over {
                break;
            }
        }
        Ok(found)
    }

    /// What one place holds of the range, and up to where it was asked. What memory held a moment ago may be
    /// on disk only by now.
    async fn read_part(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<(Vec<Entry>, u64)> {
        let held_from = {
            let tail = self.tail.read();
            if let Some(found) = tail.read(from, to, max_bytes) {
                return Ok((found, to));
            }
            tail.first()
        };
        let Some(disk) = &self.disk else {
            return Ok((Vec::new(), to));
        };
        // Older than what memory holds, so it is durable and on disk.
        let end = held_from.map_or(to, |first| to.min(first));
        let mut patience = PATIENCE;
        loop {
            let reader = disk.reader.clone();
            let read = tokio::task::spawn_blocking(move || reader.read(from, end, max_bytes)).await;
            match read.map_err(io::Error::other)? {
                // The writer met a full disk, says so in a moment, and reopens the store when it can.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && patience > 0 => {
                    if !self.health.may_pass() {
                        patience -= 1;
                    }
                    tokio::time::sleep(REOPENED).await;
                }
                read => return Ok((read?, end)),
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.facts.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, REPLICATE_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let facts = self.facts.lock();
        Ok(LogState { last_purged_log_id: facts.purged, last_log_id: facts.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write(Change::Vote(*vote)).await?;
        self.facts.lock().vote = Some(*vote);
        Ok(())
    }

    /// Only noted: the next write carries it to disk. It is a hint where replay
    /// may stop before a leader is known, not something anyone relies on.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.facts.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.facts.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IoFlushed) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.tail.write().append(&entries);
        let committed = {
            let mut facts = self.facts.lock();
            if let Some(e) = entries.last() {
                facts.last = Some(e.log_id);
            }
            facts.committed
        };
        match &self.disk {
            None => callback.io_completed(Ok(())),
            Some(disk) => {
                if let Some(id) = committed {
                    disk.writer.send(Change::Committed(id), Done::Nobody)?;
                }
                disk.writer.send(Change::Append(entries), Done::Engine(callback))?;
            }
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = last_log_id.map_or(0, |id| id.index + 1);
        self.tail.write().truncate(from);
        // Awaited: nothing may read what was cut off from the disk meanwhile.
        self.write(Change::Truncate(from)).await?;
        self.facts.lock().last = last_log_id;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.tail.write().purge(log_id.index);
        {
            let mut facts = self.facts.lock();
            facts.purged = Some(log_id);
            if facts.last.is_none_or(|last| last.index < log_id.index) {
                facts.last = Some(log_id);
            }
        }
        match &self.disk {
            Some(disk) => disk.writer.send(Change::Purge(log_id), Done::Nobody),
            None => Ok(()),
        }
    }
}
