//! `/v1/snapshot`.

use model::internal::SnapshotRequest;

use crate::face::Face;
use crate::face::call::Call;
use crate::face::options;
use crate::face::reply::Reply;
use crate::face::route::{Answer, Verb};

/// `GET` saves, `PUT` restores; both stream.
pub fn endpoint(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let request = SnapshotRequest {
            allow_stale: call.params.has("stale"),
            datacenter: options::datacenter(face, &call),
            op: 0,
            token: options::token(face, &call),
        };
        if call.verb == Verb::Put {
            let archive = call.take_raw_body().into_stream();
            face.snapshots.restore(request, archive).await?;
            return Ok(Reply::empty());
        }
        let (meta, archive) = face.snapshots.save(request).await?;
        Ok(Reply::stream("application/x-gzip", archive).meta(&meta))
    })
}
