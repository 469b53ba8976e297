//! Errors a caller of this crate can meet.

use std::io;

use openraft::TryAsRef;
use openraft::errors::{
    ClientWriteError, Fatal, ForwardToLeader, InitializeError, LinearizableReadError, RaftError,
};

use crate::types::{ServerId, TypeConfig};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsensusError {
    /// This server does not lead. `leader` is who does, if known.
    #[error("node is not the leader")]
    NotLeader { leader: Option<ServerId> },
    /// Leadership was lost after the entry was written: it may or may not
    /// have been committed.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// No quorum answered in time.
    #[error("no quorum of servers is reachable")]
    NoQuorum,
    #[error("timed out enqueuing operation")]
    Timeout,
    #[error("raft is already shutdown")]
    Shutdown,
    /// The log or a snapshot could not be read or written.
    #[error("raft storage: {0}")]
    Storage(String),
    /// A membership change that cannot be made now.
    #[error("membership change refused: {0}")]
    Membership(String),
    /// This server already has a log or a vote.
    #[error("bootstrap only works on new clusters")]
    AlreadyBootstrapped,
    #[error("invalid configuration: {0}")]
    Config(String),
    /// The command is larger than [`crate::MAX_COMMAND`].
    #[error("command of {0} bytes is too large")]
    TooLarge(usize),
    /// The state machine refused an archive to restore.
    #[error("restore refused: {0}")]
    Restore(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Fatal<TypeConfig>> for ConsensusError {
    fn from(error: Fatal<TypeConfig>) -> Self {
        match error {
            Fatal::StorageError(e) => Self::Storage(e.to_string()),
            Fatal::Panicked => Self::Storage("the consensus task failed unexpectedly".into()),
            Fatal::Stopped => Self::Shutdown,
        }
    }
}

impl From<ForwardToLeader<TypeConfig>> for ConsensusError {
    fn from(forward: ForwardToLeader<TypeConfig>) -> Self {
        Self::NotLeader { leader: forward.leader_id }
    }
}

impl From<ClientWriteError<TypeConfig>> for ConsensusError {
    fn from(error: ClientWriteError<TypeConfig>) -> Self {
        match error {
            ClientWriteError::ForwardToLeader(forward) => forward.into(),
            ClientWriteError::LogEntryDiscarded(_) => Self::LeadershipLost,
            ClientWriteError::ChangeMembershipError(e) => Self::Membership(e.to_string()),
            ClientWriteError::PreconditionFailed(e) => Self::Membership(e.to_string()),
        }
    }
}

impl From<LinearizableReadError<TypeConfig>> for ConsensusError {
    fn from(error: LinearizableReadError<TypeConfig>) -> Self {
        let forward: Option<&ForwardToLeader<TypeConfig>> = error.try_as_ref();
        match forward {
            Some(forward) => Self::NotLeader { leader: forward.leader_id },
            None => Self::NoQuorum,
        }
    }
}

impl From<InitializeError<TypeConfig>> for ConsensusError {
    fn from(error: InitializeError<TypeConfig>) -> Self {
        match error {
            InitializeError::NotAllowed(_) => Self::AlreadyBootstrapped,
            InitializeError::NotInMembers(e) => Self::Config(e.to_string()),
            #[allow(unreachable_patterns)]
            other => Self::Config(other.to_string()),
        }
    }
}

impl<E> From<RaftError<TypeConfig, E>> for ConsensusError
where
    ConsensusError: From<E>,
{
    fn from(error: RaftError<TypeConfig, E>) -> Self {
        match error {
            RaftError::APIError(e) => e.into(),
            RaftError::Fatal(e) => e.into(),
        }
    }
}
