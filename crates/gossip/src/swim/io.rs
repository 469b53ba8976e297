//! What goes into the state machine and what comes out of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::queue::Spread;
use super::{Node, Tick};
use crate::wire::StreamError;

/// An exchange over a stream that this agent opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// A stream that a peer opened; the driver numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A datagram arrived.
    Packet { from: SocketAddr, bytes: Bytes },
    /// A peer opened a stream and its request is complete (as cut out by
    /// [`StreamReader`](crate::wire::StreamReader)). Answered by exactly one [`Output::StreamReply`].
    StreamRequest { id: ConnId, from: SocketAddr, bytes: Bytes },
    /// A peer opened a stream but its request cannot be read. Answered by exactly one
    /// [`Output::StreamReply`].
    StreamRejected { id: ConnId, from: SocketAddr, error: StreamError },
    /// The answer to a request of ours is complete, or the request is written when none is expected.
    StreamAnswered { id: ExchangeId, bytes: Bytes },
    /// Dialling, writing or reading failed.
    StreamFailed { id: ExchangeId, failure: StreamFailure },
    /// [`Swim::poll_timeout`](super::Swim::poll_timeout) has come.
    Timer,
}

/// Why an exchange of ours came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFailure {
    /// The other host answered that nobody listens there (connection refused). This is hard
    /// evidence: a slow or overloaded process still accepts connections in its kernel.
    pub refused: bool,
    /// Text for people.
    pub text: String,
}

/// Something the driver must do.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Packet { to: SocketAddr, bytes: Bytes },
    /// Open a stream, write `request`; if `answer`, read one message, then close.
    /// Give up at `deadline`. Reported back as [`Input::StreamAnswered`] or [`Input::StreamFailed`].
    OpenStream { id: ExchangeId, to: SocketAddr, request: Bytes, answer: bool, deadline: Tick },
    /// Write the answer, if any, to a stream that a peer opened, and close it.
    StreamReply { id: ConnId, bytes: Option<Bytes> },
    /// An exchange started by [`Swim::begin_join`](super::Swim::begin_join) ended.
    JoinDone { id: ExchangeId, to: SocketAddr, result: Result<(), String> },
    /// [`Swim::leave`](super::Swim::leave) is over: the others were told, or (`timed_out`) it took too long.
    LeaveDone { timed_out: bool },
}

/// The layer above. Called synchronously; it must not block and cannot call back into the
/// state machine, so it notes what it wants done and does it when the call to `handle` returned.
pub trait Delegate {
    /// Whether [`Delegate::broadcasts`] may have something. While nobody has, there are no rounds of
    /// gossip.
    fn has_broadcasts(&self) -> bool;
    /// Messages (without type byte) to ride along in a packet. Each costs its length plus
    /// `overhead`; together at most `limit`. `spread` is to be passed on to
    /// [`TransmitQueue::take`](super::queue::TransmitQueue::take).
    fn broadcasts(&mut self, spread: &Spread, overhead: usize, limit: usize) -> Vec<Bytes>;
    /// A message of the layer above, without type byte.
    fn user_message(&mut self, message: &[u8]);
    /// The state to be sent in a full exchange.
    fn local_state(&mut self, join: bool) -> Vec<u8>;
    /// The state received in a full exchange; empty states are not handed over.
    fn merge_remote_state(&mut self, state: &[u8], join: bool);
    /// Payload of our acks; empty for none.
    fn ack_payload(&mut self) -> Vec<u8>;
    /// A direct probe was answered in time.
    fn ping_complete(&mut self, node: &Node, rtt: Duration, payload: &[u8]);
    /// A member is there, for the first time or again.
    fn member_joined(&mut self, node: &Node);
    /// A member is gone; [`Node::state`] tells whether dead or left.
    fn member_left(&mut self, node: &Node);
    /// A member changed its meta.
    fn member_updated(&mut self, node: &Node);
    /// `other` claims the name of `existing` from another address.
    fn conflict(&mut self, existing: &Node, other: &Node);
    /// May this member be taken in? Asked for every alive message that is new to us.
    fn check_alive(&mut self, node: &Node) -> Result<(), String>;
    /// May this pool be merged with ours? Asked for every joining exchange.
    fn check_merge(&mut self, nodes: &[Node]) -> Result<(), String>;
}
