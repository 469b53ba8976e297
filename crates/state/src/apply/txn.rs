//! Transactions: several operations, all of them or none.

use std::sync::Arc;

use model::kv::DirEntry;
use model::ops::{CheckVerb, KvVerb, NodeVerb, ServiceVerb, SessionVerb};
use model::txn::{
    TxnCheckOp, TxnError, TxnKvOp, TxnNodeOp, TxnOp, TxnRequest, TxnResponse, TxnResult, TxnServiceOp,
    TxnSessionOp,
};

use crate::answer::{Answer, Refusal};
use crate::tables::{Tables, Writer};

type Results = Vec<TxnResult>;

/// Runs all operations and keeps what they did if none failed.
pub(super) fn apply(writer: &mut Writer, request: TxnRequest) -> Answer {
    let mark = writer.mark();
    let response = collect(request.ops, |op, results| write(writer, op, results));
    if !response.errors.is_empty() {
        writer.roll_back(mark);
    }
    Answer::Txn(response)
}

/// Answers a transaction of reads.
pub(crate) fn read_only(tables: &Tables, ops: &[TxnOp]) -> TxnResponse {
    collect(ops, |op, results| {
        if let Some(op) = &op.kv {
            read_kv(tables, op, results)
        } else if let Some(op) = &op.node {
            read_node(tables, op, results)
        } else if let Some(op) = &op.service {
            read_service(tables, op, results)
        } else if let Some(op) = &op.check {
            read_check(tables, op, results)
        } else if let Some(op) = &op.session {
            Err(unknown("Session", op.verb.as_str()))
        } else {
            Ok(())
        }
    })
}

fn collect<T>(
    ops: impl IntoIterator<Item = T>,
    mut run: impl FnMut(T, &mut Results) -> Result<(), Refusal>,
) -> TxnResponse {
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for (at, op) in ops.into_iter().enumerate() {
        if let Err(refusal) = run(op, &mut results) {
            let op_index = i64::try_from(at).unwrap_or(i64::MAX);
            errors.push(TxnError { op_index, what: refusal.to_string() });
        }
    }
    if !errors.is_empty() {
        results.clear();
    }
    TxnResponse { errors, results }
}

fn unknown(what: &str, verb: &str) -> Refusal {
    Refusal::text(format!("unknown {what} verb {verb:?}"))
}

fn write(writer: &mut Writer, op: TxnOp, results: &mut Results) -> Result<(), Refusal> {
    if let Some(op) = op.kv {
        write_kv(writer, op, results)
    } else if let Some(op) = op.node {
        write_node(writer, op, results)
    } else if let Some(op) = op.service {
        write_service(writer, op, results)
    } else if let Some(op) = op.check {
        write_check(writer, op, results)
    } else if let Some(op) = op.session {
        write_session(writer, &op)
    } else {
        Ok(())
    }
}

/// An entry as a write or a check reports it: without its value.
fn bare(entry: &DirEntry) -> TxnResult {
    let entry = DirEntry {
        create_index: entry.create_index,
        flags: entry.flags,
        key: entry.key.clone(),
        lock_index: entry.lock_index,
        modify_index: entry.modify_index,
        session: entry.session.clone(),
        value: Default::default(),
    };
    TxnResult { kv: Some(Arc::new(entry)), ..TxnResult::default() }
}

fn full(entry: &Arc<DirEntry>) -> TxnResult {
    TxnResult { kv: Some(Arc::clone(entry)), ..TxnResult::default() }
}

fn write_kv(writer: &mut Writer, op: TxnKvOp, results: &mut Results) -> Result<(), Refusal> {
    let entry = op.dir_ent;
    let key = entry.key.clone();
    let written = match op.verb {
        KvVerb::Set => writer.kv_set(entry, false),
        KvVerb::Cas => writer
            .kv_cas(entry)
            .ok_or_else(|| Refusal::text(format!("failed to set key {key:?}, index is stale")))?,
        KvVerb::Lock => writer
            .kv_lock(entry)?
            .ok_or_else(|| Refusal::text(format!("failed to lock key {key:?}, lock is already held")))?,
        KvVerb::Unlock => writer.kv_unlock(entry)?.ok_or_else(|| {
            Refusal::text(format!(
                "failed to unlock key {key:?}, lock isn't held, or is held by another session"
            ))
        })?,
        KvVerb::Delete => {
            writer.kv_delete(&key);
            return Ok(());
        }
        KvVerb::DeleteCas => {
            if writer.kv_delete_cas(&key, entry.modify_index) {
                return Ok(());
            }
            return Err(Refusal::text(format!("failed to delete key {key:?}, index is stale")));
        }
        KvVerb::DeleteTree => {
            writer.kv_delete_tree(&key);
            return Ok(());
        }
        verb => return read_kv(&writer.tables, &TxnKvOp { dir_ent: entry, verb }, results),
    };
    results.push(bare(&written));
    Ok(())
}

