//! JSON straight from the shared model into one buffer.
//!
//! The big answers are lists of nodes, services and checks: their writers here take borrowed
//! values, know which empty lists the API prints as `null`, `[]` or not at all, and write keys as
//! constants. Rare answers use serde instead.

mod agent;
mod catalog;
mod definition;
mod health;
mod indent;
mod kv;
mod query;
mod text;

pub use agent::{agent_service, client_check};
pub use catalog::{Empties, node, node_service, service_node, services_map};
pub use definition::{connect, proxy};
pub use health::{check_service_node, health_check};
pub use indent::indent;
pub use kv::dir_entry;
pub use query::{prepared_query, query_meta, query_node};
pub use text::{integer, string, unsigned};

/// `,"Key":` as one constant; the comma gives way to a brace at the first key.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use key;

/// An object being written: puts the braces and commas.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of the buffer.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, empty: true }
    }

    /// Writes a key, made by [`key!`]; the value goes to the buffer that comes back.
    #[inline]
    pub fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        let start = self.out.len();
        self.out.extend_from_slice(key.as_bytes());
        if self.empty {
            self.empty = false;
            self.out[start] = b'{';
        }
        self.out
    }

    /// A key that is no constant.
    pub fn dynamic_key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.push(if self.empty { b'{' } else { b',' });
        self.empty = false;
        string(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// A text field.
    #[inline]
    pub fn str(&mut self, key: &'static str, value: &str) {
        string(self.key(key), value);
    }

    /// A text field that is left out when empty.
    #[inline]
    pub fn opt_str(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.str(key, value);
        }
    }

    /// An unsigned field.
    #[inline]
    pub fn u64(&mut self, key: &'static str, value: u64) {
        unsigned(self.key(key), value);
    }

    /// A signed field.
    #[inline]
    pub fn i64(&mut self, key: &'static str, value: i64) {
        integer(self.key(key), value);
    }

    /// A signed field that is left out when zero.
    pub fn opt_i64(&mut self, key: &'static str, value: i64) {
        if value != 0 {
            self.i64(key, value);
        }
    }

    /// An unsigned field that is left out when zero.
    pub fn opt_u64(&mut self, key: &'static str, value: u64) {
        if value != 0 {
            self.u64(key, value);
        }
    }

    /// A truth value.
    #[inline]
    pub fn bool(&mut self, key: &'static str, value: bool) {
        boolean(self.key(key), value);
    }

    /// A truth value that is left out when false.
    pub fn opt_bool(&mut self, key: &'static str, value: bool) {
        if value {
            self.bool(key, true);
        }
    }

    /// Closes the object.
    pub fn end(self) {
        if self.empty {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// `true` or `false`.
#[inline]
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `null`.
#[inline]
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

/// A list; an empty one is `[]`.
pub fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    let mut first = true;
    for item in items {
        if !first {
            out.push(b',');
        }
        first = false;
        write(out, item);
    }
    out.push(b']');
}

/// A list of texts; an empty one is `[]`.
pub fn strings(out: &mut Vec<u8>, items: &[String]) {
    array(out, items, |out, item| string(out, item));
}

/// A map from text to text; an empty one is `{}`.
pub fn string_map<'a>(out: &mut Vec<u8>, map: impl IntoIterator<Item = (&'a String, &'a String)>) {
    let mut object = Object::new(out);
    for (name, value) in map {
        string(object.dynamic_key(name), value);
    }
    object.end();
}

/// Anything that serde writes; used where speed does not matter.
pub fn serde<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Only a map with keys that are no text could fail; the answer stays well-formed.
        out.truncate(start);
        null(out);
    }
}
