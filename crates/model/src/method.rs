//! RPC methods as types: name, arguments, reply, and how a call is routed.

use std::any::Any;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoded::EncodedAnswers;
use crate::options::{QueryMeta, QueryOptions};

/// Whether a call changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// May be served stale where the caller allows it, and repeated after a broken stream.
    Read,
    /// Never repeated once it may have run.
    Write,
    /// Carries no routing fields.
    Unrouted,
}

/// How far a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// To the datacenter it names, and there to the leader unless a stale read is allowed.
    Leader,
    /// To the datacenter it names, and there to any server.
    Datacenter,
    /// Answered by whoever gets it.
    Here,
}

/// What the road needs to know of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodInfo {
    /// `Service.Method`, as the wire names it.
    pub name: &'static str,
    /// Read or write.
    pub access: Access,
    /// How far it travels.
    pub forward: Forward,
}

/// A method: a type that names its arguments and its reply.
pub trait Method: Send + Sync + 'static {
    /// What is asked.
    type Args: Request;
    /// What is answered.
    type Reply: Reply;
    /// Name and routing.
    const INFO: &'static MethodInfo;
}

/// The routing fields of a request, where it has them.
pub trait Routing: Send + Sync {
    /// The datacenter asked; empty where the request has no such field.
    fn datacenter(&self) -> &str {
        ""
    }
    /// Names another datacenter.
    fn set_datacenter(&mut self, _datacenter: &str) {}
    /// The secret of the caller's token.
    fn token(&self) -> &str {
        ""
    }
    /// Replaces the token.
    fn set_token(&mut self, _token: &str) {}
    /// The options of a read.
    fn query_options(&self) -> Option<&QueryOptions> {
        None
    }
    /// The options of a read, to change.
    fn query_options_mut(&mut self) -> Option<&mut QueryOptions> {
        None
    }
}

/// Arguments of a method.
pub trait Request: Routing + Clone + Serialize + DeserializeOwned + Any {}

impl<T: Routing + Clone + Serialize + DeserializeOwned + Any> Request for T {}

/// A method's answer.
pub trait Reply: Serialize + DeserializeOwned + Clone + Send + Sync + Any {
    /// Whether copies share all that is large.
    const SHARED: bool = false;

    /// The wire form, remembered or written now.
    fn encode(&self, _known: &EncodedAnswers) -> Result<Bytes, msgpack::Error> {
        msgpack::to_vec(self).map(Bytes::from)
    }
    /// What a read answer says of itself.
    fn query_meta(&self) -> Option<&QueryMeta> {
        None
    }
    /// The same, to fill in.
    fn query_meta_mut(&mut self) -> Option<&mut QueryMeta> {
        None
    }
}
