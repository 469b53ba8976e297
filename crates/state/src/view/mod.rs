//! Reads. Each takes a [`WatchSet`], notes in it what the answer depends on, and returns the
//! index of the answer with the answer.

mod catalog;
mod health;
mod instances;
mod kv;
mod operator;
mod queries;
mod sessions;

use std::io;
use std::sync::Arc;

use crate::snapshot;
use crate::store::Root;
use crate::tables::Tables;
use crate::watch::{Thing, WatchSet};

pub use crate::tables::indexes::Table;
pub use instances::Select;
pub use queries::Resolved;

/// The state at one moment. Cheap to clone; never changes.
#[derive(Clone, Debug)]
pub struct View {
    root: Arc<Root>,
}

/// How much of everything there is, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes.
    pub nodes: usize,
    /// Distinct service names.
    pub services: usize,
    /// Service instances.
    pub instances: usize,
    /// Keys of the KV store.
    pub keys: usize,
    /// Sessions.
    pub sessions: usize,
    /// Prepared queries.
    pub queries: usize,
}

impl View {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root }
    }

    fn tables(&self) -> &Tables {
        &self.root.tables
    }

    fn watch(&self, ws: &mut WatchSet, thing: Thing<'_>) {
        ws.add(&self.root.hub, self.root.version, thing);
    }

    /// The Raft index that the state is current as of: of the last command, or of the snapshot
    /// that was restored since.
    pub fn index(&self) -> u64 {
        self.root.index
    }

    /// The highest index of some tables, 0 when none was written yet.
    pub fn max_index(&self, tables: &[Table]) -> u64 {
        self.tables().indexes.max(tables)
    }

    /// Whether two views are of the same state.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let tables = self.tables();
        Counts {
            nodes: tables.nodes.len(),
            services: tables.services.len(),
            instances: tables.instances,
            keys: tables.kv.len(),
            sessions: tables.sessions.len(),
            queries: tables.queries.len(),
        }
    }

    /// Writes the state as `state.bin` (rpc protocol, "state.bin"), record by record.
    /// `last_index` is the Raft index that it is current as of.
    pub fn write_snapshot(&self, to: &mut dyn io::Write, last_index: u64) -> io::Result<()> {
        snapshot::write(self.tables(), to, last_index)
    }
}
