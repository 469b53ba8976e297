//! `/v1/health`.

use std::sync::Arc;

use model::error::RpcError;
use model::health::{ChecksInStateRequest, IndexedCheckServiceNodes, IndexedHealthChecks};
use model::methods::{HealthChecksInState, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes};
use model::options::{NodeSpecificRequest, ServiceSpecificRequest};

use super::catalog::{is_far, service_request};
use super::fetch::{Fetched, failed_read, read, read_cached, told};
use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::numbers;
use crate::face::options::{self, ReadOptions, level};
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Empties};
use crate::translate;
use cache::CacheKind;

/// The longest answer about one service that is allotted at once, entries.
const CAPACITY_ENTRIES: usize = 4096;

fn checks(result: Result<IndexedHealthChecks, RpcError>, level: &'static str) -> Reply {
    let fetched = match result {
        Ok(reply) => Fetched::Owned(reply),
        Err(error) => return failed_read(error),
    };
    let reply = Reply::write(64 + fetched.health_checks.len() * 320, |out| {
        json::array(out, &fetched.health_checks, |out, check: &Arc<_>| {
            json::health_check(out, check, Empties::Lists);
        });
    });
    told(reply, &fetched, level)
}

/// `GET /v1/health/node/<name>`.
pub fn node_checks(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let node = call.rest().to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request("Missing node name"));
        }
        let level = level(&query);
        let args = NodeSpecificRequest { datacenter, node, options: query };
        Ok(checks(read::<HealthNodeChecks>(face, args).await, level))
    })
}

/// `GET /v1/health/checks/<service>`.
pub fn service_checks(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let level = level(&query);
        let args = service_request(face, &call, datacenter, query, false)?;
        Ok(checks(read::<HealthServiceChecks>(face, args).await, level))
    })
}

/// `GET /v1/health/state/<state>`.
pub fn checks_in_state(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let state = call.rest().to_owned();
        if state.is_empty() {
            return Err(ApiError::bad_request("Missing check state"));
        }
        let level = level(&query);
        let args = ChecksInStateRequest {
            node_meta_filters: options::node_meta(&call),
            source: options::source(face, &call, &datacenter),
            datacenter,
            state,
            options: query,
        };
        Ok(checks(read::<HealthChecksInState>(face, args).await, level))
    })
}

/// `GET /v1/health/service/<name>`.
pub fn service(face: &Face, call: Call) -> Answer<'_> {
    entries(face, call, Of::Service)
}

/// `GET /v1/health/connect/<name>`.
pub fn connect(face: &Face, call: Call) -> Answer<'_> {
    entries(face, call, Of::Connect)
}

/// `GET /v1/health/ingress/<name>`.
pub fn ingress(face: &Face, call: Call) -> Answer<'_> {
    entries(face, call, Of::Ingress)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Service,
    Connect,
    Ingress,
}

fn entries(face: &Face, call: Call, of: Of) -> Answer<'_> {
    match entries_call(face, &call, of) {
        Ok((args, level, far)) => {
            let passing = passing_only(&call);
            let fetched = read_cached::<HealthServiceNodes>(face, args, CacheKind::Refreshed);
            // Nothing of the request is kept while it waits.
            Box::pin(async move { shown(face, fetched.await?, level, far, passing) })
        }
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

type Asked = (ServiceSpecificRequest, &'static str, bool);

fn entries_call(face: &Face, call: &Call, of: Of) -> Result<Asked, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let level = level(&query);
    let mut args = service_request(face, call, datacenter, query, of == Of::Connect)?;
    args.ingress = of == Of::Ingress;
    let far = is_far(face, call, &args.datacenter);
    Ok((args, level, far))
}

fn shown(
    face: &Face,
    mut fetched: Fetched<IndexedCheckServiceNodes>,
    level: &'static str,
    far: bool,
    passing: Option<bool>,
) -> Result<Reply, ApiError> {
    let Some(passing) = passing else {
        let refusal = Reply::from(ApiError::bad_request("Invalid value for ?passing"));
        return Ok(told(refusal, &fetched, level));
    };
    if far {
        translate::entries(&mut fetched.to_mut().nodes);
    }
    let shown = fetched
        .nodes
        .iter()
        .filter(|entry| !passing || entry.checks.iter().all(|check| check.status == "passing"));
    let body = face.encoded.get(shown.clone(), || {
        let mut out = Vec::with_capacity(64 + fetched.nodes.len().min(CAPACITY_ENTRIES) * 1280);
        json::array(&mut out, shown, json::check_service_node);
        out
    });
    let reply = Reply::json(body);
    Ok(told(reply, &fetched, level))
}

/// `passing` without value or true: only instances whose checks all pass. `None` for a value that
/// is no truth value.
fn passing_only(call: &Call) -> Option<bool> {
    match call.params.find("passing") {
        None => Some(false),
        Some("") => Some(true),
        Some(value) => numbers::truth(value).ok(),
    }
}
