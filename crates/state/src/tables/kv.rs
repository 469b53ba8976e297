//! Keys, the locks on them, and tombstones of deleted ones.

use std::sync::Arc;

use imbl::OrdSet;
use model::kv::DirEntry;

use super::indexes::Table;
use super::{Tables, Writer};
use crate::answer::{Effect, Refusal};

/// What is left of a deleted key, so that the index of a prefix does not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) index: u64,
    /// A whole tree was deleted, the key is its prefix.
    pub(crate) tree: bool,
}

/// Why a lock cannot be asked for.
fn missing_session() -> Refusal {
    Refusal::text("missing session")
}

impl Tables {
    pub(crate) fn key(&self, key: &str) -> Option<&Arc<DirEntry>> {
        self.kv.get(key)
    }

    /// The entries below a prefix in the order of their bytes.
    pub(crate) fn keys_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<DirEntry>> {
        self.kv.from(prefix).take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// The newest tombstone at or below a prefix, or of a tree that contains it.
    pub(crate) fn newest_tombstone(&self, prefix: &str) -> u64 {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let below = self
            .tombstones
            .range::<_, str>(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, tombstone)| tombstone.index)
            .max()
            .unwrap_or(0);
        let mut newest = below;
        // Prefixes of a prefix sort before it: walk down from one candidate to the next.
        let mut rest = prefix;
        while let Some((key, tombstone)) = self.tombstones.get_prev(rest) {
            if prefix.starts_with(&**key) {
                if tombstone.tree {
                    newest = newest.max(tombstone.index);
                }
                let Some((last, _)) = key.char_indices().next_back() else { break };
                rest = &prefix[..last];
                if let Some(tombstone) = self.tombstones.get(rest)
                    && tombstone.tree
                {
                    newest = newest.max(tombstone.index);
                }
            } else {
                let common = common_prefix(key, rest);
                if let Some(tombstone) = self.tombstones.get(common)
                    && tombstone.tree
                {
                    newest = newest.max(tombstone.index);
                }
                rest = common;
            }
            if rest.is_empty() {
                break;
            }
        }
        newest
    }
}

fn common_prefix<'a>(a: &str, b: &'a str) -> &'a str {
    let len = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    &b[..len]
}

impl Writer {
    /// Sets a key. Unless `with_session`, the session stays what it was; the lock index becomes that
    /// of the entry, so a plain write starts the count anew, as the reference does. An entry that
    /// would not change is left alone. Returns what is stored then.
    pub(crate) fn kv_set(&mut self, mut entry: DirEntry, with_session: bool) -> Arc<DirEntry> {
        entry.create_index = self.index;
        entry.modify_index = self.index;
        let existing = self.tables.key(&entry.key);
        if !with_session {
            entry.session = existing.map(|old| old.session.clone()).unwrap_or_default();
        }
        if let Some(old) = existing {
            entry.create_index = old.create_index;
            if old.flags == entry.flags
                && old.value == entry.value
                && old.session == entry.session
                && old.lock_index == entry.lock_index
            {
                return Arc::clone(old);
            }
        }
        let entry = Arc::new(entry);
        self.put_key(Arc::clone(&entry));
        entry
    }

    /// Stores an entry as it is.
    pub(crate) fn put_key(&mut self, entry: Arc<DirEntry>) {
        self.tables.indexes.raise(Table::Kvs, entry.modify_index);
        self.touched.add_key(&entry.key);
        let old = self.tables.kv.insert(Arc::clone(&entry));
        let held_before = old.as_ref().map_or("", |old| &old.session);
        if held_before != &*entry.session {
            if !held_before.is_empty() {
                self.let_go(held_before, &entry.key);
            }
            if !entry.session.is_empty() {
                let key = Arc::from(&*entry.key);
                match self.tables.held.get_mut(&*entry.session) {
                    Some(keys) => drop(keys.insert(key)),
                    None => drop(self.tables.held.insert(Arc::from(&*entry.session), OrdSet::unit(key))),
                }
            }
        }
    }

