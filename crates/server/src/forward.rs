//! The one entry of all calls: here, the leader, or another datacenter?

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use model::error::{ErrorKind, RpcError};
use model::method::{Access, Forward, MethodInfo};
use model::road::{ErasedArgs, ErasedCall, ErasedReply, RoadBackend};
use rand::Rng as _;
use rpc::ServerAddr;

use crate::core::Core;
use crate::registry::Endpoint;

/// The longest single pause while there is no leader, as a part of the hold time.
const PAUSE_FRACTION: u32 = 16;

/// Arguments on their way; the wire form is made once, and only if somebody needs it.
struct Outbound {
    /// There, unless an endpoint has them.
    args: Option<Box<dyn ErasedArgs>>,
    raw: Option<Bytes>,
}

impl Outbound {
    fn raw(&mut self, info: &MethodInfo) -> Result<Bytes, RpcError> {
        if let Some(raw) = &self.raw {
            return Ok(raw.clone());
        }
        let encoded = self.args(info)?.encode().map_err(|error| {
            RpcError::new(ErrorKind::Other, format!("cannot encode the arguments of {}: {error}", info.name))
        })?;
        Ok(self.raw.insert(encoded.into()).clone())
    }

    fn args(&self, info: &MethodInfo) -> Result<&dyn ErasedArgs, RpcError> {
        self.args.as_deref().ok_or_else(|| gone(info))
    }
}

fn gone(info: &MethodInfo) -> RpcError {
    RpcError::new(ErrorKind::Other, format!("{}: the arguments were used up", info.name))
}

/// An answer as it came: a value from here, or bytes from elsewhere.
pub(crate) enum Answer {
    Here(ErasedReply),
    Elsewhere(Bytes),
}

impl Core {
    /// Takes a call to whoever must answer it. `raw` is the wire form of the arguments where the
    /// caller has it already.
    pub(crate) async fn dispatch(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        args: Box<dyn ErasedArgs>,
        raw: Option<Bytes>,
        deadline: Option<Instant>,
    ) -> Result<Answer, RpcError> {
        let info = endpoint.info;
        if info.forward == Forward::Here {
            return endpoint.run(self.clone(), args, deadline).await.outcome.map(Answer::Here);
        }
        let routing = (*args).routing();
        let datacenter = routing.datacenter();
        // Only the status methods take a missing name for their own datacenter.
        let home =
            datacenter == self.datacenter() || (datacenter.is_empty() && info.forward == Forward::Datacenter);
        let hold =
            routing.query_options().map(|options| self.config.query_times.hold(options)).unwrap_or_default();
        if !home {
            let datacenter = datacenter.to_owned();
            let mut outbound = Outbound { args: Some(args), raw };
            let raw = outbound.raw(info)?;
            // Boxed: what is on the way elsewhere is large, and every query that blocks here would be.
            let reply = Box::pin(self.remotes.call(&datacenter, info, &raw, hold, deadline)).await?;
            return Ok(Answer::Elsewhere(reply));
        }
        let stale = routing.query_options().is_some_and(|options| options.allow_stale);
        let here = info.forward == Forward::Datacenter
            || (info.access == Access::Read && stale && self.ever_heard_of_leader());
        if here {
            return endpoint.run(self.clone(), args, deadline).await.outcome.map(Answer::Here);
        }
        self.at_leader(endpoint, Outbound { args: Some(args), raw }, hold, deadline).await
    }

    /// Answers as the leader or asks the leader; holds the call and tries again while there is none.
    async fn at_leader(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        mut outbound: Outbound,
        hold: Duration,
        deadline: Option<Instant>,
    ) -> Result<Answer, RpcError> {
        let info = endpoint.info;
        let hold_timeout = self.config.rpc_hold_timeout;
        let mut first_failure: Option<Instant> = None;
        loop {
            let error = if self.is_leader() {
                let copy = match &outbound.args {
                    Some(args) if !endpoint.returns_args() => Some((**args).clone_box()),
                    _ => None,
                };
                let args = outbound.args.take().ok_or_else(|| gone(info))?;
                let ran = endpoint.run(self.clone(), args, deadline).await;
                outbound.args = ran.args.or(copy);
                match ran.outcome {
                    Ok(reply) => return Ok(Answer::Here(reply)),
                    Err(error) => error,
                }
            } else if let Some(leader) = self.leader_address() {
                let raw = outbound.raw(info)?;
                let limit = Instant::now() + hold + self.config.leader_call_limit;
                let until = deadline.map_or(limit, |deadline| deadline.min(limit));
                match Box::pin(self.pool.call_raw(&leader, info.name, &raw, Some(until))).await {
                    Ok(reply) => return Ok(Answer::Elsewhere(reply)),
                    Err(error) => {
                        // What may have run is not for us to repeat, unless it is a read.
                        let repeat = info.access == Access::Read || !error.may_have_run();
                        let error = RpcError::from(error);
                        if error.kind() == ErrorKind::Transport && !repeat {
                            RpcError::new(ErrorKind::Other, error.text())
                        } else {
                            error
                        }
                    }
                }
            } else if self.leader_known() {
                RpcError::from_text("Raft leader not found in server lookup mapping")
            } else {
                RpcError::no_leader()
            };
            // A connection that could not be had ran nothing, so a write may go again as well.
            let again = matches!(
                error.kind(),
                ErrorKind::NoLeader | ErrorKind::LeaderUnknown | ErrorKind::NotReady | ErrorKind::Transport
            );
            let now = Instant::now();
            let began = *first_failure.get_or_insert(now);
            let out_of_time = now >= began + hold_timeout || deadline.is_some_and(|deadline| now >= deadline);
            if !again || out_of_time || self.is_stopping() {
                return Err(error);
            }
            let pause = rand::rng().random_range(Duration::ZERO..=hold_timeout / PAUSE_FRACTION);
            // A change of leader ends the pause early.
            self.leadership_changed(pause).await;
        }
    }

    fn leader_address(&self) -> Option<ServerAddr> {
        let leader = self.lookup.get(self.leader()?)?;
        Some(self.server_addr(leader.name, leader.rpc))
    }
}

/// A server's own road: its HTTP and DNS faces call here.
pub struct LocalRoad(pub(crate) Arc<Core>);

impl RoadBackend for LocalRoad {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        Box::pin(async move {
            let Some(endpoint) = self.0.registry.get(call.info.name) else {
                return Err(RpcError::new(
                    ErrorKind::Other,
                    format!("rpc: can't find method {}", call.info.name),
                ));
            };
            match self.0.dispatch(endpoint, call.args, None, call.deadline).await? {
                Answer::Here(reply) => Ok(reply),
                Answer::Elsewhere(bytes) => (call.decode_reply)(&bytes, &self.0.decoded),
            }
        })
    }
}