fn read_kv(tables: &Tables, op: &TxnKvOp, results: &mut Results) -> Result<(), Refusal> {
    let wanted = &op.dir_ent;
    let key = &wanted.key;
    let entry = tables.key(key);
    match &op.verb {
        KvVerb::Get => {
            let entry = entry.ok_or_else(|| Refusal::text(format!("key {key:?} doesn't exist")))?;
            results.push(full(entry));
        }
        KvVerb::GetTree => results.extend(tables.keys_below(key).map(full)),
        KvVerb::CheckSession => {
            let entry = entry.ok_or_else(|| {
                Refusal::text(format!("failed to check session, key {key:?} doesn't exist"))
            })?;
            if entry.session != wanted.session {
                return Err(Refusal::text(format!(
                    "failed session check for key {key:?}, current session {:?} != {:?}",
                    entry.session, wanted.session
                )));
            }
            results.push(bare(entry));
        }
        KvVerb::CheckIndex => {
            let entry = entry
                .ok_or_else(|| Refusal::text(format!("failed to check index, key {key:?} doesn't exist")))?;
            if entry.modify_index != wanted.modify_index {
                return Err(Refusal::text(format!(
                    "failed index check for key {key:?}, current modify index {} != {}",
                    entry.modify_index, wanted.modify_index
                )));
            }
            results.push(bare(entry));
        }
        KvVerb::CheckNotExists => {
            if entry.is_some() {
                return Err(Refusal::text(format!("key {key:?} exists")));
            }
        }
        other => return Err(unknown("KV", other.as_str())),
    }
    Ok(())
}

/// Whether a conditional write may go on: index 0 stands for "does not exist".
fn matches(current: Option<u64>, wanted: u64) -> bool {
    current.unwrap_or(0) == wanted
}

fn write_node(writer: &mut Writer, op: TxnNodeOp, results: &mut Results) -> Result<(), Refusal> {
    let name = op.node.node.clone();
    let current = writer.tables.node(&name).map(|row| row.node.modify_index);
    let wanted = op.node.modify_index;
    match op.verb {
        NodeVerb::Set => writer.ensure_node(op.node)?,
        NodeVerb::Cas => {
            if !matches(current, wanted) {
                return Err(Refusal::text(format!("failed to set node {name:?}, index is stale")));
            }
            writer.ensure_node(op.node)?;
        }
        NodeVerb::Delete => {
            writer.delete_node(&name);
            return Ok(());
        }
        NodeVerb::DeleteCas => {
            if current != Some(wanted) {
                return Err(Refusal::text(format!("failed to delete node {name:?}, index is stale")));
            }
            writer.delete_node(&name);
            return Ok(());
        }
        verb => return read_node(&writer.tables, &TxnNodeOp { node: op.node, verb }, results),
    }
    if let Some(row) = writer.tables.node(&name) {
        results.push(TxnResult { node: Some(Arc::clone(&row.node)), ..TxnResult::default() });
    }
    Ok(())
}

fn read_node(tables: &Tables, op: &TxnNodeOp, results: &mut Results) -> Result<(), Refusal> {
    if op.verb != NodeVerb::Get {
        return Err(unknown("Node", op.verb.as_str()));
    }
    let wanted = &op.node;
    let row = if wanted.id.is_empty() { tables.node(&wanted.node) } else { tables.node_by_id(&wanted.id) };
    let row = row.ok_or_else(|| Refusal::text(format!("node {:?} doesn't exist", wanted.node)))?;
    results.push(TxnResult { node: Some(Arc::clone(&row.node)), ..TxnResult::default() });
    Ok(())
}

