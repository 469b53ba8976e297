//! User events.

use super::config::EVENT_SIZE_CAP;
use super::layer::Layer;
use super::message::{RecentEvent, UserEvent};
use super::output::{Event, UserEventNotice};
use super::recent::Seen;
use bytes::Bytes;
use serde_bytes::ByteBuf;

/// Why a user event was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Name and payload are too long.
    #[error("user event exceeds configured limit of {0} bytes before encoding")]
    TooLong(usize),
    /// The encoded event is too long.
    #[error("encoded user event exceeds configured limit of {0} bytes after encoding")]
    EncodedTooLong(usize),
    /// No bytes for it.
    #[error("user event cannot be encoded")]
    Encode,
}

impl Layer {
    pub fn queue_event(&mut self, bytes: Bytes) {
        let keep = self.queue_depth();
        self.event_queue.push(bytes, None, None);
        self.event_queue.prune(keep);
        metrics::histogram!("serf.queue.Event").record(self.event_queue.len() as f64);
    }

    /// Sends a user event to the pool, ourselves included.
    pub fn send_user_event(&mut self, name: &str, payload: &[u8], coalesce: bool) -> Result<(), EventError> {
        let limit = self.cfg.event_size_limit.min(EVENT_SIZE_CAP);
        if name.len() + payload.len() > limit {
            return Err(EventError::TooLong(limit));
        }
        let event = UserEvent {
            cc: coalesce,
            ltime: self.event_clock.time(),
            name: name.to_owned(),
            payload: Some(ByteBuf::from(payload)),
        };
        let bytes = self.encoded(&event).ok_or(EventError::Encode)?;
        if bytes.len() > limit {
            return Err(EventError::EncodedTooLong(limit));
        }
        self.event_clock.take();
        self.user_event_seen(event);
        self.queue_event(bytes);
        Ok(())
    }

    /// Takes in a user event; true when it is to be passed on.
    pub fn user_event_seen(&mut self, event: UserEvent) -> bool {
        self.event_clock.witness(event.ltime);
        let size = event.name.len() + event.payload.as_ref().map_or(0, |p| p.len());
        if size > EVENT_SIZE_CAP {
            tracing::warn!(size, "serf: Dropping an oversized user event");
            return false;
        }
        let payload = event.payload.as_deref().map_or_else(Bytes::new, |p| Bytes::copy_from_slice(p));
        let seen = self.recent_events.note(
            self.event_clock.time(),
            event.ltime,
            RecentEvent { name: event.name.clone(), payload: event.payload },
        );
        match seen {
            Seen::New => {}
            Seen::TooOld => {
                tracing::warn!(
                    "serf: received old event {} from time {} (current: {})",
                    event.name,
                    event.ltime,
                    self.event_clock.time()
                );
                return false;
            }
            Seen::Again | Seen::Unwanted | Seen::Flood => return false,
        }
        metrics::counter!("serf.events").increment(1);
        self.emit(Event::User(UserEventNotice {
            name: event.name,
            ltime: event.ltime,
            payload,
            cc: event.cc,
        }));
        true
    }
}
