//! The state store as the state machine behind the Raft log.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use consensus::SnapshotWriter;
use state::{Answer, Store};

use crate::leader::LeaderOnly;

/// Applies the log to a [`Store`], and tells those who keep clocks beside it what happened before
/// anybody learns of the answer.
#[derive(Clone)]
pub struct StoreFsm {
    store: Arc<Store>,
    leader_only: Arc<LeaderOnly>,
}

impl StoreFsm {
    /// The machine over a store.
    pub fn new(store: Arc<Store>, leader_only: Arc<LeaderOnly>) -> Self {
        Self { store, leader_only }
    }
}

impl consensus::Fsm for StoreFsm {
    type Answer = Answer;

    fn apply_batch(&self, entries: &[(u64, Bytes)]) -> Vec<Answer> {
        let applied = self.store.apply_batch(entries);
        for effect in applied.effects {
            self.leader_only.take(effect);
        }
        applied.answers
    }

    fn snapshot(&self) -> SnapshotWriter {
        let view = self.store.view();
        Box::new(move |writer| view.write_snapshot(writer, view.index()))
    }

    fn restore(&self, reader: &mut dyn io::Read, _last_index: u64) -> io::Result<()> {
        self.store.restore(reader).map(drop).map_err(io::Error::other)
    }
}
