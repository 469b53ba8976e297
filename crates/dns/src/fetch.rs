//! Reads over the road, as stale as the settings allow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::{Cache, CacheKind};
use model::catalog::{IndexedNodes, IndexedServiceNodes, Node};
use model::error::{ErrorKind, RpcError};
use model::health::CheckServiceNode;
use model::method::{Method, Reply, Routing};
use model::methods::{
    CatalogListNodes, CatalogNodeServices, CatalogServiceNodes, HealthServiceNodes, PreparedQueryExecute,
};
use model::options::{DcSpecificRequest, NodeSpecificRequest, QuerySource, ServiceSpecificRequest};
use model::query::{PreparedQueryExecuteRequest, PreparedQueryExecuteResponse};
use model::road::Road;

use crate::config::Config;
use crate::lookup::Reach;

/// Who asked has given up by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer older than this is counted.
const STALE: Duration = Duration::from_secs(5);

/// Why there is nothing to answer with.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for does not exist.
    NoSuchName,
    /// It could not be found out.
    Broken(RpcError),
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        match error.kind() {
            ErrorKind::NoPath | ErrorKind::QueryNotFound => Self::NoSuchName,
            _ => Self::Broken(error),
        }
    }
}

/// The road with what every read of the face has in common.
pub struct Fetch<'a> {
    pub road: &'a Road,
    pub cache: &'a Cache,
    pub config: &'a Config,
    pub token: String,
}

impl Fetch<'_> {
    async fn read<M: Method>(&self, mut args: M::Args) -> Result<M::Reply, Failure> {
        let deadline = Some(Instant::now() + PATIENCE);
        if let Some(options) = args.query_options_mut() {
            options.token.clone_from(&self.token);
            options.allow_stale = self.config.allow_stale;
        }
        if !self.config.allow_stale {
            return Ok(self.road.call_until::<M>(args, deadline).await?);
        }
        let reply = self.road.call_until::<M>(args.clone(), deadline).await?;
        let age = reply.query_meta().map_or(Duration::ZERO, |meta| meta.last_contact.to_std());
        if age > self.config.max_stale {
            if let Some(options) = args.query_options_mut() {
                options.allow_stale = false;
            }
            return Ok(self.road.call_until::<M>(args, deadline).await?);
        }
        if age > STALE {
            metrics::counter!("dns.stale_queries").increment(1);
        }
        Ok(reply)
    }

    /// A read from the agent's cache.
    async fn cached<M: Method>(
        &self,
        mut args: M::Args,
        kind: CacheKind,
        max_age: Duration,
    ) -> Result<Arc<M::Reply>, Failure> {
        if let Some(options) = args.query_options_mut() {
            options.token.clone_from(&self.token);
            options.allow_stale = self.config.allow_stale;
            options.max_age = max_age.into();
            options.max_query_time = PATIENCE.into();
        }
        Ok(self.cache.get::<M>(args, kind).await?.0)
    }

    /// The instances of a service with all their checks.
    pub async fn service(
        &self,
        name: &str,
        tag: &str,
        dc: &str,
        reach: Reach,
    ) -> Result<Vec<CheckServiceNode>, Failure> {
        let args = ServiceSpecificRequest {
            datacenter: dc.to_owned(),
            service_name: name.to_owned(),
            service_tags: if tag.is_empty() { Vec::new() } else { vec![tag.to_owned()] },
            tag_filter: !tag.is_empty(),
            connect: reach == Reach::Connect,
            ingress: reach == Reach::Ingress,
            ..ServiceSpecificRequest::default()
        };
        if let Some(max_age) = self.config.cache {
            let reply = self.cached::<HealthServiceNodes>(args, CacheKind::Refreshed, max_age).await?;
            return Ok(reply.nodes.clone());
        }
        Ok(self.read::<HealthServiceNodes>(args).await?.nodes)
    }

    /// A node.
    pub async fn node(&self, name: &str, dc: &str) -> Result<Arc<Node>, Failure> {
        let args = NodeSpecificRequest {
            datacenter: dc.to_owned(),
            node: name.to_owned(),
            ..NodeSpecificRequest::default()
        };
        let found = match self.config.cache {
            Some(max_age) => {
                let reply = self.cached::<CatalogNodeServices>(args, CacheKind::Refreshed, max_age).await?;
                reply.node_services.as_ref().and_then(|found| found.node.clone())
            }
            None => self.read::<CatalogNodeServices>(args).await?.node_services.and_then(|found| found.node),
        };
        found.ok_or(Failure::NoSuchName)
    }

    /// All nodes of the own datacenter.
    pub async fn nodes(&self) -> Result<IndexedNodes, Failure> {
        let args =
            DcSpecificRequest { datacenter: self.config.datacenter.clone(), ..DcSpecificRequest::default() };
        self.read::<CatalogListNodes>(args).await
    }

    /// Instances of the own datacenter with an address of their own.
    pub async fn at_address(&self, address: String) -> Result<IndexedServiceNodes, Failure> {
        let args = ServiceSpecificRequest {
            datacenter: self.config.datacenter.clone(),
            service_address: address,
            ..ServiceSpecificRequest::default()
        };
        self.read::<CatalogServiceNodes>(args).await
    }

    /// Runs a prepared query for somebody at `ip`.
    pub async fn query(
        &self,
        name: &str,
        dc: &str,
        ip: String,
    ) -> Result<PreparedQueryExecuteResponse, Failure> {
        let here = QuerySource {
            datacenter: self.config.datacenter.clone(),
            node: self.config.node_name.clone(),
            ..QuerySource::default()
        };
        let args = PreparedQueryExecuteRequest {
            datacenter: dc.to_owned(),
            query_id_or_name: name.to_owned(),
            source: QuerySource { ip, ..here.clone() },
            agent: here,
            ..PreparedQueryExecuteRequest::default()
        };
        if let Some(max_age) = self.config.cache {
            let reply = self.cached::<PreparedQueryExecute>(args, CacheKind::Simple, max_age).await?;
            return Ok(PreparedQueryExecuteResponse::clone(&reply));
        }
        self.read::<PreparedQueryExecute>(args).await
    }
}
