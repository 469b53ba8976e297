//! Blocking queries that need no codec: requests that came whole, and replies that are there whole.
//!
//! When something changes, all who wait for it are answered in one burst, and most ask again at once. A
//! codec for each, with its buffers, would be the larger part of the work, and all of them together more
//! memory than the connections hold otherwise. What is not as plain as this is left to a codec.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use httpdate::HttpDate;
use tokio::io::AsyncWrite;

use crate::face::body::{ReplyBody, RequestBody};

/// Headers of a request; one that has more is left to a codec.
const MAX_HEADERS: usize = 32;
/// Usual length of the head of a reply, bytes.
const HEAD: usize = 512;
/// What else there may be to a request than its head, or to its reply.
const MORE: [HeaderName; 5] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::EXPECT, header::CONNECTION];

/// Whether a GET of this may block.
pub fn may_block(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains("index=") || query.contains("hash="))
}

/// The request that these bytes begin with, and its length, if it is a query that may block and there is
/// no more to it than its head: of HTTP/1.1, and its connection is kept.
pub fn request(bytes: &[u8]) -> Option<(Request<RequestBody>, usize)> {
    let mut room = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut room);
    let Ok(httparse::Status::Complete(len)) = head.parse(bytes) else { return None };
    if head.method != Some("GET") || head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(RequestBody::Bytes(Bytes::new()));
    *request.uri_mut() = head.path.filter(|path| path.starts_with('/'))?.parse().ok()?;
    if !may_block(request.uri()) {
        return None;
    }
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if name == header::CONNECTION && header.value.eq_ignore_ascii_case(b"keep-alive") {
            continue;
        }
        if MORE.contains(&name) {
            return None;
        }
        request.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some((request, len))
}

/// A reply on its way.
pub struct Unsent {
    head: Bytes,
    body: Bytes,
}

impl Unsent {
    /// The reply to a request like those of [`request`]; `None` if it takes a codec to write it.
    pub fn of(response: &Response<ReplyBody>) -> Option<Self> {
        let ReplyBody::Full(body) = response.body() else { return None };
        let body = body.clone().unwrap_or_default();
        let head = head(response, body.len())?.into();
        Some(Self { head, body })
    }

    /// Ready when all is written, or nothing can be.
    pub fn poll_write(
        &mut self,
        out: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.head.has_remaining() || self.body.has_remaining() {
            let slices = [IoSlice::new(&self.head), IoSlice::new(&self.body)];
            let written = ready!(Pin::new(&mut *out).poll_write_vectored(context, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            self.head.advance(of_head);
            self.body.advance(written - of_head);
        }
        Pin::new(out).poll_flush(context)
    }
}

/// The head of a reply, as a codec would write it.
fn head(response: &Response<ReplyBody>, length: usize) -> Option<Vec<u8>> {
    let status = response.status();
    let reason = status.canonical_reason()?;
    let bare =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let headers = response.headers();
    if bare || headers.contains_key(header::DATE) || MORE.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let mut out = Vec::with_capacity(HEAD);
    // Writing into memory cannot fail.
    write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_str()).ok()?;
    for (name, value) in headers {
        title_case(&mut out, name.as_str());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write!(out, "Content-Length: {length}\r\nDate: {}\r\n\r\n", HttpDate::from(SystemTime::now())).ok()?;
    Some(out)
}

/// Writes the name of a header with capitals.
fn title_case(out: &mut Vec<u8>, name: &str) {
    let mut starts = true;
    out.extend(name.bytes().map(|byte| {
        let byte = if starts { byte.to_ascii_uppercase() } else { byte };
        starts = byte == b'-';
        byte
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "GET /v1/health/service/web?index=7 HTTP/1.1\r\nHost: x\r\nX-Consul-Token: t\r\n";

    fn read(text: &str) -> Option<(Request<RequestBody>, usize)> {
        request(text.as_bytes())
    }

    #[test]
    fn a_whole_query_is_read_and_what_follows_is_left() {
        let whole = format!("{QUERY}Connection: Keep-Alive\r\n\r\n");
        let (request, len) = read(&format!("{whole}GET /")).unwrap();
        assert_eq!(len, whole.len());
        assert_eq!(request.uri().path(), "/v1/health/service/web");
        assert_eq!(request.uri().query(), Some("index=7"));
        assert_eq!(request.headers()["x-consul-token"], "t");
    }

    #[test]
    fn what_is_not_plain_is_left_to_a_codec() {
        assert!(read(&format!("{QUERY}\r\n")).is_some());
        assert!(read(QUERY).is_none());
        for more in [
            "Connection: close",
            "Connection: keep-alive, upgrade",
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "Upgrade: h2c",
            "Expect: 100-continue",
            "no header",
        ] {
            assert!(read(&format!("{QUERY}{more}\r\n\r\n")).is_none(), "{more}");
        }
        let many = "A: b\r\n".repeat(MAX_HEADERS);
        assert!(read(&format!("{QUERY}{many}\r\n")).is_none());
        for line in [
            "GET /v1/status/leader HTTP/1.1",
            "PUT /v1/kv/a?index=1 HTTP/1.1",
            "GET /v1/kv/a?index=1 HTTP/1.0",
            "GET http://x/v1/kv/a?index=1 HTTP/1.1",
            "GET * HTTP/1.1",
        ] {
            assert!(read(&format!("{line}\r\n\r\n")).is_none(), "{line}");
        }
    }

    #[test]
    fn only_replies_that_are_whole_and_framed_by_their_length_are_plain() {
        let reply = |status, header: Option<(&'static str, &'static str)>| {
            let mut response = Response::new(ReplyBody::Full(Some(Bytes::from_static(b"[]"))));
            *response.status_mut() = status;
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            Unsent::of(&response)
        };
        let plain = reply(StatusCode::OK, Some(("x-consul-index", "7"))).unwrap();
        let head = String::from_utf8(plain.head.to_vec()).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 2\r\nDate: "),
            "{head}"
        );
        assert!(head.ends_with(" GMT\r\n\r\n"), "{head}");
        assert!(reply(StatusCode::NO_CONTENT, None).is_none());
        assert!(reply(StatusCode::OK, Some(("connection", "close"))).is_none());
        assert!(reply(StatusCode::OK, Some(("date", "never"))).is_none());
        let stream = ReplyBody::Stream(Box::pin(futures::stream::empty()));
        assert!(Unsent::of(&Response::new(stream)).is_none());
    }
}
