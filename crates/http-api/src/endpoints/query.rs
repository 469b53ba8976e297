//! `/v1/query`.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use model::error::{ErrorKind, RpcError};
use model::methods::{
    PreparedQueryApply, PreparedQueryExecute, PreparedQueryExplain, PreparedQueryGet, PreparedQueryList,
};
use model::ops::PreparedQueryOp;
use model::options::{DcSpecificRequest, QuerySource};
use model::query::{
    PreparedQuery, PreparedQueryExecuteRequest, PreparedQueryExecuteResponse, PreparedQueryRequest,
    PreparedQuerySpecificRequest,
};

use super::fetch::{Fetched, failed_read, read, read_cached, told};
use crate::api::error::ApiError;
use crate::decode;
use crate::face::call::Call;
use crate::face::numbers;
use crate::face::options::{self, ReadOptions, level};
use crate::face::reply::Reply;
use crate::face::route::{Answer, Verb};
use crate::face::{Face, Peer};
use crate::json::{self, Object, key};
use crate::translate;
use cache::CacheKind;

/// `/v1/query`: list and create.
pub fn collection(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.verb == Verb::Post { create(face, call).await } else { list(face, &call).await }
    })
}

/// `/v1/query/<id>` and what is below it.
pub fn one(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let rest = call.rest().to_owned();
        let (name, action) = match (rest.strip_suffix("/execute"), rest.strip_suffix("/explain")) {
            (Some(name), _) => (name, Some(Action::Execute)),
            (_, Some(name)) => (name, Some(Action::Explain)),
            _ => (rest.as_str(), None),
        };
        match (action, call.verb) {
            (Some(Action::Execute), Verb::Get) => execute(face, &call, name).await,
            (Some(Action::Explain), Verb::Get) => explain(face, &call, name).await,
            (Some(_), verb) => Ok(Reply::method_not_allowed(verb.as_str(), "GET")),
            (None, Verb::Get) => get(face, &call, name).await,
            (None, Verb::Put) => update(face, call, &rest).await,
            (None, Verb::Delete) => {
                let query = PreparedQuery { id: name.to_owned(), ..PreparedQuery::default() };
                apply(face, &call, PreparedQueryOp::Delete, query).await?;
                Ok(Reply::empty())
            }
            (None, verb) => Ok(Reply::method_not_allowed(verb.as_str(), "GET,PUT,DELETE")),
        }
    })
}

enum Action {
    Execute,
    Explain,
}

async fn apply(
    face: &Face,
    call: &Call,
    op: PreparedQueryOp,
    query: PreparedQuery,
) -> Result<String, ApiError> {
    let args = PreparedQueryRequest {
        datacenter: options::datacenter(face, call),
        op,
        query: Some(query),
        token: options::token(face, call),
    };
    Ok(face.road.call::<PreparedQueryApply>(args).await?)
}

async fn create(face: &Face, mut call: Call) -> Result<Reply, ApiError> {
    let query: PreparedQuery = decode::strict(&call.take_body().await?)?;
    let id = apply(face, &call, PreparedQueryOp::Create, query).await?;
    Ok(Reply::write(64, |out| {
        let mut object = Object::new(out);
        object.str(key!("ID"), &id);
        object.end();
    }))
}

async fn update(face: &Face, mut call: Call, id: &str) -> Result<Reply, ApiError> {
    let mut query: PreparedQuery = decode::strict(&call.take_body().await?)?;
    id.clone_into(&mut query.id);
    apply(face, &call, PreparedQueryOp::Update, query).await?;
    Ok(Reply::empty())
}

async fn list(face: &Face, call: &Call) -> Result<Reply, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let level = level(&query);
    let args = DcSpecificRequest { datacenter, options: query, ..DcSpecificRequest::default() };
    Ok(match read::<PreparedQueryList>(face, args).await {
        Ok(reply) => queries(&reply.queries).meta(&reply.meta).level(level),
        Err(error) => failed_read(error),
    })
}

