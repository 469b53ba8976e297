//! The sockets of the face.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::face::Face;
use crate::{tcp, udp};

/// Queries over UDP that wait for others; more are dropped, and asked again by their senders.
const MAX_WAITING: usize = 4096;
/// Connections at a time; the next waits until one ends.
const MAX_CONNECTIONS: usize = 1024;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen {transport} {address}: {source}")]
pub struct BindError {
    transport: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Bound sockets that nobody answers on yet.
pub struct Sockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Binds every address for UDP and TCP. Port 0 takes a free port for both.
    ///
    /// # Errors
    /// When one of them is taken or not of this machine.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut this = Self { udp: Vec::new(), tcp: Vec::new() };
        for &address in addresses {
            let error = |transport, address| move |source| BindError { transport, address, source };
            let tcp = TcpListener::bind(address).await.map_err(error("tcp", address))?;
            let address = tcp.local_addr().map_err(error("tcp", address))?;
            this.udp.push(UdpSocket::bind(address).await.map_err(error("udp", address))?);
            this.tcp.push(tcp);
        }
        Ok(this)
    }

    /// Where they are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Answers until told to stop; queries on their way are then given up.
    pub async fn serve(self, face: Face, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let face = Arc::new(face);
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for socket in self.udp {
            tasks.spawn(udp::serve(
                Arc::new(socket),
                face.clone(),
                waiting.clone(),
                tasks.clone(),
                stop.clone(),
            ));
        }
        for listener in self.tcp {
            tasks.spawn(tcp::serve(listener, face.clone(), connections.clone(), tasks.clone(), stop.clone()));
        }
        stop.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }
}
