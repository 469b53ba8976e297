//! Session TTLs: the leader destroys a session that nobody renewed.
//!
//! A session lives for at least its TTL and at most twice as long, as documented. A new leader
//! starts all timers anew, so a change of leader never ends a session early.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::duration::parse_go;
use model::ops::SessionOp;
use model::session::{Session, SessionRequest};
use parking_lot::Mutex;
use state::{View, WatchSet};
use tokio::sync::Notify;

use crate::core::{CommandType, Core};

/// A session is destroyed after its TTL times this.
const GRACE: u32 = 2;
/// Pause after a session could not be destroyed.
const RETRY: Duration = Duration::from_secs(1);

/// The timers of all sessions with a TTL.
#[derive(Debug, Default)]
pub(crate) struct SessionTimers {
    timers: Mutex<Timers>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Timers {
    running: bool,
    by_time: BTreeSet<(Instant, String)>,
    by_id: HashMap<String, Instant>,
}

impl Timers {
    fn set(&mut self, id: &str, at: Instant) {
        self.remove(id);
        self.by_time.insert((at, id.to_owned()));
        self.by_id.insert(id.to_owned(), at);
    }

    fn remove(&mut self, id: &str) {
        if let Some((id, at)) = self.by_id.remove_entry(id) {
            self.by_time.remove(&(at, id));
        }
    }
}

/// The TTL, if the session has one.
fn ttl(session: &Session) -> Option<Duration> {
    parse_go(&session.ttl).ok().map(|ttl| ttl.to_std()).filter(|ttl| !ttl.is_zero())
}

impl SessionTimers {
    /// Starts or restarts the session's timer; does nothing unless this server leads.
    pub fn watch(&self, session: &Session) {
        let Some(ttl) = ttl(session) else { return };
        let mut timers = self.timers.lock();
        if timers.running {
            timers.set(&session.id, Instant::now() + ttl * GRACE);
            self.earlier.notify_one();
        }
    }

    /// The session is gone.
    pub fn forget(&self, id: &str) {
        self.timers.lock().remove(id);
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.timers.lock().by_id.len()
    }

    pub(super) fn start(&self, view: &View) {
        let now = Instant::now();
        let mut timers = self.timers.lock();
        timers.running = true;
        for session in view.sessions(&mut WatchSet::none()).1 {
            if let Some(ttl) = ttl(&session) {
                timers.set(&session.id, now + ttl * GRACE);
            }
        }
    }

    pub(super) fn clear(&self) {
        *self.timers.lock() = Timers::default();
    }

    fn next(&self) -> Option<(Instant, String)> {
        self.timers.lock().by_time.first().cloned()
    }
}

/// Destroys sessions as their time comes.
pub(super) async fn run(core: Arc<Core>) {
    let timers = &core.leader_only.sessions;
    loop {
        metrics::gauge!("session_ttl.active").set(timers.len() as f64);
        let Some((at, id)) = timers.next() else {
            timers.earlier.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = timers.earlier.notified() => continue,
        }
        // Renewed in the meantime?
        if timers.next() != Some((at, id.clone())) {
            continue;
        }
        let request = SessionRequest {
            datacenter: core.datacenter().to_owned(),
            op: SessionOp::Destroy,
            session: Session { id: id.clone(), ..Session::default() },
            token: String::new(),
        };
        let started = Instant::now();
        match core.propose(CommandType::Session, &request).await {
            Ok(_) => {
                timers.forget(&id);
                metrics::histogram!("session_ttl.invalidate").record(started.elapsed().as_secs_f64() * 1e3);
                tracing::debug!(target: "server", session = %id, "Session TTL expired");
            }
            Err(error) => {
                tracing::error!(target: "server", session = %id, error = %error, "failed to invalidate session");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, ttl: &str) -> Session {
        Session { id: id.into(), ttl: ttl.into(), ..Session::default() }
    }

    #[test]
    fn only_a_leader_keeps_timers_and_renewal_moves_them() {
        let timers = SessionTimers::default();
        timers.watch(&session("a", "10s"));
        assert_eq!(timers.next(), None);
        timers.timers.lock().running = true;
        timers.watch(&session("a", "10s"));
        timers.watch(&session("b", ""));
        let (first, _) = timers.next().unwrap();
        assert!(first > Instant::now() + Duration::from_secs(19));
        timers.watch(&session("a", "30s"));
        assert!(timers.next().unwrap().0 > first);
        timers.forget("a");
        assert_eq!(timers.next(), None);
    }
}
