//! Request bodies.

use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// What every request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is already in memory; its length is announced.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body read piece by piece while it is sent, e.g. from a file.
#[must_use]
pub fn reader(source: impl AsyncRead + Send + 'static) -> Body {
    StreamBody::new(ReaderStream::new(source).map_ok(Frame::data)).boxed_unsync()
}
