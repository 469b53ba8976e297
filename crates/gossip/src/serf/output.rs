//! What comes out of the state machine.

use super::clock::LamportTime;
use super::keys::KeyReport;
use super::member::Member;
use super::snapshot::Record;
use crate::swim::{self, Tick};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// What happened to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberEventKind {
    /// There, for the first time or again.
    Join,
    /// Gone on purpose.
    Leave,
    /// Gone without a word.
    Failed,
    /// Changed its tags or address.
    Update,
    /// Forgotten.
    Reap,
}

/// What the owner of the pool is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something happened to a member.
    Member(MemberEventKind, Arc<Member>),
    /// A user event.
    User(UserEventNotice),
    /// A question of another member.
    Query(QueryNotice),
}

/// A user event as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEventNotice {
    /// Its name.
    pub name: String,
    /// Its time.
    pub ltime: LamportTime,
    /// What it carries.
    pub payload: Bytes,
    /// Whether it may be merged with others of its name.
    pub cc: bool,
}

/// A question as it is delivered; answered with [`Serf::respond`](super::Serf::respond).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryNotice {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: Bytes,
    /// Who asks.
    pub source: String,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// Where and until when an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    pub(super) ltime: LamportTime,
    pub(super) id: u32,
    pub(super) to: SocketAddr,
    pub(super) source: String,
    pub(super) relay_factor: u8,
    pub(super) deadline: Tick,
}

/// One of our own running questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// What came of one of our questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryUpdate {
    /// A member has got it.
    Ack {
        /// Which member.
        from: String,
    },
    /// A member's answer.
    Response {
        /// Which member.
        from: String,
        /// Its answer.
        payload: Bytes,
    },
    /// Nothing more will come.
    Done,
}

/// Something for the driver.
#[derive(Debug)]
pub enum Output {
    /// Packets, streams and the ends of joins. Never [`swim::Output::LeaveDone`].
    Io(swim::Output),
    /// Something to tell the owner.
    Event(Event),
    /// About one of our questions.
    Query(QueryId, QueryUpdate),
    /// A key operation is over.
    Keys(QueryId, KeyReport),
    /// Something to write down.
    Snapshot(Record),
    /// The keyring changed: the keys, the primary first.
    SaveKeyring(Vec<Vec<u8>>),
    /// The leave is over.
    LeaveDone,
    /// Another member has our name and the pool decided for it.
    ConflictLost,
}
