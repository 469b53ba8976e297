//! User events: a ring of those received, and who takes them.

use std::collections::VecDeque;
use std::sync::Arc;

use http_api::api::types::UserEvent;
use model::event::{EVENT_PREFIX, FireEvent};
use parking_lot::Mutex;
use regex::Regex;
use tokio::sync::watch;

use crate::local::Local;

/// Events kept for the list.
const KEPT: usize = 256;
/// Name of the event that asks for remote execution; it is no news for the list.
pub const REMOTE_EXEC: &str = "_rexec";

/// The events of late.
pub struct Events {
    ring: Mutex<VecDeque<Arc<UserEvent>>>,
    version: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), version: watch::Sender::new(1) }
    }
}

impl Events {
    /// The events kept, oldest first.
    pub fn all(&self) -> Vec<Arc<UserEvent>> {
        self.ring.lock().iter().cloned().collect()
    }

    /// A number that moves with every event.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Takes an event of the gossip pool in. Gives it back if it is a request for remote execution
    /// meant for this node.
    pub fn receive(&self, name: &str, ltime: u64, payload: &[u8], local: &Local) -> Option<Arc<UserEvent>> {
        name.strip_prefix(EVENT_PREFIX)?;
        let event = match FireEvent::decode(payload) {
            Ok(event) => Arc::new(UserEvent::received(event, ltime)),
            Err(error) => {
                tracing::error!(target: "agent", error = %error, "failed to decode event");
                return None;
            }
        };
        if !concerns(&event, local) {
            return None;
        }
        if event.name == REMOTE_EXEC {
            return Some(event);
        }
        tracing::debug!(target: "agent", event_name = %event.name, event_id = %event.id, "new event");
        let mut ring = self.ring.lock();
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(event);
        drop(ring);
        self.version.send_modify(|version| *version += 1);
        None
    }
}

/// Whether the event's filters take this node.
fn concerns(event: &UserEvent, local: &Local) -> bool {
    let compile = |text: &str| match Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            tracing::error!(target: "agent", filter = text, event = %event.id, error = %error, "failed to parse filter of event");
            None
        }
    };
    if !event.node_filter.is_empty() {
        let Some(regex) = compile(&event.node_filter) else { return false };
        if !local.read(|state| regex.is_match(&state.node().name)) {
            return false;
        }
    }
    if event.service_filter.is_empty() {
        return true;
    }
    let Some(service_regex) = compile(&event.service_filter) else { return false };
    let tag_regex = match event.tag_filter.as_str() {
        "" => None,
        text => match compile(text) {
            Some(regex) => Some(regex),
            None => return false,
        },
    };
    local.read(|state| {
        state.services().any(|entry| {
            service_regex.is_match(&entry.service.service)
                && tag_regex
                    .as_ref()
                    .is_none_or(|regex| entry.service.tags.iter().any(|tag| regex.is_match(tag)))
        })
    })
}
