//! Settings of this layer.

use super::member::Member;
use super::tags::Tags;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the owner of a pool has a say in.
pub trait Policy: Send + Sync {
    /// May these members be in our pool? Asked with every member of a joining exchange, and with
    /// the one member of an announcement that is new. The text of a refusal reaches operators.
    fn admit(&self, members: &[Member]) -> Result<(), String>;

    /// How long a gone member is remembered, when it is not for as long as the others.
    fn remember_for(&self, _member: &Member) -> Option<Duration> {
        None
    }
}

/// Takes everyone.
#[derive(Debug, Default, Clone, Copy)]
pub struct AdmitAll;

impl Policy for AdmitAll {
    fn admit(&self, _: &[Member]) -> Result<(), String> {
        Ok(())
    }
}

/// Largest limit that may be set for user events, bytes.
pub const EVENT_SIZE_CAP: usize = 9 * 1024;

/// Settings; [`SerfConfig::consul`] gives those of a Consul agent.
#[derive(Clone)]
pub struct SerfConfig {
    /// What we say about ourselves.
    pub tags: Tags,
    /// Most bytes of a user event, name and payload as well as encoded. At most [`EVENT_SIZE_CAP`].
    pub event_size_limit: usize,
    /// Most bytes of an encoded query.
    pub query_size_limit: usize,
    /// Most bytes of an encoded answer, also of a relayed one.
    pub response_size_limit: usize,
    /// How long a failed member is remembered and tried to be reached.
    pub reconnect_timeout: Duration,
    /// How long a left member is remembered.
    pub tombstone_timeout: Duration,
    /// How often those to be forgotten are looked for.
    pub reap_interval: Duration,
    /// How often one of the failed is tried.
    pub reconnect_interval: Duration,
    /// How long a leave waits for its announcement to be spread.
    pub broadcast_timeout: Duration,
    /// How long a leave lingers after that, so that the news travels on.
    pub leave_propagate_delay: Duration,
    /// How long an announcement about an unknown member is remembered.
    pub recent_intent_timeout: Duration,
    /// Fewest broadcasts a queue may hold; it may hold twice the members if that is more.
    pub min_queue_depth: usize,
    /// Whether acks carry coordinates.
    pub coordinates: bool,
    /// Whether the loser of a name conflict shuts down. A Consul agent only logs.
    pub resolve_conflicts: bool,
    /// Whether queries of the application are handed out.
    pub deliver_queries: bool,
    /// Whether and how long member events and user events are held back to be merged.
    pub coalesce: Option<Coalesce>,
    /// Refusals.
    pub policy: Arc<dyn Policy>,
}

/// How long events are held back to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Coalesce {
    /// At most this long.
    pub window: Duration,
    /// Less when nothing came for this long.
    pub quiet: Duration,
}

impl SerfConfig {
    /// The settings of a Consul agent, on the LAN and on the WAN.
    pub fn consul() -> Self {
        SerfConfig {
            tags: Tags::new(),
            event_size_limit: 512,
            query_size_limit: 1024,
            response_size_limit: 1024,
            reconnect_timeout: Duration::from_secs(72 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(3),
            recent_intent_timeout: Duration::from_secs(300),
            min_queue_depth: 4096,
            coordinates: true,
            resolve_conflicts: false,
            deliver_queries: false,
            coalesce: None,
            policy: Arc::new(AdmitAll),
        }
    }
}

impl fmt::Debug for SerfConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerfConfig")
            .field("tags", &self.tags)
            .field("reconnect_timeout", &self.reconnect_timeout)
            .field("tombstone_timeout", &self.tombstone_timeout)
            .finish_non_exhaustive()
    }
}
