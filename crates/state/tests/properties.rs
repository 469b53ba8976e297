//! Random histories against a simple model, random bytes, and snapshots.

mod common;

use std::collections::BTreeMap;

use common::*;
use model::kv::DirEntry;
use model::ops::{KvVerb, SessionBehavior};
use model::options::ServiceSpecificRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use state::{Answer, Select, Store, WatchSet, command};

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8),
    Delete(u8),
    DeleteTree(u8),
    Cas(u8, u8, bool),
    DeleteCas(u8, bool),
    Lock(u8, u8),
    Unlock(u8, u8),
    Session(u8, bool),
    Destroy(u8),
    Node(u8),
    Service(u8, u8, u8),
    Check(u8, u8, u8, u8),
    DropNode(u8),
    DropService(u8, u8),
    DropCheck(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..8u8;
    let few = || 0..3u8;
    prop_oneof![
        (key(), any::<u8>()).prop_map(|(k, v)| Step::Set(k, v)),
        key().prop_map(Step::Delete),
        key().prop_map(Step::DeleteTree),
        (key(), any::<u8>(), any::<bool>()).prop_map(|(k, v, right)| Step::Cas(k, v, right)),
        (key(), any::<bool>()).prop_map(|(k, right)| Step::DeleteCas(k, right)),
        (key(), few()).prop_map(|(k, s)| Step::Lock(k, s)),
        (key(), few()).prop_map(|(k, s)| Step::Unlock(k, s)),
        (few(), any::<bool>()).prop_map(|(s, delete)| Step::Session(s, delete)),
        few().prop_map(Step::Destroy),
        few().prop_map(Step::Node),
        (few(), few(), few()).prop_map(|(n, i, s)| Step::Service(n, i, s)),
        (few(), few(), 0..4u8, few()).prop_map(|(n, c, s, st)| Step::Check(n, c, s, st)),
        few().prop_map(Step::DropNode),
        (few(), few()).prop_map(|(n, i)| Step::DropService(n, i)),
        (few(), few()).prop_map(|(n, c)| Step::DropCheck(n, c)),
    ]
}

fn key(n: u8) -> String {
    ["a", "a/", "a/b", "a/b/c", "b", "b/c", "c", "ä"][usize::from(n)].to_owned()
}

fn status(n: u8) -> &'static str {
    ["passing", "warning", "critical"][usize::from(n)]
}

#[derive(Clone, Debug, PartialEq)]
struct Key {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    locked: u64,
    session: Option<u8>,
}

/// Services by id; checks by id, with the service and the status.
type Carried = (BTreeMap<u8, u8>, BTreeMap<u8, (Option<u8>, u8)>);

/// The same state, told naively.
#[derive(Clone, Debug, Default, PartialEq)]
struct Naive {
    keys: BTreeMap<String, Key>,
    /// With whether their keys are deleted.
    sessions: BTreeMap<u8, bool>,
    nodes: BTreeMap<u8, Carried>,
}

/// All sessions live on this node and rely on this check.
const HOME: u8 = 0;
const VITAL: u8 = 0;

impl Naive {
    fn put(&mut self, index: u64, key: String, value: Vec<u8>, session: Option<u8>, locked: u64) {
        let entry = self.keys.entry(key).or_insert(Key {
            value: vec![255, 255],
            created: index,
            modified: index,
            locked: 0,
            session: None,
        });
        if (&entry.value, entry.session, entry.locked) != (&value, session, locked) {
            entry.modified = index;
        }
        (entry.value, entry.session, entry.locked) = (value, session, locked);
    }

    fn set(&mut self, index: u64, key: String, value: Vec<u8>) {
        let session = self.keys.get(&key).and_then(|old| old.session);
        self.put(index, key, value, session, 0);
    }

    fn end(&mut self, index: u64, session: u8) {
        let Some(delete) = self.sessions.remove(&session) else { return };
        if delete {
            self.keys.retain(|_, key| key.session != Some(session));
        }
        for key in self.keys.values_mut().filter(|key| key.session == Some(session)) {
            (key.session, key.modified) = (None, index);
        }
    }

