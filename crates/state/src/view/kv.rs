//! Keys.

use std::sync::Arc;

use model::kv::DirEntry;
use model::txn::{TxnOp, TxnResponse};

use super::View;
use crate::apply;
use crate::tables::indexes::Table;
use crate::watch::{Thing, WatchSet};

impl View {
    /// A key. The index is the entry's; of an absent one the highest of the whole table,
    /// tombstones included.
    pub fn kv_get(&self, ws: &mut WatchSet, key: &str) -> (u64, Option<Arc<DirEntry>>) {
        self.watch(ws, Thing::Key(key));
        match self.tables().key(key) {
            Some(entry) => (entry.modify_index, Some(Arc::clone(entry))),
            None => (self.max_index(&[Table::Kvs, Table::Tombstones]), None),
        }
    }

    fn below(&self, ws: &mut WatchSet, prefix: &str) -> (u64, Vec<Arc<DirEntry>>) {
        self.watch(ws, Thing::Prefix(prefix));
        let entries: Vec<_> = self.tables().keys_below(prefix).cloned().collect();
        let table = self.max_index(&[Table::Kvs, Table::Tombstones]);
        if prefix.is_empty() {
            return (table, entries);
        }
        let newest = entries.iter().map(|entry| entry.modify_index).max().unwrap_or(0);
        match newest.max(self.tables().newest_tombstone(prefix)) {
            0 => (table, entries),
            index => (index, entries),
        }
    }

    /// The entries below a prefix in byte order. The index is the highest of them and of the
    /// tombstones among them, else the table's.
    pub fn kv_list(&self, ws: &mut WatchSet, prefix: &str) -> (u64, Vec<Arc<DirEntry>>) {
        self.below(ws, prefix)
    }

    /// The keys below a prefix; with a separator each is cut behind the first one that follows
    /// the prefix, and equal neighbours become one.
    pub fn kv_keys(&self, ws: &mut WatchSet, prefix: &str, separator: &str) -> (u64, Vec<String>) {
        let (index, entries) = self.below(ws, prefix);
        let mut keys: Vec<String> = Vec::new();
        for entry in &entries {
            let key = &*entry.key;
            let cut = if separator.is_empty() {
                None
            } else {
                key[prefix.len()..].find(separator).map(|at| prefix.len() + at + separator.len())
            };
            let shown = cut.map_or(key, |end| &key[..end]);
            if cut.is_none() || keys.last().is_none_or(|last| last != shown) {
                keys.push(shown.to_owned());
            }
        }
        (index, keys)
    }

    /// Answers a transaction that only reads. It has no index: it cannot be waited for.
    pub fn txn_ro(&self, ops: &[TxnOp]) -> TxnResponse {
        apply::read_only(self.tables(), ops)
    }

    /// The newest tombstone, and whether there is any: what the leader's reaper needs when it
    /// takes over.
    pub fn newest_tombstone(&self) -> Option<u64> {
        self.tables().tombstones.values().map(|tombstone| tombstone.index).max()
    }
}
