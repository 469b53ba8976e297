//! SWIM with the Lifeguard extensions, as a state machine without I/O.
//!
//! [`Swim`] takes an [`Input`] and the time, and leaves [`Output`]s to be fetched.
//! The layer above takes part as a [`Delegate`].
//!
//! * [`Swim`] and its commands are in `core`, what arrives is taken apart in `receive`;
//! * `rules` decides about alive, suspect and dead messages;
//! * `probe` finds failures, `gossip` spreads what is known, `exchange` compares whole states, `knock` looks
//!   for those that were lost.

mod config;
mod core;
mod exchange;
mod gossip;
mod io;
mod knock;
mod node;
mod probe;
pub mod queue;
mod receive;
mod rules;
mod suspicion;
mod table;
mod time;

pub use config::{Cidr, LocalNode, SwimConfig};
pub use core::{Counters, Swim, SwimError};
pub use io::{ConnId, Delegate, ExchangeId, Input, Output, StreamFailure};
pub use node::{Node, NodeInfo, NodeState};
pub use table::Interner;
pub use time::Tick;

/// Versions that Consul 1.4 to 1.21 announce.
pub const VSN_CONSUL: [u8; 6] = [1, 5, 2, 2, 5, 4];
/// Most bytes that a member's meta may have.
pub const MAX_META: usize = 512;
