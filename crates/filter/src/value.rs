//! What filters look at: fields of entries, borrowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::catalog::ServiceAddress;

/// What a field holds, for checking an expression.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A truth value.
    Truth,
    /// A list of texts.
    Texts,
    /// A map from text to text.
    Map,
    /// Another entry.
    Object(&'static Schema),
    /// A list of entries.
    Objects(&'static Schema),
    /// A map from text to entries.
    ObjectMap(&'static Schema),
}

/// The fields of a type, in the order in which [`Filterable::field`] numbers them.
#[derive(Debug)]
pub struct Schema {
    /// Name and kind of every field.
    pub fields: &'static [(&'static str, Kind)],
}

/// A field of an entry.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Truth(bool),
    /// A list of texts.
    Texts(&'a [String]),
    /// A map from text to text.
    Map(&'a BTreeMap<String, String>),
    /// Another entry.
    Object(&'a dyn Filterable),
    /// A list of entries.
    Objects(&'a dyn Objects),
    /// A map from text to entries.
    ObjectMap(&'a dyn ObjectMap),
    /// Nothing is there.
    Missing,
}

/// An entry that filters can look into.
pub trait Filterable {
    /// A field by its number in the type's schema.
    fn field(&self, at: usize) -> Value<'_>;
}

/// A list of entries.
pub trait Objects {
    /// Whether there are none.
    fn is_empty(&self) -> bool;
    /// Whether any of them is as asked.
    fn any(&self, asked: &dyn Fn(&dyn Filterable) -> bool) -> bool;
}

/// A map of entries.
pub trait ObjectMap {
    /// Whether there are none.
    fn is_empty(&self) -> bool;
    /// The entry of a key.
    fn get(&self, key: &str) -> Option<&dyn Filterable>;
}

impl<T: Filterable> Objects for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn any(&self, asked: &dyn Fn(&dyn Filterable) -> bool) -> bool {
        self.iter().any(|entry| asked(entry))
    }
}

impl<T: Filterable> Filterable for Arc<T> {
    fn field(&self, at: usize) -> Value<'_> {
        (**self).field(at)
    }
}

impl ObjectMap for BTreeMap<String, ServiceAddress> {
    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }

    fn get(&self, key: &str) -> Option<&dyn Filterable> {
        BTreeMap::get(self, key).map(|address| address as &dyn Filterable)
    }
}
