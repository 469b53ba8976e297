//! Yamux: many streams over one connection, version 0 of the protocol, with the settings the peers
//! use (windows of 256 KiB, accept backlog 256, keepalive pings).
//!
//! `core` is the state machine: bytes in, bytes out, no I/O and no clock. [`Session`] and
//! [`Stream`] are its handles, [`Driver`] the one task that moves its bytes.
//!
//! Three habits that peers depend on:
//! - A new stream is acknowledged when it is accepted, not with its first answer. A peer stops
//!   opening streams when 256 are not acknowledged, and each blocking query keeps one open without
//!   an answer. That limit of the peer's is also what keeps the backlog of 256 from overflowing.
//! - The frame that opens a stream is sent together with its first data: the reference waits for
//!   that data before it accepts any other stream.
//! - Reading after closing one's own side is not relied on: a stream dropped by its owner is
//!   closed, and data that still comes for it is answered with a reset.

mod core;
mod frame;
mod gather;
mod session;
mod stream;

use std::time::Duration;

pub use frame::{ACK, FIN, HEADER_LEN, Header, HeaderError, Kind, RST, Reason, SYN};
pub use session::{Driver, Session};
pub use stream::Stream;

/// Settings of a session.
#[derive(Debug, Clone)]
pub struct Config {
    /// Receive window of each stream in bytes. The protocol starts every stream at 256 KiB: less
    /// is not possible.
    pub window: u32,
    /// Streams that arrived and were not accepted yet; one more is reset.
    pub accept_backlog: usize,
    /// Streams opened by the peer that live at a time; one more is reset.
    pub max_inbound: usize,
    /// Streams opened here that the peer did not acknowledge; opening another waits.
    pub max_unacknowledged: usize,
    /// Time between pings.
    pub keepalive: Duration,
    /// Time for the answer to a ping, after which the session ends.
    pub ping_timeout: Duration,
    /// Time without progress in writing after which the session ends.
    pub write_timeout: Duration,
    /// Received bytes that wait for their readers, over all streams. Beyond it nothing more is
    /// read from the connection.
    pub max_buffered: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            window: INITIAL_WINDOW,
            accept_backlog: 256,
            max_inbound: 16 * 1024,
            max_unacknowledged: 256,
            keepalive: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            max_buffered: 64 << 20,
        }
    }
}

/// Credit that both sides of a stream start with.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// Why a session ended. The texts contain what peers take for a broken transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Closed on this side.
    #[error("session shutdown")]
    Closed,
    /// The peer closed the connection.
    #[error("session shutdown: connection closed by peer: EOF")]
    Eof,
    #[error("session shutdown: {0}")]
    Io(String),
    /// The peer broke the protocol.
    #[error("session shutdown: protocol error: {0}")]
    Protocol(&'static str),
    #[error("session shutdown: keepalive timeout")]
    Keepalive,
    #[error("session shutdown: connection write timeout")]
    WriteTimeout,
    /// The peer takes no new streams; the open ones go on.
    #[error("session shutdown: remote end is not accepting connections")]
    RemoteGoAway,
    /// All stream ids are used up.
    #[error("session shutdown: streams exhausted")]
    Exhausted,
}

impl From<SessionError> for std::io::Error {
    fn from(error: SessionError) -> Self {
        std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error)
    }
}
