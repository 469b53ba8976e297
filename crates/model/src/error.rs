//! Errors that cross RPC hops.
//!
//! The protocol has no error codes: an error is a text, and peers recognise the special ones by
//! substring. Here the text is matched once, into an [`ErrorKind`].

use std::fmt;

/// Put before the text by whoever forwarded the call, once per hop.
pub const CALL_PREFIX: &str = "rpc error making call: ";
/// Put before the text when no connection or stream could be had.
pub const CLIENT_PREFIX: &str = "rpc error getting client: ";

/// What an error means for routing, retries and the answer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no leader now; worth another try until the hold time is over.
    NoLeader,
    /// Raft names a leader that gossip does not know.
    LeaderUnknown,
    /// The datacenter is not known to the router.
    NoPath,
    /// The datacenter is known, but none of its servers is reachable.
    NoServerReachable,
    /// A client agent knows no server.
    NoServers,
    /// The leader cannot serve linearizable reads yet.
    NotReady,
    /// The agent's own limit on calls.
    RateLimited,
    /// The token's secret is unknown.
    AclNotFound,
    /// The token may not do this.
    PermissionDenied,
    /// ACLs are off.
    AclDisabled,
    /// No prepared query of that name or id.
    QueryNotFound,
    /// The connection or stream broke: the call may or may not have run.
    Transport,
    /// The caller's deadline passed.
    Deadline,
    /// Everything else, told by its text alone.
    Other,
}

/// Texts that stand for a kind, first match wins.
const TEXTS: &[(&str, ErrorKind)] = &[
    ("No cluster leader", ErrorKind::NoLeader),
    ("Raft leader not found in server lookup mapping", ErrorKind::LeaderUnknown),
    ("No path to datacenter", ErrorKind::NoPath),
    ("Remote DC has no server currently reachable", ErrorKind::NoServerReachable),
    ("No known Consul servers", ErrorKind::NoServers),
    ("Not ready to serve consistent reads", ErrorKind::NotReady),
    ("RPC rate limit exceeded", ErrorKind::RateLimited),
    ("ACL not found", ErrorKind::AclNotFound),
    ("Permission denied", ErrorKind::PermissionDenied),
    ("ACL support disabled", ErrorKind::AclDisabled),
    ("Query not found", ErrorKind::QueryNotFound),
    ("stream closed", ErrorKind::Transport),
    ("session shutdown", ErrorKind::Transport),
];

/// An error as the wire carries it, with what it was recognised as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    kind: ErrorKind,
    text: String,
}

impl RpcError {
    /// Recognises a text, prefixes of earlier hops included.
    pub fn from_text(text: impl Into<String>) -> Self {
        let text = text.into();
        let kind = TEXTS
            .iter()
            .find(|(known, _)| text.contains(known))
            .map(|(_, kind)| *kind)
            .or_else(|| text.ends_with(": EOF").then_some(ErrorKind::Transport))
            .unwrap_or(ErrorKind::Other);
        Self { kind, text }
    }

    /// An error of a kind that the text alone does not tell.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// There is no leader.
    pub fn no_leader() -> Self {
        Self::from_text("No cluster leader")
    }

    /// The datacenter is unknown.
    pub fn no_path() -> Self {
        Self::from_text("No path to datacenter")
    }

    /// What it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same error as the next hop tells it: with the prefix of a failed call.
    #[must_use]
    pub fn through_call(self) -> Self {
        Self { kind: self.kind, text: format!("{CALL_PREFIX}{}", self.text) }
    }

    /// The same error, told as a failure to reach the server at all.
    #[must_use]
    pub fn through_client(self) -> Self {
        Self { kind: self.kind, text: format!("{CLIENT_PREFIX}{}", self.text) }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RpcError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_hops() {
        let error = RpcError::no_leader().through_call().through_call();
        assert_eq!(error.text(), "rpc error making call: rpc error making call: No cluster leader");
        assert_eq!(RpcError::from_text(error.text()).kind(), ErrorKind::NoLeader);
        assert_eq!(RpcError::from_text("read tcp: EOF").kind(), ErrorKind::Transport);
        assert_eq!(RpcError::from_text("whatever").kind(), ErrorKind::Other);
    }
}
