//! Sessions: bound to a node and to checks, holding keys and queries.

use std::sync::Arc;

use model::duration::GoDuration;
use model::ops::SessionBehavior;
use model::session::Session;

use super::indexes::Table;
use super::nodes::CRITICAL;
use super::{Tables, Writer};
use crate::answer::{Effect, Refusal};
use crate::text::{Name, lower, name};
use crate::watch::Thing;

/// The longest lock delay, whatever the session asked for.
const MAX_LOCK_DELAY: GoDuration = GoDuration::from_secs(60);

/// All checks that a session relies on.
fn checks(session: &Session) -> impl Iterator<Item = &str> {
    let of_services = session.service_checks.iter().flatten().map(|check| check.id.as_str());
    session.checks.iter().chain(&session.node_checks).map(String::as_str).chain(of_services)
}

impl Tables {
    pub(crate) fn sessions_of_node(&self, node: &str) -> Vec<Arc<str>> {
        let node = name(node);
        self.node_sessions
            .range((Arc::clone(&node), Arc::from(""))..)
            .take_while(|(of, _)| *of == node)
            .map(|(_, id)| Arc::clone(id))
            .collect()
    }

    pub(crate) fn sessions_of_check(&self, node: &Name, check: &Name) -> Vec<Arc<str>> {
        if self.check_sessions.is_empty() {
            return Vec::new();
        }
        self.check_sessions
            .range((Arc::clone(node), Arc::clone(check), Arc::from(""))..)
            .take_while(|(of, id, _)| of == node && id == check)
            .map(|(_, _, session)| Arc::clone(session))
            .collect()
    }
}

impl Writer {
    pub(crate) fn create_session(&mut self, mut session: Session) -> Result<(), Refusal> {
        if session.id.is_empty() {
            return Err(Refusal::text("Missing session ID"));
        }
        match &session.behavior {
            SessionBehavior::Unset => session.behavior = SessionBehavior::Release,
            SessionBehavior::Release | SessionBehavior::Delete => {}
            SessionBehavior::Other(other) => {
                return Err(Refusal::text(format!("Invalid session behavior: {other}")));
            }
        }
        let Some(row) = self.tables.node(&session.node) else { return Err(Refusal::MissingNode) };
        for id in checks(&session) {
            match row.checks.get(&*lower(id)) {
                None => return Err(Refusal::text(format!("Missing check '{id}' registration"))),
                Some(check) if check.status == CRITICAL => {
                    return Err(Refusal::text(format!("Check '{id}' is in {CRITICAL} state")));
                }
                Some(_) => {}
            }
        }
        session.create_index = self.index;
        session.modify_index = self.index;
        self.put_session(Arc::new(session));
        Ok(())
    }

    /// Stores a session as it is.
    pub(crate) fn put_session(&mut self, session: Arc<Session>) {
        let id: Arc<str> = Arc::from(session.id.as_str());
        if let Some(old) = self.tables.sessions.get(&id).cloned() {
            self.unlink_session(&id, &old);
        }
        let node = name(&session.node);
        self.tables.node_sessions.insert((Arc::clone(&node), Arc::clone(&id)));
        for check in checks(&session) {
            self.tables.check_sessions.insert((Arc::clone(&node), name(check), Arc::clone(&id)));
        }
        self.tables.indexes.raise(Table::Sessions, session.modify_index);
        self.touch_session(&session);
        self.tables.sessions.insert(id, session);
    }

    fn touch_session(&mut self, session: &Session) {
        self.touched.add(Thing::Sessions);
        self.touched.add(Thing::Session(&session.id));
        self.touched.add(Thing::NodeSessions(&session.node));
    }

    fn unlink_session(&mut self, id: &Arc<str>, session: &Session) {
        let node = name(&session.node);
        self.tables.node_sessions.remove(&(Arc::clone(&node), Arc::clone(id)));
        for check in checks(session) {
            self.tables.check_sessions.remove(&(Arc::clone(&node), name(check), Arc::clone(id)));
        }
    }

    /// Ends a session: its locks are released, or their keys deleted, and its queries go.
    pub(crate) fn delete_session(&mut self, id: &str) {
        let Some((id, session)) = self.tables.sessions.remove_with_key(id) else { return };
        self.unlink_session(&id, &session);
        self.tables.indexes.raise(Table::Sessions, self.index);
        self.touch_session(&session);
        self.effects.push(Effect::SessionEnded { id: session.id.clone() });

        let delay = session.lock_delay.min(MAX_LOCK_DELAY);
        let held: Vec<Arc<str>> =
            self.tables.held.get(&id).map(|keys| keys.iter().cloned().collect()).unwrap_or_default();
        for key in held {
            if session.behavior == SessionBehavior::Delete {
                self.kv_delete(&key);
            } else if let Some(entry) = self.tables.key(&key) {
                let mut entry = (**entry).clone();
                entry.session = Box::default();
                self.kv_set(entry, true);
            }
            if delay > GoDuration::ZERO {
                self.effects.push(Effect::LockDelay { key: key.to_string(), delay });
            }
        }
        let queries: Vec<Arc<str>> = self
            .tables
            .session_queries
            .range((Arc::clone(&id), Arc::from(""))..)
            .take_while(|(session, _)| *session == id)
            .map(|(_, query)| Arc::clone(query))
            .collect();
        for query in queries {
            self.delete_query(&query);
        }
    }
}
