//! gRPC: what the health service `grpc.health.v1.Health` answers.
//!
//! One unary call needs little of gRPC: a request over HTTP/2 whose body is a message of one text
//! field, an answer of one number, and the status in the trailers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::definition::CheckType;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Outcome;
use super::probe::Tls;
use super::tcp::dial_failed;

const METHOD_PATH: &str = "/grpc.health.v1.Health/Check";
/// The answer is a few bytes; more is no answer.
const MAX_ANSWER: usize = 4096;
const SERVING: u64 = 1;

/// A health service, and which service to ask it for.
pub struct Grpc {
    target: String,
    address: String,
    service: String,
    tls: Option<Result<(Arc<ClientConfig>, ServerName<'static>), String>>,
    timeout: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Grpc {
    /// `host:port`, and after a slash the service if it is not the server as a whole.
    pub fn new(kind: &CheckType, tls: &Tls, timeout: Duration) -> Self {
        let (address, service) = kind.grpc.split_once('/').unwrap_or((&kind.grpc, ""));
        let tls = kind.grpc_use_tls.then(|| {
            let mut config = (*tls.config(kind.tls_skip_verify)?).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
            Ok((Arc::new(config), name))
        });
        Self {
            target: kind.grpc.clone(),
            address: address.to_owned(),
            service: service.to_owned(),
            tls,
            timeout,
        }
    }

    /// Asks; only `SERVING` is passing.
    pub async fn probe(&self) -> Outcome {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(Ok(SERVING)) => Outcome::passing(format!("gRPC check {}: success", self.target)),
            Ok(Ok(status)) => {
                Outcome::critical(format!("gRPC check {}: service is {}", self.target, status_name(status)))
            }
            Ok(Err(reason)) => Outcome::critical(format!("gRPC check {}: {reason}", self.target)),
            Err(_) => Outcome::critical(format!("gRPC check {}: context deadline exceeded", self.target)),
        }
    }

    async fn ask(&self) -> Result<u64, String> {
        let stream = TcpStream::connect(&self.address).await.map_err(|e| dial_failed(&self.address, &e))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let (config, name) = tls.clone()?;
                let connector = tokio_rustls::TlsConnector::from(config);
                Box::new(connector.connect(name, stream).await.map_err(|error| error.to_string())?)
            }
        };
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let connection = tokio::spawn(connection);
        let answer = async {
            let request = Request::post(format!("http://{}{METHOD_PATH}", self.address))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(request_body(&self.service)))
                .map_err(|error| error.to_string())?;
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            read_answer(response).await
        }
        .await;
        // An error keeps the connection alive otherwise.
        connection.abort();
        answer
    }
}

/// `HealthCheckRequest { string service = 1; }` with the prefix of an uncompressed message.
fn request_body(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    body.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

async fn read_answer(response: Response<hyper::body::Incoming>) -> Result<u64, String> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(format!("unexpected HTTP status code received from server: {}", head.status));
    }
    // Without a message the status comes with the head.
    judge(&head.headers)?;
    let collected = http_body_util::Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| format!("broken answer: {error}"))?;
    if let Some(trailers) = collected.trailers() {
        judge(trailers)?;
    }
    serving_status(&collected.to_bytes()).ok_or_else(|| "malformed answer".to_owned())
}

/// The error that headers or trailers tell.
fn judge(fields: &HeaderMap) -> Result<(), String> {
    let Some(code) = fields.get("grpc-status") else { return Ok(()) };
    if code == "0" {
        return Ok(());
    }
    let code = String::from_utf8_lossy(code.as_bytes());
    let said = fields.get("grpc-message").map(|said| String::from_utf8_lossy(said.as_bytes()));
    Err(format!("rpc error: code = {} desc = {}", code_name(&code), said.unwrap_or_default()))
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; an empty message is `UNKNOWN`.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (&[0, a, b, c, d], rest) = body.split_first_chunk::<5>()? else { return None };
    let mut message = rest.get(..u32::from_be_bytes([a, b, c, d]) as usize)?;
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn status_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

fn code_name(code: &str) -> &str {
    match code {
        "1" => "Canceled",
        "2" => "Unknown",
        "3" => "InvalidArgument",
        "4" => "DeadlineExceeded",
        "5" => "NotFound",
        "7" => "PermissionDenied",
        "12" => "Unimplemented",
        "13" => "Internal",
        "14" => "Unavailable",
        "16" => "Unauthenticated",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::body::Frame;
    use hyper::header::HeaderValue;
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// A health service that knows the server as a whole and `web`.
    async fn health() -> String {
        let listener = TcpListener::bind("127.28.3.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.uri().path(), METHOD_PATH);
                    assert_eq!(request.headers()["te"], "trailers");
                    let asked = request.into_body().collect().await.unwrap().to_bytes();
                    let mut trailers = HeaderMap::new();
                    let known = asked == request_body("") || asked == request_body("web");
                    trailers.insert("grpc-status", HeaderValue::from_static(if known { "0" } else { "5" }));
                    trailers.insert("grpc-message", HeaderValue::from_static("unknown service"));
                    let status = if asked == request_body("") { 1 } else { 2 };
                    let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, status]);
                    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
                    if known {
                        frames.push(Ok(Frame::data(message)));
                    }
                    frames.push(Ok(Frame::trailers(trailers)));
                    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
                    Ok::<_, Infallible>(Response::new(body))
                });
                tokio::spawn(
                    server::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    async fn ask(target: &str) -> Outcome {
        let kind = CheckType { grpc: target.to_owned(), ..CheckType::default() };
        let tls = Tls::new(http_client::TlsOptions::default());
        Grpc::new(&kind, &tls, Duration::from_secs(5)).probe().await
    }

    #[tokio::test]
    async fn only_serving_passes() {
        let address = health().await;
        let outcome = ask(&address).await;
        assert_eq!((outcome.status, outcome.output), ("passing", format!("gRPC check {address}: success")));
        let outcome = ask(&format!("{address}/web")).await;
        assert_eq!(outcome.status, "critical");
        assert!(outcome.output.ends_with("NOT_SERVING"), "{}", outcome.output);
        let outcome = ask(&format!("{address}/nope")).await;
        assert!(outcome.output.ends_with("code = NotFound desc = unknown service"), "{}", outcome.output);
        assert!(ask("127.28.3.2:1").await.output.contains("connection refused"));
    }

    #[test]
    fn answers_are_read_and_garbage_is_not() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0, 0, 0, 5, 0x12, 1, 9, 0x08, 2]), Some(2));
        for bad in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 9, 8], &[0, 0, 0, 0, 1, 8]] {
            assert_eq!(serving_status(bad), None);
        }
        assert_eq!(&request_body("web")[..], &[0, 0, 0, 0, 5, 0x0a, 3, b'w', b'e', b'b']);
    }
}
