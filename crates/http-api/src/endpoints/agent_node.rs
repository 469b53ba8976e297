//! `/v1/agent`: the agent itself and its pools.

use std::str::FromStr as _;

use futures::StreamExt as _;

use crate::api::error::ApiError;
use crate::api::types::LogLevel;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::numbers;
use crate::face::reply::Reply;
use crate::face::route::Answer;

/// `GET /v1/agent/self`.
pub fn self_info(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move { Ok(Reply::serde(&face.agent.self_info(call.token()).await?)) })
}

/// `GET /v1/agent/host`.
pub fn host(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move { Ok(Reply::serde(&face.agent.host(call.token()).await?)) })
}

/// `GET /v1/agent/members`: of the LAN pool, or with `wan` of the WAN pool.
pub fn members(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let wan = !call.params.get("wan").is_empty();
        if !matches!(call.params.get("segment"), "" | "_all") {
            if wan {
                return Err(ApiError::bad_request("Cannot provide a segment with wan=true"));
            }
            return Err(ApiError::internal("Network segments are not supported in this version of Consul"));
        }
        Ok(Reply::serde(&face.agent.members(wan, call.token()).await?))
    })
}

/// `PUT /v1/agent/join/<address>`.
pub fn join(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let wan = !call.params.get("wan").is_empty();
        face.agent.join(call.rest(), wan, call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/leave`.
pub fn leave(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        face.agent.leave(call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/force-leave/<node>`.
pub fn force_leave(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        face.agent.force_leave(call.rest(), call.params.has("prune"), call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/reload`.
pub fn reload(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        face.agent.reload(call.token()).await?;
        Ok(Reply::empty())
    })
}

/// The `enable` parameter of maintenance.
pub fn enable(call: &Call) -> Result<bool, ApiError> {
    let text = call.params.find("enable").ok_or_else(|| ApiError::bad_request("Missing value for enable"))?;
    numbers::truth(text).map_err(|_| ApiError::bad_request(format!("Invalid value for enable: {text:?}")))
}

/// `PUT /v1/agent/maintenance`.
pub fn maintenance(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let enable = enable(&call)?;
        face.agent.node_maintenance(enable, call.params.get("reason"), call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `GET /v1/agent/metrics`.
pub fn metrics(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.params.get("format") == "prometheus" {
            let text = face.agent.metrics_prometheus(call.token()).await?;
            return Ok(Reply::bytes("text/plain; version=0.0.4; charset=utf-8", text));
        }
        Ok(Reply::serde(&face.agent.metrics(call.token()).await?))
    })
}

/// `GET /v1/agent/monitor`: log lines as they are written, until the client goes.
pub fn monitor(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let level = match call.params.get("loglevel") {
            "" => LogLevel::Info,
            text => LogLevel::from_str(text)
                .map_err(|error| ApiError::bad_request(format!("Bad request: {error}")))?,
        };
        let json = call.params.has("logjson");
        let lines = face.agent.monitor(level, json, call.token()).await?;
        Ok(Reply::stream("text/plain; charset=utf-8", lines.map(Ok).boxed()))
    })
}