    fn end_all(&mut self, index: u64) {
        (0..3).for_each(|session| self.end(index, session));
    }

    fn step(&mut self, index: u64, step: &Step) -> Option<bool> {
        match *step {
            Step::Set(k, v) => self.set(index, key(k), vec![v]),
            Step::Delete(k) => drop(self.keys.remove(&key(k))),
            Step::DeleteTree(k) => self.keys.retain(|other, _| !other.starts_with(&key(k))),
            Step::Cas(k, v, right) => {
                // The right index of an absent key is zero.
                if right {
                    self.set(index, key(k), vec![v]);
                }
                return Some(right);
            }
            Step::DeleteCas(k, right) => {
                let exists = self.keys.contains_key(&key(k));
                if right {
                    self.keys.remove(&key(k));
                }
                return Some(right || !exists);
            }
            Step::Lock(k, s) => {
                if !self.sessions.contains_key(&s) {
                    return None;
                }
                let locked = match self.keys.get(&key(k)) {
                    None => 1,
                    Some(old) if old.session == Some(s) => old.locked,
                    Some(old) if old.session.is_none() => old.locked + 1,
                    Some(_) => return Some(false),
                };
                self.put(index, key(k), vec![s], Some(s), locked);
                return Some(true);
            }
            Step::Unlock(k, s) => match self.keys.get(&key(k)) {
                Some(old) if old.session == Some(s) => {
                    let locked = old.locked;
                    self.put(index, key(k), vec![s], None, locked);
                    return Some(true);
                }
                _ => return Some(false),
            },
            Step::Session(s, delete) => {
                let (_, checks) = self.nodes.get(&HOME)?;
                if checks.get(&VITAL).is_none_or(|(_, status)| *status == 2) {
                    return None;
                }
                self.sessions.insert(s, delete);
            }
            Step::Destroy(s) => self.end(index, s),
            Step::Node(n) => drop(self.nodes.entry(n).or_default()),
            Step::Service(n, i, s) => drop(self.nodes.entry(n).or_default().0.insert(i, s)),
            Step::Check(n, c, s, status) => {
                let service = s.checked_sub(1);
                let node = self.nodes.get_mut(&n);
                if let Some(service) = service {
                    node.as_ref()?.0.get(&service)?;
                }
                let (_, checks) = self.nodes.entry(n).or_default();
                checks.insert(c, (service, status));
                if (n, c, status) == (HOME, VITAL, 2) {
                    self.end_all(index);
                }
            }
            Step::DropNode(n) => {
                self.nodes.remove(&n);
                if n == HOME {
                    self.end_all(index);
                }
            }
            Step::DropService(n, i) => {
                if let Some((services, checks)) = self.nodes.get_mut(&n)
                    && services.remove(&i).is_some()
                {
                    let vital = checks.get(&VITAL).is_some_and(|(service, _)| *service == Some(i));
                    checks.retain(|_, (service, _)| *service != Some(i));
                    if n == HOME && vital {
                        self.end_all(index);
                    }
                }
            }
            Step::DropCheck(n, c) => {
                if let Some((_, checks)) = self.nodes.get_mut(&n)
                    && checks.remove(&c).is_some()
                    && (n, c) == (HOME, VITAL)
                {
                    self.end_all(index);
                }
            }
        }
        Some(true)
    }
}

fn name(kind: &str, n: u8) -> String {
    // The case of names does not matter.
    if n == 1 { format!("{}{n}", kind.to_uppercase()) } else { format!("{kind}{n}") }
}

