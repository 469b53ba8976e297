//! Replies: status, headers, body.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode, header};
use model::options::QueryMeta;

use super::body::ReplyBody;
use super::path;
use crate::api::error::ApiError;
use crate::json;

/// The index of an answer.
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
/// Whether the answering server knew a leader.
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
/// How long ago it heard of the leader, milliseconds.
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
/// `leader`, `stale` or `consistent`.
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
/// What happens to requests that no ACL rule speaks of.
const DEFAULT_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
/// Whether addresses of other datacenters are translated.
const TRANSLATE: HeaderName = HeaderName::from_static("x-consul-translate-addresses");

/// Bodies below this many bytes are not worth compressing.
const GZIP_FROM: usize = 1400;

/// An answer in the making.
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: ReplyBody,
    json: bool,
}

impl Reply {
    /// 200 without a body.
    pub fn empty() -> Self {
        Self::bare(StatusCode::OK)
    }

    /// 404 without a body.
    pub fn not_found() -> Self {
        Self::bare(StatusCode::NOT_FOUND)
    }

    fn bare(status: StatusCode) -> Self {
        Self { status, headers: Vec::with_capacity(8), body: ReplyBody::Full(None), json: false }
    }

    fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        let mut reply = Self::bare(status);
        reply.headers.push((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
        reply.body = ReplyBody::Full(Some(body));
        reply
    }

    /// An error text, or whatever is told in plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::with_type(status, "text/plain; charset=utf-8", Bytes::from(text.into()))
    }

    /// 200 with plain text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::text(StatusCode::OK, text)
    }

    /// 200 with bytes of some type.
    pub fn bytes(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::with_type(StatusCode::OK, content_type, body.into())
    }

    /// 200 with JSON, already written.
    pub fn json(body: impl Into<Bytes>) -> Self {
        let mut reply = Self::with_type(StatusCode::OK, "application/json", body.into());
        reply.json = true;
        reply
    }

    /// 200 with JSON that serde writes.
    pub fn serde<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        let mut out = Vec::with_capacity(256);
        json::serde(&mut out, value);
        Self::json(out)
    }

    /// 200 with JSON that a function writes.
    pub fn write(capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut out = Vec::with_capacity(capacity);
        write(&mut out);
        Self::json(out)
    }

    /// 200 with a stream of some type.
    pub fn stream(
        content_type: &'static str,
        stream: futures::stream::BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Self {
        let mut reply = Self::bare(StatusCode::OK);
        reply.headers.push((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
        reply.body = ReplyBody::Stream(stream);
        reply
    }

    /// 301 to another path, with the same query.
    pub fn redirect(to: &str, query: Option<&str>) -> Self {
        let mut location = path::encode(to);
        if let Some(query) = query {
            location.push('?');
            location.push_str(query);
        }
        let mut reply = Self::bare(StatusCode::MOVED_PERMANENTLY);
        reply.set("Location", location.as_str());
        reply
    }

    /// 405 with what would be allowed.
    pub fn method_not_allowed(method: &str, allow: &str) -> Self {
        let mut reply = Self::text(StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed"));
        reply.set("Allow", allow);
        reply
    }

    /// Sets a header; a value that no header can hold is left out.
    pub fn set(&mut self, name: &'static str, value: &str) {
        // Names are constants of this crate, so that only values can be at fault.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            self.headers.push((name, value));
        }
    }

    /// The same reply with another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same reply with a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same reply with the headers of a read: index, leader, staleness.
    #[must_use]
    pub fn meta(mut self, meta: &QueryMeta) -> Self {
        self.headers.push((INDEX, HeaderValue::from(meta.index.max(1))));
        self.last_contact(meta);
        self
    }

    /// The same reply with the consistency that was asked for: `leader`, `stale` or `consistent`.
    #[must_use]
    pub fn level(mut self, level: &'static str) -> Self {
        self.headers.push((CONSISTENCY, HeaderValue::from_static(level)));
        self
    }

    /// The leader and staleness headers alone.
    pub fn last_contact(&mut self, meta: &QueryMeta) {
        let known = HeaderValue::from_static(if meta.known_leader { "true" } else { "false" });
        self.headers.push((KNOWN_LEADER, known));
        let millis = u64::try_from(meta.last_contact.0 / 1_000_000).unwrap_or(0);
        self.headers.push((LAST_CONTACT, HeaderValue::from(millis)));
    }

    /// The headers of every answer of the API.
    pub fn common(&mut self, default_policy: &str, translates: bool) {
        let policy = match default_policy {
            "deny" => HeaderValue::from_static("deny"),
            _ => HeaderValue::from_static("allow"),
        };
        self.headers.push((DEFAULT_POLICY, policy));
        self.headers.push((header::VARY, HeaderValue::from_static("Accept-Encoding")));
        if translates {
            self.headers.push((TRANSLATE, HeaderValue::from_static("true")));
        }
    }

    /// Indents a JSON body.
    pub fn indent(&mut self) {
        if let (true, ReplyBody::Full(Some(body))) = (self.json, &self.body) {
            self.body = ReplyBody::Full(Some(json::indent(body).into()));
        }
    }

    /// The finished response.
    pub fn into_response(self, more: &[(String, String)], gzip: bool) -> Response<ReplyBody> {
        let Self { status, headers, mut body, .. } = self;
        let mut response = Response::new(ReplyBody::Full(None));
        *response.status_mut() = status;
        let out = response.headers_mut();
        out.reserve(headers.len() + more.len() + 2);
        for (name, value) in headers {
            out.append(name, value);
        }
        for (name, value) in more {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                out.insert(name, value);
            }
        }
        if let (true, ReplyBody::Full(Some(bytes))) = (gzip, &body)
            && bytes.len() >= GZIP_FROM
            && let Some(packed) = pack(bytes)
        {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            body = ReplyBody::Full(Some(packed));
        }
        *response.body_mut() = body;
        response
    }
}

fn pack(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::text(status, error.text)
    }
}
