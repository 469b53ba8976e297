//! `Txn`: several operations as one.

use std::sync::Arc;

use model::error::RpcError;
use model::methods::{TxnApply, TxnRead};
use model::ops::{CheckVerb, KvVerb, NodeVerb, ServiceVerb};
use model::txn::{TxnError, TxnOp, TxnReadRequest, TxnReadResponse, TxnRequest, TxnResponse};
use state::Answer;

use crate::core::{CommandType, Core};
use crate::endpoints::catalog::{complete_check, complete_node, complete_service};
use crate::endpoints::kv;
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<TxnApply, _, _>(apply);
    registry.call::<TxnRead, _, _>(read);
}

/// A transaction with writes: all of it or nothing. What fails is told in the answer, not as an
/// error of the call.
async fn apply(core: Arc<Core>, mut args: TxnRequest) -> Result<TxnResponse, RpcError> {
    let errors = check(&core, &mut args.ops);
    if !errors.is_empty() {
        return Ok(TxnResponse { errors, results: Vec::new() });
    }
    match core.propose(CommandType::Txn, &args).await? {
        Answer::Txn(response) => Ok(response),
        other => Err(RpcError::from_text(format!("unexpected answer to a transaction: {other:?}"))),
    }
}

async fn read(core: Arc<Core>, args: TxnReadRequest) -> Result<TxnReadResponse, RpcError> {
    core.ensure_query_consistency(&args.options).await?;
    let meta = core.query_meta();
    let mut ops = args.ops;
    let errors = check(&core, &mut ops);
    if !errors.is_empty() {
        return Ok(TxnReadResponse { errors, results: Vec::new(), meta });
    }
    let TxnResponse { errors, results } = core.store.view().txn_ro(&ops);
    Ok(TxnReadResponse { errors, results, meta })
}

/// The checks that need no state, of every operation.
fn check(core: &Core, ops: &mut [TxnOp]) -> Vec<TxnError> {
    let mut errors = Vec::new();
    for (index, op) in ops.iter_mut().enumerate() {
        if let Err(what) = check_one(core, op) {
            errors.push(TxnError { op_index: index as i64, what });
        }
    }
    errors
}

fn check_one(core: &Core, op: &mut TxnOp) -> Result<(), String> {
    if let Some(kv) = &op.kv {
        kv::check(core, &kv.verb, &kv.dir_ent).map_err(|e| e.to_string())?;
        if kv.verb == KvVerb::Lock && core.leader_only.lock_delays.is_delayed(&kv.dir_ent.key) {
            return Err(format!("failed to lock key {:?} due to lock delay", kv.dir_ent.key));
        }
    }
    if let Some(node) = &mut op.node {
        if node.verb != NodeVerb::Get {
            complete_node(&node.node.node, &node.node.id).map_err(|e| e.to_string())?;
        }
        if node.node.datacenter.is_empty() {
            core.datacenter().clone_into(&mut node.node.datacenter);
        }
    }
    if let Some(service) = &mut op.service
        && service.verb != ServiceVerb::Get
    {
        complete_service(&mut service.service).map_err(|e| e.to_string())?;
    }
    if let Some(check) = &mut op.check
        && check.verb != CheckVerb::Get
    {
        complete_check(&mut check.check);
    }
    Ok(())
}
