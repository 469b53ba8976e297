//! The layer above membership: tags, announcements of joins and leaves, user events, queries, key
//! rotation, and what a restarted agent remembers.
//!
//! [`Serf`] contains a [`Swim`](crate::swim::Swim) and is, like it, a state machine without I/O.
//! [`consul`] holds what a Consul agent adds: the meaning of tags, refusal rules, the payload of
//! its user events.

pub mod clock;
mod coalesce;
mod config;
pub mod consul;
mod events;
mod exchange;
pub mod keyring_file;
mod keys;
mod layer;
mod machine;
mod member;
mod members;
pub mod message;
mod output;
mod queries;
mod recent;
pub mod snapshot;
pub mod tags;

pub use clock::LamportTime;
pub use config::{AdmitAll, Coalesce, EVENT_SIZE_CAP, Policy, SerfConfig};
pub use events::EventError;
pub use keyring_file::generate_key;
pub use keys::{KeyOp, KeyReport};
pub use machine::{Serf, SetupError, Stats};
pub use member::{Member, MemberStatus};
pub use output::{
    Event, MemberEventKind, Output, QueryId, QueryNotice, QueryUpdate, ReplyTo, UserEventNotice,
};
pub use queries::{Filter, QueryError, QueryOptions};
pub use tags::{Tags, TagsError};
