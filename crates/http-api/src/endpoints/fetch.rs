//! Reads over the road: staleness bounds, the request cache, and the headers that tell of both.

use std::ops::Deref;
use std::sync::Arc;

use model::error::RpcError;
use model::method::{Method, Reply as _, Routing as _};
use model::options::{QueryMeta, QueryOptions};

use crate::api::error::ApiError;
use crate::cache::{CacheKind, Freshness};
use crate::face::Face;
use crate::face::options::level;
use crate::face::reply::Reply;

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
/// # Errors
/// Whatever the call ends with.
pub async fn read<M: Method>(face: &Face, args: M::Args) -> Result<M::Reply, RpcError> {
    let bound = args.query_options().map_or(0, |query| match query {
        QueryOptions { allow_stale: true, max_stale_duration, .. } => max_stale_duration.0,
        _ => 0,
    });
    if bound <= 0 {
        return face.road.call::<M>(args).await;
    }
    let reply = face.road.call::<M>(args.clone()).await?;
    if reply.query_meta().is_none_or(|meta| meta.last_contact.0 <= bound) {
        return Ok(reply);
    }
    let mut args = args;
    if let Some(query) = args.query_options_mut() {
        query.allow_stale = false;
        query.max_stale_duration.0 = 0;
    }
    face.road.call::<M>(args).await
}

/// Calls a read, through the cache when the caller asked for it.
///
/// # Errors
/// Whatever the call ends with.
pub async fn read_cached<M: Method>(
    face: &Face,
    args: M::Args,
    kind: CacheKind,
) -> Result<Fetched<M::Reply>, RpcError> {
    if args.query_options().is_some_and(|query| query.use_cache) {
        let (reply, freshness) = face.cache.get::<M>(args, kind).await?;
        return Ok(Fetched::Cached(reply, freshness));
    }
    read::<M>(face, args).await.map(Fetched::Owned)
}

/// Puts the headers of a read on a reply, with the consistency that was asked for.
pub fn told<R: model::method::Reply>(reply: Reply, fetched: &Fetched<R>, query: &QueryOptions) -> Reply {
    let mut reply = match fetched.query_meta() {
        Some(meta) => with_level(reply, meta, query),
        None => with_level(reply, &QueryMeta::default(), query),
    };
    if let Fetched::Cached(_, freshness) = fetched {
        freshness.tell(&mut reply);
    }
    reply
}

/// The headers of a read and its consistency.
pub fn with_level(reply: Reply, meta: &QueryMeta, query: &QueryOptions) -> Reply {
    reply.meta(meta).level(level(query))
}

/// An error, with the headers of a read that knew nothing.
pub fn failed_read(error: RpcError) -> Reply {
    Reply::from(ApiError::from(error)).meta(&QueryMeta::default())
}
