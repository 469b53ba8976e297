//! `/v1/kv/`.

use std::sync::Arc;

use model::kv::{KeyListRequest, KeyRequest};
use model::methods::{KvsGet, KvsList, KvsListKeys};

use super::fetch::read;
use super::kv_write;
use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::{Answer, Verb};
use crate::json;

/// `GET`, `PUT` and `DELETE` of a key or a prefix.
pub fn endpoint(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        match call.verb {
            Verb::Put => kv_write::put(face, call).await,
            Verb::Delete => kv_write::delete(face, call).await,
            _ if call.params.has("keys") => keys(face, &call).await,
            _ if call.params.has("recurse") => prefix(face, &call).await,
            _ => one(face, &call).await,
        }
    })
}

fn request(face: &Face, call: &Call) -> Result<KeyRequest, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    Ok(KeyRequest { datacenter, key: call.rest().to_owned(), options: query })
}

async fn keys(face: &Face, call: &Call) -> Result<Reply, ApiError> {
    let KeyRequest { datacenter, key: prefix, options } = request(face, call)?;
    let root = prefix.is_empty();
    let seperator = call.params.get("separator").to_owned();
    let args = KeyListRequest { datacenter, prefix, seperator, options };
    let reply = read::<KvsListKeys>(face, args).await?;
    if reply.keys.is_empty() && !root {
        return Ok(Reply::not_found().meta(&reply.meta));
    }
    Ok(Reply::write(64 + reply.keys.len() * 48, |out| json::strings(out, &reply.keys)).meta(&reply.meta))
}

async fn prefix(face: &Face, call: &Call) -> Result<Reply, ApiError> {
    let reply = read::<KvsList>(face, request(face, call)?).await?;
    if reply.entries.is_empty() {
        return Ok(Reply::not_found().meta(&reply.meta));
    }
    let values: usize = reply.entries.iter().map(|entry| entry.value.len()).sum();
    Ok(Reply::write(reply.entries.len() * 192 + values.div_ceil(3) * 4, |out| {
        json::array(out, &reply.entries, |out, entry: &Arc<_>| json::dir_entry(out, entry));
    })
    .meta(&reply.meta))
}

async fn one(face: &Face, call: &Call) -> Result<Reply, ApiError> {
    if call.rest().is_empty() {
        return Err(ApiError::bad_request("Missing key name"));
    }
    let reply = read::<KvsGet>(face, request(face, call)?).await?;
    let Some(entry) = reply.entries.first() else {
        return Ok(Reply::not_found().meta(&reply.meta));
    };
    if call.params.has("raw") {
        // What is stored is anybody's: a browser must neither guess its type nor run it.
        return Ok(Reply::bytes("text/plain", entry.value.as_slice().to_vec())
            .header("X-Content-Type-Options", "nosniff")
            .header("Content-Security-Policy", "sandbox")
            .meta(&reply.meta));
    }
    Ok(Reply::write(192 + entry.value.len().div_ceil(3) * 4, |out| {
        json::array(out, &reply.entries, |out, entry: &Arc<_>| json::dir_entry(out, entry));
    })
    .meta(&reply.meta))
}
