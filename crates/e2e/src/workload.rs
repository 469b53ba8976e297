//! Clients of the key-value store that record what they saw, and the models they are judged by.
//!
//! Two kinds of objects: pairs of keys, read and written alone (get, put, cas, delete) and together
//! (transactions), and locks. Every value that is written is unique, so a value stands for the write
//! that made it, and cas, which names a version by its index, can be judged by the value read with it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::linearizable::{Event, Model};
use crate::{Http, HttpError, Stop};

/// Two keys, 0 and 1.
pub struct Pair;

/// The value of a key, if it is there.
type Version = Option<u64>;

/// What clients do with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairOp {
    Get(usize),
    Put(usize, u64),
    /// Writes only if the key has this version.
    Cas(usize, Version, u64),
    Delete(usize),
    DeleteCas(usize, Version),
    /// Writes both, if the first has this version; a transaction.
    PutBoth(Version, [u64; 2]),
    /// Reads both; a transaction.
    GetBoth,
}

/// What they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairAnswer {
    Values(Vec<Version>),
    /// Whether it was done.
    Done(bool),
}

impl Model for Pair {
    type State = [Version; 2];
    type Op = PairOp;
    type Answer = PairAnswer;

    fn initial(&self) -> Self::State {
        [None, None]
    }

    fn step(&self, state: &Self::State, op: &PairOp, answer: Option<&PairAnswer>) -> Option<Self::State> {
        let with = |key: usize, version: Version| {
            let mut next = *state;
            next[key] = version;
            next
        };
        let if_version = |key: usize, expected: Version, next: Self::State| {
            let done = state[key] == expected;
            (if done { next } else { *state }, PairAnswer::Done(done))
        };
        let (next, outcome) = match op {
            PairOp::Get(key) => (*state, PairAnswer::Values(vec![state[*key]])),
            PairOp::GetBoth => (*state, PairAnswer::Values(state.to_vec())),
            PairOp::Put(key, value) => (with(*key, Some(*value)), PairAnswer::Done(true)),
            PairOp::Delete(key) => (with(*key, None), PairAnswer::Done(true)),
            PairOp::Cas(key, expected, value) => if_version(*key, *expected, with(*key, Some(*value))),
            // What is not there needs no version to be deleted.
            PairOp::DeleteCas(key, _) if state[*key].is_none() => (*state, PairAnswer::Done(true)),
            PairOp::DeleteCas(key, expected) => if_version(*key, *expected, with(*key, None)),
            PairOp::PutBoth(expected, values) => if_version(0, *expected, values.map(Some)),
        };
        answer.is_none_or(|answer| *answer == outcome).then_some(next)
    }

    fn is_read(&self, _op: &PairOp, answer: &PairAnswer) -> bool {
        matches!(answer, PairAnswer::Values(_) | PairAnswer::Done(false))
    }
}

/// A lock, and the sessions that want it.
pub struct Lock;

/// What sessions, told by their number, do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOp {
    Acquire(usize),
    Release(usize),
    /// Who holds it?
    Holder,
}

/// What they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockAnswer {
    Done(bool),
    Holder(Option<usize>),
}

impl Model for Lock {
    type State = Option<usize>;
    type Op = LockOp;
    type Answer = LockAnswer;

    fn initial(&self) -> Option<usize> {
        None
    }

    fn step(&self, state: &Option<usize>, op: &LockOp, answer: Option<&LockAnswer>) -> Option<Option<usize>> {
        let (next, outcome) = match op {
            LockOp::Acquire(who) if state.is_none_or(|holder| holder == *who) => {
                (Some(*who), LockAnswer::Done(true))
            }
            LockOp::Release(who) if *state == Some(*who) => (None, LockAnswer::Done(true)),
            LockOp::Acquire(_) | LockOp::Release(_) => (*state, LockAnswer::Done(false)),
            LockOp::Holder => (*state, LockAnswer::Holder(*state)),
        };
        answer.is_none_or(|answer| *answer == outcome).then_some(next)
    }

    fn is_read(&self, _op: &LockOp, answer: &LockAnswer) -> bool {
        matches!(answer, LockAnswer::Holder(_) | LockAnswer::Done(false))
    }
}

pub type PairEvent = Event<PairOp, PairAnswer>;
pub type LockEvent = Event<LockOp, LockAnswer>;

/// What all clients saw.
#[derive(Default)]
pub struct Histories {
    /// By the number of the pair.
    pub pairs: Vec<Vec<PairEvent>>,
    pub locks: Vec<Vec<LockEvent>>,
    /// Values with the indices they were read at; more than one means that a write was applied twice.
    pub versions: HashMap<u64, Vec<u64>>,
    pub answered: usize,
    pub unanswered: usize,
}

