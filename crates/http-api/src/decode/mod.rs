//! Bodies of writing requests: JSON, read as leniently as clients of the API expect.
//!
//! Keys match without regard to case; `null` stands for the default of anything; unknown keys are
//! passed over. Registrations at the agent ([`lenient`]) also take `snake_case` keys and numbers
//! or truth values written as text.

mod de;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::error::ApiError;
pub use de::{Style, ValueDeserializer};

/// Reads a body; types must be right.
///
/// # Errors
/// 400 with the place and the reason.
pub fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    from_value(parse(body)?, Style::Strict)
}

/// Reads a body the way registrations are read.
///
/// # Errors
/// 400 with the place and the reason.
pub fn lenient<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    from_value(parse(body)?, Style::Lenient)
}

/// Reads a body into a tree.
///
/// # Errors
/// 400 with the place and the reason.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(refused("EOF"));
    }
    serde_json::from_slice(body).map_err(refused)
}

/// Reads a tree into a type.
///
/// # Errors
/// 400 with the reason.
pub fn from_value<T: DeserializeOwned>(value: Value, style: Style) -> Result<T, ApiError> {
    T::deserialize(ValueDeserializer::new(value, style)).map_err(refused)
}

fn refused(reason: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("Request decode failed: {reason}"))
}

/// Takes a key of an object, whatever its case and underscores.
pub fn take(object: &mut serde_json::Map<String, Value>, key: &str) -> Option<Value> {
    let found = object.keys().find(|name| de::same_key(name, key, Style::Lenient))?.clone();
    object.remove(&found)
}
