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

/// Refuses an id that none that we give can be; a well-formed one may still be unknown.
fn look_up(what: &str, id: &str) -> Result<(), RpcError> {
    let reason = match id.len() {
        36 if uuid::Uuid::try_parse(id).is_ok() => return Ok(()),
        36 => "invalid UUID",
        _ => "UUID must be 36 characters",
    };
    refuse(format!("failed {what} lookup: index error: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::look_up;

    #[test]
    fn ids_have_a_form() {
        assert!(look_up("session", "11111111-2222-4333-8444-555555555555").is_ok());
        let text = |id| look_up("session", id).unwrap_err().to_string();
        assert_eq!(text("x"), "failed session lookup: index error: UUID must be 36 characters");
        assert_eq!(
            text("zzzzzzzz-2222-4333-8444-555555555555"),
            "failed session lookup: index error: invalid UUID"
        );
    }
}
