//! One request over one connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::{Body, Endpoint, Error, Scheme, Target, TlsOptions, client_config};

/// How to reach one address.
#[derive(Clone)]
pub struct Transport {
    target: Target,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    connect_timeout: Duration,
}

impl Transport {
    /// How long connecting (TCP and TLS) may take, unless changed.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// Prepares requests to `target`. TLS settings are read only if its scheme asks for TLS;
    /// `server_name` replaces the host in the certificate check and in SNI.
    ///
    /// # Errors
    /// Unusable TLS files or names.
    pub fn new(target: Target, tls: &TlsOptions, server_name: Option<&str>) -> Result<Self, Error> {
        let tls = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let name = certified_name(&target, server_name)?;
                Some((client_config(tls)?, name))
            }
        };
        Ok(Self { target, tls, connect_timeout: Self::CONNECT_TIMEOUT })
    }

    /// As [`Self::new`], with TLS settings that were read before, see [`client_config`], and may be
    /// shared by many. A target whose scheme asks for TLS needs them.
    ///
    /// # Errors
    /// No settings where they are needed, and unusable names.
    pub fn with_client_config(
        target: Target,
        config: Option<Arc<rustls::ClientConfig>>,
        server_name: Option<&str>,
    ) -> Result<Self, Error> {
        let tls = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let config =
                    config.ok_or_else(|| Error::TlsConfig("https without TLS settings".to_owned()))?;
                Some((config, certified_name(&target, server_name)?))
            }
        };
        Ok(Self { target, tls, connect_timeout: Self::CONNECT_TIMEOUT })
    }

    /// Changes how long connecting may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Where requests go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request whose URI is a path, and returns once the response's head is there. The
    /// body may be read as a stream; nothing limits how long it takes.
    ///
    /// # Errors
    /// Connection, TLS and protocol errors.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let host = HeaderValue::try_from(self.target.authority()).map_err(|e| Error::Request(e.into()))?;
        request.headers_mut().entry(HOST).or_insert(host);
        match tokio::time::timeout(self.connect_timeout, self.connect()).await {
            Ok(stream) => exchange(stream?, request).await,
            Err(_) => Err(self.dial_error("i/o timeout")),
        }
    }

    /// Sends a request and reads the whole response, at most `limit` bytes of it.
    ///
    /// # Errors
    /// As [`Self::send`], and [`Error::TooLarge`].
    pub async fn fetch(&self, request: Request<Body>, limit: usize) -> Result<Response<Bytes>, Error> {
        let (head, body) = self.send(request).await?.into_parts();
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(broken) => Error::Http(*broken),
                Err(_) => Error::TooLarge(limit),
            }),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let stream: Box<dyn Stream> = match &self.target.endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(|e| self.dial_error(&describe(&e)))?;
                let _unsupported = stream.set_nodelay(true);
                Box::new(stream)
            }
            Endpoint::Unix(path) => {
                Box::new(UnixStream::connect(path).await.map_err(|e| self.dial_error(&describe(&e)))?)
            }
        };
        match &self.tls {
            None => Ok(stream),
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(config.clone());
                let secured = connector.connect(name.clone(), stream).await.map_err(Error::Handshake)?;
                Ok(Box::new(secured))
            }
        }
    }

    fn dial_error(&self, reason: &str) -> Error {
        let (network, address) = match &self.target.endpoint {
            Endpoint::Tcp { .. } => ("tcp", self.target.authority()),
            Endpoint::Unix(path) => ("unix", path.display().to_string()),
        };
        Error::Dial { network, address, reason: reason.to_owned() }
    }
}

/// The name that a server's certificate must have.
fn certified_name(target: &Target, wanted: Option<&str>) -> Result<ServerName<'static>, Error> {
    let name = match (wanted, &target.endpoint) {
        (Some(name), _) => name,
        (None, Endpoint::Tcp { host, .. }) => host,
        (None, Endpoint::Unix(_)) => "localhost",
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::TlsConfig(format!("{name:?} cannot be a server name")))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn exchange(stream: Box<dyn Stream>, request: Request<Body>) -> Result<Response<Incoming>, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself when the response body has been read or dropped.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// The words operators know for the usual reasons.
fn describe(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::NotFound => "connect: no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "connect: permission denied".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        _ => error.to_string(),
    }
}
