//! `/v1/agent/service`.

use model::catalog::NodeService;
use model::definition::ServiceDefinition;
use model::options::QueryOptions;

use super::agent_node::enable;
use super::event::{changed_by, wait_of};
use crate::api::error::ApiError;
use crate::api::types::ServiceRegistration;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options;
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Object};
use crate::validate;

/// `GET /v1/agent/services`: the local services by id.
pub fn list(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let filter = filter::Filter::parse(call.params.get("filter"), &filter::schema::AGENT_SERVICE)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let services = face.agent.services(call.token()).await?;
        let datacenter = face.agent.local_datacenter();
        Ok(Reply::write(64 + services.len() * 384, |out| {
            let mut object = Object::new(out);
            for (id, service) in &services {
                if filter.matches(&filter::AgentService { service, datacenter }) {
                    json::agent_service(object.dynamic_key(id), service, datacenter, None);
                }
            }
            object.end();
        }))
    })
}

/// `GET /v1/agent/service/<id>`. With `hash`, waits while the content has this hash.
pub fn one(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let id = call.rest();
        let mut query = QueryOptions::default();
        options::wait(&call, &mut query)?;
        let deadline = tokio::time::Instant::now() + wait_of(&call, &query);
        let mut changes = face.agent.local_changes();
        loop {
            changes.borrow_and_update();
            let Some(service) = face.agent.service(id, call.token()).await? else {
                return Err(ApiError::not_found(format!("unknown service ID: {id}")));
            };
            let (body, hash) = hashed(&service, face.agent.local_datacenter());
            let unchanged = call.params.get("hash") == hash;
            if !unchanged || !changed_by(&mut changes, deadline).await {
                return Ok(Reply::json(body).header("X-Consul-ContentHash", &hash));
            }
        }
    })
}

/// A service with the hash of its content.
fn hashed(service: &NodeService, datacenter: &str) -> (Vec<u8>, String) {
    let mut plain = Vec::with_capacity(512);
    json::agent_service(&mut plain, service, datacenter, None);
    let hash = content_hash(&plain);
    let mut body = Vec::with_capacity(plain.len() + 40);
    json::agent_service(&mut body, service, datacenter, Some(&hash));
    (body, hash)
}

/// 64 bits of SHA-256 in hexadecimal: enough to tell versions of one service apart.
fn content_hash(content: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    let digest = sha2::Sha256::digest(content);
    let mut hash = String::with_capacity(16);
    for byte in &digest[..8] {
        // Writing to a String does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// `PUT /v1/agent/service/register`.
pub fn register(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let body = call.take_body().await?;
        let service: ServiceDefinition = decode::lenient(&body)?;
        validate::service(&service)?;
        let registration = ServiceRegistration {
            service,
            replace_existing_checks: matches!(
                call.params.find("replace-existing-checks"),
                Some("" | "1" | "true")
            ),
            token: call.token().to_owned(),
        };
        face.agent.register_service(registration).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/service/deregister/<id>`.
pub fn deregister(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        face.agent.deregister_service(call.rest(), call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/service/maintenance/<id>`.
pub fn maintenance(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.rest().is_empty() {
            return Err(ApiError::bad_request("Missing service ID"));
        }
        let enable = enable(&call)?;
        let reason = call.params.get("reason");
        face.agent.service_maintenance(call.rest(), enable, reason, call.token()).await?;
        Ok(Reply::empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_moves_with_the_content_only() {
        let service = NodeService { id: "a".to_owned(), port: 1, ..NodeService::default() };
        let same = service.clone();
        let other = NodeService { port: 2, ..service.clone() };
        assert_eq!(hashed(&service, "dc1").1, hashed(&same, "dc1").1);
        assert_ne!(hashed(&service, "dc1").1, hashed(&other, "dc1").1);
    }
}
