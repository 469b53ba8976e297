//! Bodies of writing requests: JSON, read as clients of the API expect.
//!
//! Keys match without regard to case; `null` stands for the default of anything; a key that names
//! nothing is refused, so that a misspelt field is not lost in silence. Registrations at the agent
//! ([`lenient`]) also take `snake_case` keys.

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

/// Reads a body into a tree. What comes behind the first value is not looked at.
///
/// # Errors
/// 400 with the place and the reason.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    match serde_json::Deserializer::from_slice(body).into_iter().next() {
        None => Err(refused("EOF")),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.is_eof() => Err(refused("unexpected EOF")),
        Some(Err(error)) => Err(refused(error)),
    }
}

/// Reads a tree into a type.
///
/// # Errors
/// 400 with the reason.
pub fn from_value<T: DeserializeOwned>(value: Value, style: Style) -> Result<T, ApiError> {
    T::deserialize(ValueDeserializer::new(value, style)).map_err(refused)
}

/// What stands before the reason in nearly every answer to a body that cannot be read.
const REFUSED: &str = "Request decode failed: ";

fn refused(reason: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("{REFUSED}{reason}"))
}

/// The bare reason, for endpoints that begin in other words.
pub fn reason(error: &ApiError) -> &str {
    error.text.strip_prefix(REFUSED).unwrap_or(&error.text)
}

/// Takes a key of an object, whatever its case and underscores.
pub fn take(object: &mut serde_json::Map<String, Value>, key: &str) -> Option<Value> {
    let found = object.keys().find(|name| de::same_key(name, key, Style::Lenient))?.clone();
    object.remove(&found)
}
