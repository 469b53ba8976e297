//! The socket under the HTTP codec.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Connection;

/// Up to how many bytes slices are written as one.
const TOGETHER: usize = 2048;

/// Every kind of stream that HTTP is spoken on: one type, so that there is one codec in the program.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TCP behind a TLS handshake.
    Secured(Box<dyn Connection>),
}

macro_rules! on_stream {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
            Stream::Secured($inner) => $call,
        }
    };
}

/// What a socket has seen of its codec.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The last write did not go through, so the codec holds bytes that are not written.
    stuck: AtomicBool,
    /// Bytes came since the last whole request.
    begun: AtomicBool,
}

impl Traffic {
    /// Whether the codec holds anything of a reply.
    pub fn stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether the codec may hold the beginning of a request.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// A whole request came.
    pub fn request(&self) {
        self.begun.store(false, Ordering::Relaxed);
    }
}

/// A stream that can be taken from one codec and given to the next.
pub struct Socket {
    stream: Stream,
    /// Read, and not used yet: read again before anything else.
    again: Bytes,
    traffic: Arc<Traffic>,
}

impl Socket {
    /// A stream of which nothing was read.
    pub fn new(stream: Stream) -> Self {
        Self { stream, again: Bytes::new(), traffic: Arc::default() }
    }

    /// What it has seen.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// What is to be read again.
    pub fn again(&self) -> &Bytes {
        &self.again
    }

    /// Sets what is to be read again.
    pub fn read_again(&mut self, again: Bytes) {
        self.again = again;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.again.is_empty() {
            let len = this.again.len().min(out.remaining());
            out.put_slice(&this.again[..len]);
            this.again.advance(len);
            this.traffic.begun.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        let polled = on_stream!(&mut this.stream, inner => Pin::new(inner).poll_read(context, out));
        if out.filled().len() > before {
            this.traffic.begun.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = on_stream!(&mut this.stream, inner => Pin::new(inner).poll_write(context, bytes));
        this.traffic.stuck.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Head and body of a small reply: to copy them costs less than to have the kernel gather them.
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut together = [0; TOGETHER];
        if let (Stream::Tcp(inner), Some(mut room)) = (&mut this.stream, together.get_mut(..all)) {
            for slice in slices {
                let (here, rest) = room.split_at_mut(slice.len());
                here.copy_from_slice(slice);
                room = rest;
            }
            let polled = Pin::new(inner).poll_write(context, &together[..all]);
            this.traffic.stuck.store(polled.is_pending(), Ordering::Relaxed);
            return polled;
        }
        let polled =
            on_stream!(&mut this.stream, inner => Pin::new(inner).poll_write_vectored(context, slices));
        this.traffic.stuck.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        on_stream!(&self.stream, inner => inner.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = on_stream!(&mut this.stream, inner => Pin::new(inner).poll_flush(context));
        // A codec that flushes has written all, but what is secured may still be on its way.
        if polled.is_pending() {
            this.traffic.stuck.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.get_mut().stream, inner => Pin::new(inner).poll_shutdown(context))
    }
}
