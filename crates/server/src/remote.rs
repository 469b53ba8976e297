//! Calls to other datacenters: the driver of [`federation::Router`].
//!
//! Every call ends by a deadline taken from the caller's. A server that cannot be reached, or does
//! not answer within its share of the time, is passed over for the next; a write is repeated only
//! while it is certain that it did not run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use federation::{Budget, Outcome, RouteError, Router, RouterConfig, ServerInfo, Ticket};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::error::{CALL_PREFIX, ErrorKind, RpcError};
use model::method::{Access, MethodInfo};
use parking_lot::Mutex;
use rpc::{CallError, ConnPool, ServerAddr};

const PING: &str = "Status.Ping";
/// An empty map.
const NO_ARGS: &[u8] = &[0x80];

/// How long a call that nobody holds back may take, all servers tried together. Users wait five
/// seconds at most; half a second is left for the hops on this side.
pub const CALL_LIMIT: Duration = Duration::from_millis(4500);
/// How long the servers of a datacenter that was cut off are given to show that one is back. Together with the
/// breaker's pause it is less than users wait.
const TRIAL_LIMIT: Duration = Duration::from_millis(1500);
/// How often a server with calls held open is asked whether it is still there.
const CHECK_HELD: Duration = Duration::from_secs(5);

/// The way to other datacenters.
pub struct Remotes {
    router: Mutex<Router>,
    pool: Arc<ConnPool>,
    epoch: Instant,
    limit: Duration,
}

/// Gives a ticket back, whatever becomes of the call's future.
struct Leave<'a> {
    remotes: &'a Remotes,
    ticket: Option<Ticket>,
}

impl Leave<'_> {
    fn end(mut self, outcome: Outcome) {
        self.give_back(outcome);
    }

    fn give_back(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.remotes.router.lock().finish(ticket, outcome, self.remotes.now());
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.give_back(Outcome::Abandoned);
    }
}

impl Remotes {
    /// A router without servers, which WAN gossip fills.
    pub fn new(local: &str, pool: Arc<ConnPool>) -> Self {
        Self {
            router: Mutex::new(Router::new(local, RouterConfig::default())),
            pool,
            epoch: Instant::now(),
            limit: CALL_LIMIT,
        }
    }

    /// The router, for membership changes and questions that do not call anybody.
    pub fn with_router<T>(&self, ask: impl FnOnce(&mut Router) -> T) -> T {
        ask(&mut self.router.lock())
    }

