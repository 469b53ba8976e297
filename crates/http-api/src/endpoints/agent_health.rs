//! `/v1/agent/health/service`: what this agent makes of its own services.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use model::catalog::NodeService;
use model::health::HealthCheck;

use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Object, key};

/// Health, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Passing,
    Warning,
    Critical,
    Maintenance,
}

impl Health {
    fn of(check: &HealthCheck) -> Self {
        if check.check_id == "_node_maintenance" || check.check_id.starts_with("_service_maintenance:") {
            return Self::Maintenance;
        }
        match check.status.as_str() {
            "passing" => Self::Passing,
            "warning" => Self::Warning,
            "maintenance" => Self::Maintenance,
            _ => Self::Critical,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Passing => StatusCode::OK,
            Self::Warning => StatusCode::TOO_MANY_REQUESTS,
            Self::Critical | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

type Checks = BTreeMap<String, Arc<HealthCheck>>;

/// The checks of a service and of its node.
fn of_service<'a>(checks: &'a Checks, id: &'a str) -> impl Iterator<Item = &'a HealthCheck> {
    checks
        .values()
        .map(|check| &**check)
        .filter(move |check| check.service_id.is_empty() || check.service_id == id)
}

fn aggregate(checks: &Checks, id: &str) -> Health {
    of_service(checks, id).map(Health::of).max().unwrap_or(Health::Passing)
}

fn write(out: &mut Vec<u8>, service: &NodeService, checks: &Checks, datacenter: &str) {
    let mut object = Object::new(out);
    object.str(key!("AggregatedStatus"), aggregate(checks, &service.id).as_str());
    json::agent_service(object.key(key!("Service")), service, datacenter, None);
    json::array(object.key(key!("Checks")), of_service(checks, &service.id), json::client_check);
    object.end();
}

fn told(call: &Call, health: Health, body: impl FnOnce(&mut Vec<u8>)) -> Reply {
    let reply = if call.params.get("format") == "text" {
        Reply::bytes("text/plain", health.as_str())
    } else {
        Reply::write(512, body)
    };
    reply.status(health.status()).header("X-Consul-Reason", health.as_str())
}

/// `GET /v1/agent/health/service/id/<id>`.
pub fn by_id(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let id = call.rest();
        if id.is_empty() {
            return Err(ApiError::internal("Bad request: Missing serviceID"));
        }
        let Some(service) = face.agent.service(id, call.token()).await? else {
            let reason = format!("ServiceId {id} not found");
            let reply = if call.params.get("format") == "text" {
                Reply::serde(&reason)
            } else {
                Reply::json(r#"{"AggregatedStatus":"critical","Service":null,"Checks":null}"#)
            };
            return Ok(reply.status(StatusCode::NOT_FOUND).header("X-Consul-Reason", &reason));
        };
        let checks = face.agent.checks(call.token()).await?;
        let datacenter = face.agent.local_datacenter();
        Ok(told(&call, aggregate(&checks, id), |out| write(out, &service, &checks, datacenter)))
    })
}

/// `GET /v1/agent/health/service/name/<name>`: all local instances; the worst decides.
pub fn by_name(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let name = call.rest();
        if name.is_empty() {
            return Err(ApiError::internal("Bad request: Missing service Name"));
        }
        let services = face.agent.services(call.token()).await?;
        let instances: Vec<&Arc<NodeService>> =
            services.values().filter(|service| service.service == name).collect();
        let checks = face.agent.checks(call.token()).await?;
        let Some(worst) = instances.iter().map(|service| aggregate(&checks, &service.id)).max() else {
            let reason = format!("ServiceName {name} Not Found");
            let reply = if call.params.get("format") == "text" {
                Reply::bytes("text/plain", reason.clone())
            } else {
                Reply::json("[]")
            };
            return Ok(reply.status(StatusCode::NOT_FOUND).header("X-Consul-Reason", &reason));
        };
        let datacenter = face.agent.local_datacenter();
        Ok(told(&call, worst, |out| {
            json::array(out, &instances, |out, service| write(out, service, &checks, datacenter));
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_of_service_and_node_decides() {
        let check = |id: &str, service: &str, status: &str| {
            let check = HealthCheck {
                check_id: id.to_owned(),
                service_id: service.to_owned(),
                status: status.to_owned(),
                ..HealthCheck::default()
            };
            (id.to_owned(), Arc::new(check))
        };
        let mut checks: Checks =
            [check("a", "web", "passing"), check("b", "web", "warning"), check("c", "db", "critical")].into();
        assert_eq!(aggregate(&checks, "web"), Health::Warning);
        assert_eq!(aggregate(&checks, "db"), Health::Critical);
        assert_eq!(aggregate(&checks, "other"), Health::Passing);
        checks.extend([check("_node_maintenance", "", "critical")]);
        assert_eq!(aggregate(&checks, "other"), Health::Maintenance);
    }
}
