//! Calls on a stream: a header and a body each way, both msgpack values, back to back. A stream
//! carries one call at a time.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use msgpack::Scanner;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Headers beyond this are refused: a method name, and an error text.
const MAX_HEADER: usize = 1 << 20;
/// Room made for the next read. Idle streams keep this much, so it is small.
const READ_ROOM: usize = 512;
/// A message that has begun makes progress at least this often, in either direction. Beyond it
/// the other side holds our memory for nothing.
const STALL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestHeader<'a> {
    /// The caller's number for the call; echoed.
    #[serde(rename = "Seq")]
    pub seq: u64,
    /// `Service.Method`.
    #[serde(rename = "ServiceMethod", borrow)]
    pub method: &'a str,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseHeader<'a> {
    /// Empty on success.
    #[serde(rename = "Error", borrow)]
    pub error: &'a str,
    #[serde(rename = "Seq")]
    pub seq: u64,
    #[serde(rename = "ServiceMethod", borrow)]
    pub method: &'a str,
}

/// A header and a body, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    header: Bytes,
    body: Bytes,
}

impl Message {
    pub fn request_header(&self) -> Result<RequestHeader<'_>, msgpack::Error> {
        msgpack::from_slice(&self.header)
    }

    pub fn response_header(&self) -> Result<ResponseHeader<'_>, msgpack::Error> {
        msgpack::from_slice(&self.header)
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub fn into_body(self) -> Bytes {
        self.body
    }
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("unexpected EOF")]
    Eof,
    #[error("message stalled")]
    Stalled,
    /// Not msgpack, or too long.
    #[error("{0}")]
    Malformed(#[from] msgpack::Error),
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct MessageReader<R> {
    io: R,
    buffer: BytesMut,
    scanner: Scanner,
    /// Known once the header is complete.
    header_len: Option<usize>,
    max_body: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Bodies longer than `max_body` bytes are refused.
    pub fn new(io: R, max_body: usize) -> Self {
        MessageReader {
            io,
            buffer: BytesMut::new(),
            scanner: Scanner::new(MAX_HEADER),
            header_len: None,
            max_body,
        }
    }

    pub fn io(&self) -> &R {
        &self.io
    }

    pub fn io_mut(&mut self) -> &mut R {
        &mut self.io
    }

    /// Whether the beginning of a message has been read.
    pub fn is_mid_message(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message; `None` when the stream ended before one began. Can be dropped and
    /// called again.
    pub async fn next(&mut self) -> Result<Option<Message>, ReadError> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(Some(message));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_ROOM / 4 {
                self.buffer.reserve(READ_ROOM.max(self.buffer.len()));
            }
            let begun = self.is_mid_message();
            let read = self.io.read_buf(&mut self.buffer);
            let n = if begun {
                match timeout(STALL, read).await {
                    Ok(n) => n?,
                    Err(_) => return Err(ReadError::Stalled),
                }
            } else {
                read.await?
            };
            if n == 0 {
                return if begun { Err(ReadError::Eof) } else { Ok(None) };
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Message>, msgpack::Error> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let header_len = match self.header_len {
            Some(len) => len,
            None => match self.scanner.advance(&self.buffer)? {
                Some(len) => {
                    self.header_len = Some(len);
                    self.scanner.restart(self.max_body);
                    len
                }
                None => return Ok(None),
            },
        };
        let Some(body_len) = self.scanner.advance(&self.buffer[header_len..])? else {
            return Ok(None);
        };
        self.header_len = None;
        self.scanner.restart(MAX_HEADER);
        let mut header = self.buffer.split_to(header_len + body_len).freeze();
        let body = header.split_off(header_len);
        Ok(Some(Message { header, body }))
    }
}

/// Writes several pieces as one message, in one frame or packet where the transport can.
pub async fn write_parts<W: AsyncWrite + Unpin>(io: &mut W, first: &[u8], second: &[u8]) -> io::Result<()> {
    let (mut first, mut second) = (first, second);
    while first.has_remaining() || second.has_remaining() {
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let n = match timeout(STALL, io.write_vectored(&parts)).await {
            Ok(n) => n?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "stream closed: message stalled")),
        };
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_first = n.min(first.len());
        first.advance(of_first);
        second.advance(n - of_first);
    }
    io.flush().await
}

/// Writes a request whose arguments are msgpack already.
pub async fn write_request<W: AsyncWrite + Unpin>(
    io: &mut W,
    header: &RequestHeader<'_>,
    args: &[u8],
) -> io::Result<()> {
    write_parts(io, &encode(header)?, args).await
}

/// Writes a response; the body of an error is an empty map, or what the caller gives.
pub async fn write_response<W: AsyncWrite + Unpin>(
    io: &mut W,
    header: &ResponseHeader<'_>,
    body: &[u8],
) -> io::Result<()> {
    write_parts(io, &encode(header)?, body).await
}

fn encode<T: Serialize>(header: &T) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(96);
    msgpack::to_writer_vec(&mut out, header).map_err(io::Error::other)?;
    Ok(out)
}
