//! The agent's own services and checks, and their way into the catalog.
//!
//! [`State`] is the truth about this node: what is registered here, and of each thing whether the
//! catalog shows it so. [`sync`] (anti-entropy) makes the catalog follow.

mod state;
mod sync;

pub use state::{NodeRecord, State};
pub use sync::{SyncConfig, Trigger, run as run_sync};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use model::catalog::NodeService;
use model::health::HealthCheck;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A shared handle on the local state. Every change rings for anti-entropy and for those who block
/// on the agent's endpoints.
pub struct Local {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    trigger: Trigger,
}

impl Local {
    /// An empty state of a node.
    pub fn new(node: NodeRecord, trigger: Trigger) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(node)), version: watch::Sender::new(1), trigger })
    }

    /// Reads the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// Changes the state, and tells whoever waits for that.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.version.send_modify(|version| *version += 1);
        self.trigger.changed();
        result
    }

    /// Notes a result of a check, see [`State::set_result`]; one that changes nothing wakes nobody.
    pub fn set_result(
        &self,
        id: &str,
        status: &str,
        output: &str,
        now: Instant,
        defer: Option<Instant>,
    ) -> Option<String> {
        let before = self.state.lock().set_result(id, status, output, now, defer)?;
        self.version.send_modify(|version| *version += 1);
        self.trigger.changed();
        Some(before)
    }

    /// What anti-entropy notes about the catalog; nobody else has to hear of it.
    fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        note(&mut self.state.lock())
    }

    /// A number that moves with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The ring of anti-entropy.
    pub fn trigger(&self) -> &Trigger {
        &self.trigger
    }

    /// The services by id.
    pub fn services(&self) -> BTreeMap<String, Arc<NodeService>> {
        self.read(|state| {
            state.services().map(|entry| (entry.service.id.clone(), entry.service.clone())).collect()
        })
    }

    /// The checks by id.
    pub fn checks(&self) -> BTreeMap<String, Arc<HealthCheck>> {
        self.read(|state| {
            state.checks().map(|entry| (entry.check.check_id.clone(), entry.check.clone())).collect()
        })
    }
}
