//! Which server of which datacenter a request goes to: pure policy, no sockets, no clocks.
//!
//! - [`Router`]: the map from datacenter to its servers as WAN gossip tells it, the order in which
//!   they are tried, and what was learnt from earlier calls.
//! - [`Breaker`]: when a datacenter is cut off, and when it is tried again.
//! - [`Budget`]: how a call's time is shared among the servers that are tried.
//! - [`flood`]: which servers of the own datacenter are still missing from the WAN pool.
//!
//! A sick remote datacenter must not hurt a healthy one. So each datacenter has its own bound on
//! requests in flight and its own breaker, every call ends by a deadline, and a server that fails
//! or is slow is passed over for the next.

mod breaker;
mod budget;
pub mod flood;
mod router;

pub use breaker::{Admission, Breaker, BreakerConfig};
pub use budget::Budget;
pub use router::{Outcome, RouteError, Router, RouterConfig, ServerInfo, Ticket};