fn run(m: &mut Machine, naive: &Naive, step: &Step) -> Answer {
    let modified = |k: u8, right: bool| {
        let index = naive.keys.get(&key(k)).map_or(0, |key| key.modified);
        if right { index } else { u64::MAX }
    };
    let of =
        |s: u8, k: u8| DirEntry { session: name("s", s).into(), value: vec![s].into(), ..entry(&key(k), "") };
    match *step {
        Step::Set(k, v) => m.kv(KvVerb::Set, DirEntry { value: vec![v].into(), ..entry(&key(k), "") }),
        Step::Delete(k) => m.kv(KvVerb::Delete, entry(&key(k), "")),
        Step::DeleteTree(k) => m.kv(KvVerb::DeleteTree, entry(&key(k), "")),
        Step::Cas(k, v, right) => {
            let value = vec![v].into();
            m.kv(KvVerb::Cas, DirEntry { value, modify_index: modified(k, right), ..entry(&key(k), "") })
        }
        Step::DeleteCas(k, right) => {
            m.kv(KvVerb::DeleteCas, DirEntry { modify_index: modified(k, right), ..entry(&key(k), "") })
        }
        Step::Lock(k, s) => m.kv(KvVerb::Lock, of(s, k)),
        Step::Unlock(k, s) => m.kv(KvVerb::Unlock, of(s, k)),
        Step::Session(s, delete) => {
            // Creating one that exists would only replace it.
            m.destroy(&name("s", s));
            let behavior = if delete { SessionBehavior::Delete } else { SessionBehavior::Release };
            let mut session = session(&name("s", s), &name("n", HOME), behavior);
            session.node_checks = vec![name("c", VITAL)];
            m.session(session)
        }
        Step::Destroy(s) => m.destroy(&name("s", s)),
        Step::Node(n) => m.register(node(&name("n", n))),
        Step::Service(n, i, s) => {
            m.register(with_service(&name("n", n), service(&name("svc", s), &name("i", i))))
        }
        Step::Check(n, c, s, st) => {
            let service = s.checked_sub(1).map(|i| name("i", i)).unwrap_or_default();
            m.register(with_check(check(&name("n", n), &name("c", c), &service, status(st))))
        }
        Step::DropNode(n) => m.deregister(&name("N", n), "", ""),
        Step::DropService(n, i) => m.deregister(&name("n", n), &name("i", i), ""),
        Step::DropCheck(n, c) => m.deregister(&name("n", n), "", &name("C", c)),
    }
}

fn compare(store: &Store, naive: &Naive) -> Result<(), TestCaseError> {
    let ws = &mut WatchSet::none();
    let view = store.view();
    let keys: BTreeMap<String, Key> = view
        .kv_list(ws, "")
        .1
        .iter()
        .map(|entry| {
            let session = entry.session.chars().last().map(|c| c as u8 - b'0');
            let key = Key {
                value: entry.value.as_slice().to_vec(),
                created: entry.create_index,
                modified: entry.modify_index,
                locked: entry.lock_index,
                session,
            };
            (entry.key.to_string(), key)
        })
        .collect();
    prop_assert_eq!(&keys, &naive.keys);
    let sessions: Vec<String> = view.sessions(ws).1.iter().map(|session| session.id.clone()).collect();
    let mut wanted: Vec<String> = naive.sessions.keys().map(|s| name("s", *s)).collect();
    wanted.sort();
    prop_assert_eq!(sessions, wanted.clone());
    prop_assert_eq!(view.node_sessions(ws, &name("n", HOME)).1.len(), wanted.len());

    let dump = view.node_dump(ws).1;
    prop_assert_eq!(dump.len(), naive.nodes.len());
    let mut instances: BTreeMap<String, Vec<(String, String, Vec<String>)>> = BTreeMap::new();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, (services, checks)) in &naive.nodes {
        let info = dump.iter().find(|info| info.node == name("n", *n)).unwrap();
        prop_assert_eq!(info.services.len(), services.len());
        prop_assert_eq!(info.checks.len(), checks.len());
        for check in checks.values() {
            *states.entry(status(check.1)).or_default() += 1;
        }
        for (i, s) in services {
            let own = checks.iter().filter(|(_, (service, _))| service.is_none());
            let of_it = checks.iter().filter(|(_, (service, _))| *service == Some(*i));
            let mut checks: Vec<String> = own.chain(of_it).map(|(c, _)| name("c", *c)).collect();
            checks.sort();
            instances.entry(name("svc", *s)).or_default().push((name("n", *n), name("i", *i), checks));
        }
    }
    for s in 0..3 {
        let request = ServiceSpecificRequest { service_name: name("SVC", s), ..Default::default() };
        let (_, nodes) = view.check_service_nodes(ws, &Select::from(&request));
        let mut found: Vec<_> = nodes
            .iter()
            .map(|instance| {
                let mut checks: Vec<_> = instance.checks.iter().map(|c| c.check_id.clone()).collect();
                checks.sort();
                (instance.node.node.clone(), instance.service.id.clone(), checks)
            })
            .collect();
        found.sort();
        let mut wanted = instances.remove(&name("svc", s)).unwrap_or_default();
        wanted.sort();
        prop_assert_eq!(found, wanted);
    }
    for state in ["passing", "warning", "critical"] {
        let checks = view.checks_in_state(ws, state, &BTreeMap::new()).1;
        prop_assert_eq!(checks.len(), states.remove(state).unwrap_or(0));
    }
    Ok(())
}

