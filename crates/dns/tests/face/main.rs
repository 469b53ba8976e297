//! The face from outside: bytes in, bytes out, over a catalog in memory.

mod common;
mod limits;
mod lookups;
mod sockets;
