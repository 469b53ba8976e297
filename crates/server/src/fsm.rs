//! The state store as the state machine behind the Raft log.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use state::{Answer, Effect, Store};
use tokio::sync::mpsc;

/// The bound of effects that wait for the leader's duties; they are hints, so an overflow is
/// dropped and found again by the duties' periodic passes.
const EFFECTS: usize = 4096;

/// Applies the log to a [`Store`].
#[derive(Clone)]
pub struct StoreFsm {
    store: Arc<Store>,
    effects: mpsc::Sender<Effect>,
}

impl StoreFsm {
    /// The machine, and where it tells what the leader has to see to (lock delays).
    pub fn new(store: Arc<Store>) -> (Self, mpsc::Receiver<Effect>) {
        let (effects, receiver) = mpsc::channel(EFFECTS);
        (Self { store, effects }, receiver)
    }
}

impl consensus::Fsm for StoreFsm {
    type Answer = Answer;

    fn apply_batch(&self, entries: &[(u64, Bytes)]) -> Vec<Answer> {
        let applied = self.store.apply_batch(entries);
        for effect in applied.effects {
            if self.effects.try_send(effect).is_err() {
                metrics::counter!("state.effects.dropped").increment(1);
            }
        }
        applied.answers
    }

    fn snapshot(&self) -> Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send> {
        let view = self.store.view();
        Box::new(move |writer| view.write_snapshot(writer, view.index()))
    }

    fn restore(&self, reader: &mut dyn io::Read, _last_index: u64) -> io::Result<()> {
        self.store.restore(reader).map(drop).map_err(io::Error::other)
    }
}
