//! Talk between the servers of one datacenter.
//!
//! A connection begins with a hello (who, to whom, which datacenter), so that a
//! server never mixes its log with that of another cluster or of whoever got an
//! address later. After it come frames: length u32, type u8, body. Every kind of
//! traffic has its own connections: heartbeats do not queue behind entries, and
//! neither behind snapshots, which are streamed raw after one header frame.
//!
//! A connection carries requests in order and answers in the same order.
//! Append requests may be sent ahead of their answers.

mod client;
pub(crate) mod frame;
pub(crate) mod hello;
mod pipeline;
mod server;

pub use client::Links;
pub use server::{LeaderGone, Refusals, Serve};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::types::ServerId;

/// A byte stream to a peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

pub type BoxedIo = Box<dyn Io>;

/// Opens streams to peers. What comes back is ready for the hello: the protocol
/// byte was sent and TLS, if any, is up. Latency matters: no Nagle delay.
#[async_trait]
pub trait RaftDial: Send + Sync + 'static {
    async fn dial(&self, address: SocketAddr) -> io::Result<BoxedIo>;
}

/// Where a server is now. Asked before every dial, so that addresses follow gossip.
pub trait AddressBook: Send + Sync + 'static {
    fn resolve(&self, id: ServerId) -> Option<SocketAddr>;
}

impl<F: Fn(ServerId) -> Option<SocketAddr> + Send + Sync + 'static> AddressBook for F {
    fn resolve(&self, id: ServerId) -> Option<SocketAddr> {
        self(id)
    }
}

/// What both ends need to know to talk.
pub struct Context {
    pub me: ServerId,
    pub datacenter: String,
    pub dial: Arc<dyn RaftDial>,
    pub addresses: Arc<dyn AddressBook>,
}
