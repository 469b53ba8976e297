//! The log store on a disk that loses power at any moment.
//!
//! The disk keeps everything that was synced. Of what was written since, any part may be there: each write
//! wholly, not at all, or up to some sector. From every such image the store must open, and hold
//! what was acknowledged, or that and the change that was being written; nothing else.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Change, LogStore, Recovered, RedbStore};
use crate::types::alias::{Entry, Vote, log_id};
use crate::types::{Command, CommandKind, ServerId};

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Len(usize),
    Sync,
}

fn apply(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            if image.len() < at + data.len() {
                image.resize(at + data.len(), 0);
            }
            image[*at..at + data.len()].copy_from_slice(data);
        }
        Op::Len(len) => image.resize(*len, 0),
        Op::Sync => {}
    }
}

/// What the running store sees, and all it did.
#[derive(Debug, Default)]
struct State {
    image: Vec<u8>,
    done: Vec<Op>,
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn holding(image: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State { image, done: Vec::new() })))
    }

    fn note(&self, op: Op) {
        let mut state = self.0.lock();
        apply(&mut state.image, &op);
        state.done.push(op);
    }

    fn moment(&self) -> usize {
        self.0.lock().done.len()
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let at = offset as usize;
        let state = self.0.lock();
        match state.image.get(at..at + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.note(Op::Len(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.note(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.note(Op::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

/// What may be found after the power went when `done` had been asked for.
fn after_crash(done: &[Op], rng: &mut StdRng) -> Vec<u8> {
    let synced = done.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |last| last + 1);
    let mut image = Vec::new();
    done[..synced].iter().for_each(|op| apply(&mut image, op));
    // From images that lack nearly all to images that lack little.
    let kept = rng.random_range(0.0..1.0);
    for op in &done[synced..] {
        match op {
            Op::Write(at, data) if !rng.random_bool(kept) => {
                let sectors = rng.random_range(0..=data.len() / SECTOR);
                apply(&mut image, &Op::Write(*at, data[..sectors * SECTOR].to_vec()));
            }
            Op::Len(_) if !rng.random_bool(kept) => {}
            op => apply(&mut image, op),
        }
    }
    image
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    openraft::Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Command {
            kind: CommandKind::Apply,
            data: Bytes::from(vec![(index * 31 + term) as u8; size]),
        }),
    }
}

type Contents = (Recovered, Vec<Entry>);

fn contents(store: &RedbStore) -> Contents {
    let recovered = store.recovered().clone();
    let first = recovered.purged.map_or(0, |id| id.index + 1);
    let entries = store.reader().read(first, u64::MAX, usize::MAX).expect("what was opened can be read");
    (recovered, entries)
}

/// What an undisturbed store holds after these changes.
fn expected(groups: &[Vec<Change>]) -> Contents {
    let disk = Disk::default();
    let mut store = RedbStore::on_backend(disk.clone()).expect("opens");
    for group in groups {
        store.write(group).expect("written");
    }
    drop(store);
    let image = disk.0.lock().image.clone();
    contents(&RedbStore::on_backend(Disk::holding(image)).expect("opens"))
}

/// Everything a log goes through.
fn life(rng: &mut StdRng) -> Vec<Vec<Change>> {
    let mut next = 0;
    let mut purged = 0;
    let mut groups = Vec::new();
    for term in 1..12u64 {
        let mut group = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            match rng.random_range(0..10) {
                0 if next > purged + 3 => {
                    next -= rng.random_range(1..3);
                    group.push(Change::Truncate(next));
                }
                1 => group.push(Change::Vote(Vote::new(term, ServerId::from_u128(u128::from(term))))),
                2 if next > purged + 5 => {
                    // The entry that is purged is told by the log itself, whatever its term.
                    purged = next - 4;
                    group.push(Change::Purge(log_id(term, purged)));
                }
                _ => {
                    let count = rng.random_range(1..6);
                    let size = if rng.random_bool(0.1) { 100_000 } else { rng.random_range(0..2000) };
                    group.push(Change::Append((0..count).map(|i| entry(term, next + i, size)).collect()));
                    next += count;
                }
            }
        }
        groups.push(group);
    }
    groups
}

#[test]
fn power_may_go_at_any_moment() {
    let mut images = 0;
    for seed in 0..4 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let groups = life(rng);
        let states: Vec<Contents> = (0..=groups.len()).map(|n| expected(&groups[..n])).collect();
        let disk = Disk::default();
        let mut store = RedbStore::on_backend(disk.clone()).expect("opens");
        // When the store was empty and open, and when each group was acknowledged.
        let mut moments = vec![disk.moment()];
        for group in &groups {
            store.write(group).expect("written");
            moments.push(disk.moment());
        }
        let done = disk.0.lock().done.clone();
        for moment in moments[0]..=done.len() {
            let acknowledged = moments.iter().rposition(|&at| at <= moment).expect("the first is");
            for _ in 0..3 {
                let image = after_crash(&done[..moment], rng);
                images += 1;
                let what = format!("seed {seed}, after {moment} of {} steps", done.len());
                let found = match RedbStore::on_backend(Disk::holding(image)) {
                    Ok(store) => contents(&store),
                    Err(error) => panic!("{what}: refused: {error}"),
                };
                let fits = states[acknowledged..].iter().take(2).any(|state| *state == found);
                assert!(fits, "{what}: {acknowledged} groups were acknowledged, found {:?}", found.0);
            }
        }
    }
    assert!(images > 500, "only {images} crashes");
}
