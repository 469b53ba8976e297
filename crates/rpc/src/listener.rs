//! The server port: accepts, limits, reads the first byte and hands over.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use metrics::{Counter, counter};
use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::serve::{CallMetrics, RpcHandler, serve};
use crate::transport::{Acceptor, BoxIo, PlainAcceptor, tune_socket};
use crate::yamux::{self, Session};
use crate::{Accepted, first_byte};

/// Serves connections of one first byte.
pub trait ConnHandler: Send + Sync + 'static {
    /// Runs until the connection is done. `stop` asks to come to an end; some time after it the
    /// future is dropped.
    fn serve(&self, io: BoxIo, peer: SocketAddr, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// Settings of a listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Connections per client address; more are closed at once. 0: no limit.
    pub max_conns_per_client: usize,
    /// Time to send the first byte, TLS handshake included.
    pub handshake_timeout: Duration,
    /// Longest arguments of a call in bytes.
    pub max_request: usize,
    /// Settings of multiplexed connections; `max_inbound` limits streams per connection.
    pub yamux: yamux::Config,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        ListenerConfig {
            max_conns_per_client: 100,
            handshake_timeout: Duration::from_secs(5),
            max_request: 64 << 20,
            yamux: yamux::Config::default(),
        }
    }
}

/// Calls being answered, for draining.
#[derive(Default)]
pub(crate) struct Calls {
    active: AtomicUsize,
    idle: Notify,
}

impl Calls {
    pub(crate) fn enter(self: &Arc<Self>) -> ActiveCall {
        self.active.fetch_add(1, Ordering::AcqRel);
        ActiveCall(Arc::clone(self))
    }

    async fn wait_idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.active.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

pub(crate) struct ActiveCall(Arc<Calls>);

impl Drop for ActiveCall {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

struct Shared {
    config: ListenerConfig,
    acceptor: Arc<dyn Acceptor>,
    rpc: RwLock<Option<Arc<dyn RpcHandler>>>,
    others: RwLock<HashMap<u8, Arc<dyn ConnHandler>>>,
    per_client: Mutex<HashMap<IpAddr, usize>>,
    calls: Arc<Calls>,
    tasks: TaskTracker,
    /// No new connections; others come to an end.
    stop: CancellationToken,
    /// Idle streams end too.
    close: CancellationToken,
    /// Everything ends.
    kill: CancellationToken,
    accepted: Counter,
    raft_handoff: Counter,
    call_metrics: CallMetrics,
}

/// The open port. Clones are handles on the same.
#[derive(Clone)]
pub struct Listener {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Listener {
    /// Opens the port without encryption and starts to accept. Connections whose byte nobody
    /// serves yet are closed.
    pub async fn bind(addr: SocketAddr, config: ListenerConfig) -> io::Result<Listener> {
        Self::bind_with(addr, config, Arc::new(PlainAcceptor)).await
    }

    /// The same with another way into connections.
    pub async fn bind_with(
        addr: SocketAddr,
        config: ListenerConfig,
        acceptor: Arc<dyn Acceptor>,
    ) -> io::Result<Listener> {
        let tcp = TcpListener::bind(addr).await?;
        let addr = tcp.local_addr()?;
        let shared = Arc::new(Shared {
            config,
            acceptor,
            rpc: RwLock::default(),
            others: RwLock::default(),
            per_client: Mutex::default(),
            calls: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            close: CancellationToken::new(),
            kill: CancellationToken::new(),
            accepted: counter!("rpc.accept_conn"),
            raft_handoff: counter!("rpc.raft_handoff"),
            call_metrics: CallMetrics {
                requests: counter!("rpc.request"),
                errors: counter!("rpc.request_error"),
            },
        });
        shared.tasks.spawn(accept_loop(tcp, Arc::clone(&shared)));
        Ok(Listener { addr, shared })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Who answers calls (bytes 0 and 4).
    pub fn serve_rpc(&self, handler: Arc<dyn RpcHandler>) {
        *self.shared.rpc.write() = Some(handler);
    }

    /// Who serves connections that begin with `byte`.
    pub fn register(&self, byte: u8, handler: Arc<dyn ConnHandler>) {
        self.shared.others.write().insert(byte, handler);
    }

    /// Calls being answered now.
    pub fn active_calls(&self) -> usize {
        self.shared.calls.active.load(Ordering::Acquire)
    }

    /// Accepts nothing more, lets calls in flight finish for up to `grace`, sends what is
    /// written, and ends every task. Ends within `grace` and a second.
    pub async fn shutdown(&self, grace: Duration) {
        let shared = &self.shared;
        shared.stop.cancel();
        let _ = timeout(grace, shared.calls.wait_idle()).await;
        shared.close.cancel();
        shared.tasks.close();
        if timeout(Duration::from_secs(1), shared.tasks.wait()).await.is_err() {
            shared.kill.cancel();
            shared.tasks.wait().await;
        }
    }
}

async fn accept_loop(tcp: TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = tcp.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "failed to accept an RPC connection");
                // Out of descriptors, most likely: let some be closed.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&shared, peer.ip()) else {
            warn!(%peer, "rpc: too many connections from this address, closing");
            continue;
        };
        shared.accepted.increment(1);
        let inner = Arc::clone(&shared);
        shared.tasks.spawn(async move {
            let _place = place;
            let kill = inner.kill.clone();
            tokio::select! {
                () = kill.cancelled() => {}
                () = connection(stream, peer, inner) => {}
            }
        });
    }
}

/// A client's place among its address's connections.
struct Place {
    shared: Arc<Shared>,
    ip: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, ip: IpAddr) -> Option<Place> {
        let limit = shared.config.max_conns_per_client;
        let mut map = shared.per_client.lock();
        let count = map.entry(ip).or_insert(0);
        if limit > 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { shared: Arc::clone(shared), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut map = self.shared.per_client.lock();
        if let Some(count) = map.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                map.remove(&self.ip);
            }
        }
    }
}

