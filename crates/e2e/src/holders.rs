//! Clients that hold locks for a while, and the judge of whether two ever believed to hold one at once.
//!
//! A client may believe that it holds a lock from when it was told so until it lets go, and at most until the TTL
//! of its session has passed since it *sent* its last renewal that succeeded: a session lives at least that
//! long. What the lock delay adds is not counted on.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::{Http, Stop, workload};

/// How much is done. The servers must allow a `session_ttl_min` of `ttl`.
#[derive(Clone)]
pub struct Plan {
    /// Written before every key.
    pub prefix: String,
    pub servers: Vec<Http>,
    pub workers: usize,
    pub locks: usize,
    pub ttl: Duration,
    pub seed: u64,
}

/// A time during which a client believed to hold a lock, as far as it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub session: String,
    /// `LockIndex` while it was held, if it could be read: grows with every holder.
    pub token: Option<u64>,
    pub from: Duration,
    pub until: Duration,
}

/// What all clients believed, by lock, and what they were told that cannot be.
#[derive(Default)]
pub struct Seen {
    pub holds: Vec<Vec<Hold>>,
    pub broken: Vec<String>,
}

/// Runs the clients until `stop` is set.
pub fn run(plan: &Plan, stop: &Stop) -> Seen {
    workload::register_node(&plan.servers);
    let clock = Instant::now();
    let mut all = Seen { holds: vec![Vec::new(); plan.locks], broken: Vec::new() };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.workers)
            .map(|number| {
                let rng = StdRng::seed_from_u64(plan.seed.wrapping_add(1000 + number as u64));
                let seen = Seen { holds: vec![Vec::new(); plan.locks], broken: Vec::new() };
                scope.spawn(move || Client { plan, clock, rng, seen }.run(stop))
            })
            .collect();
        for client in clients {
            let seen = client.join().expect("a client");
            all.holds.iter_mut().zip(seen.holds).for_each(|(all, one)| all.extend(one));
            all.broken.extend(seen.broken);
        }
    });
    all
}

/// Why these holds of one lock cannot be.
pub fn judge(holds: &[Hold]) -> Result<(), String> {
    let mut holds: Vec<&Hold> = holds.iter().collect();
    holds.sort_by_key(|hold| hold.from);
    let mut longest: Option<&Hold> = None;
    for hold in &holds {
        if let Some(other) = longest.filter(|other| other.until > hold.from && other.session != hold.session)
        {
            return Err(format!("held by two at once: {other:?} and {hold:?}"));
        }
        longest = longest.filter(|other| other.until > hold.until).or(Some(hold));
    }
    let tokens: Vec<&Hold> = holds.into_iter().filter(|hold| hold.token.is_some()).collect();
    match tokens.windows(2).find(|pair| pair[0].token >= pair[1].token) {
        Some(pair) => Err(format!("LockIndex did not grow from {:?} to {:?}", pair[0], pair[1])),
        None => Ok(()),
    }
}

struct Client<'a> {
    plan: &'a Plan,
    clock: Instant,
    rng: StdRng,
    seen: Seen,
}

/// A session, and until when it lives in any case.
struct Session {
    id: String,
    valid: Duration,
}

