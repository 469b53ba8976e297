//! `/v1/txn`.

use http::StatusCode;
use model::catalog::{Node, NodeService};
use model::health::HealthCheck;
use model::kv::DirEntry;
use model::methods::{TxnApply, TxnRead};
use model::ops::{CheckVerb, KvVerb, NodeVerb, ServiceVerb};
use model::options::QueryMeta;
use model::scalar::Blob;
use model::txn::{
    TxnCheckOp, TxnError, TxnKvOp, TxnNodeOp, TxnOp, TxnReadRequest, TxnRequest, TxnResult, TxnServiceOp,
};
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Empties, Object, key};

/// Most operations of one transaction.
const MAX_OPS: usize = 64;

/// One operation as clients write it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WantedOp {
    #[serde(rename = "KV")]
    kv: Option<KvOp>,
    node: Option<WantedNode>,
    service: Option<WantedService>,
    check: Option<WantedCheck>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct KvOp {
    verb: String,
    key: String,
    value: Blob,
    flags: u64,
    index: u64,
    session: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WantedNode {
    verb: String,
    node: Node,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WantedService {
    verb: String,
    node: String,
    service: NodeService,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WantedCheck {
    verb: String,
    check: HealthCheck,
}

/// Operations ready to travel, and whether any of them writes.
struct Plan {
    ops: Vec<TxnOp>,
    writes: bool,
    /// The largest value, and its key.
    largest: (u64, String),
}

fn plan(wanted: Vec<WantedOp>) -> Plan {
    let mut plan = Plan { ops: Vec::with_capacity(wanted.len()), writes: false, largest: (0, String::new()) };
    for op in wanted {
        let mut out = TxnOp::default();
        if let Some(kv) = op.kv {
            if kv.value.len() as u64 > plan.largest.0 {
                plan.largest = (kv.value.len() as u64, kv.key.clone());
            }
            let verb = KvVerb::from(kv.verb.to_lowercase().as_str());
            plan.writes |= matches!(
                verb,
                KvVerb::Set
                    | KvVerb::Delete
                    | KvVerb::DeleteCas
                    | KvVerb::DeleteTree
                    | KvVerb::Cas
                    | KvVerb::Lock
                    | KvVerb::Unlock
            );
            let dir_ent = DirEntry {
                key: kv.key.into(),
                value: kv.value,
                flags: kv.flags,
                session: kv.session.into(),
                modify_index: kv.index,
                ..DirEntry::default()
            };
            out.kv = Some(TxnKvOp { dir_ent, verb });
        } else if let Some(node) = op.node {
            let verb = NodeVerb::from(node.verb.as_str());
            plan.writes |= verb != NodeVerb::Get;
            out.node = Some(TxnNodeOp { node: node.node, verb });
        } else if let Some(service) = op.service {
            let verb = ServiceVerb::from(service.verb.as_str());
            plan.writes |= verb != ServiceVerb::Get;
            out.service = Some(TxnServiceOp { node: service.node, service: service.service, verb });
        } else if let Some(check) = op.check {
            let verb = CheckVerb::from(check.verb.as_str());
            plan.writes |= verb != CheckVerb::Get;
            out.check = Some(TxnCheckOp { check: check.check, verb });
        } else {
            continue;
        }
        plan.ops.push(out);
    }
    plan
}

/// `PUT /v1/txn`. One that only reads goes the way of reads and may be stale.
pub fn apply(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let max_value = call.config.kv_max_value_size;
        let max = match call.config.txn_max_req_len {
            0 => max_value,
            max => max.max(max_value),
        };
        let body = call.take_body_up_to(max).await?;
        let wanted: Vec<WantedOp> = decode::strict(&body).map_err(|error| {
            ApiError::bad_request(format!("Failed to parse body: {}", decode::reason(&error)))
        })?;
        if wanted.len() > MAX_OPS {
            return Err(ApiError::new(
                413,
                format!("Transaction contains too many operations ({} > {MAX_OPS})", wanted.len()),
            ));
        }
        let Plan { ops, writes, largest: (size, key) } = plan(wanted);
        if size > max_value {
            return Err(ApiError::new(
                413,
                format!("Value for key {key:?} is too large ({size} > {max_value} bytes)"),
            ));
        }
        if writes {
            let args = TxnRequest {
                datacenter: options::datacenter(face, &call),
                ops,
                token: options::token(face, &call),
            };
            let reply = face.road.call::<TxnApply>(args).await?;
            return Ok(answer(&reply.results, &reply.errors, None));
        }
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let reply = face.road.call::<TxnRead>(TxnReadRequest { datacenter, ops, options: query }).await?;
        let mut out = answer(&reply.results, &reply.errors, Some(&reply.meta));
        out.last_contact(&reply.meta);
        Ok(out)
    })
}

fn answer(results: &[TxnResult], errors: &[TxnError], meta: Option<&QueryMeta>) -> Reply {
    let reply = Reply::write(256, |out| {
        let mut object = Object::new(out);
        if errors.is_empty() {
            json::array(object.key(key!("Results")), results, result);
            json::null(object.key(key!("Errors")));
        } else {
            json::null(object.key(key!("Results")));
            json::array(object.key(key!("Errors")), errors, |out, error| {
                let mut object = Object::new(out);
                object.i64(key!("OpIndex"), error.op_index);
                object.str(key!("What"), &error.what);
                object.end();
            });
        }
        if let Some(meta) = meta {
            // The level is told by reads only.
            let meta = QueryMeta { consistency_level: String::new(), ..meta.clone() };
            json::query_meta(&mut object, &meta);
        }
        object.end();
    });
    if errors.is_empty() { reply } else { reply.status(StatusCode::CONFLICT) }
}

fn result(out: &mut Vec<u8>, result: &TxnResult) {
    let mut object = Object::new(out);
    if let Some(entry) = &result.kv {
        json::dir_entry(object.key(key!("KV")), entry);
    }
    if let Some(node) = &result.node {
        json::node(object.key(key!("Node")), node);
    }
    if let Some(service) = &result.service {
        json::node_service(object.key(key!("Service")), service, Empties::Nulls);
    }
    if let Some(check) = &result.check {
        json::health_check(object.key(key!("Check")), check, Empties::Nulls);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Plan {
        plan(decode::strict(body.as_bytes()).unwrap())
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        assert!(!of("[]").writes);
        assert!(
            !of(r#"[{"KV":{"Verb":"get","Key":"a"}},{"Node":{"Verb":"get","Node":{"Node":"n"}}}]"#).writes
        );
        assert!(!of(r#"[{"KV":{"Verb":"frobnicate","Key":"a"}}]"#).writes);
        assert!(
            of(r#"[{"KV":{"Verb":"get","Key":"a"}},{"KV":{"Verb":"set","Key":"a","Value":"YQ=="}}]"#).writes
        );
        let plan = of(r#"[{"KV":{"Verb":"cas","Key":"a","Value":"YQ==","Index":7,"Flags":3}}]"#);
        let kv = plan.ops[0].kv.as_ref().unwrap();
        assert_eq!((kv.dir_ent.modify_index, kv.dir_ent.flags), (7, 3));
        assert_eq!(kv.dir_ent.value.as_slice(), b"a");
    }

    #[test]
    fn bad_base64_is_refused() {
        let body = br#"[{"KV":{"Verb":"set","Key":"a","Value":"%%%"}}]"#;
        assert_eq!(decode::strict::<Vec<WantedOp>>(body).err().map(|error| error.status), Some(400));
    }
}
