//! Sockets: several addresses, a bound on connections per client, an orderly end.

mod connection;
mod limit;
mod plain;
mod socket;
mod unix;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::face::{Face, Peer};
use limit::Limit;
use socket::Stream;
pub use unix::UnixOptions;

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client says nothing before the system asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Largest head of a request unless configured, bytes.
const HEAD_SIZE: usize = 1 << 20;
/// Smallest size of a head that can be configured, bytes.
const MIN_HEAD_SIZE: usize = 8 * 1024;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a client over its limit is told before its connection is closed.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n\
    Content-Length: 53\r\nConnection: close\r\n\r\nToo many connections are open from the same address.\n";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// HTTP over TCP.
    Tcp(SocketAddr),
    /// HTTPS over TCP.
    Tls(SocketAddr),
    /// HTTP over a unix socket.
    Unix(PathBuf, UnixOptions),
}

/// A connection after the TLS handshake.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Does the server's side of a TLS handshake.
pub trait TlsAcceptor: Send + Sync + 'static {
    /// The connection once it is secured.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for HTTP on {address}: {source}")]
pub struct BindError {
    /// The address or path.
    pub address: String,
    /// Why not.
    pub source: io::Error,
}

enum Socket {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix { listener: UnixListener, _file: unix::SocketFile },
}

/// The bound sockets, not serving yet.
pub struct Server {
    sockets: Vec<Socket>,
}

impl Server {
    /// Listens on all addresses, or on none.
    ///
    /// # Errors
    /// Names the first address that could not be had.
    pub async fn bind(binds: &[Bind]) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(binds.len());
        for bind in binds {
            let (address, socket) = match bind {
                Bind::Tcp(address) => {
                    (address.to_string(), TcpListener::bind(address).await.map(Socket::Tcp))
                }
                Bind::Tls(address) => {
                    (address.to_string(), TcpListener::bind(address).await.map(Socket::Tls))
                }
                Bind::Unix(path, options) => (
                    path.display().to_string(),
                    unix::bind(path, options).map(|(listener, _file)| Socket::Unix { listener, _file }),
                ),
            };
            sockets.push(socket.map_err(|source| BindError { address, source })?);
        }
        Ok(Self { sockets })
    }

    /// The TCP addresses as they came out, for ports that were left open.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| match socket {
                Socket::Tcp(listener) | Socket::Tls(listener) => listener.local_addr().ok(),
                Socket::Unix { .. } => None,
            })
            .collect()
    }

    /// Serves until the token is cancelled; then requests in progress get `grace` to end.
    pub async fn serve(
        self,
        face: Arc<Face>,
        tls: Option<Arc<dyn TlsAcceptor>>,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let shared = Arc::new(Shared { face, tls, stop: stop.clone(), limit: Limit::default() });
        let tasks = TaskTracker::new();
        let hard_stop = CancellationToken::new();
        for socket in self.sockets {
            let acceptor = accept(socket, Arc::clone(&shared), tasks.clone(), hard_stop.clone());
            tasks.spawn(acceptor);
        }
        tasks.close();
        stop.cancelled().await;
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            hard_stop.cancel();
            tasks.wait().await;
        }
    }
}

struct Shared {
    face: Arc<Face>,
    tls: Option<Arc<dyn TlsAcceptor>>,
    stop: CancellationToken,
    limit: Limit,
}

async fn accept(socket: Socket, shared: Arc<Shared>, tasks: TaskTracker, hard_stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = accept_one(&socket) => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting an HTTP connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (shared, hard_stop) = (Arc::clone(&shared), hard_stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = connection(accepted, shared) => {}
                () = hard_stop.cancelled() => {}
            }
        });
    }
}

enum Accepted {
    Tcp(TcpStream, IpAddr),
    Tls(TcpStream, IpAddr),
    Unix(tokio::net::UnixStream),
}

async fn accept_one(socket: &Socket) -> io::Result<Accepted> {
    match socket {
        Socket::Tcp(listener) => {
            listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer.ip().to_canonical()))
        }
        Socket::Tls(listener) => {
            listener.accept().await.map(|(stream, peer)| Accepted::Tls(stream, peer.ip().to_canonical()))
        }
        Socket::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
    }
}

async fn connection(accepted: Accepted, shared: Arc<Shared>) {
    match accepted {
        Accepted::Unix(stream) => serve_stream(Stream::Unix(stream), Peer::Unix, &shared).await,
        Accepted::Tcp(mut stream, address) => {
            let max = shared.face.agent.config().max_conns_per_client;
            let Some(_place) = shared.limit.enter(address, max) else {
                // The client may be gone already; there is nothing more to do for it.
                let _ = stream.write_all(TOO_MANY).await;
                let _ = stream.shutdown().await;
                return;
            };
            tune(&stream);
            serve_stream(Stream::Tcp(stream), Peer::Ip(address), &shared).await;
        }
        Accepted::Tls(stream, address) => {
            let max = shared.face.agent.config().max_conns_per_client;
            let (Some(_place), Some(tls)) = (shared.limit.enter(address, max), &shared.tls) else {
                return;
            };
            tune(&stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(secured)) => serve_stream(Stream::Secured(secured), Peer::Ip(address), &shared).await,
                Ok(Err(error)) => tracing::debug!(%error, %address, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
        }
    }
}

/// Small replies go out at once, and a client that is gone without a word is noticed.
fn tune(stream: &TcpStream) {
    // Both are a service to the client; it can be served without.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

async fn serve_stream(stream: Stream, peer: Peer, shared: &Shared) {
    let head_size = match shared.face.agent.config().max_header_bytes {
        0 => HEAD_SIZE,
        // What is a little too large is refused by the face, with a word.
        size => size.saturating_mul(2).clamp(MIN_HEAD_SIZE, HEAD_SIZE.max(size)),
    };
    if let Err(error) = connection::serve(stream, &shared.face, peer, head_size, &shared.stop).await {
        tracing::debug!(%error, ?peer, "HTTP connection ended");
    }
}