fn snapshot(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    let view = store.view();
    view.write_snapshot(&mut bytes, view.index()).unwrap();
    bytes
}

thread_local! {
    /// Emptied by restoring an empty state: making a store costs more than running a history.
    static STORE: std::cell::RefCell<Option<Machine>> = const { std::cell::RefCell::new(None) };
}

fn with_machine<R>(run: impl FnOnce(&mut Machine) -> R) -> R {
    STORE.with_borrow_mut(|slot| {
        let m = slot.get_or_insert_with(Machine::default);
        m.store.restore(&mut &*msgpack::to_vec(&BTreeMap::from([("LastIndex", 9u64)])).unwrap()).unwrap();
        m.index = 9;
        m.effects.clear();
        run(m)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn histories_follow_the_model(steps in vec(step(), 1..60)) {
        with_machine(|m| {
            let mut naive = Naive::default();
            for step in &steps {
                if let Step::Session(s, _) = step {
                    naive.end(m.index + 1, *s);
                }
                let answer = run(m, &naive, step);
                match (naive.step(m.index, step), answer) {
                    (Some(wanted), Answer::Bool(is)) => prop_assert_eq!(is, wanted, "{:?}", step),
                    (Some(_), Answer::Nil | Answer::Text(_)) | (None, Answer::Error(_)) => {}
                    (wanted, answer) => prop_assert!(false, "{step:?}: {answer:?}, wanted {wanted:?}"),
                }
            }
            compare(&m.store, &naive)?;
            // And so does what comes back from a snapshot.
            let before = snapshot(&m.store);
            prop_assert_eq!(m.store.restore(&mut &*before).unwrap(), m.index);
            compare(&m.store, &naive)?;
            prop_assert_eq!(snapshot(&m.store), before);
            Ok(())
        })?;
    }

    #[test]
    fn random_bytes_change_nothing(kind in 0..40u8, body in vec(any::<u8>(), 0..200)) {
        with_machine(|m| {
            m.set("k", "v");
            let before = m.store.view();
            let mut bytes = vec![kind];
            bytes.extend(body);
            if let Answer::Error(_) = m.raw(bytes.into()) {
                prop_assert_eq!(m.store.view().counts(), before.counts());
                prop_assert_eq!(m.store.view().kv_list(&mut WatchSet::none(), ""), before.kv_list(&mut WatchSet::none(), ""));
            }
            Ok(())
        })?;
    }

    #[test]
    fn damaged_commands_are_harmless(cut in 0..400usize, at in 0..400usize, byte in any::<u8>()) {
        with_machine(|m| {
            let request = model::catalog::RegisterRequest {
                check: Some(check("n1", "c1", "w1", "passing")),
                ..with_service("n1", service("web", "w1"))
            };
            let mut bytes = encode(command::REGISTER, &request).to_vec();
            let at = 1 + at % (bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut % 3));
            if let Answer::Error(_) = m.raw(bytes.into()) {
                prop_assert_eq!(m.store.view().counts(), Default::default());
            }
            Ok(())
        })?;
    }

    #[test]
    fn random_streams_do_not_restore(bytes in vec(any::<u8>(), 0..300)) {
        with_machine(|m| {
            m.set("k", "v");
            if m.store.restore(&mut &*bytes).is_err() {
                prop_assert_eq!(m.store.view().counts().keys, 1);
            }
            Ok(())
        })?;
    }
}
