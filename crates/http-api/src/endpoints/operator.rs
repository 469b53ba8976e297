//! `/v1/operator`.

use model::internal::{KeyringRequest, KeyringResponse};
use model::methods::{
    InternalKeyringOperation, OperatorAutopilotGetConfiguration, OperatorAutopilotSetConfiguration,
    OperatorAutopilotState, OperatorRaftGetConfiguration, OperatorRaftRemovePeerByAddress,
    OperatorRaftRemovePeerById, OperatorServerHealth,
};
use model::operator::{
    AutopilotConfig, AutopilotHealthReply, AutopilotSetConfigRequest, AutopilotState, RaftRemovePeerRequest,
};
use model::ops::KeyringOp;
use model::options::DcSpecificRequest;
use model::rules::several;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::numbers;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::{Answer, Verb};
use crate::json::{self, Object, key};

/// Highest relay factor of keyring operations.
const MAX_RELAY_FACTOR: u8 = 5;

fn request(face: &Face, call: &Call) -> Result<DcSpecificRequest, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    Ok(DcSpecificRequest { datacenter, options: query, ..DcSpecificRequest::default() })
}

fn bad(text: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("Bad request: {text}"))
}

/// `GET /v1/operator/raft/configuration`.
pub fn raft_configuration(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let reply = face.road.call::<OperatorRaftGetConfiguration>(request(face, &call)?).await?;
        Ok(Reply::serde(&reply))
    })
}

/// `DELETE /v1/operator/raft/peer`: by `id` or by `address`.
pub fn raft_remove_peer(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let (id, address) = (call.params.has("id"), call.params.has("address"));
        if !id && !address {
            return Err(bad(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            ));
        }
        if id && address {
            return Err(bad("Must specify only one of ?id or ?address"));
        }
        let args = RaftRemovePeerRequest {
            address: call.params.get("address").to_owned(),
            id: call.params.get("id").to_owned(),
            datacenter: options::datacenter(face, &call),
            token: options::token(face, &call),
        };
        if id {
            face.road.call::<OperatorRaftRemovePeerById>(args).await?;
        } else {
            face.road.call::<OperatorRaftRemovePeerByAddress>(args).await?;
        }
        Ok(Reply::empty())
    })
}

/// `GET` and `PUT /v1/operator/autopilot/configuration`. What a `PUT` does not name becomes zero.
pub fn autopilot_configuration(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.verb == Verb::Get {
            let config = face.road.call::<OperatorAutopilotGetConfiguration>(request(face, &call)?).await?;
            return Ok(Reply::serde(&config));
        }
        let mut config: AutopilotConfig = decode::strict(&call.take_body().await?).map_err(|error| {
            bad(format_args!("Error parsing autopilot config: {}", decode::reason(&error)))
        })?;
        let cas = call.params.find("cas");
        if let Some(index) = cas {
            config.modify_index = numbers::unsigned(index)
                .map_err(|error| bad(format_args!("Error parsing cas value: {error}")))?;
        }
        let args = AutopilotSetConfigRequest {
            cas: cas.is_some(),
            config,
            datacenter: options::datacenter(face, &call),
            token: options::token(face, &call),
        };
        let done = face.road.call::<OperatorAutopilotSetConfiguration>(args).await?;
        Ok(Reply::serde(&done))
    })
}

/// `GET /v1/operator/autopilot/health`: 429 while unhealthy.
pub fn autopilot_health(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let health = face.road.call::<OperatorServerHealth>(request(face, &call)?).await?;
        let reply = Reply::write(512, |out| health_json(out, &health));
        Ok(if health.healthy { reply } else { reply.status(http::StatusCode::TOO_MANY_REQUESTS) })
    })
}

fn health_json(out: &mut Vec<u8>, health: &AutopilotHealthReply) {
    let mut object = Object::new(out);
    object.bool(key!("Healthy"), health.healthy);
    object.i64(key!("FailureTolerance"), health.failure_tolerance);
    json::array(object.key(key!("Servers")), &health.servers, |out, server| {
        let mut object = Object::new(out);
        object.str(key!("ID"), &server.id);
        object.str(key!("Name"), &server.name);
        object.str(key!("Address"), &server.address);
        object.str(key!("SerfStatus"), serf_status(server.serf_status));
        object.str(key!("Version"), &server.version);
        object.bool(key!("Leader"), server.leader);
        object.str(key!("LastContact"), &server.last_contact.to_string());
        object.u64(key!("LastTerm"), server.last_term);
        object.u64(key!("LastIndex"), server.last_index);
        object.bool(key!("Healthy"), server.healthy);
        object.bool(key!("Voter"), server.voter);
        object.str(key!("StableSince"), &server.stable_since.to_string());
        object.end();
    });
    object.end();
}

/// The gossip state of a member by its number.
fn serf_status(status: i64) -> &'static str {
    match status {
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "none",
    }
}

/// `GET /v1/operator/autopilot/state`.
pub fn autopilot_state(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let state = face.road.call::<OperatorAutopilotState>(request(face, &call)?).await?;
        Ok(Reply::write(1024, |out| state_json(out, &state)))
    })
}

