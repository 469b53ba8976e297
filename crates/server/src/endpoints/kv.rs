//! `KVS`: the key/value store.

use std::sync::Arc;

use model::error::RpcError;
use model::kv::{DirEntry, IndexedDirEntries, IndexedKeyList, KeyListRequest, KeyRequest, KvsRequest};
use model::methods::{KvsApply, KvsGet, KvsList, KvsListKeys};
use model::ops::KvVerb;
use model::options::QueryMeta;
use state::{Answer, WatchSet};

use super::{look_up, refuse};
use crate::core::{CommandType, Core};
use crate::read::ReadContext;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<KvsApply, _, _>(apply);
    registry.read::<KvsGet>(get);
    registry.read::<KvsList>(list);
    registry.read::<KvsListKeys>(list_keys);
}

/// A write. The answer says whether it took place; a plain set or delete always does.
async fn apply(core: Arc<Core>, args: KvsRequest) -> Result<bool, RpcError> {
    check(&core, &args.op, &args.dir_ent)?;
    // A lock that was lost may not be taken before its delay is over; the clock for that is the
    // leader's, so it is asked before the command is written.
    if args.op == KvVerb::Lock && core.leader_only.lock_delays.is_delayed(&args.dir_ent.key) {
        return Ok(false);
    }
    match core.propose(CommandType::Kvs, &args).await? {
        Answer::Bool(done) => Ok(done),
        _ => Ok(true),
    }
}

/// What holds for a key wherever it is written from.
pub(super) fn check(core: &Core, verb: &KvVerb, entry: &DirEntry) -> Result<(), RpcError> {
    let (key, session) = (&entry.key, &entry.session);
    if key.is_empty() && !matches!(verb, KvVerb::DeleteTree | KvVerb::GetTree) {
        return refuse("Must provide key");
    }
    if *verb == KvVerb::Lock && !session.is_empty() {
        look_up("session", session)?;
    }
    if entry.value.len() > core.config.kv_max_value_size {
        return refuse(format!(
            "value of key {key:?} exceeds the limit of {} bytes",
            core.config.kv_max_value_size
        ));
    }
    Ok(())
}

fn get(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &KeyRequest,
) -> Result<IndexedDirEntries, RpcError> {
    let (index, entry) = cx.view.kv_get(watched, &args.key);
    Ok(IndexedDirEntries { entries: entry.into_iter().collect(), meta: meta(index) })
}

fn list(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &KeyRequest,
) -> Result<IndexedDirEntries, RpcError> {
    let (index, entries) = cx.view.kv_list(watched, &args.key);
    Ok(IndexedDirEntries { entries, meta: meta(index) })
}

fn list_keys(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &KeyListRequest,
) -> Result<IndexedKeyList, RpcError> {
    let (index, keys) = cx.view.kv_keys(watched, &args.prefix, &args.seperator);
    Ok(IndexedKeyList { keys, meta: meta(index) })
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
