//! `/v1/session`.

use std::sync::Arc;

use model::duration::{GoDuration, parse_go};
use model::methods::{SessionApply, SessionGet, SessionList, SessionNodeSessions, SessionRenew};
use model::ops::SessionOp;
use model::options::NodeSpecificRequest;
use model::session::{IndexedSessions, ServiceCheck, Session, SessionRequest, SessionSpecificRequest};
use serde::Deserialize;
use serde_json::Value;

use super::fetch::{failed_read, read};
use crate::api::error::ApiError;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Object, key};

/// The check that stands for the node's life.
const SERF_HEALTH: &str = "serfHealth";
/// Lock delay of a session that names none.
const LOCK_DELAY: GoDuration = GoDuration::from_secs(15);
/// Lock delays given as a number below this are seconds, others nanoseconds.
const SECONDS_BELOW: f64 = 1000.0;

/// A session as clients ask for it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SessionArgs {
    lock_delay: Value,
    node: String,
    name: String,
    checks: Option<Vec<String>>,
    node_checks: Option<Vec<String>>,
    service_checks: Option<Vec<ServiceCheck>>,
    behavior: String,
    #[serde(rename = "TTL")]
    ttl: String,
}

impl SessionArgs {
    fn into_session(self, local_node: &str) -> Result<Session, ApiError> {
        let alive = || vec![SERF_HEALTH.to_owned()];
        let mut node_checks = self.node_checks.unwrap_or_else(alive);
        let mut checks = self.checks.unwrap_or_else(alive);
        // The older list stands beside the newer one, unless it says nothing else.
        if checks.is_empty() {
            node_checks.clear();
        } else if checks == [SERF_HEALTH] {
            checks.clear();
        }
        Ok(Session {
            behavior: self.behavior.as_str().into(),
            checks,
            lock_delay: lock_delay(&self.lock_delay)?,
            name: self.name,
            node: if self.node.is_empty() { local_node.to_owned() } else { self.node },
            node_checks,
            service_checks: self.service_checks,
            ttl: self.ttl,
            ..Session::default()
        })
    }
}

fn lock_delay(value: &Value) -> Result<GoDuration, ApiError> {
    let invalid = |reason: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("Request decode failed: LockDelay: {reason}"))
    };
    match value {
        Value::Null => Ok(LOCK_DELAY),
        Value::String(text) => parse_go(text).map_err(|error| invalid(&error)),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            let nanos = if number < SECONDS_BELOW { number * 1e9 } else { number };
            Ok(GoDuration(nanos as i64))
        }
        _ => Err(invalid(&"neither text nor number")),
    }
}

/// `PUT /v1/session/create`.
pub fn create(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let body = call.take_body().await?;
        let wanted: SessionArgs =
            if body.is_empty() { SessionArgs::default() } else { decode::strict(&body)? };
        let args = SessionRequest {
            datacenter: options::datacenter(face, &call),
            op: SessionOp::Create,
            session: wanted.into_session(face.agent.node_name())?,
            token: options::token(face, &call),
        };
        let id = face.road.call::<SessionApply>(args).await?;
        Ok(Reply::write(64, |out| {
            let mut object = Object::new(out);
            object.str(key!("ID"), &id);
            object.end();
        }))
    })
}

fn session_id(call: &Call) -> Result<String, ApiError> {
    match call.rest() {
        "" => Err(ApiError::bad_request("Missing session")),
        id => Ok(id.to_owned()),
    }
}

/// `PUT /v1/session/destroy/<id>`.
pub fn destroy(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let args = SessionRequest {
            op: SessionOp::Destroy,
            session: Session { id: session_id(&call)?, ..Session::default() },
            datacenter: options::datacenter(face, &call),
            token: options::token(face, &call),
        };
        face.road.call::<SessionApply>(args).await?;
        Ok(Reply::json("true"))
    })
}

