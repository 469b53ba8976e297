//! The msgpack dialect of the wire: RPC bodies, gossip messages, Raft log commands and snapshots.
//!
//! Writing follows the peers byte for byte: structs are maps whose keys stand in ascending byte
//! order whatever their order in Rust, strings *and* byte strings use the old raw family (no 8-bit
//! length, no bin), integers take the smallest form and the unsigned forms when not negative,
//! `f64` is always written in eight bytes. [`to_vec_new_format`] switches the two newer families
//! on, as payloads of user events have them.
//!
//! Reading is as tolerant as the peers and a little more: nil stands for the zero value of
//! anything, an array for a struct, 0 and 1 for a bool, str8 and bin for strings and byte strings,
//! any integer form for any integer it fits; unknown keys are skipped and bytes behind the value
//! ignored. Depth and declared lengths are checked before anything is allocated.
//!
//! Struct types that should accept nil or missing keys need `#[serde(default)]`; byte strings need
//! `serde_bytes`. The format is not human readable in serde's terms.

mod de;
mod error;
mod head;
pub mod nil_if_empty;
mod scan;
mod ser;
mod value;

pub use de::{Deserializer, from_slice, from_slice_prefix};
pub use error::Error;
pub use scan::{Scanner, skip_value};
pub use ser::{Serializer, to_vec, to_vec_new_format, to_writer_vec};
pub use value::Value;

/// Deepest nesting of arrays and maps that is read.
pub const MAX_DEPTH: usize = 128;

/// Largest value that [`skip_value`] waits for, in bytes.
pub const DEFAULT_MAX_LEN: usize = 1 << 30;
