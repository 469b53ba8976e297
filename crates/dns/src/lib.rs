//! The DNS face of an agent: names of nodes, services and prepared queries, over UDP and TCP.
//!
//! A query goes through four steps: [`query`] reads the message, [`lookup`] tells what its name asks
//! for, [`face`] fetches that over the road, and [`records`] and [`encode`] make the answer. Only the
//! third one waits for anything.

pub mod config;
pub mod encode;
pub mod face;
mod fetch;
pub mod lookup;
mod name;
pub mod query;
pub mod records;
mod recursor;
mod serve;
mod tcp;
mod udp;

pub use config::{Config, ServiceTtl, Soa};
pub use face::{Face, Transport};
pub use name::{DnsName, InvalidName, parse_name};
pub use serve::{BindError, Sockets};