impl Client<'_> {
    fn run(mut self, stop: &Stop) -> Seen {
        while !stop.is_set() {
            let Some(mut session) = self.session() else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            // A session whose lock may be held without our knowledge is left to its end.
            while !stop.is_set() && self.try_lock(&mut session) {}
        }
        self.seen
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn server(&mut self) -> Http {
        self.plan.servers[self.rng.random_range(0..self.plan.servers.len())].clone()
    }

    fn session(&mut self) -> Option<Session> {
        let ttl = format!("{}ms", self.plan.ttl.as_millis());
        let body = json!({
            "TTL": ttl, "Node": workload::NODE, "LockDelay": "0s", "Checks": [], "NodeChecks": []
        })
        .to_string();
        let server = self.server();
        let sent = self.now();
        let answer = server.write("/v1/session/create", &body).ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        Some(Session { id: answer["ID"].as_str()?.to_owned(), valid: sent + self.plan.ttl })
    }

    /// Extends the life of a session; false when that is not certain.
    fn renew(&mut self, session: &mut Session) -> bool {
        let server = self.server();
        let sent = self.now();
        let Ok(reply) = server.put(&format!("/v1/session/renew/{}", session.id), "") else { return false };
        let now = self.now();
        match reply.status {
            200 => session.valid = session.valid.max(sent + self.plan.ttl),
            404 if now < session.valid => self.seen.broken.push(format!(
                "session {} ended {:?} before its TTL",
                session.id,
                session.valid - now
            )),
            _ => {}
        }
        reply.status == 200
    }

    /// Takes one of the locks if it is free, holds it for a while, lets go. False when the session
    /// should not be used any more.
    fn try_lock(&mut self, session: &mut Session) -> bool {
        let lock = self.rng.random_range(0..self.plan.locks);
        let path = format!("/v1/kv/{}/held-{lock}", self.plan.prefix);
        if !self.renew(session) {
            return false;
        }
        let reply = self.server().put(&format!("{path}?acquire={}", session.id), "");
        match reply {
            Ok(reply) if reply.ok() && reply.body.trim() == "true" => {}
            Ok(reply) if reply.ok() => {
                std::thread::sleep(Duration::from_millis(self.rng.random_range(10..100)));
                return true;
            }
            _ => return false,
        }
        let from = self.now();
        let token = self.token(&path, session);
        for _ in 0..self.rng.random_range(0..4) {
            std::thread::sleep(self.plan.ttl / self.rng.random_range(3..20));
            // One that falls silent is outlived by what it could not renew.
            if self.rng.random_bool(0.8) {
                self.renew(session);
            }
        }
        let lets_go = self.now();
        let end = match self.rng.random_range(0..3) {
            0 => format!("{path}?release={}", session.id),
            1 => format!("/v1/session/destroy/{}", session.id),
            _ => String::new(),
        };
        let silent = end.is_empty();
        let until = if silent { session.valid } else { lets_go.min(session.valid) };
        if from < until {
            self.seen.holds[lock].push(Hold { session: session.id.clone(), token, from, until });
        }
        if silent {
            return false;
        }
        let released = self.server().put(&end, "").is_ok_and(|reply| reply.ok());
        released && end.contains("release")
    }

    /// Reads who holds the lock: it must be us while our session certainly lives.
    fn token(&mut self, path: &str, session: &Session) -> Option<u64> {
        let server = self.server();
        let reply = server.get(&format!("{path}?consistent")).ok()?;
        let now = self.now();
        if !reply.ok() && reply.status != 404 {
            return None;
        }
        let row = &reply.json()[0];
        if row["Session"] == session.id.as_str() {
            return row["LockIndex"].as_u64();
        }
        if now < session.valid {
            self.seen.broken.push(format!(
                "{path} is not held by {}, {:?} before its TTL: {}",
                session.id,
                session.valid - now,
                reply.body
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(session: &str, token: u64, from: u64, until: u64) -> Hold {
        let at = Duration::from_secs;
        Hold { session: session.into(), token: Some(token), from: at(from), until: at(until) }
    }

    #[test]
    fn one_after_the_other() {
        assert_eq!(judge(&[]), Ok(()));
        assert_eq!(judge(&[hold("b", 2, 5, 6), hold("a", 1, 1, 5), hold("a", 3, 7, 9)]), Ok(()));
    }

    #[test]
    fn two_at_once() {
        let long = [hold("a", 1, 1, 20), hold("a", 2, 3, 4), hold("b", 3, 5, 6)];
        assert!(judge(&long).is_err_and(|why| why.contains("two at once")));
    }

    #[test]
    fn a_token_that_does_not_grow() {
        assert!(judge(&[hold("a", 2, 1, 2), hold("b", 2, 3, 4)]).is_err_and(|why| why.contains("LockIndex")));
    }
}
