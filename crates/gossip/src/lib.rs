//! Gossip: who is a member of a pool, who has failed, and what is told to everyone.
//!
//! Three layers, from the socket upwards:
//! * [`wire`] — the bytes of packets and streams (frames, structs, compression, encryption);
//! * [`swim`] — membership and failure detection (SWIM, DSN 2002; Lifeguard, DSN-W 2018);
//! * [`serf`] — tags, leave and join intents, user events, queries, key rotation, with
//!   [`coordinate`] (Vivaldi) riding on the probes.
//!
//! All of these are state machines without I/O: they take bytes, the time and a seed, and return
//! bytes to send, events and the time of the next wake-up. [`driver`] gives them sockets.

pub mod coordinate;
pub mod driver;
pub mod serf;
pub mod swim;
pub mod wire;
