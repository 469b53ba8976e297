//! Reads over the road: staleness bounds, the request cache, and the headers that tell of both.

use std::ops::Deref;
use std::sync::Arc;

use futures::future::Either;
use model::error::RpcError;
use model::method::{Method, Reply as _, Routing as _};
use model::options::{QueryMeta, QueryOptions};

use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::reply::Reply;
use cache::{CacheKind, Freshness};

/// A reply that is ours or shared with the cache.
pub enum Fetched<R> {
    /// Ours alone.
    Owned(R),
    /// The cache's, with how fresh it is.
    Cached(Arc<R>, Freshness),
}

impl<R> Deref for Fetched<R> {
    type Target = R;

    fn deref(&self) -> &R {
        match self {
            Self::Owned(reply) => reply,
            Self::Cached(reply, _) => reply,
        }
    }
}

impl<R: Clone> Fetched<R> {
    /// The reply, to change.
    pub fn to_mut(&mut self) -> &mut R {
        match self {
            Self::Owned(reply) => reply,
            Self::Cached(reply, _) => Arc::make_mut(reply),
        }
    }
}

/// Calls a read. A stale answer older than the bound is asked for again from the leader.
///
/// Not an `async fn`, as the arguments would then stay in the future while it waits.
pub fn read<M: Method>(
    face: &Face,
    args: M::Args,
) -> impl Future<Output = Result<M::Reply, RpcError>> + Send {
    let bound = args.query_options().map_or(0, |query| match query {
        QueryOptions { allow_stale: true, max_stale_duration, .. } => max_stale_duration.0,
        _ => 0,
    });
    let from_leader = (bound > 0).then(|| {
        let mut args = Box::new(args.clone());
        if let Some(query) = args.query_options_mut() {
            query.allow_stale = false;
            query.max_stale_duration.0 = 0;
        }
        args
    });
    let first = face.road.call::<M>(args);
    async move {
        let reply = first.await?;
        match (from_leader, reply.query_meta()) {
            (Some(args), Some(meta)) if meta.last_contact.0 > bound => {
                Box::pin(face.road.call::<M>(*args)).await
            }
            _ => Ok(reply),
        }
    }
}

/// Calls a read, through the cache when the caller asked for it.
pub fn read_cached<M: Method>(
    face: &Face,
    args: M::Args,
    kind: CacheKind,
) -> impl Future<Output = Result<Fetched<M::Reply>, RpcError>> + Send {
    if args.query_options().is_some_and(|query| query.use_cache) {
        let cached = Box::pin(face.cache.get::<M>(args, kind));
        return Either::Left(async move {
            cached.await.map(|(reply, freshness)| Fetched::Cached(reply, freshness))
        });
    }
    let plain = read::<M>(face, args);
    Either::Right(async move { plain.await.map(Fetched::Owned) })
}

/// Puts the headers of a read on a reply, with the consistency that was asked for.
pub fn told<R: model::method::Reply>(reply: Reply, fetched: &Fetched<R>, level: &'static str) -> Reply {
    let mut reply = match fetched.query_meta() {
        Some(meta) => reply.meta(meta),
        None => reply.meta(&QueryMeta::default()),
    }
    .level(level);
    if let Fetched::Cached(_, freshness) = fetched {
        tell_freshness(&mut reply, *freshness);
    }
    reply
}

/// The `X-Cache` and `Age` headers.
pub fn tell_freshness(reply: &mut Reply, freshness: Freshness) {
    reply.set("X-Cache", if freshness.hit { "HIT" } else { "MISS" });
    if freshness.hit {
        reply.set("Age", &freshness.age.as_secs().to_string());
    }
}

/// An error, with the headers of a read that knew nothing.
pub fn failed_read(error: RpcError) -> Reply {
    Reply::from(ApiError::from(error)).meta(&QueryMeta::default())
}
