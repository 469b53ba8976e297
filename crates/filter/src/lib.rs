//! Boolean expressions of `?filter=`: which entries of an answer are wanted.
//!
//! ```text
//! Meta.rack == r2 and not (Node matches "^db" or "v1" in ServiceTags)
//! Checks.Status != passing          any check that is not passing
//! Meta["build.id"] is not empty
//! ```
//!
//! An expression is read and checked once against the [`Schema`] of what it is asked of, so that a
//! misspelt selector, an operator that does not fit or a value of the wrong type is an error and
//! not an empty answer. [`Filter::matches`] then allocates nothing.
//!
//! Documented by the reference as "Filtering" (API, features).

mod ast;
mod bind;
mod error;
mod lexer;
mod parser;
pub mod regexp;
pub mod schema;
mod value;

pub use bind::Filter;
pub use error::FilterError;
pub use schema::AgentService;
pub use value::{Filterable, Kind, ObjectMap, Objects, Schema, Value};

#[cfg(test)]
mod tests;
