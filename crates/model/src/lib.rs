//! Every type that crosses a boundary, written once: what the wire carries, what the state holds,
//! and the table of RPC methods.
//!
//! The structs name their fields as the wire does. Empty lists and maps stand for the wire's nil
//! as well; where the HTTP API tells the two apart, its crate knows which to print.

pub mod catalog;
pub mod coordinate;
pub mod decoded;
pub mod definition;
pub mod duration;
pub mod encoded;
pub mod error;
pub mod event;
pub mod health;
pub mod internal;
pub mod kv;
pub mod method;
pub mod methods;
pub mod operator;
pub mod ops;
pub mod options;
pub mod process;
pub mod query;
pub mod road;
pub mod rules;
pub mod scalar;
pub mod session;
pub mod time;
pub mod txn;

/// The level of the reference that we speak: peers and clients gate features on it.
pub const VERSION_SPOKEN: &str = "1.9.8";
