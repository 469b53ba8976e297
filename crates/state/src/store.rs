//! The store: one writer, any number of readers that never lock.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::answer::Applied;
use crate::apply;
use crate::snapshot::{self, RestoreError};
use crate::tables::{Tables, Writer};
use crate::view::View;
use crate::watch::{Hub, Touched};

/// One published version of the state.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) tables: Tables,
    /// Grows with every publication, whatever the Raft index does.
    pub(crate) version: u64,
    /// Raft index of the last command, or of the snapshot that was restored.
    pub(crate) index: u64,
    pub(crate) hub: Arc<Hub>,
}

/// The replicated state of one datacenter.
#[derive(Debug)]
pub struct Store {
    root: ArcSwap<Root>,
    hub: Arc<Hub>,
    writing: Mutex<()>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        let hub = Arc::new(Hub::new());
        let root = Root { tables: Tables::default(), version: 1, index: 0, hub: Arc::clone(&hub) };
        Self { root: ArcSwap::from_pointee(root), hub, writing: Mutex::new(()) }
    }

    /// The state as it is now. Costs next to nothing and stays as it is.
    pub fn view(&self) -> View {
        View::new(self.root.load_full())
    }

    /// Applies committed commands (a type byte and a msgpack value) with their Raft indexes, in
    /// order, and publishes the outcome once. Deterministic.
    pub fn apply_batch(&self, commands: &[(u64, Bytes)]) -> Applied {
        let _one = self.writing.lock();
        let root = self.root.load_full();
        let mut writer = Writer {
            tables: root.tables.clone(),
            touched: Touched::new(&self.hub),
            effects: Vec::new(),
            index: root.index,
        };
        let answers = commands
            .iter()
            .map(|(index, command)| {
                writer.index = *index;
                apply::apply(&mut writer, command)
            })
            .collect();
        let effects = std::mem::take(&mut writer.effects);
        self.publish(root.version + 1, writer);
        Applied { answers, effects }
    }

    fn publish(&self, version: u64, writer: Writer) {
        let touched = writer.touched.into_hashes();
        let hub = Arc::clone(&self.hub);
        self.root.store(Arc::new(Root { tables: writer.tables, version, index: writer.index, hub }));
        self.hub.tell(version, &touched);
    }

    /// Replaces the state by that of a `state.bin` stream and wakes every waiter. Returns the
    /// index it is current as of. After an error the state is what it was.
    pub fn restore(&self, from: &mut dyn io::Read) -> Result<u64, RestoreError> {
        // Reading may take long and needs no lock: the outcome does not depend on the present state.
        let (index, tables) = snapshot::read(from, &self.hub)?;
        let _one = self.writing.lock();
        let version = self.root.load().version + 1;
        self.root.store(Arc::new(Root { tables, version, index, hub: Arc::clone(&self.hub) }));
        self.hub.tell_all(version);
        Ok(index)
    }

    /// Waiters present, a gauge.
    pub fn waiting(&self) -> usize {
        self.hub.waiting()
    }
}
