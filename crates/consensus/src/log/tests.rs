//! The log store against a model, and against death.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{EntryPayload, RaftLogReader};
use proptest::prelude::*;

use super::{Change, LogRead, LogStorage, LogStore, Recovered, RedbStore};
use crate::types::alias::{Entry, LogId, Vote, log_id};
use crate::types::{Command, CommandKind, ServerId};

fn entry(term: u64, index: u64, size: usize) -> Entry {
    openraft::Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Command {
            kind: CommandKind::Apply,
            data: Bytes::from(vec![(index * 31 + term) as u8; size]),
        }),
    }
}

/// What a log is, without a disk.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    recovered: Recovered,
    next: u64,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, e)| e.log_id).or(self.recovered.purged)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                for e in entries {
                    self.next = e.log_id.index + 1;
                    self.entries.insert(e.log_id.index, e.clone());
                }
            }
            Change::Truncate(from) => {
                self.entries.split_off(from);
                self.next = *from;
            }
            Change::Purge(id) => {
                self.entries = self.entries.split_off(&(id.index + 1));
                self.recovered.purged = Some(*id);
                self.next = self.next.max(id.index + 1);
            }
            Change::Vote(vote) => self.recovered.vote = Some(*vote),
            Change::Committed(id) => self.recovered.committed = Some(*id),
        }
        self.recovered.last = self.last();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: usize,
        size: usize,
    },
    Truncate(f64),
    Purge(f64),
    /// Beyond the end, as after a snapshot from the leader.
    PurgeAll(u64),
    Vote(u64),
    Committed(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1usize..40, prop_oneof![0usize..200, Just(300_000)]).prop_map(|(count, size)| Step::Append { count, size }),
        2 => (0.0..1.0).prop_map(Step::Truncate),
        2 => (0.0..1.0).prop_map(Step::Purge),
        1 => (1u64..10).prop_map(Step::PurgeAll),
        1 => (1u64..9).prop_map(Step::Vote),
        1 => (0.0..1.0).prop_map(Step::Committed),
    ]
}

/// A change that makes sense after what the model holds.
fn concrete(model: &Model, term: u64, step: &Step) -> Option<Change> {
    let first = model.entries.keys().next().copied();
    let pick = |fraction: f64| {
        let first = first?;
        let last = *model.entries.keys().next_back()?;
        Some(first + ((last - first) as f64 * fraction) as u64)
    };
    Some(match step {
        Step::Append { count, size } => {
            let size = if *count > 4 { size % 1000 } else { *size };
            Change::Append((0..*count as u64).map(|i| entry(term, model.next + i, size)).collect())
        }
        Step::Truncate(f) => Change::Truncate(pick(*f)?),
        Step::Purge(f) => Change::Purge(model.entries[&pick(*f)?].log_id),
        Step::PurgeAll(beyond) => Change::Purge(log_id(term, model.next + beyond)),
        Step::Vote(t) => Change::Vote(Vote::new_committed(term + t, ServerId::from_u128(u128::from(*t)))),
        Step::Committed(f) => Change::Committed(model.entries[&pick(*f)?].log_id),
    })
}

