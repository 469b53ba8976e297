//! The one road of a request: HTTP, DNS, agent and RPC streams all call through [`Road`].
//!
//! A road is typed at its ends and erased in between, so that a server agent answers without
//! encoding anything, and a client agent encodes once, on the connection.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;

use crate::decoded::DecodedReplies;
use crate::error::{ErrorKind, RpcError};
use crate::method::{Method, MethodInfo, Routing};

/// A reply whose type is known to the caller only.
pub type ErasedReply = Box<dyn Any + Send>;

/// Arguments whose type is known to the method only.
pub trait ErasedArgs: Any + Send + Sync {
    /// Routing fields.
    fn routing(&self) -> &dyn Routing;
    /// Routing fields, to change.
    fn routing_mut(&mut self) -> &mut dyn Routing;
    /// The wire form.
    fn encode(&self) -> Result<Vec<u8>, msgpack::Error>;
    /// The value itself, for the endpoint that knows its type.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
    /// A copy, for a call that may be tried again.
    fn clone_box(&self) -> Box<dyn ErasedArgs>;
}

impl<T: crate::method::Request> ErasedArgs for T {
    fn routing(&self) -> &dyn Routing {
        self
    }
    fn routing_mut(&mut self) -> &mut dyn Routing {
        self
    }
    fn encode(&self) -> Result<Vec<u8>, msgpack::Error> {
        msgpack::to_vec(self)
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
    fn clone_box(&self) -> Box<dyn ErasedArgs> {
        Box::new(self.clone())
    }
}

/// A call on its way.
pub struct ErasedCall {
    /// Which method.
    pub info: &'static MethodInfo,
    /// Its arguments.
    pub args: Box<dyn ErasedArgs>,
    /// When the caller stops waiting; `None` leaves it to the road's own limits.
    pub deadline: Option<Instant>,
    /// Reads the reply's wire form.
    pub decode_reply: fn(&[u8], &DecodedReplies) -> Result<ErasedReply, RpcError>,
}

impl ErasedCall {
    /// A call of `M`.
    pub fn new<M: Method>(args: M::Args, deadline: Option<Instant>) -> Self {
        Self { info: M::INFO, args: Box::new(args), deadline, decode_reply: decode_reply::<M> }
    }
}

impl Clone for ErasedCall {
    fn clone(&self) -> Self {
        Self {
            info: self.info,
            args: (*self.args).clone_box(),
            deadline: self.deadline,
            decode_reply: self.decode_reply,
        }
    }
}

impl fmt::Debug for ErasedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasedCall").field("method", &self.info.name).finish_non_exhaustive()
    }
}

fn decode_reply<M: Method>(bytes: &[u8], known: &DecodedReplies) -> Result<ErasedReply, RpcError> {
    known.get::<M>(bytes).map(|reply| Box::new(reply) as ErasedReply).map_err(|error| {
        RpcError::new(ErrorKind::Other, format!("malformed reply of {}: {error}", M::INFO.name))
    })
}

/// What carries calls: a server's own dispatcher, or a client agent's connection to its servers.
pub trait RoadBackend: Send + Sync + 'static {
    /// Takes a call to whoever must answer it.
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>>;
}

/// A handle on the road; cheap to clone.
#[derive(Clone)]
pub struct Road(Arc<dyn RoadBackend>);

impl Road {
    /// A road over a backend.
    pub fn new(backend: Arc<dyn RoadBackend>) -> Self {
        Self(backend)
    }

    /// Calls `M`, within the road's own limits.
    pub fn call<M: Method>(&self, args: M::Args) -> impl Future<Output = Result<M::Reply, RpcError>> + Send {
        self.call_until::<M>(args, None)
    }

    /// Calls `M`; the whole call ends by `deadline`.
    ///
    /// The arguments go to the heap at once: thousands of calls may wait at a time, and a future that
    /// carried them would carry them once more in every future around it.
    pub fn call_until<M: Method>(
        &self,
        args: M::Args,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<M::Reply, RpcError>> + Send {
        let reply = self.0.call(ErasedCall::new::<M>(args, deadline));
        async move {
            match reply.await?.downcast::<M::Reply>() {
                Ok(reply) => Ok(*reply),
                Err(_) => Err(RpcError::new(
                    ErrorKind::Other,
                    format!("the reply of {} has another type", M::INFO.name),
                )),
            }
        }
    }
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Road")
    }
}