async fn connection(tcp: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    if let Err(error) = tune_socket(&tcp) {
        debug!(%peer, %error, "rpc: cannot set socket options");
    }
    let handshake = timeout(shared.config.handshake_timeout, shared.acceptor.accept(tcp, peer));
    let accepted = tokio::select! {
        () = shared.stop.cancelled() => return,
        accepted = handshake => accepted,
    };
    let Accepted { byte, io } = match accepted {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
        Ok(Err(error)) => {
            debug!(%peer, %error, "rpc: failed to read the first byte");
            return;
        }
        Err(_) => {
            debug!(%peer, "rpc: no first byte in time");
            return;
        }
    };
    match byte {
        first_byte::SINGLE | first_byte::MULTIPLEX => {
            let handler = shared.rpc.read().clone();
            match handler {
                Some(handler) if byte == first_byte::SINGLE => {
                    single(io, peer, handler, &shared).await;
                }
                Some(handler) => multiplexed(io, peer, handler, &shared).await,
                None => debug!(%peer, "rpc: connection before calls are served"),
            }
        }
        other => {
            let handler = shared.others.read().get(&other).cloned();
            let Some(handler) = handler else {
                warn!(%peer, byte, "rpc: unrecognized first byte, closing");
                return;
            };
            if other == first_byte::RAFT {
                shared.raft_handoff.increment(1);
            }
            handler.serve(io, peer, shared.stop.child_token()).await;
        }
    }
}

async fn single(io: BoxIo, peer: SocketAddr, handler: Arc<dyn RpcHandler>, shared: &Shared) {
    let serving = serve(
        io,
        handler,
        peer,
        shared.config.max_request,
        Arc::clone(&shared.calls),
        shared.call_metrics.clone(),
    );
    tokio::select! {
        () = shared.close.cancelled() => {}
        result = serving => if let Err(error) = result {
            debug!(%peer, %error, "rpc: connection ended");
        },
    }
}

async fn multiplexed(io: BoxIo, peer: SocketAddr, handler: Arc<dyn RpcHandler>, shared: &Shared) {
    let (session, driver) = Session::new(io, false, shared.config.yamux.clone());
    let kill = shared.kill.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = kill.cancelled() => {}
            reason = driver => debug!(%peer, %reason, "rpc: connection ended"),
        }
    });
    let mut stopping = std::pin::pin!(shared.stop.cancelled());
    let mut stopped = false;
    loop {
        let stream = tokio::select! {
            () = &mut stopping, if !stopped => {
                stopped = true;
                session.go_away();
                continue;
            }
            () = shared.close.cancelled() => break,
            stream = session.accept() => stream,
        };
        let Ok(stream) = stream else {
            break;
        };
        let serving = serve(
            stream,
            Arc::clone(&handler),
            peer,
            shared.config.max_request,
            Arc::clone(&shared.calls),
            shared.call_metrics.clone(),
        );
        // Ends with the session: its streams then fail.
        shared.tasks.spawn(async move {
            if let Err(error) = serving.await {
                debug!(%peer, %error, "rpc: stream ended");
            }
        });
    }
    session.close();
}
