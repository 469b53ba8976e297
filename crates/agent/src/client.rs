//! A client agent's road: the servers of its datacenter, known from gossip, asked in turn.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use gossip::driver::PoolHandle;
use gossip::serf::MemberStatus;
use gossip::serf::consul::ServerParts;
use model::decoded::DecodedReplies;
use model::error::{ErrorKind, RpcError};
use model::method::Access;
use model::road::{ErasedCall, ErasedReply, RoadBackend};
use parking_lot::Mutex;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rpc::{CallError, ConnPool, PoolConfig, ServerAddr};
use server::QueryTimes;

use crate::limit::RateLimit;

/// Streams that a client keeps open for reuse.
const IDLE_STREAMS: usize = 32;
/// Time between shuffles of the server list, without its jitter.
const REBALANCE: Duration = Duration::from_secs(120);
/// The longest that a shuffle is put off at random.
const REBALANCE_JITTER: Duration = Duration::from_secs(60);
/// Time for a server to answer the ping that decides whether it comes first.
const PING: Duration = Duration::from_secs(2);
/// A call that nobody holds back may take this long at one server: longer than a server takes to
/// tell that it cannot reach another one.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The part of the hold time that one pause takes at most.
const PAUSE_FRACTION: u32 = 16;

/// The way of a client agent to its servers.
pub struct ClientRoad {
    datacenter: String,
    pool: Arc<ConnPool>,
    servers: Mutex<Vec<ServerAddr>>,
    hold_timeout: Duration,
    /// How long a server may hold an answer back on purpose.
    times: QueryTimes,
    limit: RateLimit,
    decoded: DecodedReplies,
}

impl ClientRoad {
    /// A road without servers yet; connections come from `source` where it is a real address.
    pub fn new(
        datacenter: &str,
        source: IpAddr,
        hold_timeout: Duration,
        times: QueryTimes,
        limit: RateLimit,
    ) -> Self {
        let config = PoolConfig { max_idle_streams: IDLE_STREAMS, ..PoolConfig::default() };
        let source = Some(source).filter(|ip| !ip.is_unspecified());
        Self {
            datacenter: datacenter.to_owned(),
            pool: Arc::new(ConnPool::plain(source, config)),
            servers: Mutex::default(),
            hold_timeout,
            times,
            limit,
            decoded: DecodedReplies::default(),
        }
    }

    /// Connections, for protocols of their own.
    pub fn pool(&self) -> &ConnPool {
        &self.pool
    }

    /// The servers in the order in which they are tried.
    pub fn servers(&self) -> Vec<ServerAddr> {
        self.servers.lock().clone()
    }

    /// The server that is asked now.
    pub fn first(&self) -> Result<ServerAddr, RpcError> {
        self.servers.lock().first().cloned().ok_or_else(|| RpcError::from_text("No known Consul servers"))
    }

    /// Changes the limit on calls.
    pub fn set_limit(&self, rate: f64, burst: usize) {
        self.limit.set(rate, burst);
    }

    /// Puts a server that failed behind the others.
    fn demote(&self, failed: &ServerAddr) {
        let mut servers = self.servers.lock();
        if servers.first() == Some(failed) {
            servers.rotate_left(1);
        }
    }

    /// Follows the pool's members and shuffles the list now and then, so that the clients of a
    /// datacenter spread over its servers.
    pub async fn follow(&self, lan: PoolHandle) {
        let mut changed = lan.members_changed();
        let mut shuffle_at = Instant::now() + self.rebalance_pause();
        loop {
            self.look_at_members(&lan);
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(shuffle_at.into()) => {
                    self.rebalance().await;
                    shuffle_at = Instant::now() + self.rebalance_pause();
                }
            }
        }
    }

    fn rebalance_pause(&self) -> Duration {
        REBALANCE + rand::rng().random_range(Duration::ZERO..REBALANCE_JITTER)
    }

    /// Takes the members over: who is gone goes, who is new gets a random place, the rest keeps its
    /// own.
    pub fn look_at_members(&self, lan: &PoolHandle) {
        let members = lan.members();
        let known: Vec<ServerAddr> = members
            .iter()
            .filter(|member| member.status == MemberStatus::Alive)
            .filter_map(|member| ServerParts::from_member(member))
            .filter(|parts| parts.datacenter == self.datacenter)
            .map(|parts| ServerAddr {
                name: parts.name.to_string(),
                addr: parts.rpc_addr(),
                datacenter: parts.datacenter,
            })
            .collect();
        let mut servers = self.servers.lock();
        servers.retain(|server| known.contains(server));
        for server in known {
            if !servers.contains(&server) {
                let place = rand::rng().random_range(0..=servers.len());
                servers.insert(place, server);
            }
        }
    }

    async fn rebalance(&self) {
        let mut shuffled = self.servers();
        shuffled.shuffle(&mut rand::rng());
        for candidate in &shuffled {
            let until = Some(Instant::now() + PING);
            if self.pool.call_raw(candidate, "Status.Ping", &[0x80], until).await.is_ok() {
                let mut servers = self.servers.lock();
                if let Some(place) = servers.iter().position(|server| server == candidate) {
                    servers.swap(0, place);
                }
                return;
            }
        }
    }

    async fn run(&self, call: ErasedCall) -> Result<ErasedReply, RpcError> {
        let info = call.info;
        let args = (*call.args).encode().map_err(|error| {
            RpcError::new(ErrorKind::Other, format!("cannot encode the arguments of {}: {error}", info.name))
        })?;
        let options = (*call.args).routing().query_options();
        let limit = options.map(|options| self.times.hold(options)).unwrap_or_default() + CALL_LIMIT;
        let began = Instant::now();
        let elsewhere = {
            let routing = (*call.args).routing();
            let datacenter = routing.datacenter();
            !datacenter.is_empty() && datacenter != self.datacenter
        };
        loop {
            if !self.limit.take() {
                metrics::counter!("client.rpc.exceeded").increment(1);
                return Err(RpcError::from_text("RPC rate limit exceeded"));
            }
            metrics::counter!("client.rpc").increment(1);
            let server = self.first()?;
            let own = Instant::now() + limit;
            let until = call.deadline.map_or(own, |deadline| deadline.min(own));
            let error = match self.pool.call_raw(&server, info.name, &args, Some(until)).await {
                Ok(reply) => return (call.decode_reply)(&reply, &self.decoded),
                Err(error) => error,
            };
            let unreachable = !matches!(error, CallError::Remote(_));
            let may_have_run = error.may_have_run();
            if unreachable {
                metrics::counter!("client.rpc.failed").increment(1);
                self.demote(&server);
            }
            let error = RpcError::from(error);
            let again = match error.kind() {
                // What a server says of another datacenter is the end of it: it has tried all that can be tried.
                _ if elsewhere && !unreachable => false,
                ErrorKind::NoLeader => true,
                ErrorKind::Transport => info.access == Access::Read || !may_have_run,
                _ => false,
            };
            let late = began.elapsed() >= self.hold_timeout
                || call.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !again || late {
                return Err(error);
            }
            // Another server may answer at once; the same one needs a moment.
            if self.first().is_ok_and(|next| next == server) {
                let pause = rand::rng().random_range(Duration::ZERO..=self.hold_timeout / PAUSE_FRACTION);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl RoadBackend for ClientRoad {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        Box::pin(self.run(call))
    }
}
