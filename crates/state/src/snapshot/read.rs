//! Reading `state.bin`.

use std::io;
use std::sync::Arc;

use model::catalog::{Node, RegisterRequest};
use model::coordinate::Coordinate;
use model::kv::DirEntry;
use serde::de::DeserializeOwned;

use super::{Header, IndexRecord, is_opaque};
use crate::command;
use crate::tables::{Opaque, Tables, Writer};
use crate::watch::{Hub, Touched};

/// The longest record accepted. The longest that the product writes is a key with its value.
const MAX_RECORD: usize = 64 << 20;
const CHUNK: usize = 64 << 10;

/// Why a stream is no state.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The stream could not be read.
    #[error("failed to read snapshot: {0}")]
    Io(#[from] io::Error),
    /// A value is damaged, too long, or of the wrong shape.
    #[error("failed to decode snapshot record of type {kind} ({count} records before it): {source}")]
    Record {
        /// Its type.
        kind: u8,
        /// How many records were good.
        count: u64,
        /// What is wrong.
        source: msgpack::Error,
    },
    /// The stream does not begin with a header.
    #[error("failed to decode snapshot header: {0}")]
    Header(msgpack::Error),
    /// A type that this version neither understands nor carries along.
    #[error("Unrecognized snapshot record type {kind} ({count} records before it)")]
    Unknown {
        /// The type.
        kind: u8,
        /// How many records were good.
        count: u64,
    },
    /// The stream ends inside a record.
    #[error("snapshot ends inside a record of type {kind} ({count} records before it)")]
    Truncated {
        /// Its type.
        kind: u8,
        /// How many records were good.
        count: u64,
    },
    /// A service or check comes before its node.
    #[error("snapshot record belongs to node {node:?}, which is missing")]
    Orphan {
        /// The node's name.
        node: String,
    },
}

/// Values one after the other from a stream, at most one of them in memory.
struct Source<'a> {
    from: &'a mut dyn io::Read,
    buffer: Vec<u8>,
    start: usize,
    scanner: msgpack::Scanner,
}

