//! `PreparedQuery`: stored queries and their execution.

mod execute;
mod template;

use std::sync::Arc;

use model::duration::parse_go;
use model::error::{ErrorKind, RpcError};
use model::methods::{
    PreparedQueryApply, PreparedQueryExecute, PreparedQueryExecuteRemote, PreparedQueryExplain,
    PreparedQueryGet, PreparedQueryList,
};
use model::ops::PreparedQueryOp;
use model::options::{DcSpecificRequest, QueryMeta};
use model::query::{
    IndexedPreparedQueries, PreparedQuery, PreparedQueryExecuteRequest, PreparedQueryExplainResponse,
    PreparedQueryRequest, PreparedQuerySpecificRequest,
};
use state::{Resolved, View, WatchSet};
use uuid::Uuid;

use super::{look_up, refuse};
use crate::core::{CommandType, Core};
use crate::read::ReadContext;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<PreparedQueryApply, _, _>(apply);
    registry.read::<PreparedQueryGet>(get);
    registry.read::<PreparedQueryList>(list);
    registry.call::<PreparedQueryExplain, _, _>(explain);
    registry.call::<PreparedQueryExecute, _, _>(execute::execute);
    registry.call::<PreparedQueryExecuteRemote, _, _>(execute::execute_remote);
}

/// Creates, changes or removes a query; answers its id.
async fn apply(core: Arc<Core>, mut args: PreparedQueryRequest) -> Result<String, RpcError> {
    let Some(query) = args.query.as_mut() else { return refuse("Invalid prepared query: no query given") };
    if args.op == PreparedQueryOp::Create {
        if !query.id.is_empty() {
            return refuse("ID must be empty when creating a new prepared query");
        }
        query.id = Uuid::new_v4().to_string();
    } else {
        look_up("prepared query", &query.id)
            .or_else(|error| refuse(format!("Prepared Query lookup failed: {error}")))?;
        if core.store.view().query(&mut WatchSet::none(), &query.id).1.is_none() {
            return refuse(format!("Cannot modify non-existent prepared query: '{}'", query.id));
        }
    }
    match &args.op {
        PreparedQueryOp::Create | PreparedQueryOp::Update => check(query)?,
        PreparedQueryOp::Delete => {}
        other => return refuse(format!("Unknown prepared query operation: {other}")),
    }
    let id = query.id.clone();
    core.propose(CommandType::PreparedQuery, &args).await?;
    Ok(id)
}

fn check(query: &mut PreparedQuery) -> Result<(), RpcError> {
    let invalid = |reason: String| refuse(format!("Invalid prepared query: {reason}"));
    if query.name.is_empty() && query.template.r#type.is_empty() && query.session.is_empty() {
        return invalid("Must be bound to a session".to_owned());
    }
    if query.service.service.is_empty() {
        return invalid("Must provide a Service name to query".to_owned());
    }
    let nearest = query.service.failover.nearest_n;
    if nearest < 0 {
        return invalid(format!("Bad NearestN '{nearest}', must be >= 0"));
    }
    for (key, value) in query.service.node_meta.iter().chain(&query.service.service_meta) {
        if key.is_empty() {
            return invalid(format!("Couldn't load metadata pair ('{key}', '{value}'): Key cannot be blank"));
        }
    }
    if !query.dns.ttl.is_empty() {
        match parse_go(&query.dns.ttl) {
            Ok(ttl) if ttl.0 < 0 => return invalid(format!("DNS TTL '{}', must be >=0", ttl.0)),
            Ok(_) => {}
            Err(error) => return invalid(format!("Bad DNS TTL '{}': {error}", query.dns.ttl)),
        }
    }
    template::check(query)
        .map_err(|error| RpcError::new(ErrorKind::Other, format!("failed compiling template: {error}")))?;
    if query.session.is_empty() { Ok(()) } else { look_up("session", &query.session) }
}

/// A query by its id. One that is not there is an error, as its callers expect.
fn get(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &PreparedQuerySpecificRequest,
) -> Result<IndexedPreparedQueries, RpcError> {
    look_up("prepared query", &args.query_id)?;
    let (index, query) = cx.view.query(watched, &args.query_id);
    match query {
        Some(query) => Ok(IndexedPreparedQueries { queries: vec![query], meta: meta(index) }),
        None => Err(RpcError::from_text("Query not found")),
    }
}

fn list(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    _: &DcSpecificRequest,
) -> Result<IndexedPreparedQueries, RpcError> {
    let (index, queries) = cx.view.queries(watched);
    Ok(IndexedPreparedQueries { queries, meta: meta(index) })
}

/// What would be run for a name.
async fn explain(
    core: Arc<Core>,
    args: PreparedQueryExecuteRequest,
) -> Result<PreparedQueryExplainResponse, RpcError> {
    core.ensure_query_consistency(&args.options).await?;
    let query = resolve(&core.store.view(), &args.query_id_or_name)?;
    Ok(PreparedQueryExplainResponse { query, meta: core.query_meta() })
}

/// The query that a name or id stands for, filled in if it is a template.
fn resolve(view: &View, id_or_name: &str) -> Result<PreparedQuery, RpcError> {
    match view.query_resolve(&mut WatchSet::none(), id_or_name).1 {
        Resolved::Unknown => Err(RpcError::from_text("Query not found")),
        Resolved::Query(query) => Ok((*query).clone()),
        Resolved::Template(query) => template::fill(&query, id_or_name)
            .map_err(|error| RpcError::new(ErrorKind::Other, error.to_string())),
        Resolved::TemplateById(query) => refuse(format!(
            "prepared query templates can only be resolved up by name, not by ID: '{}'",
            query.id
        )),
    }
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
