//! The client of an agent's HTTP API that all commands share.

mod request;
mod settings;

pub use request::{ApiError, Request};
pub use settings::{CLIENT_FLAGS, SERVER_FLAGS, Settings};

use async_trait::async_trait;
use http_client::{Method, Target, Transport};

use crate::command::{Failure, OrFail};
use crate::flags::Parsed;

/// One agent, and how to talk to it.
#[derive(Clone)]
pub struct Api {
    transport: Transport,
    settings: Settings,
}

impl Api {
    /// From flags and environment.
    ///
    /// # Errors
    /// Unusable addresses or files.
    pub fn from_flags(flags: &Parsed) -> Result<Self, Failure> {
        let settings = Settings::read(flags, &|name| std::env::var(name).ok())
            .or_fail("Error connecting to Consul agent")?;
        Self::new(settings).or_fail("Error connecting to Consul agent")
    }

    /// From settings.
    ///
    /// # Errors
    /// Unusable addresses or files.
    pub fn new(settings: Settings) -> Result<Self, http_client::Error> {
        let mut target = Target::parse(&settings.address, None)?;
        if settings.tls_enabled {
            target = Target { scheme: http_client::Scheme::Https, ..target };
        }
        let transport = Transport::new(target, &settings.tls, settings.server_name.as_deref())?;
        Ok(Self { transport, settings })
    }

    /// The datacenter asked for, if any.
    pub fn datacenter(&self) -> Option<&str> {
        self.settings.datacenter.as_deref()
    }

    /// A GET request.
    pub fn get(&self, path: impl Into<String>) -> Request<'_> {
        Request::new(self, Method::GET, path.into())
    }

    /// A PUT request.
    pub fn put(&self, path: impl Into<String>) -> Request<'_> {
        Request::new(self, Method::PUT, path.into())
    }

    /// A POST request.
    pub fn post(&self, path: impl Into<String>) -> Request<'_> {
        Request::new(self, Method::POST, path.into())
    }

    /// A DELETE request.
    pub fn delete(&self, path: impl Into<String>) -> Request<'_> {
        Request::new(self, Method::DELETE, path.into())
    }

    /// The name of the agent's node.
    ///
    /// # Errors
    /// The agent cannot be asked.
    pub async fn node_name(&self) -> Result<String, ApiError> {
        let own: serde_json::Value = self.get("/v1/agent/self").json().await?;
        Ok(own["Config"]["NodeName"].as_str().unwrap_or_default().to_owned())
    }
}

#[async_trait]
impl watch::WatchSource for Api {
    async fn fetch(&self, query: &watch::Query) -> Result<watch::Answer, watch::SourceError> {
        let mut request = self.get(&query.path);
        for (name, value) in &query.params {
            request = request.param(name, value);
        }
        if query.index > 0 {
            request = request.param("index", query.index);
        }
        if let Some(datacenter) = &query.datacenter {
            request = request.datacenter(datacenter);
        }
        if let Some(token) = &query.token {
            request = request.token(token);
        }
        if query.stale {
            request = request.param("stale", "");
        }
        let reply = request.send().await.map_err(|e| watch::SourceError(e.to_string()))?;
        Ok(watch::Answer { status: reply.status, index: reply.index, body: reply.body.to_vec() })
    }
}
