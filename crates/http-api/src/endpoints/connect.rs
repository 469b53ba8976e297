//! `/v1/connect` and `/v1/agent/connect`.

use super::fetch::failed_read;
use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options;
use crate::face::route::{Answer, Verb};
use model::error::RpcError;

/// The answer of the Connect endpoints while Connect is off.
pub fn disabled(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        if call.config.connect_enabled {
            return Err(ApiError::new(501, "The Connect endpoints are not part of this version"));
        }
        let off = RpcError::from_text("Connect must be enabled in order to use this endpoint");
        if call.verb == Verb::Get {
            options::read(face, &call)?;
            return Ok(failed_read(off));
        }
        Err(off.into())
    })
}
