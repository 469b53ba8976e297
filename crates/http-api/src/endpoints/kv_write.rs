//! The writing side of `/v1/kv/`.

use model::kv::{DirEntry, KvsRequest};
use model::methods::KvsApply;
use model::ops::KvVerb;

use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::reply::Reply;
use crate::face::{numbers, options};

/// A number from a parameter; a malformed one is the server's fault, to the API.
fn number(call: &Call, name: &str) -> Result<Option<u64>, ApiError> {
    call.params.find(name).map(numbers::unsigned).transpose().map_err(ApiError::internal)
}

/// 400 when more than one of the parameters is there.
fn conflict(call: &Call, names: &[&str]) -> Result<(), ApiError> {
    if names.iter().filter(|name| call.params.has(name)).count() > 1 {
        return Err(ApiError::bad_request(format!("Conflicting flags: {}", call.params.encode())));
    }
    Ok(())
}

fn missing_key() -> ApiError {
    ApiError::bad_request("Missing key name")
}

/// `PUT`: set, check-and-set, acquire or release.
pub async fn put(face: &Face, mut call: Call) -> Result<Reply, ApiError> {
    if call.rest().is_empty() {
        return Err(missing_key());
    }
    conflict(&call, &["cas", "acquire", "release"])?;
    let mut entry = DirEntry { key: call.rest().into(), ..DirEntry::default() };
    let mut op = KvVerb::Set;
    if let Some(flags) = number(&call, "flags")? {
        entry.flags = flags;
    }
    if let Some(index) = number(&call, "cas")? {
        entry.modify_index = index;
        op = KvVerb::Cas;
    }
    if let Some(session) = call.params.find("acquire") {
        entry.session = session.into();
        op = KvVerb::Lock;
    }
    if let Some(session) = call.params.find("release") {
        entry.session = session.into();
        op = KvVerb::Unlock;
    }
    let max = call.config.kv_max_value_size;
    entry.value = call.take_body_up_to(max).await?.to_vec().into();
    apply(face, &call, op, entry).await
}

/// `DELETE`: a key, a key at an index, or a tree.
pub async fn delete(face: &Face, call: Call) -> Result<Reply, ApiError> {
    conflict(&call, &["recurse", "cas"])?;
    let mut entry = DirEntry { key: call.rest().into(), ..DirEntry::default() };
    let mut op = KvVerb::Delete;
    if call.params.has("recurse") {
        op = KvVerb::DeleteTree;
    } else if entry.key.is_empty() {
        return Err(missing_key());
    }
    if let Some(index) = number(&call, "cas")? {
        entry.modify_index = index;
        op = KvVerb::DeleteCas;
    }
    apply(face, &call, op, entry).await
}

async fn apply(face: &Face, call: &Call, op: KvVerb, dir_ent: DirEntry) -> Result<Reply, ApiError> {
    let args = KvsRequest {
        datacenter: options::datacenter(face, call),
        dir_ent,
        op,
        token: options::token(face, call),
    };
    let done = face.road.call::<KvsApply>(args).await?;
    Ok(Reply::json(if done { "true" } else { "false" }))
}
