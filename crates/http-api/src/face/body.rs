//! Bodies of requests and replies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::api::error::ApiError;

/// How many bytes above the limit are still read, and thrown away, bytes.
const DRAIN: u64 = 4 << 20;
/// For how long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What comes with a request.
#[derive(Debug)]
pub enum RequestBody {
    /// From a connection.
    Incoming(Incoming),
    /// Already in memory.
    Bytes(Bytes),
}

impl RequestBody {
    /// Reads the whole body; gives up as soon as it is known to be longer than `max` bytes.
    ///
    /// # Errors
    /// 413 for a body that is too long, 400 when it ends early.
    pub async fn collect(self, max: u64) -> Result<Bytes, ApiError> {
        match self {
            Self::Bytes(bytes) => check_size(bytes.len() as u64, max).map(|()| bytes),
            Self::Incoming(mut incoming) => {
                let expected = incoming.size_hint().exact();
                if let Some(size) = expected
                    && let Err(error) = check_size(size, max)
                {
                    if size <= max + DRAIN {
                        discard(incoming).await;
                    }
                    return Err(error);
                }
                let mut all = BytesMut::with_capacity(expected.unwrap_or(0) as usize);
                while let Some(frame) = incoming.frame().await {
                    let frame = frame
                        .map_err(|error| ApiError::bad_request(format!("Request body broke off: {error}")))?;
                    let Ok(data) = frame.into_data() else { continue };
                    if (all.len() + data.len()) as u64 > max {
                        return Err(ApiError::new(
                            413,
                            format!("Request body too large, max size: {max} bytes."),
                        ));
                    }
                    all.extend_from_slice(&data);
                }
                Ok(all.freeze())
            }
        }
    }

    /// The body as a stream of unknown length.
    pub fn into_stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        match self {
            Self::Bytes(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
            Self::Incoming(incoming) => {
                incoming.into_data_stream().map(|chunk| chunk.map_err(io::Error::other)).boxed()
            }
        }
    }
}

/// Reads on without keeping anything, so that a client that is still sending gets to read the
/// refusal instead of a reset connection.
async fn discard(mut incoming: Incoming) {
    let all = async { while let Some(Ok(_)) = incoming.frame().await {} };
    // A client that is slower than this has to live with the reset.
    let _ = tokio::time::timeout(DRAIN_TIME, all).await;
}

fn check_size(size: u64, max: u64) -> Result<(), ApiError> {
    if size > max {
        return Err(ApiError::new(
            413,
            format!("Request body({size} bytes) too large, max size: {max} bytes."),
        ));
    }
    Ok(())
}

/// What goes back.
pub enum ReplyBody {
    /// At once.
    Full(Option<Bytes>),
    /// Piece by piece.
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => {
                stream.poll_next_unpin(context).map(|item| item.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
