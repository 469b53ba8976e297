//! From a command of the log to a change of the tables. The only code that changes state: no
//! clock, no randomness, no I/O.

mod catalog;
mod txn;

use model::coordinate::Coordinate;
use model::internal::SystemMetadataRequest;
use model::kv::{KvsRequest, TombstoneRequest};
use model::operator::AutopilotSetConfigRequest;
use model::ops::{KvVerb, PreparedQueryOp, SessionOp, TombstoneOp};
use model::query::PreparedQueryRequest;
use model::session::SessionRequest;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Refusal};
use crate::command;
use crate::tables::Writer;

pub(crate) use txn::read_only;

/// Commands that a version which does not know them may pass over.
const MAY_IGNORE: u8 = 0x80;

/// Applies one command: all of it, or nothing.
pub(crate) fn apply(writer: &mut Writer, command: &[u8]) -> Answer {
    let Some((kind, body)) = command.split_first() else {
        return refuse(writer.index, 0, "empty command");
    };
    let outcome = match *kind {
        command::REGISTER => decode(body).and_then(|request| catalog::register(writer, request)),
        command::DEREGISTER => decode(body).map(|request| catalog::deregister(writer, &request)),
        command::KVS => decode(body).and_then(|request| kvs(writer, request)),
        command::SESSION => decode(body).and_then(|request| session(writer, request)),
        command::TOMBSTONE => decode(body).and_then(|request| tombstone(writer, &request)),
        command::COORDINATES => decode(body).map(|updates: Vec<Coordinate>| {
            writer.update_coordinates(updates);
            Answer::Nil
        }),
        command::PREPARED_QUERY => decode(body).and_then(|request| query(writer, request)),
        command::TXN => decode(body).map(|request| txn::apply(writer, request)),
        command::AUTOPILOT => decode(body).map(|request| autopilot(writer, request)),
        command::SYSTEM_METADATA => decode(body).and_then(|request| metadata(writer, request)),
        kind if kind & MAY_IGNORE != 0 => return Answer::Nil,
        kind => return refuse(writer.index, kind, "command type not supported"),
    };
    match outcome {
        Ok(answer) => answer,
        Err(Failure::Refused(refusal)) => Answer::Error(refusal.to_string()),
        Err(Failure::Malformed(error)) => refuse(writer.index, *kind, &error.to_string()),
    }
}

/// A command that should not be in the log at all.
fn refuse(index: u64, kind: u8, why: &str) -> Answer {
    tracing::error!(index, kind, why, "state: a committed command cannot be applied");
    Answer::Error(format!("failed to apply command of type {kind} at index {index}: {why}"))
}

enum Failure {
    Refused(Refusal),
    Malformed(msgpack::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    msgpack::from_slice(body).map_err(Failure::Malformed)
}

fn invalid(what: &str, op: &str) -> Failure {
    Failure::Refused(Refusal::text(format!("Invalid {what} operation '{op}'")))
}

fn kvs(writer: &mut Writer, request: KvsRequest) -> Result<Answer, Failure> {
    let entry = request.dir_ent;
    Ok(match request.op {
        KvVerb::Set => {
            writer.kv_set(entry, false);
            Answer::Nil
        }
        KvVerb::Delete => {
            writer.kv_delete(&entry.key);
            Answer::Nil
        }
        KvVerb::DeleteCas => Answer::Bool(writer.kv_delete_cas(&entry.key, entry.modify_index)),
        KvVerb::DeleteTree => {
            writer.kv_delete_tree(&entry.key);
            Answer::Nil
        }
        KvVerb::Cas => Answer::Bool(writer.kv_cas(entry).is_some()),
        KvVerb::Lock => Answer::Bool(writer.kv_lock(entry)?.is_some()),
        KvVerb::Unlock => Answer::Bool(writer.kv_unlock(entry)?.is_some()),
        other => return Err(invalid("KVS", other.as_str())),
    })
}

fn session(writer: &mut Writer, request: SessionRequest) -> Result<Answer, Failure> {
    match request.op {
        SessionOp::Create => {
            let id = request.session.id.clone();
            writer.create_session(request.session)?;
            Ok(Answer::Text(id))
        }
        SessionOp::Destroy => {
            writer.delete_session(&request.session.id);
            Ok(Answer::Nil)
        }
        other => Err(invalid("Session", other.as_str())),
    }
}

fn tombstone(writer: &mut Writer, request: &TombstoneRequest) -> Result<Answer, Failure> {
    match &request.op {
        TombstoneOp::Reap => {
            writer.reap_tombstones(request.reap_index);
            Ok(Answer::Nil)
        }
        other => Err(invalid("Tombstone", other.as_str())),
    }
}

fn query(writer: &mut Writer, request: PreparedQueryRequest) -> Result<Answer, Failure> {
    let query = request.query.unwrap_or_default();
    match request.op {
        PreparedQueryOp::Create | PreparedQueryOp::Update => writer.set_query(query)?,
        PreparedQueryOp::Delete => writer.delete_query(&query.id),
        other => return Err(invalid("PreparedQuery", other.as_str())),
    }
    Ok(Answer::Nil)
}

fn autopilot(writer: &mut Writer, request: AutopilotSetConfigRequest) -> Answer {
    if request.cas {
        Answer::Bool(writer.cas_autopilot(request.config))
    } else {
        writer.set_autopilot(request.config);
        Answer::Nil
    }
}

fn metadata(writer: &mut Writer, request: SystemMetadataRequest) -> Result<Answer, Failure> {
    let entry = request.entry.unwrap_or_default();
    match request.op.as_str() {
        "upsert" => writer.set_metadata(entry),
        "delete" => writer.delete_metadata(&entry.key),
        other => return Err(invalid("SystemMetadata", other)),
    }
    Ok(Answer::Bool(true))
}
