//! One request and its answer.

use std::fmt::Display;

use bytes::Bytes;
use http_client::{Body, Incoming, Method, Response};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Api;

/// What must be escaped in a path (`/` stays: keys contain it).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// What must be escaped in a query parameter.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b':');

/// The largest answer read into memory; snapshots and logs are streamed instead.
const MAX_ANSWER: usize = 1 << 30;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("{method} \"{url}\": {source}")]
    Transport {
        /// `Get`, `Put`, …
        method: String,
        /// What was asked.
        url: String,
        /// Why.
        source: http_client::Error,
    },
    /// An answer other than 200.
    #[error("Unexpected response code: {status} ({body})")]
    Status {
        /// HTTP status.
        status: u16,
        /// The answer's text.
        body: String,
    },
    /// An answer that is not what the API promises.
    #[error("cannot read the answer of {0}: {1}")]
    Decode(String, serde_json::Error),
}

impl ApiError {
    /// The text without the answer's body, as some commands show it.
    pub fn brief(&self) -> String {
        match self {
            Self::Status { status, .. } => format!("Unexpected response code: {status}"),
            other => other.to_string(),
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `X-Consul-Index`, 0 if absent.
    pub index: u64,
    /// The body.
    pub body: Bytes,
}

/// A request being put together.
#[must_use]
pub struct Request<'a> {
    api: &'a Api,
    method: Method,
    path: String,
    params: Vec<(String, String)>,
    datacenter: Option<String>,
    token: Option<String>,
    body: Body,
}

impl<'a> Request<'a> {
    pub(super) fn new(api: &'a Api, method: Method, path: String) -> Self {
        let settings = &api.settings;
        Self {
            api,
            method,
            path,
            params: Vec::new(),
            datacenter: settings.datacenter.clone(),
            token: settings.token.clone(),
            body: http_client::empty(),
        }
    }

    /// Adds a query parameter; an empty value makes it a bare name.
    pub fn param(mut self, name: &str, value: impl Display) -> Self {
        self.params.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a bare query parameter if `on`.
    pub fn flag(self, name: &str, on: bool) -> Self {
        if on { self.param(name, "") } else { self }
    }

    /// Asks another datacenter than the settings say.
    pub fn datacenter(mut self, datacenter: &str) -> Self {
        self.datacenter = Some(datacenter.to_owned());
        self
    }

    /// Uses another token than the settings say.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The body.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = http_client::full(bytes);
        self
    }

    /// A body that is read while it is sent.
    pub fn stream_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// A JSON body.
    pub fn json_body(self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.body(json),
            // Plain values of ours always serialize.
            Err(_) => self,
        }
    }

    fn uri(&self) -> String {
        let settings = &self.api.settings;
        let mut params: Vec<(&str, &str)> =
            self.params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        params.extend(self.datacenter.iter().map(|dc| ("dc", dc.as_str())));
        params.extend(settings.namespace.iter().map(|ns| ("ns", ns.as_str())));
        if settings.stale {
            params.push(("stale", ""));
        }
        let query: Vec<String> = params
            .iter()
            .map(|(name, value)| match *value {
                "" => (*name).to_owned(),
                value => format!("{name}={}", utf8_percent_encode(value, QUERY)),
            })
            .collect();
        let path = utf8_percent_encode(&self.path, PATH);
        if query.is_empty() { path.to_string() } else { format!("{path}?{}", query.join("&")) }
    }

    /// Sends it; the answer's body may be read as a stream, whatever the status.
    pub async fn open(self) -> Result<Response<Incoming>, ApiError> {
        let uri = self.uri();
        let target = self.api.transport.target();
        let scheme = match target.scheme {
            http_client::Scheme::Http => "http",
            http_client::Scheme::Https => "https",
        };
        let url = format!("{scheme}://{}{uri}", target.authority());
        let method = match self.method.as_str() {
            "GET" => "Get",
            "PUT" => "Put",
            "POST" => "Post",
            "DELETE" => "Delete",
            other => other,
        }
        .to_owned();
        let mut request = http_client::Request::builder().method(&self.method).uri(&uri);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        if let Some(authorization) = &self.api.settings.authorization {
            request = request.header("Authorization", authorization);
        }
        let sent = async {
            let request = request.body(self.body).map_err(http_client::Error::from)?;
            self.api.transport.send(request).await
        };
        sent.await.map_err(|source| ApiError::Transport { method, url, source })
    }

    /// Sends it and reads the answer, whatever its status.
    pub async fn send(self) -> Result<Reply, ApiError> {
        use http_body_util::{BodyExt, Limited};
        let path = self.path.clone();
        let method = self.method.to_string();
        let (head, body) = self.open().await?.into_parts();
        let broken = |source| ApiError::Transport { method, url: path, source };
        let body = match Limited::new(body, MAX_ANSWER).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(broken(match error.downcast() {
                    Ok(error) => http_client::Error::Http(*error),
                    Err(_) => http_client::Error::TooLarge(MAX_ANSWER),
                }));
            }
        };
        let index = head
            .headers
            .get("X-Consul-Index")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        Ok(Reply { status: head.status.as_u16(), index, body })
    }

    /// Sends it; anything but 200 is an error.
    pub async fn ok(self) -> Result<Reply, ApiError> {
        let reply = self.send().await?;
        match reply.status {
            200 => Ok(reply),
            status => {
                Err(ApiError::Status { status, body: String::from_utf8_lossy(&reply.body).into_owned() })
            }
        }
    }

    /// Sends it and decodes the answer.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        let path = self.path.clone();
        let reply = self.ok().await?;
        serde_json::from_slice(&reply.body).map_err(|e| ApiError::Decode(path, e))
    }

    /// Sends it and decodes the answer and its index; 404 is `None`.
    pub async fn json_or_absent<T: DeserializeOwned>(self) -> Result<(Option<T>, u64), ApiError> {
        let path = self.path.clone();
        let reply = self.send().await?;
        match reply.status {
            200 => match serde_json::from_slice(&reply.body) {
                Ok(value) => Ok((Some(value), reply.index)),
                Err(e) => Err(ApiError::Decode(path, e)),
            },
            404 => Ok((None, reply.index)),
            status => {
                Err(ApiError::Status { status, body: String::from_utf8_lossy(&reply.body).into_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;

    #[test]
    fn paths_and_parameters_are_escaped() {
        let settings =
            Settings { datacenter: Some("dc2".into()), stale: true, ..Settings::for_address("127.0.0.1:1") };
        let api = Api::new(settings).unwrap();
        let uri = api.get("/v1/kv/a b/ü?").flag("recurse", true).param("filter", "Meta.x == \"y&z\"").uri();
        assert_eq!(uri, "/v1/kv/a%20b/%C3%BC%3F?recurse&filter=Meta.x%20%3D%3D%20%22y%26z%22&dc=dc2&stale");
    }

    #[tokio::test]
    async fn nobody_there_is_worded_with_the_url() {
        let api = Api::new(Settings::for_address("127.0.0.1:1")).unwrap();
        let error = api.get("/v1/agent/self").send().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Get \"http://127.0.0.1:1/v1/agent/self\": dial tcp 127.0.0.1:1: connect: connection refused"
        );
    }
}
