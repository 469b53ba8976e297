//! `/v1/acl`, and the agent's tokens.

use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::types::TokenKind;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::reply::Reply;
use crate::face::route::Answer;

/// The answer of every ACL endpoint while ACLs are off.
pub fn disabled(_face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.config.acls_enabled {
            return Err(ApiError::new(501, "The ACL endpoints are not part of this version"));
        }
        Err(off())
    })
}

fn off() -> ApiError {
    ApiError::new(401, "ACL support disabled")
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    token: String,
}

/// `PUT /v1/agent/token/<kind>`.
pub fn agent_token(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        if !call.config.acls_enabled {
            return Err(off());
        }
        let body = call.take_body().await?;
        let given: Given = decode::strict(&body)?;
        let kind = match call.rest() {
            "default" | "acl_token" => TokenKind::Default,
            "agent" | "acl_agent_token" => TokenKind::Agent,
            "agent_master" | "acl_agent_master_token" => TokenKind::AgentMaster,
            "replication" | "acl_replication_token" => TokenKind::Replication,
            other => return Err(ApiError::not_found(format!("Token {other:?} is unknown"))),
        };
        face.agent.set_token(kind, &given.token, call.token()).await?;
        Ok(Reply::empty())
    })
}
