//! `/v1/status`.

use model::methods::{StatusLeader, StatusPeers};
use model::options::DcSpecificRequest;

use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::Answer;

fn request(face: &Face, call: &Call) -> Result<DcSpecificRequest, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    Ok(DcSpecificRequest { datacenter, options: query, ..DcSpecificRequest::default() })
}

/// `GET /v1/status/leader`: the leader's address; empty while there is none.
pub fn leader(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let leader = face.road.call::<StatusLeader>(request(face, &call)?).await?;
        Ok(Reply::serde(&leader))
    })
}

/// `GET /v1/status/peers`: the addresses of the servers.
pub fn peers(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let peers = face.road.call::<StatusPeers>(request(face, &call)?).await?;
        Ok(Reply::serde(&peers))
    })
}
