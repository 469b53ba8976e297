//! Waiters wake for what they read, and for nothing else.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use model::catalog::RegisterRequest;
use model::ops::{KvVerb, SessionBehavior};
use model::options::ServiceSpecificRequest;
use state::{Select, Store, View, Wake, WatchSet};
use tokio::time::Instant;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

type Read = fn(&View, &mut WatchSet) -> u64;

fn web(view: &View, ws: &mut WatchSet, connect: bool) -> u64 {
    let request = ServiceSpecificRequest { service_name: "web".into(), connect, ..Default::default() };
    view.check_service_nodes(ws, &Select::from(&request)).0
}

fn register_web(m: &mut Machine) {
    m.register(RegisterRequest {
        check: Some(check("n1", "cw", "w", "passing")),
        ..with_service("n1", service("web", "w"))
    });
}

/// What is read, the read, a change it must see and one that it must not.
type Case = (&'static str, Read, fn(&mut Machine), fn(&mut Machine));

/// Every read, with a change that it must see and one that it must not.
fn reads() -> Vec<Case> {
    let unrelated: fn(&mut Machine) = |m| drop(m.register(with_service("n2", service("unrelated", "u"))));
    let key: fn(&mut Machine) = |m| {
        m.set("unrelated", "1");
    };
    vec![
        ("service appears", |v, ws| web(v, ws, false), register_web, unrelated),
        (
            "connect",
            |v, ws| web(v, ws, true),
            |m| {
                let mut native = service("Web", "w");
                native.connect.native = true;
                m.register(with_service("n1", native));
            },
            unrelated,
        ),
        ("nodes", |v, ws| v.nodes(ws, &BTreeMap::new()).0, |m| drop(m.register(node("new"))), key),
        (
            "node",
            |v, ws| v.node(ws, "N1").0,
            |m| drop(m.deregister("n1", "", "")),
            |m| drop(m.register(node("new"))),
        ),
        ("node services by name", |v, ws| v.node_services(ws, "n1").0, register_web, unrelated),
        (
            "node that is not",
            |v, ws| v.node_services(ws, "ghost").0,
            |m| drop(m.register(node("ghost"))),
            key,
        ),
        (
            "services",
            |v, ws| v.services(ws, &BTreeMap::new()).0,
            unrelated,
            |m| drop(m.register(node("new"))),
        ),
        (
            "node checks",
            |v, ws| v.node_checks(ws, "n1").0,
            |m| drop(m.register(with_check(check("n1", "c", "", "passing")))),
            |m| drop(m.register(with_check(check("n2", "c", "", "passing")))),
        ),
        (
            "checks in state",
            |v, ws| v.checks_in_state(ws, "critical", &BTreeMap::new()).0,
            |m| drop(m.register(with_check(check("n1", "bad", "", "warning")))),
            |m| drop(m.register(with_check(check("n1", "other", "", "passing")))),
        ),
        (
            "any checks",
            |v, ws| v.checks_in_state(ws, "any", &BTreeMap::new()).0,
            |m| drop(m.register(with_check(check("n1", "other", "", "passing")))),
            key,
        ),
        ("service checks", |v, ws| v.service_checks(ws, "web", &BTreeMap::new()).0, register_web, unrelated),
        ("dump", |v, ws| v.node_dump(ws).0, unrelated, key),
        (
            "kind",
            |v, ws| v.service_dump(ws, Some("mesh-gateway")).0,
            |m| {
                let mut gateway = service("gw", "gw");
                gateway.kind = "mesh-gateway".into();
                m.register(with_service("n1", gateway));
            },
            unrelated,
        ),
        (
            "key",
            |v, ws| v.kv_get(ws, "p/a").0,
            |m| {
                m.set("p/a", "2");
            },
            |m| {
                m.set("p/ab", "2");
            },
        ),
        (
            "key in a tree",
            |v, ws| v.kv_get(ws, "p/a").0,
            |m| drop(m.kv(KvVerb::DeleteTree, entry("p", ""))),
            key,
        ),
        (
            "prefix",
            |v, ws| v.kv_list(ws, "p/").0,
            |m| {
                m.set("p/new", "2");
            },
            |m| {
                m.set("q", "2");
            },
        ),
        (
            "inner prefix of a tree",
            |v, ws| v.kv_list(ws, "p/a").0,
            |m| drop(m.kv(KvVerb::DeleteTree, entry("p/", ""))),
            key,
        ),
        ("keys", |v, ws| v.kv_keys(ws, "", "/").0, key, unrelated),
        ("session", |v, ws| v.session(ws, "s1").0, |m| drop(m.destroy("s1")), |m| drop(m.destroy("s2"))),
        ("sessions", |v, ws| v.sessions(ws).0, |m| drop(m.destroy("s2")), key),
        (
            "sessions of node",
            |v, ws| v.node_sessions(ws, "n1").0,
            |m| drop(m.deregister("n1", "", "")),
            |m| drop(m.destroy("s2")),
        ),
    ]
}

fn machine() -> Machine {
    let mut m = Machine::default();
    for name in ["n1", "n2"] {
        m.register(node(name));
        m.register(with_check(check(name, "bad", "", "critical")));
    }
    for (id, node) in [("s1", "n1"), ("s2", "n2")] {
        m.session(session(id, node, SessionBehavior::Release));
    }
    m.set("p/a", "1");
    m
}

#[tokio::test]
async fn every_read_wakes_for_its_own_changes_only() {
    for (what, read, change, other) in reads() {
        let mut m = machine();
        let mut ws = WatchSet::new();
        let before = read(&m.store.view(), &mut ws);
        other(&mut m);
        assert_eq!(ws.changed(Instant::now() + SOON).await, Wake::Deadline, "{what}: woken in vain");

        // A change between the view and the wait.
        change(&mut m);
        assert_eq!(ws.changed(Instant::now() + LONG).await, Wake::Changed, "{what}: missed");
        ws.clear();
        let after = read(&m.store.view(), &mut ws);
        assert!(after > before, "{what}: index {after} after {before}");
        assert_eq!(ws.changed(Instant::now() + SOON).await, Wake::Deadline, "{what}: woken twice");
        assert_eq!(m.store.waiting(), 0);
    }
}

#[tokio::test]
async fn every_read_wakes_while_it_waits() {
    for (what, read, change, _) in reads() {
        let mut m = machine();
        let mut ws = WatchSet::new();
        read(&m.store.view(), &mut ws);
        let waiting = tokio::spawn(async move { ws.changed(Instant::now() + LONG).await });
        while m.store.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        change(&mut m);
        assert_eq!(waiting.await.unwrap(), Wake::Changed, "{what}");
        assert_eq!(m.store.waiting(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_restore_wakes_everybody() {
    let m = machine();
    let mut state = Vec::new();
    m.store.view().write_snapshot(&mut state, 5).unwrap();
    let mut waiters = Vec::new();
    for (_, read, _, _) in reads() {
        let mut ws = WatchSet::new();
        read(&m.store.view(), &mut ws);
        waiters.push(tokio::spawn(async move { ws.changed(Instant::now() + LONG).await }));
    }
    while m.store.waiting() < waiters.len() {
        tokio::task::yield_now().await;
    }
    let mut early = WatchSet::new();
    m.store.view().kv_get(&mut early, "p/a");
    m.store.restore(&mut &*state).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Wake::Restored);
    }
    assert_ne!(early.changed(Instant::now() + LONG).await, Wake::Deadline);
}

#[tokio::test]
async fn waits_can_be_given_up() {
    let m = machine();
    let mut ws = WatchSet::new();
    m.store.view().kv_list(&mut ws, "p/");
    m.store.view().node(&mut ws, "n1");
    let given_up = tokio::time::timeout(SOON, ws.changed(Instant::now() + LONG)).await;
    assert!(given_up.is_err());
    assert_eq!(m.store.waiting(), 0);
    let nothing = WatchSet::none();
    assert_eq!(nothing.changed(Instant::now() + SOON).await, Wake::Deadline);
}

/// Writers and readers in a race: no reader may sleep through the last change.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    const LAST: u64 = 3000;
    let store = Arc::new(Store::new());
    let mut readers = Vec::new();
    for reader in 0..8u64 {
        let store = Arc::clone(&store);
        readers.push(tokio::spawn(async move {
            loop {
                let mut ws = WatchSet::new();
                let view = store.view();
                let index = if reader % 2 == 0 {
                    view.kv_get(&mut ws, "r/x").0
                } else {
                    view.kv_list(&mut ws, "r/").0
                };
                if index >= LAST {
                    return;
                }
                assert_eq!(ws.changed(Instant::now() + LONG).await, Wake::Changed, "slept at {index}");
            }
        }));
    }
    let writer = {
        let store = Arc::clone(&store);
        tokio::task::spawn_blocking(move || {
            for index in 1..=LAST {
                let entry = model::kv::DirEntry { flags: index, ..entry("r/x", "v") };
                let request = model::kv::KvsRequest { op: KvVerb::Set, dir_ent: entry, ..Default::default() };
                store.apply_batch(&[(index, encode(state::command::KVS, &request))]);
                if index % 16 == 0 {
                    std::thread::yield_now();
                }
            }
        })
    };
    writer.await.unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(store.waiting(), 0);
}

#[tokio::test]
async fn a_crowd_on_one_service_wakes_and_the_others_sleep_on() {
    let mut m = machine();
    let mut crowd = Vec::new();
    let woken = Arc::new(AtomicU64::new(0));
    for waiter in 0..3000u32 {
        let name = if waiter % 3 == 0 { "web".to_owned() } else { format!("other-{waiter}") };
        let mut ws = WatchSet::new();
        let request = ServiceSpecificRequest { service_name: name, ..Default::default() };
        m.store.view().check_service_nodes(&mut ws, &Select::from(&request));
        let woken = Arc::clone(&woken);
        crowd.push(tokio::spawn(async move {
            let wake = ws.changed(Instant::now() + LONG).await;
            woken.fetch_add(1, Ordering::Relaxed);
            wake
        }));
    }
    while m.store.waiting() < 3000 {
        tokio::task::yield_now().await;
    }
    m.register(with_service("n1", service("web", "w")));
    for waiter in crowd.iter_mut().step_by(3) {
        assert_eq!(waiter.await.unwrap(), Wake::Changed);
    }
    assert_eq!(woken.load(Ordering::Relaxed), 1000);
    assert_eq!(m.store.waiting(), 2000);
    crowd.iter().for_each(|waiter| waiter.abort());
    while m.store.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}
