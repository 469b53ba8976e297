use model::error::{CALL_PREFIX, CLIENT_PREFIX, ErrorKind, RpcError};

use crate::yamux::SessionError;

/// Why a call gave no reply. The texts carry the prefixes that the next hop expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection. The call did not run.
    #[error("{CLIENT_PREFIX}failed to get conn: {0}")]
    Dial(String),
    /// No stream on a connection. The call did not run.
    #[error("{CLIENT_PREFIX}failed to start stream: {0}")]
    Open(SessionError),
    /// Too many calls to this server are in flight. The call did not run.
    #[error("{CLIENT_PREFIX}too many calls in flight to {0}")]
    Busy(String),
    /// The pool is shut down. The call did not run.
    #[error("{CLIENT_PREFIX}rpc client is shut down")]
    Shutdown,
    /// Stream or connection broke. The call may have run.
    #[error("{CALL_PREFIX}{0}")]
    Broken(String),
    /// The other side's answer.
    #[error("{CALL_PREFIX}{0}")]
    Remote(String),
    /// The caller's deadline passed. The call may have run.
    #[error("{CALL_PREFIX}deadline exceeded waiting for {0}")]
    Deadline(String),
}

impl CallError {
    /// Whether the other side may have carried the call out.
    pub fn may_have_run(&self) -> bool {
        match self {
            CallError::Dial(_) | CallError::Open(_) | CallError::Busy(_) | CallError::Shutdown => false,
            CallError::Broken(_) | CallError::Remote(_) | CallError::Deadline(_) => true,
        }
    }
}

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Remote(_) => RpcError::from_text(text),
            CallError::Deadline(_) => RpcError::new(ErrorKind::Deadline, text),
            CallError::Busy(_) | CallError::Shutdown => RpcError::new(ErrorKind::Other, text),
            CallError::Dial(_) | CallError::Open(_) | CallError::Broken(_) => {
                RpcError::new(ErrorKind::Transport, text)
            }
        }
    }
}