    fn let_go(&mut self, session: &str, key: &str) {
        if let Some(keys) = self.tables.held.get_mut(session) {
            keys.remove(key);
            if keys.is_empty() {
                self.tables.held.remove(session);
            }
        }
    }

    fn bury(&mut self, key: &str, tree: bool) {
        self.tables.tombstones.insert(Arc::from(key), Tombstone { index: self.index, tree });
        self.tables.indexes.raise(Table::Tombstones, self.index);
        let effect = Effect::Tombstones { index: self.index };
        if self.effects.last() != Some(&effect) {
            self.effects.push(effect);
        }
    }

    fn drop_key(&mut self, entry: &DirEntry) {
        self.tables.kv.remove(&entry.key);
        if !entry.session.is_empty() {
            self.let_go(&entry.session, &entry.key);
        }
        self.tables.indexes.raise(Table::Kvs, self.index);
        self.touched.add_key(&entry.key);
    }

    pub(crate) fn kv_delete(&mut self, key: &str) {
        let Some(entry) = self.tables.key(key).cloned() else { return };
        self.drop_key(&entry);
        self.bury(key, false);
    }

    /// Whether the key is gone, because it was or because its index matched.
    pub(crate) fn kv_delete_cas(&mut self, key: &str, index: u64) -> bool {
        match self.tables.key(key) {
            None => true,
            Some(entry) if entry.modify_index != index => false,
            Some(_) => {
                self.kv_delete(key);
                true
            }
        }
    }

    pub(crate) fn kv_delete_tree(&mut self, prefix: &str) {
        let entries: Vec<_> = self.tables.keys_below(prefix).cloned().collect();
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            self.drop_key(entry);
        }
        // Listings of everything go by the index of the table.
        if !prefix.is_empty() {
            self.bury(prefix, true);
        }
    }

    /// Sets the key if its index is the entry's; index 0 stands for "does not exist".
    pub(crate) fn kv_cas(&mut self, entry: DirEntry) -> Option<Arc<DirEntry>> {
        let current = self.tables.key(&entry.key).map_or(0, |old| old.modify_index);
        (current == entry.modify_index).then(|| self.kv_set(entry, false))
    }

    /// Takes the lock, or confirms it, and sets the value.
    pub(crate) fn kv_lock(&mut self, mut entry: DirEntry) -> Result<Option<Arc<DirEntry>>, Refusal> {
        if entry.session.is_empty() {
            return Err(missing_session());
        }
        if !self.tables.sessions.contains_key(&*entry.session) {
            return Err(Refusal::text(format!("invalid session {:?}", entry.session)));
        }
        entry.lock_index = match self.tables.key(&entry.key) {
            None => 1,
            Some(old) if old.session == entry.session => old.lock_index,
            Some(old) if old.session.is_empty() => old.lock_index.saturating_add(1),
            Some(_) => return Ok(None),
        };
        Ok(Some(self.kv_set(entry, true)))
    }

    /// Gives the lock back and sets the value.
    pub(crate) fn kv_unlock(&mut self, mut entry: DirEntry) -> Result<Option<Arc<DirEntry>>, Refusal> {
        if entry.session.is_empty() {
            return Err(missing_session());
        }
        match self.tables.key(&entry.key) {
            Some(old) if old.session == entry.session => entry.lock_index = old.lock_index,
            _ => return Ok(None),
        }
        entry.session = Box::default();
        Ok(Some(self.kv_set(entry, true)))
    }

    /// Forgets the tombstones up to an index.
    pub(crate) fn reap_tombstones(&mut self, up_to: u64) {
        let old: Vec<_> = self
            .tables
            .tombstones
            .iter()
            .filter(|(_, tombstone)| tombstone.index <= up_to)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in old {
            self.tables.tombstones.remove(&key);
        }
    }

    /// Stores a tombstone of a snapshot.
    pub(crate) fn put_tombstone(&mut self, key: &str, index: u64) {
        self.tables.tombstones.insert(Arc::from(key), Tombstone { index, tree: false });
        self.tables.indexes.raise(Table::Tombstones, index);
    }
}