async fn get(face: &Face, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let level = level(&query);
    let args = PreparedQuerySpecificRequest { datacenter, query_id: id.to_owned(), options: query };
    Ok(match read::<PreparedQueryGet>(face, args).await {
        Ok(reply) => queries(&reply.queries).meta(&reply.meta).level(level),
        Err(error) => refused(error),
    })
}

/// 404 for an unknown query, else as any failed read.
fn refused(error: RpcError) -> Reply {
    if error.kind() == ErrorKind::QueryNotFound {
        return Reply::text(StatusCode::NOT_FOUND, error.text());
    }
    failed_read(error)
}

fn queries(queries: &[Arc<PreparedQuery>]) -> Reply {
    Reply::write(64 + queries.len() * 512, |out| {
        json::array(out, queries, |out, query| json::prepared_query(out, query));
    })
}

fn execution(face: &Face, call: &Call, name: &str) -> Result<PreparedQueryExecuteRequest, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let limit = match call.params.get("limit") {
        "" => 0,
        text => numbers::signed(text).map_err(|error| ApiError::internal(format!("Bad limit: {error}")))?,
    };
    let mut source = options::source(face, call, &datacenter);
    if source.node == "_ip" {
        source.node.clear();
        source.ip = client_address(call);
    }
    Ok(PreparedQueryExecuteRequest {
        agent: QuerySource {
            datacenter: face.agent.local_datacenter().to_owned(),
            node: face.agent.node_name().to_owned(),
            segment: face.agent.segment().to_owned(),
            ip: String::new(),
        },
        connect: call.params.has("connect") && numbers::truth(call.params.get("connect")).unwrap_or(true),
        datacenter,
        limit,
        query_id_or_name: name.to_owned(),
        source,
        options: query,
    })
}

/// The address of the client: the first one a proxy names, or the connection's.
fn client_address(call: &Call) -> String {
    let forwarded = call
        .headers
        .text("x-forwarded-for")
        .and_then(|value| value.split(',').next())
        .and_then(|first| first.trim().parse::<IpAddr>().ok());
    match (forwarded, call.peer) {
        (Some(address), _) | (None, Peer::Ip(address)) => address.to_string(),
        (None, Peer::Unix) => String::new(),
    }
}

async fn execute(face: &Face, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let args = execution(face, call, name)?;
    let level = level(&args.options);
    let mut fetched = match read_cached::<PreparedQueryExecute>(face, args, CacheKind::Simple).await {
        Ok(fetched) => fetched,
        Err(error) => return Ok(refused(error)),
    };
    if super::catalog::is_far(face, call, &fetched.datacenter) {
        translate::entries(&mut fetched.to_mut().nodes);
    }
    let reply = Reply::write(256 + fetched.nodes.len() * 768, |out| {
        let reply: &PreparedQueryExecuteResponse = &fetched;
        let mut object = Object::new(out);
        object.str(key!("Service"), &reply.service);
        json::array(object.key(key!("Nodes")), &reply.nodes, json::query_node);
        let mut dns = Object::new(object.key(key!("DNS")));
        dns.str(key!("TTL"), &reply.dns.ttl);
        dns.end();
        object.str(key!("Datacenter"), &reply.datacenter);
        object.i64(key!("Failovers"), reply.failovers);
        let mut meta = reply.meta.clone();
        level.clone_into(&mut meta.consistency_level);
        json::query_meta(&mut object, &meta);
        object.end();
    });
    Ok(told(reply, &fetched, level))
}

async fn explain(face: &Face, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let args = execution(face, call, name)?;
    let level = level(&args.options);
    let fetched = match read::<PreparedQueryExplain>(face, args).await {
        Ok(reply) => Fetched::Owned(reply),
        Err(error) => return Ok(refused(error)),
    };
    let reply = Reply::write(768, |out| {
        let mut object = Object::new(out);
        json::prepared_query(object.key(key!("Query")), &fetched.query);
        let mut meta = fetched.meta.clone();
        level.clone_into(&mut meta.consistency_level);
        json::query_meta(&mut object, &meta);
        object.end();
    });
    Ok(told(reply, &fetched, level))
}