fn check(store: &RedbStore, model: &Model) {
    let reader = store.reader();
    let first = model.recovered.purged.map_or(0, |p| p.index + 1);
    let all = reader.read(first, u64::MAX, usize::MAX).unwrap();
    assert_eq!(all, model.entries.values().cloned().collect::<Vec<_>>());
    if let Some((&index, e)) = model.entries.iter().nth(model.entries.len() / 2) {
        assert_eq!(reader.read(index, index + 1, 1).unwrap(), std::slice::from_ref(e));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Groups of changes, with the file closed and opened again in between.
    #[test]
    fn redb_store_agrees_with_a_model(groups in prop::collection::vec((prop::collection::vec(step(), 1..6), any::<bool>()), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = RedbStore::open(dir.path()).unwrap();
        let mut model = Model::default();
        for (term, (steps, reopen)) in groups.iter().enumerate() {
            let mut changes = Vec::new();
            for step in steps {
                if let Some(change) = concrete(&model, term as u64 + 1, step) {
                    model.apply(&change);
                    changes.push(change);
                }
            }
            store.write(&changes).unwrap();
            if *reopen {
                drop(store);
                store = RedbStore::open(dir.path()).unwrap();
                prop_assert_eq!(store.recovered(), &model.recovered);
            }
            check(&store, &model);
        }
    }
}

#[tokio::test]
async fn storage_reads_from_memory_and_disk_alike() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStorage::open(Some(dir.path())).unwrap();
    assert!(log.is_fresh());
    // More than the tail keeps, so that the beginning is only on disk.
    for chunk in 0..40u64 {
        let entries: Vec<_> = (0..10).map(|i| entry(1, chunk * 10 + i, 20_000)).collect();
        log.blocking_append(entries).await.unwrap();
    }
    let all = log.try_get_log_entries(0..400).await.unwrap();
    assert_eq!(all.len(), 400);
    assert!(all.iter().enumerate().all(|(i, e)| *e == entry(1, i as u64, 20_000)));
    let some = log.limited_get_log_entries(3, 400).await.unwrap();
    assert!(!some.is_empty() && some.len() < 397, "{}", some.len());
    assert_eq!(some[0].log_id.index, 3);

    log.truncate_after(Some(log_id(1, 200))).await.unwrap();
    log.blocking_append(vec![entry(2, 201, 10)]).await.unwrap();
    log.purge(log_id(1, 150)).await.unwrap();
    log.save_vote(&Vote::new(7, ServerId::from_u128(9))).await.unwrap();
    log.save_committed(Some(log_id(1, 180))).await.unwrap();
    log.close().await;

    let mut log = LogStorage::open(Some(dir.path())).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(2, 201)));
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 150)));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, ServerId::from_u128(9))));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 180)));
    let left = log.try_get_log_entries(151..).await.unwrap();
    assert_eq!(left.len(), 51);
    assert_eq!(left[50], entry(2, 201, 10));
    log.close().await;
}

/// A store whose reads take until they are let go.
struct Slow {
    inner: RedbStore,
    gate: parking_lot::Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

struct SlowReader {
    inner: Arc<dyn LogRead>,
    gate: parking_lot::Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl LogRead for SlowReader {
    fn read(&self, from: u64, to: u64, max_bytes: usize) -> std::io::Result<Vec<Entry>> {
        let found = self.inner.read(from, to, max_bytes);
        if let Some(gate) = self.gate.lock().take() {
            let _ = gate.recv();
        }
        found
    }
}

impl LogStore for Slow {
    fn recovered(&self) -> &Recovered {
        self.inner.recovered()
    }

    fn write(&mut self, changes: &[Change]) -> std::io::Result<()> {
        self.inner.write(changes)
    }

    fn reader(&self) -> Arc<dyn LogRead> {
        let gate = parking_lot::Mutex::new(self.gate.lock().take());
        Arc::new(SlowReader { inner: self.inner.reader(), gate })
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        self.inner.reopen()
    }

