//! A caller's connections: one multiplexed connection per server, streams reused.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use model::error::{ErrorKind, RpcError};
use model::method::Method;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::codec::{MessageReader, RequestHeader, write_request};
use crate::error::CallError;
use crate::first_byte;
use crate::transport::{BoxIo, Connector, TcpConnector};
use crate::yamux::{self, Session, Stream};

/// Where a server is. Connections belong to name and address: a renamed server gets a new one.
#[derive(Debug, Clone, Eq)]
pub struct ServerAddr {
    /// Node name.
    pub name: String,
    /// Its RPC port.
    pub addr: SocketAddr,
    /// Its datacenter; encryption verifies it.
    pub datacenter: String,
}

impl ServerAddr {
    pub fn new(name: impl Into<String>, addr: SocketAddr, datacenter: impl Into<String>) -> ServerAddr {
        ServerAddr { name: name.into(), addr, datacenter: datacenter.into() }
    }
}

impl PartialEq for ServerAddr {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr && self.name == other.name
    }
}

impl Hash for ServerAddr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addr.hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.addr)
    }
}

/// Settings of a pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Streams kept for reuse per connection: 64 for a server, 32 for a client agent.
    pub max_idle_streams: usize,
    /// A connection without a call for this long is closed.
    pub idle_timeout: Duration,
    /// No longer than a caller waits: what was sent into a network that was cut is sent again at growing
    /// intervals, a new dial at once.
    pub dial_timeout: Duration,
    /// Calls in flight per server; one more fails at once.
    pub max_in_flight: usize,
    /// Longest reply in bytes.
    pub max_reply: usize,
    pub yamux: yamux::Config,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            max_idle_streams: 64,
            idle_timeout: Duration::from_secs(120),
            dial_timeout: Duration::from_secs(3),
            max_in_flight: 8192,
            max_reply: 512 << 20,
            yamux: yamux::Config::default(),
        }
    }
}

type CallStream = MessageReader<Stream>;
type Dialing = Shared<BoxFuture<'static, Result<Arc<Connection>, CallError>>>;

/// An open connection.
struct Connection {
    session: Session,
    /// Newest last.
    idle: Mutex<Vec<CallStream>>,
}

impl Connection {
    fn idle_stream(&self) -> Option<CallStream> {
        loop {
            let stream = self.idle.lock().pop()?;
            // The peer may have closed it meanwhile.
            if stream.io().is_reusable() {
                return Some(stream);
            }
        }
    }
}

enum Slot {
    Empty,
    Dialing(Dialing),
    Ready(Arc<Connection>),
}

/// What is known of one server.
struct Target {
    slot: Mutex<Slot>,
    in_flight: AtomicUsize,
    /// Milliseconds since the pool began.
    last_used: AtomicU64,
}

impl Target {
    fn discard(&self, connection: &Arc<Connection>) {
        let mut slot = self.slot.lock();
        if matches!(&*slot, Slot::Ready(current) if Arc::ptr_eq(current, connection)) {
            *slot = Slot::Empty;
        }
    }
}

struct InFlight<'a> {
    target: &'a Target,
    began: Instant,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.target.last_used.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.target.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Inner {
    config: PoolConfig,
    connector: Arc<dyn Connector>,
    targets: RwLock<HashMap<ServerAddr, Arc<Target>>>,
    tasks: TaskTracker,
    kill: CancellationToken,
    closed: AtomicBool,
    seq: AtomicU64,
    began: Instant,
}

/// Connections to servers, and calls on them. Clones are handles on the same.
#[derive(Clone)]
pub struct ConnPool {
    inner: Arc<Inner>,
}

impl fmt::Debug for ConnPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnPool")
    }
}

impl ConnPool {
    /// Without encryption; connections come from `source` if given. Needs a tokio runtime.
    pub fn plain(source: Option<IpAddr>, config: PoolConfig) -> ConnPool {
        Self::new(Arc::new(TcpConnector { source }), config)
    }

