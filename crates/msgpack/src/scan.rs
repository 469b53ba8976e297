//! Where does a value end? For readers of streams, without decoding.

use crate::head::Head;
use crate::{DEFAULT_MAX_LEN, Error, MAX_DEPTH};

/// Finds the end of one value in input that arrives in pieces. Remembers how far it came, so
/// that a long value costs one pass however often it is asked.
#[derive(Debug, Clone)]
pub struct Scanner {
    /// Bytes known to belong to the value.
    pos: usize,
    /// Elements still to come, outermost first. Empty: the value is complete.
    open: Vec<usize>,
    /// Their sum: each takes a byte at least.
    pending: usize,
    limit: usize,
}

impl Scanner {
    /// For a value of at most `limit` bytes.
    pub fn new(limit: usize) -> Scanner {
        let mut open = Vec::with_capacity(8);
        open.push(1);
        Scanner { pos: 0, open, pending: 1, limit }
    }

    /// Begins anew with another value of at most `limit` bytes.
    pub fn restart(&mut self, limit: usize) {
        self.pos = 0;
        self.pending = 1;
        self.limit = limit;
        self.open.clear();
        self.open.push(1);
    }

    /// `input` starts where the value starts and holds what arrived so far. Returns the value's
    /// length, or `None` when more bytes are needed.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, Error> {
        while let Some(left) = self.open.last_mut() {
            if *left == 0 {
                self.open.pop();
                continue;
            }
            // A string's body may lie beyond what arrived.
            let Some(rest) = input.get(self.pos..) else {
                return Ok(None);
            };
            let Some((head, len)) = Head::read(rest).map_err(|e| shift(e, self.pos))? else {
                return Ok(None);
            };
            *left -= 1;
            self.pending -= 1;
            self.pos += len;
            let inner = match head {
                Head::Raw(n) | Head::Bin(n) | Head::Ext(n) => {
                    self.pos = self.pos.saturating_add(n);
                    0
                }
                Head::Array(n) => n,
                Head::Map(n) => n.saturating_mul(2),
                _ => 0,
            };
            if inner > 0 {
                // One level is the value itself.
                if self.open.len() > MAX_DEPTH {
                    return Err(Error::TooDeep);
                }
                self.open.push(inner);
                self.pending = self.pending.saturating_add(inner);
            }
            if self.pos.saturating_add(self.pending) > self.limit {
                return Err(Error::TooLong { limit: self.limit });
            }
        }
        Ok((self.pos <= input.len()).then_some(self.pos))
    }
}

/// Length of the first value in `input`; `None` when it does not end there.
pub fn skip_value(input: &[u8]) -> Result<Option<usize>, Error> {
    Scanner::new(DEFAULT_MAX_LEN).advance(input)
}

pub(crate) fn shift(error: Error, by: usize) -> Error {
    match error {
        Error::Unexpected { expected, found, offset } => {
            Error::Unexpected { expected, found, offset: offset + by }
        }
        other => other,
    }
}