fn state_json(out: &mut Vec<u8>, state: &AutopilotState) {
    let mut object = Object::new(out);
    object.bool(key!("Healthy"), state.healthy);
    object.i64(key!("FailureTolerance"), state.failure_tolerance);
    object.i64(key!("OptimisticFailureTolerance"), state.failure_tolerance);
    let mut servers = Object::new(object.key(key!("Servers")));
    for (id, entry) in &state.servers {
        let server = &entry.server;
        let mut object = Object::new(servers.dynamic_key(id));
        object.str(key!("ID"), &server.id);
        object.str(key!("Name"), &server.name);
        object.str(key!("Address"), &server.address);
        object.str(key!("NodeStatus"), &server.node_status);
        object.str(key!("Version"), &server.version);
        object.str(key!("LastContact"), &entry.stats.last_contact.to_string());
        object.u64(key!("LastTerm"), entry.stats.last_term);
        object.u64(key!("LastIndex"), entry.stats.last_index);
        object.bool(key!("Healthy"), entry.health.healthy);
        object.str(key!("StableSince"), &entry.health.stable_since.to_string());
        object.str(key!("Status"), &entry.state);
        json::string_map(object.key(key!("Meta")), &server.meta);
        object.str(key!("NodeType"), &server.node_type);
        object.end();
    }
    servers.end();
    object.str(key!("Leader"), &state.leader);
    json::strings(object.key(key!("Voters")), &state.voters);
    object.end();
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct KeyringArgs {
    key: String,
}

/// `/v1/operator/keyring`: list, install, use and remove gossip keys of all pools.
pub fn keyring(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let relay_factor = relay_factor(&call)?;
        let local_only = match call.params.get("local-only") {
            "" => false,
            text => numbers::truth(text)
                .map_err(|error| bad(format_args!("Error parsing local-only: {error}")))?,
        };
        if local_only && call.verb != Verb::Get {
            return Err(bad("Invalid use of local-only: local-only can only be set for list requests"));
        }
        let key = if call.verb == Verb::Get {
            String::new()
        } else {
            decode::strict::<KeyringArgs>(&call.take_body().await?).map_err(|error| bad(error.text))?.key
        };
        let operation = match call.verb {
            Verb::Get => KeyringOp::List,
            Verb::Post => KeyringOp::Install,
            Verb::Put => KeyringOp::Use,
            Verb::Delete => KeyringOp::Remove,
        };
        let args = KeyringRequest {
            datacenter: face.agent.local_datacenter().to_owned(),
            forwarded: false,
            key,
            local_only,
            operation,
            relay_factor,
            options: model::options::QueryOptions {
                token: options::token(face, &call),
                ..Default::default()
            },
        };
        let reply = face.road.call::<InternalKeyringOperation>(args).await?;
        if let Some(text) = keyring_errors(&reply.responses) {
            return Err(ApiError::internal(text));
        }
        if call.verb != Verb::Get {
            return Ok(Reply::empty());
        }
        Ok(Reply::write(512, |out| json::array(out, &reply.responses, keyring_json)))
    })
}

fn relay_factor(call: &Call) -> Result<u8, ApiError> {
    let text = call.params.get("relay-factor");
    if text.is_empty() {
        return Ok(0);
    }
    let number =
        numbers::signed(text).map_err(|error| bad(format_args!("Error parsing relay factor: {error}")))?;
    u8::try_from(number).ok().filter(|factor| *factor <= MAX_RELAY_FACTOR).ok_or_else(|| {
        bad(format_args!("Invalid relay-factor: Relay factor must be in range: [0, {MAX_RELAY_FACTOR}]"))
    })
}

fn keyring_json(out: &mut Vec<u8>, response: &KeyringResponse) {
    let mut object = Object::new(out);
    object.bool(key!("WAN"), response.wan);
    object.str(key!("Datacenter"), &response.datacenter);
    object.str(key!("Segment"), &response.segment);
    if !response.messages.is_empty() {
        json::string_map(object.key(key!("Messages")), &response.messages);
    }
    json::serde(object.key(key!("Keys")), &response.keys);
    json::serde(object.key(key!("PrimaryKeys")), &response.primary_keys);
    object.i64(key!("NumNodes"), response.num_nodes);
    object.end();
}

/// What went wrong in which pool, as one text; `None` when nothing did.
fn keyring_errors(responses: &[KeyringResponse]) -> Option<String> {
    let mut errors = Vec::new();
    for response in responses.iter().filter(|response| !response.error.is_empty()) {
        let pool = match (response.wan, response.segment.as_str()) {
            (true, _) => "WAN".to_owned(),
            (false, "") => format!("{} (LAN)", response.datacenter),
            (false, segment) => format!("{} [segment: {segment}]", response.datacenter),
        };
        errors.push(format!("{pool} error: {}", response.error));
        errors.extend(response.messages.iter().map(|(node, message)| format!("{node}: {message}")));
    }
    (!errors.is_empty()).then(|| several(&errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyring_errors_name_pool_and_node() {
        let pool = |wan, node: &str| KeyringResponse {
            wan,
            datacenter: "dc1".to_owned(),
            error: "1/1 nodes reported failure".to_owned(),
            messages: [(node.to_owned(), "no such key".to_owned())].into(),
            ..KeyringResponse::default()
        };
        assert_eq!(
            keyring_errors(&[pool(true, "s1.dc1"), pool(false, "s1")]).unwrap(),
            "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* s1.dc1: no such key\n\t* dc1 \
             (LAN) error: 1/1 nodes reported failure\n\t* s1: no such key\n\n"
        );
        assert_eq!(keyring_errors(&[KeyringResponse::default()]), None);
    }
}
