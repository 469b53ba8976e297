//! The names the Raft engine is instantiated with.
//!
//! Servers are identified by their node id (a UUID) and nothing else; the
//! address kept beside it in the membership is only a hint for the time before
//! gossip knows better.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of a server: its node id. Never its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(Uuid);

impl ServerId {
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for ServerId {
    type Err = uuid::Error;

    /// Reads the 36-character form of a node id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text.trim()).map(Self)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the membership remembers about a server besides its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Address at the time the server was added. Used for dialing only while
    /// the address book has no answer.
    pub address: SocketAddr,
}

/// What a log entry asks of the layer above the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// A command of the application, passed to [`crate::Fsm::apply_batch`].
    Apply,
    /// A piece of a user restore; see [`crate::Consensus::restore_from`].
    Restore,
}

/// A proposed command: opaque bytes and who they are for.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    pub kind: CommandKind,
    pub data: Bytes,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind, self.data.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Result of an applied entry, on its way to the proposer of this process.
pub struct Applied {
    /// Index of the entry as the application sees it.
    pub index: u64,
    /// The answer; `None` for entries that are not commands.
    pub answer: Option<Box<dyn Any + Send + Sync>>,
    /// Why a restore piece was refused.
    pub refused: Option<String>,
}

impl Applied {
    pub(crate) fn nothing(index: u64) -> Self {
        Self { index, answer: None, refused: None }
    }
}

// The engine was built with its `serde` feature, which asks for these of every
// associated type. Entries have their own encoding (`entry`), and answers never
// leave the process, so a serializer that reaches these is a mistake to report.
macro_rules! not_serializable {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom(concat!(stringify!($t), " has no serde form")))
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(serde::de::Error::custom(concat!(stringify!($t), " has no serde form")))
            }
        }
    )*};
}
not_serializable!(Command, Applied);

openraft::declare_raft_types!(
    /// The engine's type parameters. Leader ids are in standard Raft mode: at
    /// most one leader per term.
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = ServerId,
        Node = Peer,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub(crate) mod alias {
    use super::TypeConfig;
    use openraft::type_config::alias as a;

    pub type Vote = a::VoteOf<TypeConfig>;
    pub type LogId = a::LogIdOf<TypeConfig>;
    pub type Entry = a::EntryOf<TypeConfig>;
    pub type StoredMembership = a::StoredMembershipOf<TypeConfig>;
    pub type SnapshotMeta = a::SnapshotMetaOf<TypeConfig>;
    pub type Snapshot = a::SnapshotOf<TypeConfig, crate::snapshot::SnapshotData>;
    pub type CommittedLeaderId = a::CommittedLeaderIdOf<TypeConfig>;
    pub type Membership = openraft::Membership<super::ServerId, super::Peer>;
    pub type Append = openraft::raft::AppendEntriesRequest<TypeConfig>;
    pub type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;

    pub fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term), index)
    }
}
