//! `Session`: the leases that locks and queries are bound to.

use std::sync::Arc;
use std::time::Duration;

use model::duration::{format_go, parse_go};
use model::error::RpcError;
use model::methods::{SessionApply, SessionGet, SessionList, SessionNodeSessions, SessionRenew};
use model::ops::{SessionBehavior, SessionOp};
use model::options::{NodeSpecificRequest, QueryMeta};
use model::session::{IndexedSessions, Session, SessionRequest, SessionSpecificRequest};
use state::{Answer, WatchSet};
use uuid::Uuid;

use super::{look_up, refuse};
use crate::core::{CommandType, Core};
use crate::read::ReadContext;
use crate::registry::Registry;

/// The longest TTL.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn register(registry: &mut Registry) {
    registry.call::<SessionApply, _, _>(apply);
    registry.call::<SessionRenew, _, _>(renew);
    registry.read::<SessionGet>(get);
    registry.read::<SessionList>(list);
    registry.read::<SessionNodeSessions>(node_sessions);
}

/// Creates a session and answers its id, or destroys one and answers nothing.
async fn apply(core: Arc<Core>, mut args: SessionRequest) -> Result<String, RpcError> {
    match args.op {
        SessionOp::Create => complete(&core, &mut args.session)?,
        SessionOp::Destroy if args.session.id.is_empty() => return refuse("Must provide ID"),
        SessionOp::Destroy => look_up("session", &args.session.id)?,
        ref other => return refuse(format!("Invalid Session operation '{other}'")),
    }
    let answer = core.propose(CommandType::Session, &args).await?;
    match args.op {
        SessionOp::Create => core.leader_only.sessions.watch(&args.session),
        _ => core.leader_only.sessions.forget(&args.session.id),
    }
    match answer {
        Answer::Text(id) => Ok(id),
        _ => Ok(String::new()),
    }
}

/// Checks a new session and fills in what the leader decides before it is written: the id.
fn complete(core: &Core, session: &mut Session) -> Result<(), RpcError> {
    if session.node.is_empty() {
        return refuse("Must provide Node");
    }
    match &session.behavior {
        SessionBehavior::Unset => session.behavior = SessionBehavior::Release,
        SessionBehavior::Release | SessionBehavior::Delete => {}
        SessionBehavior::Other(other) => return refuse(format!("Invalid Behavior setting '{other}'")),
    }
    if !session.ttl.is_empty() {
        let Ok(ttl) = parse_go(&session.ttl) else {
            return refuse(format!("Session TTL '{}' invalid", session.ttl));
        };
        let min = core.config.session_ttl_min;
        if !ttl.is_zero() && (ttl < min.into() || ttl > TTL_MAX.into()) {
            return refuse(format!(
                "Invalid Session TTL '{}', must be between [{}={}]",
                ttl.0,
                format_go(min.into()),
                format_go(TTL_MAX.into())
            ));
        }
    }
    session.id = Uuid::new_v4().to_string();
    Ok(())
}

/// The id asked for: newer callers name it twice.
fn wanted(args: &SessionSpecificRequest) -> &str {
    if args.session_id.is_empty() { &args.session } else { &args.session_id }
}

/// The same, if it has the form of one.
fn well_formed(args: &SessionSpecificRequest) -> Result<&str, RpcError> {
    let id = wanted(args);
    look_up("session", id).map(|()| id)
}

fn get(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &SessionSpecificRequest,
) -> Result<IndexedSessions, RpcError> {
    let id = well_formed(args)?;
    let (index, session) = cx.view.session(watched, id);
    Ok(IndexedSessions { sessions: session.into_iter().collect(), meta: meta(index) })
}

fn list(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    _: &SessionSpecificRequest,
) -> Result<IndexedSessions, RpcError> {
    let (index, sessions) = cx.view.sessions(watched);
    Ok(IndexedSessions { sessions, meta: meta(index) })
}

fn node_sessions(
    cx: &ReadContext<'_>,
    watched: &mut WatchSet,
    args: &NodeSpecificRequest,
) -> Result<IndexedSessions, RpcError> {
    let (index, sessions) = cx.view.node_sessions(watched, &args.node);
    Ok(IndexedSessions { sessions, meta: meta(index) })
}

/// Starts the session's TTL anew. Only the leader keeps the timers, so one that may have been replaced must
/// not answer: the session would end while its owner counts on it. And one that was just elected may not
/// know yet what its predecessor wrote, so "there is none" is said of the newest state only.
async fn renew(core: Arc<Core>, args: SessionSpecificRequest) -> Result<IndexedSessions, RpcError> {
    let id = well_formed(&args)?;
    core.ensure_lease().await?;
    let find = || core.store.view().session(&mut WatchSet::none(), id);
    let (mut index, mut session) = find();
    if session.is_none() {
        core.linearizable().await?;
        (index, session) = find();
    }
    if let Some(session) = &session {
        core.leader_only.sessions.watch(session);
    }
    Ok(IndexedSessions { sessions: session.into_iter().collect(), meta: meta(index) })
}

fn meta(index: u64) -> QueryMeta {
    QueryMeta { index, ..QueryMeta::default() }
}
