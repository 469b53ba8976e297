//! The server port (8300) and its clients: one TCP listener whose first byte says what a
//! connection carries, yamux sessions, msgpack calls on their streams, and the pool of connections
//! a caller keeps.
//!
//! - [`Listener`] accepts, limits and switches; calls end in an [`RpcHandler`], other protocols
//!   of the port (Raft, snapshots) register a [`ConnHandler`] for their byte.
//! - [`ConnPool`] carries calls out; [`ConnPool::dial`] opens connections for other protocols.
//! - TLS is a matter of a [`Connector`] and an [`Acceptor`]: everything above sees a [`BoxIo`].

mod codec;
mod error;
mod listener;
mod pool;
mod serve;
mod transport;
pub mod yamux;

pub use codec::{
    Message, MessageReader, ReadError, RequestHeader, ResponseHeader, write_parts, write_request,
    write_response,
};
pub use error::CallError;
pub use listener::{ConnHandler, Listener, ListenerConfig};
pub use pool::{ConnPool, PoolConfig, ServerAddr};
pub use serve::{RpcHandler, ServeError, unknown_method};
pub use transport::{Accepted, Acceptor, BoxIo, Connector, Io, PlainAcceptor, TcpConnector, tune_socket};

/// First bytes of connections to the server port.
pub mod first_byte {
    /// Calls straight on the connection.
    pub const SINGLE: u8 = 0;
    /// Raft transport.
    pub const RAFT: u8 = 1;
    /// TLS; another first byte follows inside.
    pub const TLS: u8 = 3;
    /// Calls on yamux streams.
    pub const MULTIPLEX: u8 = 4;
    /// Snapshot save or restore.
    pub const SNAPSHOT: u8 = 5;
    /// TLS without a client certificate, for agents that have none yet.
    pub const INSECURE_TLS: u8 = 7;
    /// HTTP/2.
    pub const GRPC: u8 = 8;
}
