//! The archive of a cluster's state, as saved and restored by operators.
//!
//! A gzip stream of a tar with exactly three regular files: `meta.json` (what is inside, from
//! when), `state.bin` (the replicated state) and `SHA256SUMS` (digests of the other two). The
//! format is shared with the reference: its archives restore here and ours restore there.
//!
//! [`write()`] streams an archive out, [`read`] streams one in while verifying it, and
//! [`summary::summarize`] counts the records of a state without understanding them.

mod meta;
mod read;
pub mod summary;
mod write;

pub use meta::{Configuration, Meta, Server};
pub use read::{ReadError, Verified, read, verify};
pub use write::{WriteError, write};

/// File names inside the archive.
pub(crate) const META: &str = "meta.json";
pub(crate) const STATE: &str = "state.bin";
pub(crate) const SUMS: &str = "SHA256SUMS";
