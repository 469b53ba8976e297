//! A small HTTP/1.1 client: one connection per request, over TCP, TLS or a Unix socket.
//!
//! Commands, watch handlers and probes make few requests and want exact control over the
//! address, the certificate authorities and what happens when nobody answers, not a pool. Bodies
//! stream in both directions, so a snapshot never has to fit in memory.

mod body;
mod target;
mod tls;
mod transport;

pub use body::{Body, empty, full, reader};
pub use http::{HeaderMap, Method, Request, Response, StatusCode, header};
pub use hyper::body::Incoming;
pub use rustls::ClientConfig;
pub use target::{Endpoint, Scheme, Target};
pub use tls::{TlsOptions, client_config};
pub use transport::Transport;

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be understood.
    #[error("invalid address {0:?}: {1}")]
    Address(String, &'static str),
    /// A certificate, key or CA file cannot be used.
    #[error("{path}: {reason}")]
    TlsFile {
        /// The file or folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS settings do not fit together.
    #[error("TLS configuration: {0}")]
    TlsConfig(String),
    /// No connection could be made.
    #[error("dial {network} {address}: {reason}")]
    Dial {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Where to.
        address: String,
        /// Why not, e.g. `connect: connection refused`.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("{0}")]
    Handshake(std::io::Error),
    /// The connection broke, or what came back is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request itself cannot be expressed.
    #[error("{0}")]
    Request(#[from] http::Error),
    /// The response body is larger than the caller accepts.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// The whole exchange took longer than allowed.
    #[error("no complete answer within {0:?}")]
    Timeout(std::time::Duration),
}
