//! `/v1/agent/check`.

use model::definition::CheckType;
use serde::Deserialize;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::types::CheckRegistration;
use crate::decode::{self, Style};
use crate::face::Face;
use crate::face::call::Call;
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Empties, Object};
use crate::validate;

/// `GET /v1/agent/checks`: the local checks by id.
pub fn list(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let filter = filter::Filter::parse(call.params.get("filter"), &filter::schema::HEALTH_CHECK)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let checks = face.agent.checks(call.token()).await?;
        Ok(Reply::write(64 + checks.len() * 320, |out| {
            let mut object = Object::new(out);
            for (id, check) in &checks {
                if filter.matches(&**check) {
                    json::health_check(object.dynamic_key(id), check, Empties::Lists);
                }
            }
            object.end();
        }))
    })
}

/// Reads the definition of a check from the body of a registration.
fn registration(body: &[u8], token: &str) -> Result<CheckRegistration, ApiError> {
    let mut value = decode::parse(body)?;
    let mut text = |key: &str| match &mut value {
        Value::Object(object) => match decode::take(object, key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        },
        _ => String::new(),
    };
    let (id, service_id, check_token) = (text("ID"), text("ServiceID"), text("Token"));
    let mut check: CheckType = decode::from_value(value, Style::Lenient)?;
    if !id.is_empty() {
        check.check_id = id;
    }
    Ok(CheckRegistration { check, service_id, check_token, token: token.to_owned() })
}

/// `PUT /v1/agent/check/register`.
pub fn register(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let body = call.take_body().await?;
        let registration = registration(&body, call.token())?;
        if registration.check.name.is_empty() {
            return Err(ApiError::bad_request("Missing check name"));
        }
        if !validate::is_status(&registration.check.status) {
            return Err(ApiError::bad_request("Bad check status"));
        }
        validate::check(&registration.check)?;
        face.agent.register_check(registration).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/check/deregister/<id>`.
pub fn deregister(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        face.agent.deregister_check(call.rest(), call.token()).await?;
        Ok(Reply::empty())
    })
}

/// `PUT /v1/agent/check/pass/<id>`.
pub fn pass(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(set(face, call, "passing"))
}

/// `PUT /v1/agent/check/warn/<id>`.
pub fn warn(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(set(face, call, "warning"))
}

/// `PUT /v1/agent/check/fail/<id>`.
pub fn fail(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(set(face, call, "critical"))
}

async fn set(face: &Face, call: Call, status: &str) -> Result<Reply, ApiError> {
    face.agent.update_ttl(call.rest(), status, call.params.get("note"), call.token()).await?;
    Ok(Reply::empty())
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Update {
    status: String,
    output: String,
}

/// `PUT /v1/agent/check/update/<id>`: status and output in the body.
pub fn update(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let body = call.take_body().await?;
        let Update { status, output } = decode::lenient(&body)?;
        if status.is_empty() || !validate::is_status(&status) {
            return Err(ApiError::bad_request(format!("Invalid check status: '{status}'")));
        }
        face.agent.update_ttl(call.rest(), &status, &output, call.token()).await?;
        Ok(Reply::empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_names_its_service() {
        let body = br#"{"id":"c","name":"n","service_id":"web","args":["x"],"Interval":"10s"}"#;
        let read = registration(body, "secret").unwrap();
        assert_eq!((read.service_id.as_str(), read.check.check_id.as_str()), ("web", "c"));
        assert_eq!((read.check.script_args.len(), read.token.as_str()), (1, "secret"));
    }
}