fn write_service(writer: &mut Writer, op: TxnServiceOp, results: &mut Results) -> Result<(), Refusal> {
    let (node, id) = (op.node.clone(), op.service.id.clone());
    let current = writer.tables.service(&node, &id).map(|service| service.modify_index);
    let wanted = op.service.modify_index;
    match op.verb {
        ServiceVerb::Set => writer.ensure_service(&node, op.service)?,
        ServiceVerb::Cas => {
            if !matches(current, wanted) {
                return Err(Refusal::text(format!(
                    "failed to set service {id:?} on node {node:?}, index is stale"
                )));
            }
            writer.ensure_service(&node, op.service)?;
        }
        ServiceVerb::Delete => {
            writer.delete_service(&node, &id);
            return Ok(());
        }
        ServiceVerb::DeleteCas => {
            if current != Some(wanted) {
                return Err(Refusal::text(format!(
                    "failed to delete service {id:?} on node {node:?}, index is stale"
                )));
            }
            writer.delete_service(&node, &id);
            return Ok(());
        }
        verb => {
            return read_service(&writer.tables, &TxnServiceOp { node, service: op.service, verb }, results);
        }
    }
    if let Some(service) = writer.tables.service(&node, &id) {
        results.push(TxnResult { service: Some(Arc::clone(service)), ..TxnResult::default() });
    }
    Ok(())
}

fn read_service(tables: &Tables, op: &TxnServiceOp, results: &mut Results) -> Result<(), Refusal> {
    if op.verb != ServiceVerb::Get {
        return Err(unknown("Service", op.verb.as_str()));
    }
    let id = &op.service.id;
    let service = tables
        .service(&op.node, id)
        .ok_or_else(|| Refusal::text(format!("service {id:?} on node {:?} doesn't exist", op.node)))?;
    results.push(TxnResult { service: Some(Arc::clone(service)), ..TxnResult::default() });
    Ok(())
}

fn write_check(writer: &mut Writer, op: TxnCheckOp, results: &mut Results) -> Result<(), Refusal> {
    let (node, id) = (op.check.node.clone(), op.check.check_id.clone());
    let current = writer.tables.check(&node, &id).map(|check| check.modify_index);
    let wanted = op.check.modify_index;
    match op.verb {
        CheckVerb::Set => writer.ensure_check(op.check)?,
        CheckVerb::Cas => {
            if !matches(current, wanted) {
                return Err(Refusal::text(format!(
                    "failed to set check {id:?} on node {node:?}, index is stale"
                )));
            }
            writer.ensure_check(op.check)?;
        }
        CheckVerb::Delete => {
            writer.delete_check(&node, &id);
            return Ok(());
        }
        CheckVerb::DeleteCas => {
            if current != Some(wanted) {
                return Err(Refusal::text(format!(
                    "failed to delete check {id:?} on node {node:?}, index is stale"
                )));
            }
            writer.delete_check(&node, &id);
            return Ok(());
        }
        verb => return read_check(&writer.tables, &TxnCheckOp { check: op.check, verb }, results),
    }
    if let Some(check) = writer.tables.check(&node, &id) {
        results.push(TxnResult { check: Some(Arc::clone(check)), ..TxnResult::default() });
    }
    Ok(())
}

fn read_check(tables: &Tables, op: &TxnCheckOp, results: &mut Results) -> Result<(), Refusal> {
    if op.verb != CheckVerb::Get {
        return Err(unknown("Check", op.verb.as_str()));
    }
    let (node, id) = (&op.check.node, &op.check.check_id);
    let check = tables
        .check(node, id)
        .ok_or_else(|| Refusal::text(format!("check {id:?} on node {node:?} doesn't exist")))?;
    results.push(TxnResult { check: Some(Arc::clone(check)), ..TxnResult::default() });
    Ok(())
}

fn write_session(writer: &mut Writer, op: &TxnSessionOp) -> Result<(), Refusal> {
    match &op.verb {
        SessionVerb::Delete => {
            writer.delete_session(&op.session.id);
            Ok(())
        }
        other => Err(unknown("Session", other.as_str())),
    }
}
