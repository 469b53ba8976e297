//! Errors on their way to a client: a status code and a text.

use std::fmt;

use model::error::{ErrorKind, RpcError};

/// What a client gets instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status code.
    pub status: u16,
    /// The body, plain text.
    pub text: String,
}

impl ApiError {
    /// Any status.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// 400: the request is at fault.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// 403: the caller may not.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(403, text)
    }

    /// 404: there is no such thing.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, text)
    }

    /// 500: it did not work.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ApiError {}

impl From<RpcError> for ApiError {
    fn from(error: RpcError) -> Self {
        let status = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::AclNotFound => 403,
            ErrorKind::AclDisabled => 401,
            ErrorKind::RateLimited => 429,
            _ => 500,
        };
        Self { status, text: error.text().to_owned() }
    }
}