    /// A server of a datacenter for a connection of its own, the best first.
    pub fn any_server(&self, datacenter: &str) -> Result<ServerAddr, RpcError> {
        let mut router = self.router.lock();
        let now = self.now();
        let ticket = router.route(datacenter, now, &mut rand::rng()).map_err(refused)?;
        let server = ticket.servers.first().map(target).ok_or_else(RpcError::no_path);
        router.finish(ticket, Outcome::Abandoned, now);
        server
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Calls a method in another datacenter. `args` and the answer are in their wire form; `hold` is
    /// how long the far side may keep the answer back.
    pub async fn call(
        &self,
        datacenter: &str,
        info: &'static MethodInfo,
        args: &[u8],
        hold: Duration,
        deadline: Option<Instant>,
    ) -> Result<Bytes, RpcError> {
        let now = self.now();
        let ticket = {
            let mut router = self.router.lock();
            router.route(datacenter, now, &mut rand::rng()).map_err(refused)?
        };
        let mut servers = ticket.servers.clone();
        let trial = ticket.is_trial();
        let leave = Leave { remotes: self, ticket: Some(ticket) };
        let caller = deadline.map(|deadline| now + deadline.saturating_duration_since(Instant::now()));
        let budget = Budget::new(now, self.limit, hold, caller);
        let mut failures = Failures::new(datacenter);
        if trial {
            self.find_living(&mut servers, budget.deadline(), &mut failures).await;
        }
        for (index, server) in servers.iter().enumerate() {
            let repeatable = info.access == Access::Read;
            let Some(slice) = budget.slice(self.now(), servers.len() - index, repeatable) else { break };
            let started = Instant::now();
            match self.attempt(server, info, args, hold, started + slice).await {
                Ok(reply) => {
                    self.router.lock().answered(&server.name, hold.is_zero().then(|| started.elapsed()));
                    leave.end(Outcome::Answered);
                    return Ok(reply);
                }
                Err(error @ CallError::Remote(_)) => {
                    self.router.lock().answered(&server.name, None);
                    leave.end(Outcome::Answered);
                    return Err(error.into());
                }
                Err(error) => {
                    self.router.lock().unanswered(&server.name, self.now());
                    let may_have_run = error.may_have_run();
                    failures.add(server, error, slice);
                    if may_have_run && !repeatable {
                        break;
                    }
                }
            }
        }
        let error = failures.into_error();
        leave.end(Outcome::Failed(error.text().to_owned()));
        Err(error)
    }

    /// Leaves the server that is the first to answer a ping, or none: so the trial of a datacenter that is still gone
    /// ends early, and the next one is early too.
    async fn find_living(&self, servers: &mut Vec<ServerInfo>, deadline: Duration, failures: &mut Failures) {
        let limit = TRIAL_LIMIT.min(deadline.saturating_sub(self.now()));
        let until = Some(Instant::now() + limit);
        let mut pings: FuturesUnordered<_> =
            servers
                .iter()
                .map(|server| async move {
                    (server, self.pool.call_raw(&target(server), PING, NO_ARGS, until).await)
                })
                .collect();
        let mut living = None;
        while let Some((server, pong)) = pings.next().await {
            match pong {
                Ok(_) | Err(CallError::Remote(_)) => {
                    living = Some(server.clone());
                    break;
                }
                Err(error) => {
                    self.router.lock().unanswered(&server.name, self.now());
                    failures.add(server, error, limit);
                }
            }
        }
        drop(pings);
        *servers = living.into_iter().collect();
    }

    /// One server. A call that is held open is watched: if its server stops answering pings, the
    /// call counts as broken long before its own deadline.
    async fn attempt(
        &self,
        server: &ServerInfo,
        info: &'static MethodInfo,
        args: &[u8],
        hold: Duration,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let target = target(server);
        let call = self.pool.call_raw(&target, info.name, args, Some(deadline));
        if hold.is_zero() {
            return call.await;
        }
        tokio::pin!(call);
        loop {
            tokio::select! {
                reply = &mut call => return reply,
                () = tokio::time::sleep(CHECK_HELD) => {
                    let until = Some(Instant::now() + self.limit);
                    let ping = self.pool.call_raw(&target, PING, NO_ARGS, until);
                    tokio::select! {
                        reply = &mut call => return reply,
                        pong = ping => {
                            if let Err(error) = pong && !matches!(error, CallError::Remote(_)) {
                                return Err(error);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn refused(error: RouteError) -> RpcError {
    RpcError::from_text(error.to_string())
}

fn target(server: &ServerInfo) -> ServerAddr {
    ServerAddr { name: server.name.clone(), addr: server.address, datacenter: server.datacenter.clone() }
}

/// What each server tried said, for one error that tells all.
struct Failures {
    datacenter: String,
    first: Option<RpcError>,
    tried: Vec<String>,
}

impl Failures {
    fn new(datacenter: &str) -> Self {
        Self { datacenter: datacenter.to_owned(), first: None, tried: Vec::new() }
    }

    fn add(&mut self, server: &ServerInfo, error: CallError, slice: Duration) {
        let error = match error {
            CallError::Deadline(_) => RpcError::new(
                ErrorKind::Deadline,
                format!("{CALL_PREFIX}no answer within {:.1} s", slice.as_secs_f64()),
            ),
            other => other.into(),
        };
        self.tried.push(format!("{} at {}: {}", server.name, server.address, error.text()));
        self.first.get_or_insert(error);
    }

    /// The text that clients know first, then which datacenter, which servers, and why.
    fn into_error(self) -> RpcError {
        let Self { datacenter, first, tried } = self;
        match first {
            Some(first) => RpcError::new(
                first.kind(),
                format!("{} (datacenter {datacenter:?}, tried {})", first.text(), tried.join("; ")),
            ),
            None => RpcError::new(
                ErrorKind::Deadline,
                format!(
                    "{CALL_PREFIX}deadline passed before a server of datacenter {datacenter:?} could be asked"
                ),
            ),
        }
    }
}
