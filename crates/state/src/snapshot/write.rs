//! Writing `state.bin`.

use std::io;

use model::catalog::{NodeService, RegisterRequest};
use model::health::HealthCheck;
use model::kv::DirEntry;
use serde::Serialize;

use super::{Header, IndexRecord, ORDER};
use crate::command;
use crate::tables::{NodeRow, Tables};

/// Records are collected up to this many bytes before they are written.
const CHUNK: usize = 64 << 10;

struct Records<'a> {
    to: &'a mut dyn io::Write,
    buffer: Vec<u8>,
}

impl Records<'_> {
    fn put<T: Serialize>(&mut self, kind: u8, record: &T) -> io::Result<()> {
        self.buffer.push(kind);
        self.value(record)
    }

    fn value<T: Serialize>(&mut self, record: &T) -> io::Result<()> {
        msgpack::to_writer_vec(&mut self.buffer, record).map_err(io::Error::other)?;
        self.flush_at(CHUNK)
    }

    fn raw(&mut self, kind: u8, record: &[u8]) -> io::Result<()> {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(record);
        self.flush_at(CHUNK)
    }

    fn flush_at(&mut self, len: usize) -> io::Result<()> {
        if self.buffer.len() >= len {
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Writes everything in the order that readers expect.
pub(crate) fn write(tables: &Tables, to: &mut dyn io::Write, last_index: u64) -> io::Result<()> {
    let mut out = Records { to, buffer: Vec::with_capacity(CHUNK + 4096) };
    out.value(&Header { last_index })?;
    for kind in ORDER {
        match *kind {
            command::REGISTER => nodes(tables, &mut out)?,
            command::COORDINATES => {
                for coordinate in tables.coordinates.values() {
                    out.put(*kind, &[&**coordinate])?;
                }
            }
            command::SESSION => all(&mut out, *kind, tables.sessions.values())?,
            command::KVS => all(&mut out, *kind, tables.kv.iter())?,
            command::TOMBSTONE => tombstones(tables, &mut out)?,
            command::PREPARED_QUERY => all(&mut out, *kind, tables.queries.values())?,
            command::AUTOPILOT => all(&mut out, *kind, tables.autopilot.iter())?,
            command::SYSTEM_METADATA => all(&mut out, *kind, tables.metadata.values())?,
            command::INDEX => {
                for (key, value) in tables.index_records() {
                    out.put(*kind, &IndexRecord { key, value })?;
                }
            }
            opaque => {
                for record in tables.opaque.iter().filter(|record| record.kind == opaque) {
                    out.raw(opaque, &record.raw)?;
                }
            }
        }
    }
    out.flush_at(1)
}

fn all<'a, T: Serialize + 'a>(
    out: &mut Records<'_>,
    kind: u8,
    records: impl Iterator<Item = &'a std::sync::Arc<T>>,
) -> io::Result<()> {
    for record in records {
        out.put(kind, &**record)?;
    }
    Ok(())
}

/// Each node, then its services, then its checks, all as registrations.
fn nodes(tables: &Tables, out: &mut Records<'_>) -> io::Result<()> {
    for row in tables.nodes.values() {
        out.put(command::REGISTER, &registration(row, None, None))?;
        for service in row.services.values() {
            out.put(command::REGISTER, &registration(row, Some(service), None))?;
        }
        for check in row.checks.values() {
            out.put(command::REGISTER, &registration(row, None, Some(check)))?;
        }
    }
    Ok(())
}

fn registration(
    row: &NodeRow,
    service: Option<&NodeService>,
    check: Option<&HealthCheck>,
) -> RegisterRequest {
    let node = &row.node;
    RegisterRequest {
        address: node.address.clone(),
        check: check.cloned(),
        create_index: node.create_index,
        datacenter: node.datacenter.clone(),
        id: node.id.clone(),
        modify_index: node.modify_index,
        node: node.node.clone(),
        node_meta: node.meta.clone(),
        service: service.cloned(),
        tagged_addresses: node.tagged_addresses.clone(),
        ..RegisterRequest::default()
    }
}

fn tombstones(tables: &Tables, out: &mut Records<'_>) -> io::Result<()> {
    for (key, tombstone) in &tables.tombstones {
        let record = DirEntry { key: (&**key).into(), modify_index: tombstone.index, ..DirEntry::default() };
        out.put(command::TOMBSTONE, &record)?;
    }
    Ok(())
}
