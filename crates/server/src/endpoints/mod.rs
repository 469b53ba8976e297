//! The endpoints, a file for each RPC service.

mod catalog;
mod coordinate;
mod health;
mod internal;
mod kv;
mod operator;
mod query;
mod session;
pub(crate) mod sort;
mod status;
mod txn;

use model::error::{ErrorKind, RpcError};

use crate::registry::Registry;

/// The table of all endpoints.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    catalog::register(&mut registry);
    health::register(&mut registry);
    coordinate::register(&mut registry);
    kv::register(&mut registry);
    session::register(&mut registry);
    txn::register(&mut registry);
    query::register(&mut registry);
    internal::register(&mut registry);
    operator::register(&mut registry);
    status::register(&mut registry);
    registry
}

/// A request that its endpoint refuses.
fn refuse<T>(text: impl Into<String>) -> Result<T, RpcError> {
    Err(RpcError::new(ErrorKind::Other, text))
}
