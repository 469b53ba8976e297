//! The table of keys: its entries are in the order of their keys and take little more than their bytes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::kv::DirEntry;

/// Longer values are kept apart.
const LARGE: usize = 1024;

/// An entry, ordered by its key. A key of its own beside the entry would cost 70 bytes each.
#[derive(Clone, Debug)]
struct Row(Arc<DirEntry>);

impl Borrow<str> for Row {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Row {}

/// Entries by key.
///
/// The inner nodes of the tree repeat one row in eight or more, and may go on doing so after it was replaced
/// or removed. So that this never keeps much, the row of an entry with a large value is a stub:
/// the key with an empty value, and the entry itself is in `large`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    rows: OrdSet<Row>,
    large: OrdMap<Arc<str>, Arc<DirEntry>>,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<DirEntry>> {
        self.rows.get(key).map(|row| self.whole(row))
    }

    fn whole<'a>(&'a self, row: &'a Row) -> &'a Arc<DirEntry> {
        if row.0.value.is_empty()
            && let Some(entry) = self.large.get(&*row.0.key)
        {
            return entry;
        }
        &row.0
    }

    /// All entries from this key on, in the order of their bytes.
    pub(crate) fn from<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<DirEntry>> {
        self.rows.range::<_, str>((Bound::Included(key), Bound::Unbounded)).map(|row| self.whole(row))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<DirEntry>> {
        self.rows.iter().map(|row| self.whole(row))
    }

    /// Stores an entry and returns the one that it replaces.
    pub(crate) fn insert(&mut self, entry: Arc<DirEntry>) -> Option<Arc<DirEntry>> {
        let (row, apart) = if entry.value.len() > LARGE {
            let stub = DirEntry { key: entry.key.clone(), ..DirEntry::default() };
            let apart = self.large.insert(Arc::from(&*entry.key), entry);
            (Row(Arc::new(stub)), apart)
        } else {
            let apart = self.large.remove(&*entry.key);
            (Row(entry), apart)
        };
        let old = self.rows.insert(row);
        apart.or(old.map(|row| row.0))
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(row) = self.rows.remove(key)
            && row.0.value.is_empty()
        {
            self.large.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, len: usize, index: u64) -> Arc<DirEntry> {
        let value = vec![b'v'; len].into();
        Arc::new(DirEntry { key: key.into(), value, modify_index: index, ..DirEntry::default() })
    }

    /// Sizes change from each to each; what is found is always the newest.
    #[test]
    fn large_and_small_values_replace_each_other() {
        let sizes = [0, 1, LARGE, LARGE + 1, 4 * LARGE];
        let mut keys = Keys::default();
        let mut index = 0;
        for from in sizes {
            for to in sizes {
                for len in [from, to] {
                    index += 1;
                    let before = keys.get("k").cloned();
                    assert_eq!(keys.insert(entry("k", len, index)), before);
                    let found = keys.get("k").expect("there");
                    assert_eq!((found.value.len(), found.modify_index), (len, index));
                }
                assert_eq!(keys.iter().count(), 1);
            }
        }
        keys.remove("k");
        assert!(keys.get("k").is_none());
        assert!(keys.rows.is_empty() && keys.large.is_empty());
    }

    /// Values that were replaced are given back, whatever the tree repeats.
    #[test]
    fn nothing_large_stays_behind() {
        let mut keys = Keys::default();
        let large: Vec<_> = (0..1000).map(|n| entry(&format!("k{n:04}"), LARGE + 1, 1)).collect();
        for entry in &large {
            keys.insert(Arc::clone(entry));
        }
        for (n, entry_before) in large.iter().enumerate() {
            if n % 2 == 0 {
                keys.insert(entry(&entry_before.key, 3, 2));
            } else {
                keys.remove(&entry_before.key);
            }
        }
        assert!(large.iter().all(|entry| Arc::strong_count(entry) == 1));
        assert_eq!(keys.from("k0500").count(), 250);
        assert_eq!(keys.from("k0500").next().map(|entry| &*entry.key), Some("k0500"));
    }
}
