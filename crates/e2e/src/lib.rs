//! Tools of the whole-program tests.
//!
//! * [`Slice`]: a range of loopback addresses that no other test uses.
//! * [`Agent`], [`Datacenter`]: agents as real processes, killed when dropped.
//! * [`Http`], [`dns`]: their faces, as a client sees them.
//! * [`Network`]: a network whose links can be cut, for agents that live on hosts of their own.
//! * [`until`]: waits for a condition, and tells what was seen last when it does not come.
//! * [`linearizable`], [`workload`]: clients that record what they saw, and the judge of it.
//! * [`holders`]: clients that hold locks for a while, and the judge of them.
//! * [`World`], [`Wall`], [`Disk`], [`torn`]: partitions, full disks, torn files.
//!
//! The tests themselves are beside the executable (`crates/proconsul/tests`), so that they run the
//! program that was just built. Everything in here panics when it fails: its users are tests.

pub mod dns;
pub mod holders;
pub mod linearizable;
pub mod torn;
pub mod workload;

mod agent;
mod cluster;
mod disk;
mod http;
mod partition;
mod slice;
mod wait;
mod wall;
mod world;

pub use agent::{Agent, Spec};
pub use cluster::Datacenter;
pub use disk::Disk;
pub use http::{Http, HttpError, Reply};
pub use partition::{Host, Network};
pub use slice::Slice;
pub use wait::{LONG, Stop, until};
pub use wall::Wall;
pub use world::World;
