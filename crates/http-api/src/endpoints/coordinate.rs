//! `/v1/coordinate`.

use model::coordinate::{Coordinate, CoordinateUpdateRequest};
use model::methods::{CoordinateListDatacenters, CoordinateListNodes, CoordinateNode, CoordinateUpdate};
use model::options::{DcSpecificRequest, NodeSpecificRequest};
use model::scalar::Empty;

use super::fetch::{failed_read, read};
use crate::api::error::ApiError;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::Answer;

/// `GET /v1/coordinate/datacenters`: the WAN coordinates by datacenter.
pub fn datacenters(face: &Face, _call: Call) -> Answer<'_> {
    Box::pin(async move {
        let maps = face.road.call::<CoordinateListDatacenters>(Empty {}).await?;
        Ok(Reply::serde(&maps))
    })
}

/// Those of the segment asked for.
fn of_segment(mut coordinates: Vec<Coordinate>, call: &Call) -> Vec<Coordinate> {
    if let Some(segment) = call.params.find("segment") {
        coordinates.retain(|coordinate| coordinate.segment == segment);
    }
    coordinates
}

/// `GET /v1/coordinate/nodes`: the LAN coordinates.
pub fn nodes(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let args = DcSpecificRequest { datacenter, options: query, ..DcSpecificRequest::default() };
        Ok(match read::<CoordinateListNodes>(face, args).await {
            Ok(reply) => Reply::serde(&of_segment(reply.coordinates, &call)).meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

/// `GET /v1/coordinate/node/<name>`: 404 without coordinates.
pub fn node(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let node = call.rest().to_owned();
        if node.is_empty() {
            return Ok(Reply::not_found());
        }
        let args = NodeSpecificRequest { datacenter, node, options: query };
        let reply = match read::<CoordinateNode>(face, args).await {
            Ok(reply) => reply,
            Err(error) => return Ok(failed_read(error)),
        };
        let found = of_segment(reply.coordinates, &call);
        if found.is_empty() {
            return Ok(Reply::not_found());
        }
        Ok(Reply::serde(&found).meta(&reply.meta))
    })
}

/// `PUT /v1/coordinate/update`.
pub fn update(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let mut args: CoordinateUpdateRequest = decode::strict(&call.take_body().await?)?;
        if args.coord.is_none() {
            return Err(ApiError::bad_request("Missing coordinate"));
        }
        args.datacenter = options::datacenter(face, &call);
        args.token = options::token(face, &call);
        face.road.call::<CoordinateUpdate>(args).await?;
        Ok(Reply::empty())
    })
}
