//! The parameters that most reads share: consistency, blocking, caching, source.

use std::collections::BTreeMap;

use model::duration::{GoDuration, parse_go};
use model::options::{QueryOptions, QuerySource};

use super::Face;
use super::call::Call;
use super::numbers;
use crate::api::error::ApiError;

/// What a read asks for.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The datacenter asked.
    pub datacenter: String,
    /// The options that travel.
    pub query: QueryOptions,
}

/// Reads the shared parameters of a read.
///
/// # Errors
/// 400 for a malformed or contradictory parameter.
pub fn read(face: &Face, call: &Call) -> Result<ReadOptions, ApiError> {
    let mut query = QueryOptions::default();
    wait(call, &mut query)?;
    consistency(call, &mut query)?;
    cache_control(call, &mut query)?;
    query.token = token(face, call);
    query.filter = call.params.get("filter").to_owned();
    Ok(ReadOptions { datacenter: datacenter(face, call), query })
}

/// The datacenter asked, or our own.
pub fn datacenter(face: &Face, call: &Call) -> String {
    match call.params.get("dc") {
        "" => face.agent.local_datacenter().to_owned(),
        dc => dc.to_owned(),
    }
}

/// The caller's token, or the agent's default one.
pub fn token(face: &Face, call: &Call) -> String {
    match call.token() {
        "" => face.agent.default_token(),
        token => token.to_owned(),
    }
}

/// `wait` and `index`.
pub fn wait(call: &Call, query: &mut QueryOptions) -> Result<(), ApiError> {
    if let Some(wait) = call.params.find("wait").filter(|wait| !wait.is_empty()) {
        query.max_query_time = parse_go(wait).map_err(|_| ApiError::bad_request("Invalid wait time"))?;
    }
    if let Some(index) = call.params.find("index").filter(|index| !index.is_empty()) {
        query.min_query_index =
            numbers::unsigned(index).map_err(|_| ApiError::bad_request("Invalid index"))?;
    }
    Ok(())
}

fn consistency(call: &Call, query: &mut QueryOptions) -> Result<(), ApiError> {
    let params = &call.params;
    let mut default = true;
    if params.has("stale") {
        query.allow_stale = true;
        default = false;
    }
    if params.has("consistent") {
        query.require_consistent = true;
        default = false;
    }
    if params.has("leader") {
        default = false;
    }
    if params.has("cached") && call.config.use_cache {
        query.use_cache = true;
        default = false;
    }
    if let Some(max_stale) = params.find("max_stale").filter(|text| !text.is_empty()) {
        let bound = parse_go(max_stale)
            .map_err(|_| ApiError::bad_request(format!("Invalid max_stale value {max_stale:?}")))?;
        query.max_stale_duration = bound;
        if bound.0 > 0 {
            query.allow_stale = true;
        }
        default = false;
    }
    let discovery = call.path.starts_with("/v1/catalog") || call.path.starts_with("/v1/health");
    if default && discovery && !call.config.discovery_max_stale.is_zero() {
        query.max_stale_duration = GoDuration::from(call.config.discovery_max_stale);
        query.allow_stale = true;
    }
    if query.allow_stale && query.require_consistent {
        return Err(ApiError::bad_request("Cannot specify ?stale with ?consistent, conflicting semantics."));
    }
    if query.use_cache && query.require_consistent {
        return Err(ApiError::bad_request("Cannot specify ?cached with ?consistent, conflicting semantics."));
    }
    Ok(())
}

/// `Cache-Control: max-age=N, stale-if-error=N, must-revalidate`; unknown directives are passed
/// over.
fn cache_control(call: &Call, query: &mut QueryOptions) -> Result<(), ApiError> {
    let Some(value) = call.headers.get("cache-control") else { return Ok(()) };
    let invalid = || ApiError::bad_request("Invalid Cache-Control header.");
    let text = value.to_str().map_err(|_| invalid())?.to_ascii_lowercase();
    for directive in text.split(',').map(str::trim) {
        if directive == "must-revalidate" {
            query.must_revalidate = true;
            continue;
        }
        let Some((name, seconds)) = directive.split_once('=') else { continue };
        let slot = match name {
            "max-age" => &mut query.max_age,
            "stale-if-error" => &mut query.stale_if_error,
            _ => continue,
        };
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        *slot = GoDuration::from_secs(seconds);
        // max-age=0 asks for a fresh answer.
        if name == "max-age" && seconds == 0 {
            query.must_revalidate = true;
        }
    }
    Ok(())
}

/// `near`: whose distance orders the answer. `_ip` stands for the address of the client.
pub fn source(face: &Face, call: &Call, datacenter: &str) -> QuerySource {
    let mut source = QuerySource {
        datacenter: datacenter.to_owned(),
        segment: face.agent.segment().to_owned(),
        ..QuerySource::default()
    };
    match call.params.get("near") {
        "_agent" => face.agent.node_name().clone_into(&mut source.node),
        near => near.clone_into(&mut source.node),
    }
    source
}

/// `node-meta`: pairs `key:value` that nodes must carry.
pub fn node_meta(call: &Call) -> BTreeMap<String, String> {
    call.params
        .all("node-meta")
        .map(|pair| {
            let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// The consistency of an answer, as its header tells it.
pub fn level(query: &QueryOptions) -> &'static str {
    if query.require_consistent {
        "consistent"
    } else if query.allow_stale {
        "stale"
    } else {
        "leader"
    }
}