    fn compact(&mut self) -> std::io::Result<()> {
        self.inner.compact()
    }
}

/// While the beginning is read from disk, memory lets go of what follows.
#[tokio::test]
async fn a_read_has_no_end_before_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (let_go, gate) = std::sync::mpsc::channel();
    let gate = parking_lot::Mutex::new(Some(gate));
    let mut log = LogStorage::on(Slow { inner: RedbStore::open(dir.path()).unwrap(), gate }).unwrap();
    let chunk = |n: u64| (0..10).map(|i| entry(1, n * 10 + i, 20_000)).collect::<Vec<_>>();
    for n in 0..40 {
        log.blocking_append(chunk(n)).await.unwrap();
    }
    let mut other = log.clone();
    let read = tokio::spawn(async move { other.try_get_log_entries(0..400).await });
    for n in 40..80 {
        log.blocking_append(chunk(n)).await.unwrap();
    }
    let_go.send(()).unwrap();
    let all = read.await.unwrap().unwrap();
    assert_eq!(all.len(), 400);
    assert!(all.iter().enumerate().all(|(i, e)| *e == entry(1, i as u64, 20_000)));
    log.close().await;
}

#[tokio::test]
async fn memory_log_keeps_what_is_not_purged() {
    let mut log = LogStorage::open(None).unwrap();
    for i in 0..300 {
        log.blocking_append(vec![entry(1, i, 50_000)]).await.unwrap();
    }
    assert_eq!(log.try_get_log_entries(0..300).await.unwrap().len(), 300);
    log.purge(log_id(1, 99)).await.unwrap();
    log.truncate_after(Some(log_id(1, 199))).await.unwrap();
    let left = log.try_get_log_entries(100..300).await.unwrap();
    assert_eq!(left.len(), 100);
    assert_eq!(log.last(), Some(log_id(1, 199)));
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _held = RedbStore::open(dir.path()).unwrap();
    let error = RedbStore::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

/// Bytes cut off or changed anywhere: the store is either opened with exactly
/// what was acknowledged, or refused; it never panics and never invents.
#[test]
fn damage_is_found_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    let mut model = Model::default();
    for i in 0..20 {
        let change = Change::Append((0..5).map(|k| entry(1, i * 5 + k, 500)).collect());
        model.apply(&change);
        store.write(&[change]).unwrap();
    }
    drop(store);
    let path = dir.path().join("log.redb");
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for round in 0..60usize {
        let mut bytes = good.clone();
        if round % 6 == 5 {
            bytes.truncate(good.len() * (round + 1) / 64);
        } else {
            let at = good.len() / 60 * round + round;
            bytes[at] ^= 1 << (round % 8);
        }
        std::fs::write(&path, &bytes).unwrap();
        match RedbStore::open(dir.path()) {
            Err(_) => refused += 1,
            Ok(store) => match store.reader().read(0, u64::MAX, usize::MAX) {
                Err(_) => refused += 1,
                Ok(found) => assert_eq!(found, model.entries.values().cloned().collect::<Vec<_>>()),
            },
        }
    }
    assert!(refused > 5, "only {refused} of 60 damages were noticed");
}

const CHILD: &str = "CONSENSUS_LOG_CHILD";

/// The child of the test below: appends and says what is durable, until killed.
#[tokio::test]
async fn child_that_appends() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let mut log = LogStorage::open(Some(Path::new(&dir))).unwrap();
    let mut next = log.last().map_or(0, |l| l.index + 1);
    let mut out = std::io::stdout();
    loop {
        let count = next % 7 + 1;
        let entries: Vec<_> = (0..count).map(|i| entry(1, next + i, 300)).collect();
        log.blocking_append(entries).await.unwrap();
        next += count;
        writeln!(out, "durable {next}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_dash_nine_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["log::tests::child_that_appends", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut durable = 0;
        let mut lines = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(n) = line.split("durable ").nth(1) else { continue };
            durable = n.parse::<u64>().unwrap();
            lines += 1;
            if lines == 40 + round * 13 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let found = store.reader().read(0, u64::MAX, usize::MAX).unwrap();
        assert!(found.len() as u64 >= durable, "{} < {durable}", found.len());
        assert!(found.iter().enumerate().all(|(i, e)| *e == entry(1, i as u64, 300)));
    }
}

/// A store on a disk that is full for a while.
struct Full {
    inner: RedbStore,
    failures: usize,
}

impl LogStore for Full {
    fn recovered(&self) -> &Recovered {
        self.inner.recovered()
    }

    fn write(&mut self, changes: &[Change]) -> std::io::Result<()> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.inner.write(changes)
    }

    fn reader(&self) -> Arc<dyn LogRead> {
        self.inner.reader()
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        self.inner.reopen()
    }

    fn compact(&mut self) -> std::io::Result<()> {
        self.inner.compact()
    }
}

#[tokio::test]
async fn a_full_disk_delays_but_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inner = RedbStore::open(dir.path()).unwrap();
    let mut log = LogStorage::on(Full { inner, failures: 2 }).unwrap();
    let health = log.health();
    let mut append = log.clone();
    let appended =
        tokio::spawn(async move { append.blocking_append(vec![entry(1, 0, 10), entry(1, 1, 10)]).await });
    while health.problem().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    appended.await.unwrap().unwrap();
    assert_eq!(health.problem(), None);
    log.blocking_append(vec![entry(1, 2, 10)]).await.unwrap();
    log.close().await;
    let mut log = LogStorage::open(Some(dir.path())).unwrap();
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap().len(), 3);
    log.close().await;
}

#[test]
fn compaction_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    for i in 0..50u64 {
        store.write(&[Change::Append(vec![entry(1, i, 1 << 20)])]).unwrap();
    }
    store.write(&[Change::Purge(log_id(1, 48))]).unwrap();
    let size = || std::fs::metadata(dir.path().join("log.redb")).unwrap().len();
    let before = size();
    store.compact().unwrap();
    // The file shrinks bit by bit; a server that dies meanwhile finds everything.
    loop {
        let small = size() < before / 4;
        let crashed = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("log.redb"), crashed.path().join("log.redb")).unwrap();
        for store in [&RedbStore::open(crashed.path()).unwrap(), &store] {
            assert_eq!(store.reader().read(49, 50, 1).unwrap(), [entry(1, 49, 1 << 20)]);
        }
        if small {
            break;
        }
    }
    store.write(&[Change::Append(vec![entry(1, 50, 8 << 20)])]).unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(
        store.reader().read(49, 51, usize::MAX).unwrap(),
        [entry(1, 49, 1 << 20), entry(1, 50, 8 << 20)]
    );
}