    /// With any kind of connection. Needs a tokio runtime.
    pub fn new(connector: Arc<dyn Connector>, config: PoolConfig) -> ConnPool {
        let inner = Arc::new(Inner {
            config,
            connector,
            targets: RwLock::default(),
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
            closed: AtomicBool::new(false),
            seq: AtomicU64::new(0),
            began: Instant::now(),
        });
        let weak = Arc::downgrade(&inner);
        let kill = inner.kill.clone();
        let period = (inner.config.idle_timeout / 4).min(Duration::from_secs(10));
        inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = kill.cancelled() => return,
                    () = sleep(period) => {}
                }
                let Some(inner) = weak.upgrade() else { return };
                inner.close_idle();
            }
        });
        ConnPool { inner }
    }

    /// Calls `method` with arguments that are msgpack already; gives the reply's msgpack. Without
    /// a deadline it waits as long as the connection lives. Dropping the future closes the stream,
    /// which tells the server to give up.
    pub async fn call_raw(
        &self,
        server: &ServerAddr,
        method: &str,
        args: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Bytes, CallError> {
        let inner = &self.inner;
        if inner.closed.load(Ordering::Acquire) {
            return Err(CallError::Shutdown);
        }
        let target = inner.target(server);
        if target.in_flight.fetch_add(1, Ordering::AcqRel) >= inner.config.max_in_flight {
            target.in_flight.fetch_sub(1, Ordering::AcqRel);
            return Err(CallError::Busy(server.to_string()));
        }
        let _in_flight = InFlight { target: &target, began: inner.began };
        let exchange = inner.exchange(&target, server, method, args);
        match deadline {
            None => exchange.await,
            Some(deadline) => match timeout_at(deadline.into(), exchange).await {
                Ok(outcome) => outcome,
                Err(_) => Err(CallError::Deadline(format!("{method} at {server}"))),
            },
        }
    }

    /// Calls `M` and decodes its reply.
    pub async fn call<M: Method>(
        &self,
        server: &ServerAddr,
        args: &M::Args,
        deadline: Option<Instant>,
    ) -> Result<M::Reply, RpcError> {
        let name = M::INFO.name;
        let malformed = |what: &str, error: msgpack::Error| {
            RpcError::new(ErrorKind::Other, format!("malformed {what} of {name}: {error}"))
        };
        let args = msgpack::to_vec(args).map_err(|e| malformed("arguments", e))?;
        let reply = self.call_raw(server, name, &args, deadline).await?;
        msgpack::from_slice(&reply).map_err(|e| malformed("reply", e))
    }

    /// A connection of its own on which `byte` has been sent, for other protocols of the port.
    pub async fn dial(&self, server: &ServerAddr, byte: u8) -> Result<BoxIo, CallError> {
        self.inner.dial(server, byte).await
    }

    /// Forgets connections to servers of this node name: calls in flight go on, new ones dial.
    pub fn disconnect(&self, name: &str) {
        self.inner.targets.write().retain(|server, _| server.name != name);
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        let targets = self.inner.targets.read();
        targets.values().filter(|target| matches!(*target.slot.lock(), Slot::Ready(_))).count()
    }

    /// Takes no more calls, closes all connections and ends all tasks; within a second.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.closed.store(true, Ordering::Release);
        for (_, target) in inner.targets.write().drain() {
            if let Slot::Ready(connection) = &*target.slot.lock() {
                connection.session.close();
            }
        }
        inner.tasks.close();
        let _ = timeout(Duration::from_millis(200), async {
            // Sessions send what is written; then nothing else needs time.
            while inner.tasks.len() > 1 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        inner.kill.cancel();
        inner.tasks.wait().await;
    }
}

impl Inner {
    fn target(&self, server: &ServerAddr) -> Arc<Target> {
        if let Some(target) = self.targets.read().get(server) {
            return Arc::clone(target);
        }
        let mut targets = self.targets.write();
        let target = targets.entry(server.clone()).or_insert_with(|| {
            Arc::new(Target {
                slot: Mutex::new(Slot::Empty),
                in_flight: AtomicUsize::new(0),
                last_used: AtomicU64::new(self.began.elapsed().as_millis() as u64),
            })
        });
        Arc::clone(target)
    }

    async fn exchange(
        self: &Arc<Self>,
        target: &Arc<Target>,
        server: &ServerAddr,
        method: &str,
        args: &[u8],
    ) -> Result<Bytes, CallError> {
        let (connection, mut stream) = self.stream(target, server).await?;
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let header = RequestHeader { seq, method };
        write_request(stream.io_mut(), &header, args)
            .await
            .map_err(|error| CallError::Broken(error.to_string()))?;
        let message = match stream.next().await {
            Ok(Some(message)) => message,
            Ok(None) => return Err(CallError::Broken("stream closed: EOF".into())),
            Err(error) => return Err(CallError::Broken(format!("stream closed: {error}"))),
        };
        let reply = message
            .response_header()
            .map_err(|error| CallError::Broken(format!("stream closed: {error}")))?;
        if !reply.error.is_empty() {
            // The stream may be closed by the other side after some errors: it is not reused.
            return Err(CallError::Remote(reply.error.to_owned()));
        }
        if reply.seq != seq {
            return Err(CallError::Broken("stream closed: answer to another call".into()));
        }
        let mut idle = connection.idle.lock();
        if idle.len() < self.config.max_idle_streams && !stream.is_mid_message() {
            idle.push(stream);
        }
        drop(idle);
        Ok(message.into_body())
    }

    async fn stream(
        self: &Arc<Self>,
        target: &Arc<Target>,
        server: &ServerAddr,
    ) -> Result<(Arc<Connection>, CallStream), CallError> {
        let mut tried = false;
        loop {
            let connection = self.connection(target, server).await?;
            if let Some(stream) = connection.idle_stream() {
                return Ok((connection, stream));
            }
            match connection.session.open().await {
                Ok(stream) => {
                    let stream = MessageReader::new(stream, self.config.max_reply);
                    return Ok((connection, stream));
                }
                Err(error) => {
                    // Dead without our knowing: one more connection is tried.
                    target.discard(&connection);
                    if tried {
                        return Err(CallError::Open(error));
                    }
                    tried = true;
                }
            }
        }
    }

    /// The connection to a server; callers that find none wait for the same dial.
    async fn connection(
        self: &Arc<Self>,
        target: &Arc<Target>,
        server: &ServerAddr,
    ) -> Result<Arc<Connection>, CallError> {
        let dialing = {
            let mut slot = target.slot.lock();
            match &*slot {
                Slot::Ready(connection) if connection.session.unusable().is_none() => {
                    return Ok(Arc::clone(connection));
                }
                Slot::Dialing(dialing) if dialing.peek().is_none() => dialing.clone(),
                Slot::Dialing(_) | Slot::Ready(_) | Slot::Empty => {
                    let dialing = self.start_dialing(target, server);
                    *slot = Slot::Dialing(dialing.clone());
                    dialing
                }
            }
        };
        dialing.await
    }

    fn start_dialing(self: &Arc<Self>, target: &Arc<Target>, server: &ServerAddr) -> Dialing {
        let (done, result) = oneshot::channel();
        let (inner, target, server) = (Arc::clone(self), Arc::clone(target), server.clone());
        // A task of its own, so that a caller who gives up does not take the others' dial along.
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                () = inner.kill.cancelled() => Err(CallError::Shutdown),
                io = inner.dial(&server, first_byte::MULTIPLEX) => io.map(|io| inner.adopt(io, &server)),
            };
            *target.slot.lock() = match &outcome {
                Ok(connection) if !inner.closed.load(Ordering::Acquire) => {
                    Slot::Ready(Arc::clone(connection))
                }
                _ => Slot::Empty,
            };
            // Nobody may be waiting any more.
            let _ = done.send(outcome);
        });
        result.map(|outcome| outcome.unwrap_or(Err(CallError::Shutdown))).boxed().shared()
    }

    fn adopt(&self, io: BoxIo, server: &ServerAddr) -> Arc<Connection> {
        let (session, driver) = Session::new(io, true, self.config.yamux.clone());
        let (kill, server) = (self.kill.clone(), server.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                reason = driver => debug!(%server, %reason, "rpc: connection ended"),
            }
        });
        Arc::new(Connection { session, idle: Mutex::default() })
    }

    async fn dial(&self, server: &ServerAddr, byte: u8) -> Result<BoxIo, CallError> {
        match timeout(self.config.dial_timeout, self.connector.connect(server, byte)).await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(CallError::Dial(error.to_string())),
            Err(_) => Err(CallError::Dial(format!("dial tcp {}: i/o timeout", server.addr))),
        }
    }

    fn close_idle(&self) {
        let now = self.began.elapsed().as_millis() as u64;
        let limit = self.config.idle_timeout.as_millis() as u64;
        self.targets.write().retain(|_, target| {
            target.in_flight.load(Ordering::Acquire) > 0
                || now.saturating_sub(target.last_used.load(Ordering::Relaxed)) < limit
        });
    }
}
