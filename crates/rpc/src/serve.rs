//! Answering calls on one stream.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxIo;
use crate::codec::{MessageReader, ReadError, ResponseHeader, write_response};
use crate::listener::Calls;
use crate::yamux::Stream;

/// Answers calls.
pub trait RpcHandler: Send + Sync + 'static {
    /// Answers `method` (`Service.Method`); arguments and reply are msgpack. The future is dropped
    /// when the caller hangs up.
    fn call<'a>(
        &'a self,
        method: &'a str,
        args: Bytes,
        peer: SocketAddr,
    ) -> BoxFuture<'a, Result<Bytes, ServeError>>;
}

/// An error for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// The method's own; the stream stays open.
    #[error("{0}")]
    Method(String),
    /// The call cannot be understood (no such method, arguments do not decode); the stream is
    /// closed after the answer.
    #[error("{0}")]
    Protocol(String),
}

impl From<model::error::RpcError> for ServeError {
    fn from(error: model::error::RpcError) -> Self {
        ServeError::Method(error.text().to_owned())
    }
}

/// Arguments that do not decode.
impl From<msgpack::Error> for ServeError {
    fn from(error: msgpack::Error) -> Self {
        ServeError::Protocol(format!("codec.decoder: {error}"))
    }
}

/// The answer to a method that is not there.
pub fn unknown_method(name: &str) -> ServeError {
    let Some((service, _)) = name.rsplit_once('.') else {
        return ServeError::Protocol(format!("rpc: service/method request ill-formed: {name}"));
    };
    let known = model::methods::METHODS
        .iter()
        .any(|method| method.name.rsplit_once('.').is_some_and(|(known, _)| known == service));
    let what = if known { "method" } else { "service" };
    ServeError::Protocol(format!("rpc: can't find {what} {name}"))
}

/// A stream that may be able to tell that its peer is gone while nothing is read from it.
pub(crate) trait CallStream: AsyncRead + AsyncWrite + Send + Unpin {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl CallStream for Stream {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_peer_closed(cx)
    }
}

impl CallStream for BoxIo {
    /// A caller may close its sending side and wait for the answer.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Empty map: the body that goes with an error.
const NO_BODY: &[u8] = &[0x80];

/// Counters of calls.
#[derive(Clone)]
pub(crate) struct CallMetrics {
    pub(crate) requests: Counter,
    pub(crate) errors: Counter,
}

/// Answers calls until the peer closes the stream, breaks the protocol or hangs up.
pub(crate) async fn serve<S: CallStream>(
    stream: S,
    handler: Arc<dyn RpcHandler>,
    peer: SocketAddr,
    max_request: usize,
    calls: Arc<Calls>,
    metrics: CallMetrics,
) -> Result<(), ReadError> {
    let mut reader = MessageReader::new(stream, max_request);
    while let Some(message) = reader.next().await? {
        let _active = calls.enter();
        let header = message.request_header()?;
        metrics.requests.increment(1);
        let outcome = {
            let mut answer = pin!(handler.call(header.method, message.body().clone(), peer));
            let io = reader.io_mut();
            poll_fn(|cx| match answer.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => io.poll_gone(cx).map(|()| None),
            })
            .await
        };
        let Some(outcome) = outcome else {
            return Ok(());
        };
        let mut reply = ResponseHeader { error: "", seq: header.seq, method: header.method };
        let io = reader.io_mut();
        match &outcome {
            Ok(body) => write_response(io, &reply, body).await?,
            Err(ServeError::Method(text) | ServeError::Protocol(text)) => {
                metrics.errors.increment(1);
                // An empty text would mean success.
                reply.error = if text.is_empty() { "unknown error" } else { text };
                write_response(io, &reply, NO_BODY).await?;
                if matches!(outcome, Err(ServeError::Protocol(_))) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
