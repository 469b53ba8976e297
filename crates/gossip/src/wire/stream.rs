//! One message from a stream that arrives in pieces.

use bytes::{Bytes, BytesMut};
use msgpack::Scanner;

use super::codec::{MAX_STREAM, StreamError, split_label};
use super::message::{MessageType, PushPullHeader, UserHeader};

/// Most members in one full exchange.
pub const MAX_EXCHANGE_NODES: i64 = 1 << 20;
const ENCRYPT_HEADER: usize = 5;
/// A header struct is far smaller; a longer one is garbage.
const MAX_HEADER: usize = 64 << 10;

/// How far a [`StreamReader`] is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Read on.
    NeedMore,
    /// The message is complete, envelopes and all: give it to
    /// [`Input::StreamRequest`](crate::swim::Input) or [`Input::StreamAnswered`](crate::swim::Input).
    Complete(Bytes),
}

/// Cuts the first message out of a stream. It needs no keys: it only finds the end.
#[derive(Debug)]
pub struct StreamReader {
    buffer: BytesMut,
    /// Where the part being looked at starts.
    at: usize,
    stage: Stage,
    scanner: Scanner,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Label and type byte.
    Start,
    /// A single value follows.
    Value,
    /// The header of a full exchange follows.
    ExchangeHeader,
    /// So many node records follow, then so many raw bytes.
    Records { left: i64, tail: usize },
    /// The header of a user message follows.
    UserHeader,
    /// The message ends at this offset.
    End(usize),
}

impl Default for StreamReader {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        StreamReader {
            buffer: BytesMut::new(),
            at: 0,
            stage: Stage::Start,
            scanner: Scanner::new(MAX_STREAM),
        }
    }

    /// Takes in what arrived. After an error or a complete message the reader is used up.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, StreamError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.stage {
                Stage::Start => {
                    let Some(next) = self.start()? else { return Ok(Progress::NeedMore) };
                    self.stage = next;
                }
                Stage::Value => {
                    let Some(end) = self.value()? else { return Ok(Progress::NeedMore) };
                    self.stage = Stage::End(end);
                }
                Stage::ExchangeHeader => {
                    let Some(end) = self.value()? else { return Ok(Progress::NeedMore) };
                    let head: PushPullHeader = self.header(end)?;
                    let tail = size(head.user_state_len)?;
                    if !(0..=MAX_EXCHANGE_NODES).contains(&head.nodes) {
                        return Err(StreamError::TooLarge(MAX_EXCHANGE_NODES as usize));
                    }
                    self.next_value(end);
                    self.stage = Stage::Records { left: head.nodes, tail };
                }
                Stage::Records { left: 0, tail } => self.stage = Stage::End(self.at + tail),
                Stage::Records { left, tail } => {
                    let Some(end) = self.value()? else { return Ok(Progress::NeedMore) };
                    self.next_value(end);
                    self.stage = Stage::Records { left: left - 1, tail };
                }
                Stage::UserHeader => {
                    let Some(end) = self.value()? else { return Ok(Progress::NeedMore) };
                    let head: UserHeader = self.header(end)?;
                    self.stage = Stage::End(end + size(head.user_msg_len)?);
                }
                Stage::End(end) => {
                    if end > MAX_STREAM + 1024 {
                        return Err(StreamError::TooLarge(MAX_STREAM));
                    }
                    if self.buffer.len() < end {
                        return Ok(Progress::NeedMore);
                    }
                    return Ok(Progress::Complete(self.buffer.split_to(end).freeze()));
                }
            }
        }
    }

    /// Looks at label and type byte.
    fn start(&mut self) -> Result<Option<Stage>, StreamError> {
        let rest = match self.buffer.first() {
            Some(&t) if t == MessageType::HasLabel as u8 => match self.buffer.get(1) {
                Some(&n) if n > 0 && self.buffer.len() < 2 + usize::from(n) => return Ok(None),
                None => return Ok(None),
                _ => split_label(&self.buffer).ok_or(StreamError::Label)?.1,
            },
            _ => &self.buffer[..],
        };
        let Some(&kind) = rest.first() else { return Ok(None) };
        let start = self.buffer.len() - rest.len();
        use MessageType::*;
        let stage = match MessageType::from_byte(kind) {
            Some(Encrypt) => {
                let Some(head) = rest.get(1..ENCRYPT_HEADER) else { return Ok(None) };
                let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
                if len > MAX_STREAM {
                    return Err(StreamError::TooLarge(MAX_STREAM));
                }
                Stage::End(start + ENCRYPT_HEADER + len)
            }
            Some(PushPull) => Stage::ExchangeHeader,
            Some(User) => Stage::UserHeader,
            Some(Compress | Ping | Ack | Error) => Stage::Value,
            _ => return Err(StreamError::Type(kind)),
        };
        self.next_value(start + 1);
        Ok(Some(stage))
    }

    /// The value at `at`: where it ends, if it is complete.
    fn value(&mut self) -> Result<Option<usize>, StreamError> {
        match self.scanner.advance(&self.buffer[self.at..]) {
            Ok(length) => Ok(length.map(|n| self.at + n)),
            Err(msgpack::Error::TooLong { limit }) => Err(StreamError::TooLarge(limit)),
            Err(e) => Err(StreamError::Malformed(e.to_string())),
        }
    }

    fn header<'a, T: serde::Deserialize<'a>>(&'a self, end: usize) -> Result<T, StreamError> {
        if end - self.at > MAX_HEADER {
            return Err(StreamError::TooLarge(MAX_HEADER));
        }
        msgpack::from_slice(&self.buffer[self.at..end]).map_err(|e| StreamError::Malformed(e.to_string()))
    }

    fn next_value(&mut self, at: usize) {
        self.at = at;
        self.scanner.restart(MAX_STREAM);
    }
}

fn size(n: i64) -> Result<usize, StreamError> {
    match usize::try_from(n) {
        Ok(n) if n <= MAX_STREAM => Ok(n),
        _ => Err(StreamError::TooLarge(MAX_STREAM)),
    }
}