fn specific(face: &Face, call: &Call) -> Result<SessionSpecificRequest, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let id = session_id(call)?;
    Ok(SessionSpecificRequest { datacenter, session: id.clone(), session_id: id, options: query })
}

/// `PUT /v1/session/renew/<id>`.
pub fn renew(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let args = specific(face, &call)?;
        let id = args.session_id.clone();
        let reply = face.road.call::<SessionRenew>(args).await?;
        if reply.sessions.is_empty() {
            return Err(ApiError::not_found(format!("Session id '{id}' not found")));
        }
        Ok(sessions(&reply))
    })
}

/// `GET /v1/session/info/<id>`.
pub fn info(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let args = specific(face, &call)?;
        Ok(match read::<SessionGet>(face, args).await {
            Ok(reply) => sessions(&reply).meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

/// `GET /v1/session/list`.
pub fn list(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let args = SessionSpecificRequest { datacenter, options: query, ..SessionSpecificRequest::default() };
        Ok(match read::<SessionList>(face, args).await {
            Ok(reply) => sessions(&reply).meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

/// `GET /v1/session/node/<name>`.
pub fn of_node(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let node = call.rest().to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request("Missing node name"));
        }
        let args = NodeSpecificRequest { datacenter, node, options: query };
        Ok(match read::<SessionNodeSessions>(face, args).await {
            Ok(reply) => sessions(&reply).meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

fn sessions(reply: &IndexedSessions) -> Reply {
    Reply::write(64 + reply.sessions.len() * 256, |out| {
        json::array(out, &reply.sessions, |out, session: &Arc<_>| write(out, session));
    })
}

fn write(out: &mut Vec<u8>, session: &Session) {
    let mut object = Object::new(out);
    object.str(key!("ID"), &session.id);
    object.str(key!("Name"), &session.name);
    object.str(key!("Node"), &session.node);
    object.i64(key!("LockDelay"), session.lock_delay.0);
    object.str(key!("Behavior"), session.behavior.as_str());
    object.str(key!("TTL"), &session.ttl);
    if !session.checks.is_empty() {
        json::strings(object.key(key!("Checks")), &session.checks);
    }
    json::strings(object.key(key!("NodeChecks")), &session.node_checks);
    let out = object.key(key!("ServiceChecks"));
    match &session.service_checks {
        None => json::null(out),
        Some(checks) => json::array(out, checks, |out, check| {
            let mut object = Object::new(out);
            object.str(key!("ID"), &check.id);
            object.str(key!("Namespace"), &check.namespace);
            object.end();
        }),
    }
    object.u64(key!("CreateIndex"), session.create_index);
    object.u64(key!("ModifyIndex"), session.modify_index);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(body: &str) -> Session {
        decode::strict::<SessionArgs>(body.as_bytes()).unwrap().into_session("s1").unwrap()
    }

    #[test]
    fn defaults_and_older_lists() {
        let plain = wanted("{}");
        assert_eq!((plain.node.as_str(), plain.lock_delay), ("s1", LOCK_DELAY));
        assert_eq!((plain.node_checks.as_slice(), plain.checks.len()), (&["serfHealth".to_owned()][..], 0));
        assert!(wanted(r#"{"Checks":[]}"#).node_checks.is_empty());
        let both = wanted(r#"{"Checks":["serfHealth","service:web"]}"#);
        assert_eq!((both.checks.len(), both.node_checks.len()), (2, 1));
        assert_eq!(wanted(r#"{"NodeChecks":["c"]}"#).node_checks, ["c"]);
    }

    #[test]
    fn lock_delays() {
        let delay = |text: &str| wanted(&format!("{{\"LockDelay\":{text}}}")).lock_delay;
        assert_eq!(delay("\"20s\""), GoDuration::from_secs(20));
        assert_eq!(delay("30"), GoDuration::from_secs(30));
        assert_eq!(delay("15000000000"), GoDuration::from_secs(15));
        assert_eq!(delay("\"0s\""), GoDuration::ZERO);
    }
}
