//! SWIM with the Lifeguard extensions, as a state machine without I/O.
//!
//! [`Swim`] takes an [`Input`] and the time, and leaves [`Output`]s to be fetched.
//! The layer above takes part as a [`Delegate`].

mod config;
mod io;
mod node;
pub mod queue;
mod time;

pub use config::{Cidr, LocalNode, SwimConfig};
pub use io::{ConnId, Delegate, ExchangeId, Input, Output, StreamFailure};
pub use node::{Node, NodeInfo, NodeState};
pub use time::Tick;

/// Versions that Consul 1.4 to 1.21 announce.
pub const VSN_CONSUL: [u8; 6] = [1, 5, 2, 2, 5, 4];