/// How much is done.
#[derive(Clone)]
pub struct Plan {
    /// Written before every key.
    pub prefix: String,
    pub servers: Vec<Http>,
    pub workers: usize,
    pub pairs: usize,
    pub locks: usize,
    /// Pause between the operations of one worker.
    pub pause: Duration,
    pub seed: u64,
}

/// Runs the clients until `stop` is set.
pub fn run(plan: &Plan, stop: &Stop) -> Histories {
    run_with(plan, &sessions(plan), stop)
}

/// The sessions of all workers; faults can wait for them.
pub fn sessions(plan: &Plan) -> Vec<String> {
    register_node(&plan.servers);
    (0..plan.workers).map(|n| session(plan, n)).collect()
}

/// As [`run`], with the sessions made before.
pub fn run_with(plan: &Plan, sessions: &[String], stop: &Stop) -> Histories {
    let clock = Instant::now();
    let next_value = AtomicU64::new(0);
    let mut all = Histories {
        pairs: vec![Vec::new(); plan.pairs],
        locks: vec![Vec::new(); plan.locks],
        ..Histories::default()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.workers)
            .map(|number| {
                let worker = Worker {
                    plan,
                    number,
                    sessions,
                    clock,
                    next_value: &next_value,
                    rng: StdRng::seed_from_u64(plan.seed.wrapping_add(1 + number as u64)),
                    known: HashMap::new(),
                };
                scope.spawn(move || worker.run(stop))
            })
            .collect();
        for worker in workers {
            all.merge(worker.join().expect("a worker"));
        }
    });
    all.pairs.iter_mut().for_each(|history| forget_unseen(history));
    all
}

/// Gives all values that nobody saw one name. No answer depends on which of them it was, and what is equal the
/// judge does not try in every order.
fn forget_unseen(history: &mut [PairEvent]) {
    const UNSEEN: u64 = u64::MAX;
    let mut seen: HashSet<u64> = HashSet::new();
    for event in history.iter() {
        if let Some(PairAnswer::Values(values)) = &event.answer {
            seen.extend(values.iter().flatten());
        }
        match event.op {
            PairOp::Cas(_, version, _) | PairOp::DeleteCas(_, version) | PairOp::PutBoth(version, _) => {
                seen.extend(version);
            }
            _ => {}
        }
    }
    let name = |value: &mut u64| {
        if !seen.contains(value) {
            *value = UNSEEN;
        }
    };
    for event in history {
        match &mut event.op {
            PairOp::Put(_, value) | PairOp::Cas(_, _, value) => name(value),
            PairOp::PutBoth(_, values) => values.iter_mut().for_each(name),
            _ => {}
        }
    }
}

/// A node of the catalog that no agent is, so that nothing but a request takes it, and its sessions, away: servers that
/// fail are taken out of the catalog, with the sessions that belong to them.
pub(crate) const NODE: &str = "e2e-clients";

pub(crate) fn register_node(servers: &[Http]) {
    let body = json!({ "Node": NODE, "Address": "127.0.0.1" }).to_string();
    let mut servers = servers.iter().cycle();
    crate::until("a node for sessions", crate::LONG, || {
        servers.next().ok_or("no server")?.write("/v1/catalog/register", &body)
    });
}

/// A session that ends only when somebody ends it.
fn session(plan: &Plan, number: usize) -> String {
    let body = json!({ "Name": format!("worker-{number}"), "Node": NODE, "LockDelay": "0s", "Checks": [], "NodeChecks": [] });
    let body = body.to_string();
    let mut servers = plan.servers.iter().cycle();
    crate::until("a session", crate::LONG, || {
        let answer = servers.next().ok_or("no server")?.write("/v1/session/create", &body)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        answer["ID"].as_str().map(str::to_owned).ok_or_else(|| answer.to_string())
    })
}

impl Histories {
    fn merge(&mut self, other: Histories) {
        for (all, one) in self.pairs.iter_mut().zip(other.pairs) {
            all.extend(one);
        }
        for (all, one) in self.locks.iter_mut().zip(other.locks) {
            all.extend(one);
        }
        for (value, indices) in other.versions {
            let known = self.versions.entry(value).or_default();
            known.extend(indices);
            known.sort_unstable();
            known.dedup();
        }
        self.answered += other.answered;
        self.unanswered += other.unanswered;
    }
}

struct Worker<'a> {
    plan: &'a Plan,
    number: usize,
    sessions: &'a [String],
    clock: Instant,
    next_value: &'a AtomicU64,
    rng: StdRng,
    /// What was last read of a key: its version and index.
    known: HashMap<(usize, usize), (Version, u64)>,
}

