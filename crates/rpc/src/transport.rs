//! Connections below the protocols: plain TCP here; TLS is another [`Connector`] and [`Acceptor`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::{ServerAddr, first_byte};

/// What was sent and is not acknowledged by the other machine within this time ends the connection.
const SILENCE: Duration = Duration::from_secs(3);

/// A connection of any kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose kind is forgotten.
pub type BoxIo = Box<dyn Io>;

/// Opens connections to servers.
pub trait Connector: Send + Sync + 'static {
    /// A connection on which `byte` has been sent, inside the encryption if there is one.
    fn connect<'a>(&'a self, target: &'a ServerAddr, byte: u8) -> BoxFuture<'a, io::Result<BoxIo>>;
}

/// A connection whose first byte has been read.
pub struct Accepted {
    /// What it carries.
    pub byte: u8,
    /// The rest.
    pub io: BoxIo,
}

/// Turns an accepted TCP connection into what it carries.
pub trait Acceptor: Send + Sync + 'static {
    /// Runs under the listener's handshake timeout.
    fn accept(&self, tcp: TcpStream, peer: SocketAddr) -> BoxFuture<'_, io::Result<Accepted>>;
}

/// No encryption.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainAcceptor;

impl Acceptor for PlainAcceptor {
    fn accept(&self, mut tcp: TcpStream, _peer: SocketAddr) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let byte = tcp.read_u8().await?;
            if byte == first_byte::MULTIPLEX {
                give_up_on_silence(&tcp)?;
            }
            Ok(Accepted { byte, io: Box::new(tcp) })
        })
    }
}

/// No encryption; connections come from `source` where that is set and of the target's family.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector {
    pub source: Option<IpAddr>,
}

impl TcpConnector {
    /// A tuned TCP connection.
    pub async fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source
            && source.is_ipv4() == to.is_ipv4()
        {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let tcp = socket.connect(to).await?;
        tune_socket(&tcp)?;
        Ok(tcp)
    }
}

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, target: &'a ServerAddr, byte: u8) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let mut tcp = self.tcp(target.addr).await.map_err(|error| {
                let source = self.source.map_or(String::new(), |ip| format!("{ip}:0->"));
                io::Error::new(
                    error.kind(),
                    format!("dial tcp {source}{}: connect: {}", target.addr, cause(&error)),
                )
            })?;
            if byte == first_byte::MULTIPLEX {
                give_up_on_silence(&tcp)?;
            }
            tcp.write_all(&[byte]).await?;
            Ok(Box::new(tcp) as BoxIo)
        })
    }
}

/// The words the peers' logs and clients know.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".into(),
        _ => error.to_string(),
    }
}

/// No delay for small packets, and probes that find a dead peer.
pub fn tune_socket(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// A connection on which nothing is acknowledged ends soon, and the next call opens a new one. Left alone,
/// it would be tried at ever longer intervals, and stay silent for as long again as the network was cut. A
/// process that stands still does not count: its machine acknowledges.
fn give_up_on_silence(tcp: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}
