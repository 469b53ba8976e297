//! What applying commands gives back.

use model::duration::GoDuration;
use model::txn::TxnResponse;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done, nothing to say.
    Nil,
    /// Whether a conditional write took place.
    Bool(bool),
    /// An id.
    Text(String),
    /// The outcome of a transaction, errors included.
    Txn(TxnResponse),
    /// Refused; nothing was changed. The text is what callers see.
    Error(String),
}

/// Something a command brought about that the leader keeps a clock for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A session ended: its timer is to be forgotten.
    SessionEnded {
        /// Its id.
        id: String,
    },
    /// A session ended while it held a key: the key may not be locked for this long (never zero,
    /// at most a minute).
    LockDelay {
        /// The key.
        key: String,
        /// How long.
        delay: GoDuration,
    },
    /// Tombstones were made, to be reaped some time later.
    Tombstones {
        /// Their index.
        index: u64,
    },
}

/// The outcome of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// One for each command, in order.
    pub answers: Vec<Answer>,
    /// Of all commands, in order.
    pub effects: Vec<Effect>,
}

/// Why a command was refused. The texts are what callers see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Missing node registration")]
    MissingNode,
    #[error("Missing service registration")]
    MissingService,
    #[error("{0}")]
    Text(String),
}

impl Refusal {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}
