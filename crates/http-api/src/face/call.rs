//! A request on its way to its endpoint.

use std::sync::Arc;

use bytes::Bytes;

use super::Peer;
use super::body::RequestBody;
use super::headers::Headers;
use super::params::Params;
use super::route::Verb;
use crate::api::config::FaceConfig;
use crate::api::error::ApiError;

/// A request: where it goes, what it asks and who asks.
pub struct Call {
    /// The decoded path.
    pub path: String,
    /// Where the part behind the route's pattern begins in the path.
    pub(super) rest_at: usize,
    /// The method.
    pub verb: Verb,
    /// The query.
    pub params: Params,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: RequestBody,
    /// Who asks.
    pub peer: Peer,
    /// The settings.
    pub config: Arc<FaceConfig>,
}

impl Call {
    /// The path behind the route's pattern.
    pub fn rest(&self) -> &str {
        self.path.get(self.rest_at..).unwrap_or_default()
    }

    /// The caller's token: parameter, then `X-Consul-Token`, then a bearer. Empty when there is
    /// none.
    pub fn token(&self) -> &str {
        let parameter = self.params.get("token");
        if !parameter.is_empty() {
            return parameter;
        }
        if let Some(token) = self.headers.text("x-consul-token")
            && !token.is_empty()
        {
            return token;
        }
        self.headers
            .text("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim())
    }

    /// Takes the JSON body, within the limit of the settings.
    ///
    /// # Errors
    /// 413 and 400, as [`RequestBody::collect`] has it.
    pub async fn take_body(&mut self) -> Result<Bytes, ApiError> {
        let max = self.config.max_json_body as u64;
        self.take_body_up_to(max).await
    }

    /// Takes the body, up to a limit.
    ///
    /// # Errors
    /// 413 and 400, as [`RequestBody::collect`] has it.
    pub async fn take_body_up_to(&mut self, max: u64) -> Result<Bytes, ApiError> {
        self.take_raw_body().collect(max).await
    }

    /// Takes the body as it is.
    pub fn take_raw_body(&mut self) -> RequestBody {
        std::mem::replace(&mut self.body, RequestBody::Bytes(Bytes::new()))
    }
}
