//! When each table last changed.

use std::sync::Arc;

use imbl::OrdMap;

use super::{Tables, Writer};
use crate::text::{Name, name};

/// The tables with an index of their own, and the time of the last extinction of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Table {
    /// `nodes`
    Nodes,
    /// `services`
    Services,
    /// `checks`
    Checks,
    /// `kvs`
    Kvs,
    /// `tombstones`
    Tombstones,
    /// `sessions`
    Sessions,
    /// `coordinates`
    Coordinates,
    /// `prepared-queries`
    Queries,
    /// `system-metadata`
    Metadata,
    /// `service_last_extinction`
    LastExtinction,
}

const TABLES: [(Table, &str); 10] = [
    (Table::Nodes, "nodes"),
    (Table::Services, "services"),
    (Table::Checks, "checks"),
    (Table::Kvs, "kvs"),
    (Table::Tombstones, "tombstones"),
    (Table::Sessions, "sessions"),
    (Table::Coordinates, "coordinates"),
    (Table::Queries, "prepared-queries"),
    (Table::Metadata, "system-metadata"),
    (Table::LastExtinction, "service_last_extinction"),
];

const SERVICE: &str = "service.";
const KIND: &str = "service_kind.";
/// What the index of services without a kind is called.
const TYPICAL: &str = "typical";

/// Index 0 stands for "never written".
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes {
    tables: [u64; TABLES.len()],
    kinds: OrdMap<Name, u64>,
    /// Of tables that are carried along only.
    others: OrdMap<Arc<str>, u64>,
}

impl Indexes {
    pub(crate) fn get(&self, table: Table) -> u64 {
        self.tables[table as usize]
    }

    pub(crate) fn max(&self, tables: &[Table]) -> u64 {
        tables.iter().map(|table| self.get(*table)).max().unwrap_or(0)
    }

    pub(crate) fn raise(&mut self, table: Table, index: u64) {
        let slot = &mut self.tables[table as usize];
        *slot = index.max(*slot);
    }

    pub(crate) fn kind(&self, kind: &str) -> u64 {
        let kind = if kind.is_empty() { TYPICAL } else { kind };
        self.kinds.get(&*crate::text::lower(kind)).copied().unwrap_or(0)
    }

    pub(crate) fn raise_kind(&mut self, kind: &str, index: u64) {
        let kind = if kind.is_empty() { TYPICAL } else { kind };
        match self.kinds.get_mut(&*crate::text::lower(kind)) {
            Some(slot) => *slot = index.max(*slot),
            None => drop(self.kinds.insert(name(kind), index)),
        }
    }
}

impl Tables {
    /// All index records of a snapshot, by key.
    pub(crate) fn index_records(&self) -> Vec<(String, u64)> {
        let named = TABLES.iter().map(|(table, key)| ((*key).to_owned(), self.indexes.get(*table)));
        let kinds = self.indexes.kinds.iter().map(|(kind, index)| (format!("{KIND}{kind}"), *index));
        let services = self.services.values().map(|row| (format!("{SERVICE}{}", row.name), row.index));
        let others = self.indexes.others.iter().map(|(key, index)| (key.to_string(), *index));
        let mut records: Vec<_> =
            named.chain(kinds).chain(services).chain(others).filter(|(_, index)| *index > 0).collect();
        records.sort_unstable();
        records
    }
}

impl Writer {
    /// Takes over an index record of a snapshot.
    pub(crate) fn restore_index(&mut self, key: &str, value: u64) {
        if let Some((table, _)) = TABLES.iter().find(|(_, known)| *known == key) {
            self.tables.indexes.tables[*table as usize] = value;
        } else if let Some(service) = key.strip_prefix(SERVICE) {
            // Without instances there is nothing to keep it for.
            if let Some(row) = self.tables.services.get_mut(&*crate::text::lower(service)) {
                Arc::make_mut(row).index = value;
            }
        } else if let Some(kind) = key.strip_prefix(KIND) {
            self.tables.indexes.kinds.insert(name(kind), value);
        } else {
            self.tables.indexes.others.insert(Arc::from(key), value);
        }
    }
}
