//! The driver: sockets, timers and files around the state machine of one pool.
//!
//! [`Pool::start`] opens one datagram socket and one listener on the same port and runs the pool
//! in a task of its own; a [`PoolHandle`] talks to it. Everything spawned belongs to the pool and
//! ends with [`PoolHandle::shutdown`].

mod config;
mod disk;
mod handle;
mod resolve;
mod streams;
mod task;

pub use config::{PoolConfig, Tuning};
pub use handle::{Closed, JoinReport, KeysError, Pool, PoolError, PoolEvent, PoolHandle, Question};
