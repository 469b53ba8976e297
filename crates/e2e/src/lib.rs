//! Tools of the whole-program tests.
//!
//! * [`Slice`]: a range of loopback addresses that no other test uses.
//! * [`Agent`], [`Datacenter`]: agents as real processes, killed when dropped.
//! * [`Http`], [`dns`]: their faces, as a client sees them.
//! * [`until`]: waits for a condition, and tells what was seen last when it does not come.
//! * [`linearizable`], [`workload`]: clients that record what they saw, and the judge of it.
//!
//! The tests themselves are beside the executable (`crates/proconsul/tests`), so that they run the
//! program that was just built. Everything in here panics when it fails: its users are tests.

pub mod dns;
pub mod linearizable;
pub mod workload;

mod agent;
mod cluster;
mod http;
mod slice;
mod wait;

pub use agent::{Agent, Spec};
pub use cluster::Datacenter;
pub use http::{Http, HttpError, Reply};
pub use slice::Slice;
pub use wait::{LONG, Stop, until};
