//! The table of endpoints: every RPC method with the code that answers it.
//!
//! An endpoint is written with its method's own types; the table erases them, so that the road,
//! the RPC port and the forwarder treat all methods alike.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use model::encoded::EncodedAnswers;
use model::error::{ErrorKind, RpcError};
use model::method::{Method, MethodInfo, Reply as _};
use model::road::{ErasedArgs, ErasedReply};

use crate::core::Core;
use crate::read::{self, ReadFn};

type Run = dyn Fn(Arc<Core>, Box<dyn ErasedArgs>, Option<Instant>) -> BoxFuture<'static, Ran> + Send + Sync;

/// What became of a call here.
pub struct Ran {
    /// The answer.
    pub outcome: Result<ErasedReply, RpcError>,
    /// The arguments again, where the endpoint only looked at them.
    pub args: Option<Box<dyn ErasedArgs>>,
}

type Decode = fn(&[u8]) -> Result<Box<dyn ErasedArgs>, msgpack::Error>;

/// A method with the code that answers it here.
pub struct Endpoint {
    /// Name and routing.
    pub info: &'static MethodInfo,
    decode_args: Decode,
    encode_reply: fn(&ErasedReply, &EncodedAnswers) -> Result<Bytes, RpcError>,
    /// Whether the arguments come back.
    returns_args: bool,
    run: Box<Run>,
}

impl Endpoint {
    /// Whether the arguments come back from [`Endpoint::run`], so that nobody need keep a copy.
    pub fn returns_args(&self) -> bool {
        self.returns_args
    }

    /// Reads arguments in their wire form.
    pub fn decode_args(&self, bytes: &[u8]) -> Result<Box<dyn ErasedArgs>, msgpack::Error> {
        (self.decode_args)(bytes)
    }

    /// Writes a reply of this method in its wire form.
    pub fn encode_reply(&self, reply: &ErasedReply, known: &EncodedAnswers) -> Result<Bytes, RpcError> {
        (self.encode_reply)(reply, known)
    }

    /// Answers here, whatever the arguments say of routing.
    pub fn run(
        &self,
        core: Arc<Core>,
        args: Box<dyn ErasedArgs>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'static, Ran> {
        (self.run)(core, args, deadline)
    }
}

/// All endpoints by name.
#[derive(Default)]
pub struct Registry {
    by_name: HashMap<&'static str, Endpoint>,
}

impl Registry {
    /// Looks a method up.
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.by_name.get(name)
    }

    /// Adds a read: a pure function of a view of the state. Blocking, consistency and the answer's
    /// meta data are seen to around it.
    pub fn read<M: Method>(&mut self, answer: ReadFn<M>) {
        let run: Box<Run> = Box::new(move |core, args, deadline| {
            Box::pin(async move {
                let outcome = match (&*args as &dyn Any).downcast_ref::<M::Args>() {
                    Some(args) => read::run::<M>(&core, args, deadline, answer).await,
                    None => Err(mismatch(M::INFO)),
                };
                Ran { outcome: outcome.map(|reply| Box::new(reply) as ErasedReply), args: Some(args) }
            })
        });
        self.insert::<M>(run, true);
    }

    /// Adds a call with a life of its own: a write, or something that asks more than the state.
    pub fn call<M, F, Fut>(&mut self, answer: F)
    where
        M: Method,
        F: Fn(Arc<Core>, M::Args) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Result<M::Reply, RpcError>> + Send + 'static,
    {
        let timer = timer_of(M::INFO.name);
        let run: Box<Run> = Box::new(move |core, args, _| {
            Box::pin(async move {
                let args = match args.into_any().downcast::<M::Args>() {
                    Ok(args) => *args,
                    Err(_) => return Ran { outcome: Err(mismatch(M::INFO)), args: None },
                };
                let started = Instant::now();
                let reply = answer(core, args).await;
                if let Some(timer) = timer {
                    metrics::histogram!(timer).record(started.elapsed().as_secs_f64() * 1e3);
                }
                Ran { outcome: reply.map(|reply| Box::new(reply) as ErasedReply), args: None }
            })
        });
        self.insert::<M>(run, false);
    }

    fn insert<M: Method>(&mut self, run: Box<Run>, returns_args: bool) {
        self.by_name.insert(
            M::INFO.name,
            Endpoint {
                info: M::INFO,
                decode_args: |bytes| {
                    msgpack::from_slice::<M::Args>(bytes).map(|args| Box::new(args) as Box<dyn ErasedArgs>)
                },
                encode_reply: |reply, known| match reply.downcast_ref::<M::Reply>() {
                    Some(reply) => reply.encode(known).map_err(|error| {
                        RpcError::new(
                            ErrorKind::Other,
                            format!("cannot encode the reply of {}: {error}", M::INFO.name),
                        )
                    }),
                    None => Err(mismatch(M::INFO)),
                },
                returns_args,
                run,
            },
        );
    }
}

/// The name under which dashboards know the time that a call takes.
fn timer_of(method: &str) -> Option<&'static str> {
    Some(match method {
        "KVS.Apply" => "kvs.apply",
        "Txn.Apply" => "txn.apply",
        "Session.Apply" => "session.apply",
        "Session.Renew" => "session.renew",
        "Catalog.Register" => "catalog.register",
        "Catalog.Deregister" => "catalog.deregister",
        "PreparedQuery.Apply" => "prepared-query.apply",
        "PreparedQuery.Execute" => "prepared-query.execute",
        "PreparedQuery.ExecuteRemote" => "prepared-query.execute_remote",
        _ => return None,
    })
}

fn mismatch(info: &MethodInfo) -> RpcError {
    RpcError::new(ErrorKind::Other, format!("{}: arguments or reply of another method", info.name))
}
