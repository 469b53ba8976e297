use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::core::Attempt;
use super::session::Shared;

/// One stream of a session. Dropping it closes it.
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
}

impl Stream {
    /// `id` was counted as a handle by the core.
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Stream { shared, id }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether nothing speaks against another request: no end, no unread bytes.
    pub fn is_reusable(&self) -> bool {
        self.shared.with(|core| core.reusable(self.id))
    }

    /// Ready once the peer has closed its side, or the session is over. Unread bytes do not
    /// matter. Shares its place with reading: only one of both can wait.
    pub fn poll_peer_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.with(|core| core.peer_closed(self.id, cx.waker())) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.with(|core| core.release(self.id));
    }
}

fn poll<T>(outcome: io::Result<Attempt<T>>) -> Poll<io::Result<T>> {
    match outcome {
        Ok(Attempt::Done(value)) => Poll::Ready(Ok(value)),
        Ok(Attempt::Wait) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.shared.with(|core| {
            core.read(self.id, cx.waker(), |bytes| {
                let n = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..n]);
                n
            })
        });
        poll(outcome).map_ok(|_| ())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll(self.shared.with(|core| core.write(self.id, cx.waker(), bufs)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The driver writes by itself: there is nothing to push.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|core| core.finish(self.id));
        Poll::Ready(Ok(()))
    }
}
