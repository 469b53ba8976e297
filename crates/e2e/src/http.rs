//! The HTTP face as a client sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A client of one agent. Each request has a connection of its own, so that none meets what another left.
#[derive(Clone)]
pub struct Http {
    address: SocketAddr,
    limit: Duration,
}

/// No answer.
#[derive(Debug, Clone)]
pub struct HttpError {
    what: String,
    refused: bool,
}

impl HttpError {
    /// Nobody listened, so that nothing can have come of the request.
    pub fn is_refused(&self) -> bool {
        self.refused
    }
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<HttpError> for String {
    fn from(error: HttpError) -> String {
        error.what
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    /// `X-Consul-Index`, 0 when there is none.
    pub index: u64,
}

impl Reply {
    pub fn ok(&self) -> bool {
        self.status == 200
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Reads a whole HTTP/1.1 answer.
    fn parse(bytes: &[u8]) -> Option<Reply> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let (mut index, mut length, mut chunked) = (0, None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "x-consul-index" => index = value.trim().parse().ok()?,
                "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
                "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        let rest = &bytes[end + 4..];
        let body = match length {
            _ if chunked => joined(rest)?,
            Some(length) => rest.get(..length)?.to_vec(),
            None => rest.to_vec(),
        };
        Some(Reply { status, body: String::from_utf8_lossy(&body).into_owned(), index })
    }
}

/// The body that was sent in chunks; `None` when the last is missing.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunks.get(end + 2..end + 2 + size)?);
        chunks = chunks.get(end + 2 + size + 2..)?;
    }
}

impl Http {
    /// `address` is IP:PORT. Calls end after `limit` with an error.
    pub fn new(address: SocketAddr, limit: Duration) -> Self {
        Http { address, limit }
    }

    /// One request; `Err` when no complete answer came.
    pub fn send(&self, method: &str, path: &str, body: &str) -> Result<Reply, HttpError> {
        let deadline = Instant::now() + self.limit;
        let failed =
            |refused| move |reason: String| HttpError { what: format!("{method} {path}: {reason}"), refused };
        let stream = TcpStream::connect_timeout(&self.address, self.limit)
            .map_err(|e| failed(e.kind() == ErrorKind::ConnectionRefused)(e.to_string()))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.exchange(stream, &request, deadline).map_err(failed(false))
    }

    fn exchange(&self, mut stream: TcpStream, request: &str, deadline: Instant) -> Result<Reply, String> {
        let text = |e: std::io::Error| e.to_string();
        stream.set_nodelay(true).map_err(text)?;
        stream.set_write_timeout(Some(self.limit)).map_err(text)?;
        stream.write_all(request.as_bytes()).map_err(text)?;
        let mut answer = Vec::new();
        let mut part = [0; 16_384];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no complete answer within {:?}", self.limit));
            }
            stream.set_read_timeout(Some(left)).map_err(text)?;
            match stream.read(&mut part).map_err(text)? {
                0 => break,
                n => answer.extend_from_slice(&part[..n]),
            }
        }
        Reply::parse(&answer).ok_or_else(|| "the answer is not complete".to_owned())
    }

    pub fn get(&self, path: &str) -> Result<Reply, HttpError> {
        self.send("GET", path, "")
    }

    pub fn put(&self, path: &str, body: &str) -> Result<Reply, HttpError> {
        self.send("PUT", path, body)
    }

    /// The JSON of a successful answer.
    pub fn json(&self, path: &str) -> Result<Value, String> {
        let reply = self.get(path)?;
        if reply.ok() { Ok(reply.json()) } else { Err(format!("{path}: {} {}", reply.status, reply.body)) }
    }

    /// A write that must succeed with 200; gives the body.
    pub fn write(&self, path: &str, body: &str) -> Result<String, String> {
        let reply = self.put(path, body)?;
        if reply.ok() { Ok(reply.body) } else { Err(format!("PUT {path}: {} {}", reply.status, reply.body)) }
    }

    /// The strings found under `key` in a list of objects, sorted.
    pub fn column(&self, path: &str, key: &str) -> Result<Vec<String>, String> {
        let list = self.json(path)?;
        let list = list.as_array().ok_or_else(|| format!("{path}: not a list: {list}"))?;
        let mut column: Vec<String> =
            list.iter().filter_map(|row| row[key].as_str().map(str::to_owned)).collect();
        column.sort();
        Ok(column)
    }
}