/// What came of a request.
enum Told<A> {
    Answer(A),
    /// It is certain that nothing was changed and nothing learnt.
    Nothing,
    /// It may have happened.
    Unknown,
}

impl Worker<'_> {
    fn run(mut self, stop: &Stop) -> Histories {
        let mut seen = Histories {
            pairs: vec![Vec::new(); self.plan.pairs],
            locks: vec![Vec::new(); self.plan.locks],
            ..Histories::default()
        };
        while !stop.is_set() {
            let server = &self.plan.servers[self.rng.random_range(0..self.plan.servers.len())];
            let kind = self.rng.random_range(0..self.plan.pairs + self.plan.locks);
            if let Some(lock) = kind.checked_sub(self.plan.pairs) {
                self.lock_step(server, lock, &mut seen);
            } else {
                self.pair_step(server, kind, &mut seen);
            }
            std::thread::sleep(self.plan.pause);
        }
        seen
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    fn key(&self, pair: usize, key: usize) -> String {
        format!("{}/pair-{pair}/{key}", self.plan.prefix)
    }

    fn pair_step(&mut self, server: &Http, pair: usize, seen: &mut Histories) {
        let key = self.rng.random_range(0..2);
        let known = |key| self.known.get(&(pair, key)).copied().unwrap_or((None, 0));
        let (version, index) = known(key);
        let (first, first_index) = known(0);
        let choice = self.rng.random_range(0..100);
        let op = match choice {
            0..35 => PairOp::Get(key),
            35..50 => PairOp::Put(key, self.value()),
            50..68 => PairOp::Cas(key, version, self.value()),
            68..74 => PairOp::Delete(key),
            // An index of 0 would mean: whatever there is.
            74..80 if version.is_some() => PairOp::DeleteCas(key, version),
            80..90 => PairOp::PutBoth(first, [self.value(), self.value()]),
            _ => PairOp::GetBoth,
        };
        let called = self.now();
        let told = self.do_pair(server, pair, &op, index, first_index, seen);
        let returned = self.now();
        match told {
            Told::Answer(answer) => {
                seen.answered += 1;
                seen.pairs[pair].push(Event { called, returned: Some(returned), op, answer: Some(answer) });
            }
            Told::Unknown => {
                seen.unanswered += 1;
                seen.pairs[pair].push(Event { called, returned: None, op, answer: None });
            }
            Told::Nothing => seen.unanswered += 1,
        }
    }

    fn do_pair(
        &mut self,
        server: &Http,
        pair: usize,
        op: &PairOp,
        index: u64,
        first_index: u64,
        seen: &mut Histories,
    ) -> Told<PairAnswer> {
        // Leases are as good as quorums on one machine, whose clocks all run alike.
        let mode = if self.rng.random_bool(0.5) { "?consistent" } else { "" };
        let path = |key: usize| format!("/v1/kv/{}", self.key(pair, key));
        let both = [self.key(pair, 0), self.key(pair, 1)];
        let reply = match op {
            PairOp::Get(key) => server.get(&format!("{}{mode}", path(*key))),
            PairOp::Put(key, value) => server.put(&path(*key), &value.to_string()),
            PairOp::Cas(key, _, value) => {
                server.put(&format!("{}?cas={index}", path(*key)), &value.to_string())
            }
            PairOp::Delete(key) => server.send("DELETE", &path(*key), ""),
            PairOp::DeleteCas(key, _) => server.send("DELETE", &format!("{}?cas={index}", path(*key)), ""),
            PairOp::PutBoth(_, values) => {
                let verb = |key: usize, verb: &str, index: u64| json!({ "KV": { "Verb": verb, "Key": both[key], "Index": index, "Value": BASE64.encode(values[key].to_string()) } });
                server.put("/v1/txn", &json!([verb(0, "cas", first_index), verb(1, "set", 0)]).to_string())
            }
            PairOp::GetBoth => {
                let tree = format!("{}/pair-{pair}/", self.plan.prefix);
                let read = json!([{ "KV": { "Verb": "get-tree", "Key": tree } }]);
                server.put("/v1/txn?consistent", &read.to_string())
            }
        };
        let reads = matches!(op, PairOp::Get(_) | PairOp::GetBoth);
        let lost = if reads { Told::Nothing } else { Told::Unknown };
        let reply = match reply {
            Ok(reply) => reply,
            Err(e) if e.is_refused() => return Told::Nothing,
            Err(_) => return lost,
        };
        match (op, reply.status) {
            (PairOp::Get(key), 200) => {
                let rows = reply.json();
                let version = self.note(pair, *key, &rows[0], seen);
                Told::Answer(PairAnswer::Values(vec![version]))
            }
            (PairOp::Get(key), 404) => {
                self.known.insert((pair, *key), (None, 0));
                Told::Answer(PairAnswer::Values(vec![None]))
            }
            (PairOp::GetBoth, 200) => {
                let rows = reply.json()["Results"].clone();
                let row = |key: &String| {
                    let found = rows.as_array().into_iter().flatten().find(|row| row["KV"]["Key"] == *key);
                    found.map_or(Value::Null, |row| row["KV"].clone())
                };
                let versions = (0..2).map(|key| self.note(pair, key, &row(&both[key]), seen)).collect();
                Told::Answer(PairAnswer::Values(versions))
            }
            (PairOp::PutBoth(..), 200) => Told::Answer(PairAnswer::Done(true)),
            (PairOp::PutBoth(..), 409) => Told::Answer(PairAnswer::Done(false)),
            (_, 200) => match reply.body.trim() {
                "true" => Told::Answer(PairAnswer::Done(true)),
                "false" => Told::Answer(PairAnswer::Done(false)),
                other => panic!("{op:?} was answered {other:?}"),
            },
            (_, 500) => lost,
            (_, status) => panic!("{op:?} was answered {status} {}", reply.body),
        }
    }

    /// Remembers a version that was read.
    fn note(&mut self, pair: usize, key: usize, row: &Value, seen: &mut Histories) -> Version {
        let index = row["ModifyIndex"].as_u64().unwrap_or(0);
        let version = row["Value"].as_str().map(decoded);
        if let Some(value) = version {
            let indices = seen.versions.entry(value).or_default();
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        self.known.insert((pair, key), (version, if version.is_some() { index } else { 0 }));
        version
    }

    fn lock_step(&mut self, server: &Http, lock: usize, seen: &mut Histories) {
        let path = format!("/v1/kv/{}/lock-{lock}", self.plan.prefix);
        let session = &self.sessions[self.number];
        let op = match self.rng.random_range(0..3) {
            0 => LockOp::Acquire(self.number),
            1 => LockOp::Release(self.number),
            _ => LockOp::Holder,
        };
        let called = self.now();
        let reply = match op {
            LockOp::Acquire(_) => server.put(&format!("{path}?acquire={session}"), ""),
            LockOp::Release(_) => server.put(&format!("{path}?release={session}"), ""),
            LockOp::Holder if self.rng.random_bool(0.5) => server.get(&path),
            LockOp::Holder => server.get(&format!("{path}?consistent")),
        };
        let returned = self.now();
        if reply.as_ref().is_err_and(HttpError::is_refused) {
            seen.unanswered += 1;
            return;
        }
        let holder = |who: Option<usize>| Some(LockAnswer::Holder(who));
        let answer = match (&op, reply) {
            (LockOp::Holder, Ok(reply)) if reply.status == 404 => holder(None),
            (LockOp::Holder, Ok(reply)) if reply.ok() => {
                let rows = reply.json();
                let session = rows[0]["Session"].as_str();
                holder(session.and_then(|id| self.sessions.iter().position(|known| known == id)))
            }
            (_, Ok(reply)) if reply.ok() => Some(LockAnswer::Done(reply.body.trim() == "true")),
            (_, Ok(reply)) if reply.status != 500 => panic!("{op:?} was answered {reply:?}"),
            _ => None,
        };
        match answer {
            Some(_) => seen.answered += 1,
            None => seen.unanswered += 1,
        }
        match (&op, &answer) {
            (LockOp::Holder, None) => {}
            _ => {
                let returned = answer.is_some().then_some(returned);
                seen.locks[lock].push(Event { called, returned, op, answer });
            }
        }
    }
}

fn decoded(value: &str) -> u64 {
    let bytes = BASE64.decode(value).expect("base64");
    String::from_utf8_lossy(&bytes).parse().expect("a value that was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nobody_saw_are_alike() {
        let event = |op, answer| PairEvent { called: 0, returned: Some(1), op, answer };
        let mut history = [
            event(PairOp::Put(0, 1), None),
            event(PairOp::Put(0, 2), None),
            event(PairOp::Put(1, 3), None),
            event(PairOp::PutBoth(Some(3), [4, 5]), None),
            event(PairOp::GetBoth, Some(PairAnswer::Values(vec![Some(4), None]))),
        ];
        forget_unseen(&mut history);
        let ops: Vec<PairOp> = history.into_iter().map(|event| event.op).collect();
        let unseen = u64::MAX;
        assert_eq!(
            ops,
            [
                PairOp::Put(0, unseen),
                PairOp::Put(0, unseen),
                PairOp::Put(1, 3),
                PairOp::PutBoth(Some(3), [4, unseen]),
                PairOp::GetBoth
            ]
        );
    }
}