impl Source<'_> {
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let len = self.buffer.len();
        self.buffer.resize(len + CHUNK, 0);
        loop {
            match self.from.read(&mut self.buffer[len..]) {
                Ok(read) => {
                    self.buffer.truncate(len + read);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(len);
                    return Err(error);
                }
            }
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.start == self.buffer.len() && !self.fill()? {
            return Ok(None);
        }
        let byte = self.buffer[self.start];
        self.start += 1;
        Ok(Some(byte))
    }

    /// The bytes of the next value; `None` when the stream ends inside it.
    fn value(&mut self) -> Result<Option<&[u8]>, ValueError> {
        self.scanner.restart(MAX_RECORD);
        loop {
            if let Some(len) = self.scanner.advance(&self.buffer[self.start..])? {
                let from = self.start;
                self.start += len;
                return Ok(Some(&self.buffer[from..from + len]));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }
}

enum ValueError {
    Io(io::Error),
    Shape(msgpack::Error),
}

impl From<io::Error> for ValueError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<msgpack::Error> for ValueError {
    fn from(error: msgpack::Error) -> Self {
        Self::Shape(error)
    }
}

/// Builds tables from a stream. Returns them with the index they are current as of.
pub(crate) fn read(from: &mut dyn io::Read, hub: &Hub) -> Result<(u64, Tables), RestoreError> {
    let mut source =
        Source { from, buffer: Vec::new(), start: 0, scanner: msgpack::Scanner::new(MAX_RECORD) };
    let header: Header = match source.value() {
        Ok(Some(bytes)) => msgpack::from_slice(bytes).map_err(RestoreError::Header)?,
        Ok(None) => return Err(RestoreError::Header(msgpack::Error::Truncated { offset: 0 })),
        Err(ValueError::Io(error)) => return Err(error.into()),
        Err(ValueError::Shape(error)) => return Err(RestoreError::Header(error)),
    };
    let mut restore = Restore {
        writer: Writer {
            tables: Tables::default(),
            touched: Touched::new(hub),
            effects: Vec::new(),
            index: header.last_index,
        },
        opaque: Vec::new(),
        indexes: Vec::new(),
    };
    let mut count = 0;
    while let Some(kind) = source.byte()? {
        match source.value() {
            Ok(Some(bytes)) => restore.record(kind, count, bytes)?,
            Ok(None) => return Err(RestoreError::Truncated { kind, count }),
            Err(ValueError::Io(error)) => return Err(error.into()),
            Err(ValueError::Shape(source)) => return Err(RestoreError::Record { kind, count, source }),
        }
        count += 1;
    }
    Ok((header.last_index, restore.finish()))
}

struct Restore {
    writer: Writer,
    opaque: Vec<Opaque>,
    indexes: Vec<IndexRecord>,
}

impl Restore {
    fn record(&mut self, kind: u8, count: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        fn decode<T: DeserializeOwned>(kind: u8, count: u64, bytes: &[u8]) -> Result<T, RestoreError> {
            msgpack::from_slice(bytes).map_err(|source| RestoreError::Record { kind, count, source })
        }
        let writer = &mut self.writer;
        // Everybody is woken anyway.
        writer.touched.truncate(0, writer.touched.tidy_mark());
        match kind {
            command::REGISTER => register(writer, decode(kind, count, bytes)?)?,
            command::COORDINATES => {
                let coordinates: Vec<Coordinate> = decode(kind, count, bytes)?;
                coordinates.into_iter().for_each(|coordinate| writer.put_coordinate(coordinate));
            }
            command::SESSION => writer.put_session(Arc::new(decode(kind, count, bytes)?)),
            command::KVS => writer.put_key(Arc::new(decode(kind, count, bytes)?)),
            command::TOMBSTONE => {
                let entry: DirEntry = decode(kind, count, bytes)?;
                writer.put_tombstone(&entry.key, entry.modify_index);
            }
            command::PREPARED_QUERY => writer.put_query(Arc::new(decode(kind, count, bytes)?)),
            command::AUTOPILOT => writer.put_autopilot(decode(kind, count, bytes)?),
            command::SYSTEM_METADATA => writer.put_metadata(decode(kind, count, bytes)?),
            command::INDEX => self.indexes.push(decode(kind, count, bytes)?),
            kind if is_opaque(kind) => self.opaque.push(Opaque { kind, raw: bytes.into() }),
            kind => return Err(RestoreError::Unknown { kind, count }),
        }
        Ok(())
    }

    fn finish(mut self) -> Tables {
        // They are the last word, wherever in the file they stood.
        for record in &self.indexes {
            self.writer.restore_index(&record.key, record.value);
        }
        self.writer.tables.opaque = Arc::new(self.opaque);
        self.writer.tables
    }
}

fn register(writer: &mut Writer, request: RegisterRequest) -> Result<(), RestoreError> {
    let bare = request.service.is_none() && request.check.is_none() && request.checks.is_empty();
    if bare || writer.tables.node(&request.node).is_none() {
        if request.node.is_empty() {
            return Err(RestoreError::Orphan { node: request.node });
        }
        writer.put_node(Arc::new(Node {
            address: request.address,
            create_index: request.create_index,
            datacenter: request.datacenter,
            id: request.id,
            meta: request.node_meta,
            modify_index: request.modify_index,
            node: request.node.clone(),
            tagged_addresses: request.tagged_addresses,
        }));
    }
    if let Some(service) = request.service {
        writer.put_service(&request.node, Arc::new(service));
    }
    for check in request.check.map(Arc::new).into_iter().chain(request.checks) {
        if writer.tables.node(&check.node).is_none() {
            return Err(RestoreError::Orphan { node: check.node.clone() });
        }
        writer.put_check(check);
    }
    Ok(())
}
