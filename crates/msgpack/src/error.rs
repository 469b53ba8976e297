use std::fmt::Display;

/// Why a value could not be written or read. Offsets count bytes from the start of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("msgpack: input ends inside a value (at byte {offset})")]
    Truncated { offset: usize },
    #[error("msgpack: expected {expected}, found {found} (at byte {offset})")]
    Unexpected { expected: &'static str, found: &'static str, offset: usize },
    #[error("msgpack: string of {len} bytes is not UTF-8 (at byte {offset})")]
    NotUtf8 { len: usize, offset: usize },
    #[error("msgpack: nested deeper than {} levels", crate::MAX_DEPTH)]
    TooDeep,
    #[error("msgpack: value longer than {limit} bytes")]
    TooLong { limit: usize },
    /// From a type's own `Serialize` or `Deserialize`.
    #[error("msgpack: {0}")]
    Message(String),
}

impl Error {
    /// A type's own complaint does not know where it stood.
    pub(crate) fn at(self, offset: usize) -> Error {
        match self {
            Error::Message(text) => Error::Message(format!("{text} (before byte {offset})")),
            other => other,
        }
    }
}

impl serde::ser::Error for Error {
    fn custom<T: Display>(msg: T) -> Self {
        Error::Message(msg.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: Display>(msg: T) -> Self {
        Error::Message(msg.to_string())
    }
}
