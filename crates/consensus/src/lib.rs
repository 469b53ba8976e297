//! Consensus among the servers of one datacenter.
//!
//! A [`Consensus`] replicates opaque commands to an application's [`Fsm`]
//! through Raft. The engine is openraft; this crate gives it a durable log
//! ([`log`]), snapshots on disk ([`snapshot`]) and a transport ([`net`]), and
//! hides it behind an interface that the rest of the program uses.
//!
//! What is promised:
//! * A proposal that was answered is on the disks of a majority and survives any
//!   crash of a minority.
//! * Commands are applied in the same order everywhere, each exactly once per
//!   life of a state machine.
//! * [`Consensus::linearizable`] returns only after a majority confirmed that this
//!   server still led after the call was made.
//!
//! Timing and elections are described in [`timing`].

mod background;
pub mod entry;
mod error;
mod fsm;
pub mod log;
mod machine;
pub mod net;
mod node;
mod paced;
mod recover;
mod restore;
pub mod snapshot;
pub mod timing;
mod types;

pub use background::background;
pub use error::ConsensusError;
pub use fsm::{Fsm, SnapshotWriter};
pub use net::{AddressBook, BoxedIo, Io, RaftDial};
pub use node::{Config, Consensus, Member, RaftState, Role, Stats};
pub use paced::{Paced, give_back_later};
pub use timing::Timings;
pub use types::{Peer, ServerId};

/// Largest command that may be proposed, in bytes.
pub const MAX_COMMAND: usize = 16 << 20;
