//! A reader of HCL 1, the configuration language of agent files and ACL rules.
//!
//! [`parse`] turns text into an [`Object`]: a JSON-like tree that keeps, for
//! every key and value, where it stood in the text. As in the original
//! language, a text whose first character is `{` is read as JSON.
//!
//! How the language maps onto the tree:
//!
//! * `key = value` is an entry; a later entry with the same key replaces it.
//! * `key { ... }` and `key = { ... }` are the same: the value is a list with
//!   one object. Each further block with that key adds an object to the list.
//!   Readers that want one object take the list of length one for it.
//! * `key "label" { ... }` is `key { label { ... } }`.
//! * Objects directly inside a list (`[{...}, {...}]`) stay plain objects.
//! * `${...}` inside a string is kept as it is, nothing is evaluated.
//!
//! Nesting is limited to [`MAX_DEPTH`]; nothing in here panics on any input.

mod json;
mod lexer;
mod parser;
mod value;

pub use value::{Entry, Node, Object, Pos, Value};

/// How deep objects and lists may nest.
pub const MAX_DEPTH: usize = 64;

/// What is wrong with a text, and where (both counted from 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("At {line}:{column}: {message}")]
pub struct Error {
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl Error {
    pub(crate) fn at(pos: Pos, message: impl Into<String>) -> Self {
        Self { line: pos.line, column: pos.column, message: message.into() }
    }
}

/// Reads a whole text: HCL, or JSON if its first character is `{`.
pub fn parse(text: &str) -> Result<Object, Error> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        json::parse(text)
    } else {
        parser::parse(text)
    }
}

/// Reads a whole text that must be a JSON object.
pub fn parse_json(text: &str) -> Result<Object, Error> {
    json::parse(text)
}
