//! Keys, locks, sessions and transactions.

mod common;

use common::*;
use model::catalog::RegisterRequest;
use model::duration::GoDuration;
use model::kv::{DirEntry, TombstoneRequest};
use model::ops::{CheckVerb, KvVerb, NodeVerb, SessionBehavior, TombstoneOp};
use model::session::{ServiceCheck, Session};
use model::txn::{TxnCheckOp, TxnNodeOp, TxnOp};
use state::{Answer, Effect, WatchSet, command};

const S1: &str = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbb1";
const S2: &str = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbb2";

fn none() -> WatchSet {
    WatchSet::none()
}

fn locked(key: &str, session: &str) -> DirEntry {
    DirEntry { session: session.into(), ..entry(key, "v") }
}

fn at(key: &str, index: u64) -> DirEntry {
    DirEntry { modify_index: index, ..entry(key, "new") }
}

#[test]
fn set_and_delete_move_the_indexes() {
    let mut m = Machine::default();
    let first = m.set("a", "1");
    let second = m.set("b", "1");
    assert_eq!(m.store.view().kv_get(&mut none(), "a").0, first);
    assert_eq!(m.store.view().kv_get(&mut none(), "absent").0, second);
    // Nothing new: nothing written.
    m.set("a", "1");
    assert_eq!(m.store.view().kv_get(&mut none(), "a").0, first);
    assert_eq!(m.store.view().kv_get(&mut none(), "absent").0, second);
    let changed = m.set("a", "2");
    let (_, entry) = m.store.view().kv_get(&mut none(), "a");
    let entry = entry.unwrap();
    assert_eq!((entry.create_index, entry.modify_index), (first, changed));
    assert_eq!(m.kv(KvVerb::Delete, entry_of("a")), Answer::Nil);
    assert_eq!(m.effects, [Effect::Tombstones { index: m.index }]);
    let (index, gone) = m.store.view().kv_get(&mut none(), "a");
    assert_eq!((index, gone), (m.index, None));
    m.kv(KvVerb::Delete, entry_of("a"));
    assert_eq!(m.store.view().kv_get(&mut none(), "a").0, m.index - 1, "deleting nothing changes nothing");
}

fn entry_of(key: &str) -> DirEntry {
    entry(key, "")
}

#[test]
fn listing_by_prefix_goes_by_its_own_index() {
    let mut m = Machine::default();
    m.set("p/a", "1");
    let newest = m.set("p/b", "1");
    let elsewhere = m.set("q", "1");
    let list = |m: &Machine, prefix: &str| m.store.view().kv_list(&mut none(), prefix).0;
    assert_eq!(list(&m, "p/"), newest);
    assert_eq!(list(&m, ""), elsewhere);
    assert_eq!(list(&m, "none"), elsewhere);
    m.kv(KvVerb::Delete, entry_of("p/b"));
    let deleted = m.index;
    assert_eq!(list(&m, "p/"), deleted);
    assert_eq!(list(&m, "p/b"), deleted);
    assert_eq!(list(&m, "q"), elsewhere);
    let reap = TombstoneRequest { op: TombstoneOp::Reap, reap_index: deleted, ..Default::default() };
    assert_eq!(m.run(command::TOMBSTONE, &reap), Answer::Nil);
    assert!(list(&m, "p/") < newest);
    assert_eq!(list(&m, "p/b"), deleted, "the table's index stays");
    assert_eq!(m.store.view().newest_tombstone(), None);
}

#[test]
fn deleting_a_tree_moves_the_index_below_it() {
    let mut m = Machine::default();
    m.set("t/x/1", "1");
    m.set("t/y", "1");
    m.set("u", "1");
    m.kv(KvVerb::Delete, entry_of("t/x/1"));
    m.kv(KvVerb::DeleteTree, entry_of("t/"));
    let deleted = m.index;
    m.set("u", "2");
    let list = |prefix: &str| m.store.view().kv_list(&mut none(), prefix);
    assert_eq!(list("t/"), (deleted, vec![]));
    assert_eq!(list("t/x/").0, deleted, "an older tombstone below must not hide the tree's");
    assert_eq!(list("t").0, deleted);
    assert_eq!(m.store.view().counts().keys, 1);
    let before = m.effects.len();
    m.kv(KvVerb::DeleteTree, entry_of("nothing/"));
    m.kv(KvVerb::DeleteTree, entry_of(""));
    assert_eq!(m.effects.len(), before, "a deletion of everything leaves no tombstone");
    assert_eq!(m.store.view().counts().keys, 0);
}

#[test]
fn keys_fold_at_the_separator() {
    let mut m = Machine::default();
    for key in ["web/a", "web/b/1", "web/b/2", "web/b/sub/x", "web/c", "webx/1", "zed"] {
        m.set(key, "1");
    }
    let keys = |prefix: &str, separator: &str| m.store.view().kv_keys(&mut none(), prefix, separator).1;
    assert_eq!(keys("web/", ""), ["web/a", "web/b/1", "web/b/2", "web/b/sub/x", "web/c"]);
    assert_eq!(keys("web/", "/"), ["web/a", "web/b/", "web/c"]);
    assert_eq!(keys("", "/"), ["web/", "webx/", "zed"]);
    assert_eq!(keys("web/b", "/"), ["web/b/"]);
    assert_eq!(keys("web", "b"), ["web/a", "web/b", "web/c", "webx/1"]);
    assert!(keys("nope/", "").is_empty());
}

#[test]
fn conditional_writes() {
    let mut m = Machine::default();
    assert_eq!(m.kv(KvVerb::Cas, at("k", 5)), Answer::Bool(false));
    assert_eq!(m.kv(KvVerb::Cas, at("k", 0)), Answer::Bool(true));
    let index = m.index;
    assert_eq!(m.kv(KvVerb::Cas, at("k", 0)), Answer::Bool(false));
    assert_eq!(m.kv(KvVerb::DeleteCas, at("k", index - 1)), Answer::Bool(false));
    assert_eq!(m.kv(KvVerb::DeleteCas, at("k", index)), Answer::Bool(true));
    assert_eq!(m.kv(KvVerb::DeleteCas, at("k", index)), Answer::Bool(true), "it is gone");
    let unknown = m.kv(KvVerb::Other("burn".into()), at("k", 0));
    assert_eq!(unknown, Answer::Error("Invalid KVS operation 'burn'".into()));
}

#[test]
fn locks() {
    let mut m = Machine::default();
    m.register(node("n"));
    for id in [S1, S2] {
        assert_eq!(m.session(session(id, "n", SessionBehavior::Unset)), Answer::Text(id.into()));
    }
    let stranger = m.kv(KvVerb::Lock, locked("k", "nobody"));
    assert_eq!(stranger, Answer::Error("invalid session \"nobody\"".into()));
    assert_eq!(m.kv(KvVerb::Lock, locked("k", "")), Answer::Error("missing session".into()));
    assert_eq!(m.kv(KvVerb::Lock, locked("k", S1)), Answer::Bool(true));
    assert_eq!(m.kv(KvVerb::Lock, locked("k", S1)), Answer::Bool(true));
    assert_eq!(m.kv(KvVerb::Lock, locked("k", S2)), Answer::Bool(false));
    assert_eq!(m.kv(KvVerb::Unlock, locked("k", S2)), Answer::Bool(false));
    // A plain write leaves the holder and starts the count anew.
    m.set("k", "kept lock");
    let held = m.store.view().kv_get(&mut none(), "k").1.unwrap();
    assert_eq!((held.lock_index, &*held.session), (0, S1));
    assert_eq!(m.kv(KvVerb::Unlock, locked("k", S1)), Answer::Bool(true));
    assert_eq!(m.kv(KvVerb::Lock, locked("k", S2)), Answer::Bool(true));
    let held = m.store.view().kv_get(&mut none(), "k").1.unwrap();
    assert_eq!((held.lock_index, &*held.session), (1, S2));
}

#[test]
fn the_end_of_a_session_frees_its_keys() {
    for (behavior, left) in [(SessionBehavior::Release, 2), (SessionBehavior::Delete, 1)] {
        let mut m = Machine::default();
        m.register(node("n"));
        m.session(Session { lock_delay: GoDuration::from_secs(90), ..session(S1, "n", behavior) });
        m.kv(KvVerb::Lock, locked("k", S1));
        m.set("other", "1");
        m.destroy(S1);
        let view = m.store.view();
        assert_eq!(view.counts().keys, left);
        assert_eq!(view.sessions(&mut none()), (m.index, vec![]));
        let delay = Effect::LockDelay { key: "k".into(), delay: GoDuration::from_secs(60) };
        assert!(m.effects.contains(&delay));
        assert!(m.effects.contains(&Effect::SessionEnded { id: S1.into() }));
        if let (index, Some(entry)) = view.kv_get(&mut none(), "k") {
            assert_eq!((index, &*entry.session, entry.lock_index), (m.index, "", 1));
        }
        assert_eq!(m.destroy(S1), Answer::Nil);
    }
}

#[test]
fn the_lock_delay_begins_however_a_session_ends() {
    let named = |name: &str| RegisterRequest { id: S2.into(), ..node(name) };
    type End<'a> = &'a dyn Fn(&mut Machine);
    let ends: [(&str, End); 8] = [
        ("destroyed", &|m| _ = m.destroy(S1)),
        ("destroyed by a transaction", &|m| assert!(m.txn(vec![session_op(S1)]).errors.is_empty())),
        ("node gone", &|m| _ = m.deregister("n", "", "")),
        ("node named anew", &|m| _ = m.register(named("o"))),
        ("check gone", &|m| _ = m.deregister("n", "", "c")),
        ("check critical", &|m| _ = m.register(with_check(check("n", "c", "", "critical")))),
        ("service gone, and its check", &|m| _ = m.deregister("n", "s", "")),
        ("check of a service critical", &|m| _ = m.register(with_check(check("n", "sc", "s", "critical")))),
    ];
    for (how, end) in ends {
        let mut m = Machine::default();
        m.register(with_service("n", service("s", "s")));
        m.register(named("n"));
        m.register(with_check(check("n", "c", "", "passing")));
        m.register(with_check(check("n", "sc", "s", "passing")));
        let mut held = session(S1, "n", SessionBehavior::Release);
        held.lock_delay = GoDuration::from_secs(15);
        held.node_checks = vec!["c".into()];
        held.service_checks = Some(vec![ServiceCheck { id: "sc".into(), ..Default::default() }]);
        assert_eq!(m.session(held), Answer::Text(S1.into()), "{how}");
        assert_eq!(m.kv(KvVerb::Lock, locked("k", S1)), Answer::Bool(true), "{how}");
        m.effects.clear();
        end(&mut m);
        assert_eq!(m.store.view().session(&mut none(), S1).1, None, "{how}");
        let holder = m.store.view().kv_get(&mut none(), "k").1.map(|entry| entry.session.to_string());
        assert_eq!(holder.as_deref(), Some(""), "{how}");
        let delay = Effect::LockDelay { key: "k".into(), delay: GoDuration::from_secs(15) };
        assert_eq!(m.effects.iter().filter(|effect| **effect == delay).count(), 1, "{how}: {:?}", m.effects);
    }
}

#[test]
fn sessions_need_their_node_and_checks() {
    let mut m = Machine::default();
    let with =
        |check: &str| Session { node_checks: vec![check.into()], ..session(S1, "n", SessionBehavior::Unset) };
    let error = |answer: Answer| match answer {
        Answer::Error(text) => text,
        other => panic!("accepted: {other:?}"),
    };
    assert_eq!(error(m.session(with("c"))), "Missing node registration");
    m.register(node("n"));
    assert_eq!(error(m.session(with("c"))), "Missing check 'c' registration");
    m.register(with_check(check("n", "c", "", "critical")));
    assert_eq!(error(m.session(with("c"))), "Check 'c' is in critical state");
    assert_eq!(error(m.session(session("", "n", SessionBehavior::Unset))), "Missing session ID");
    let odd = SessionBehavior::Other("explode".into());
    assert_eq!(error(m.session(session(S1, "n", odd))), "Invalid session behavior: explode");

    m.register(with_check(check("n", "c", "", "passing")));
    assert_eq!(m.session(with("c")), Answer::Text(S1.into()));
    assert_eq!(m.session(session(S2, "N", SessionBehavior::Unset)), Answer::Text(S2.into()));
    assert_eq!(m.store.view().node_sessions(&mut none(), "n").1.len(), 2);
    m.register(with_check(check("n", "C", "", "warning")));
    assert_eq!(m.store.view().counts().sessions, 2);
    m.register(with_check(check("n", "c", "", "critical")));
    assert_eq!(m.store.view().session(&mut none(), S1).1, None);
    assert_eq!(m.store.view().counts().sessions, 1);
    m.deregister("n", "", "");
    assert_eq!(m.store.view().counts().sessions, 0);
}

#[test]
fn transactions_are_whole_or_nothing() {
    let mut m = Machine::default();
    m.set("keep", "before");
    let keep = m.index;
    let effects = m.effects.len();
    let response = m.txn(vec![
        kv_op(KvVerb::Set, entry("n1", "a")),
        kv_op(KvVerb::Cas, at("keep", 1)),
        kv_op(KvVerb::CheckNotExists, entry_of("keep")),
        kv_op(KvVerb::DeleteCas, at("keep", 1)),
        kv_op(KvVerb::Delete, entry_of("keep")),
    ]);
    let errors: Vec<_> = response.errors.iter().map(|error| (error.op_index, error.what.as_str())).collect();
    assert_eq!(
        errors,
        [
            (1, "failed to set key \"keep\", index is stale"),
            (2, "key \"keep\" exists"),
            (3, "failed to delete key \"keep\", index is stale"),
        ]
    );
    assert!(response.results.is_empty());
    let view = m.store.view();
    assert_eq!(view.kv_get(&mut none(), "keep").0, keep);
    assert_eq!(view.kv_list(&mut none(), "").0, keep);
    assert_eq!((view.counts().keys, m.effects.len()), (1, effects));

    let response = m.txn(vec![
        kv_op(KvVerb::Set, entry("t/1", "1")),
        kv_op(KvVerb::Get, entry_of("t/1")),
        kv_op(KvVerb::GetTree, entry_of("")),
        kv_op(KvVerb::CheckIndex, at("keep", keep)),
        kv_op(KvVerb::Delete, entry_of("t/1")),
    ]);
    assert!(response.errors.is_empty());
    let values: Vec<_> = response.results.iter().map(|r| r.kv.as_ref().unwrap().value.len()).collect();
    assert_eq!(values, [0, 1, 6, 1, 0], "reads show values, writes and checks do not");
}

#[test]
fn transactions_tell_why_locks_fail() {
    let mut m = Machine::default();
    m.register(node("n"));
    m.session(session(S1, "n", SessionBehavior::Release));
    m.session(session(S2, "n", SessionBehavior::Release));
    assert!(m.txn(vec![kv_op(KvVerb::Lock, locked("l", S1))]).errors.is_empty());
    let response = m.txn(vec![
        kv_op(KvVerb::CheckSession, locked("l", S2)),
        kv_op(KvVerb::Lock, locked("l", "x")),
        kv_op(KvVerb::Lock, locked("l", S2)),
        kv_op(KvVerb::Unlock, locked("l", S2)),
        kv_op(KvVerb::CheckSession, locked("absent", S2)),
        kv_op(KvVerb::CheckIndex, at("absent", 1)),
        kv_op(KvVerb::CheckIndex, at("l", 1)),
        kv_op(KvVerb::Get, entry_of("absent")),
        kv_op(KvVerb::Other("frobnicate".into()), entry_of("a")),
        kv_op(KvVerb::Lock, locked("l", "")),
    ]);
    let errors: Vec<_> = response.errors.iter().map(|error| error.what.clone()).collect();
    let index = m.index - 1;
    assert_eq!(
        errors,
        [
            format!("failed session check for key \"l\", current session \"{S1}\" != \"{S2}\""),
            "invalid session \"x\"".into(),
            "failed to lock key \"l\", lock is already held".into(),
            "failed to unlock key \"l\", lock isn't held, or is held by another session".into(),
            "failed to check session, key \"absent\" doesn't exist".into(),
            "failed to check index, key \"absent\" doesn't exist".into(),
            format!("failed index check for key \"l\", current modify index {index} != 1"),
            "key \"absent\" doesn't exist".into(),
            "unknown KV verb \"frobnicate\"".into(),
            "missing session".into(),
        ]
    );
    assert!(m.txn(vec![session_op(S1)]).errors.is_empty());
    assert_eq!(m.store.view().kv_get(&mut none(), "l").1.unwrap().session, "".into());
}

#[test]
fn transactions_over_the_catalog() {
    let mut m = Machine::default();
    let set = |verb, name: &str, index| TxnOp {
        node: Some(TxnNodeOp {
            verb,
            node: model::catalog::Node {
                node: name.into(),
                address: "1".into(),
                modify_index: index,
                ..Default::default()
            },
        }),
        ..Default::default()
    };
    let of_check = |verb, index, status: &str| TxnOp {
        check: Some(TxnCheckOp {
            verb,
            check: model::health::HealthCheck { modify_index: index, ..check("tn", "c1", "", status) },
        }),
        ..Default::default()
    };
    let response = m.txn(vec![set(NodeVerb::Set, "tn", 0), of_check(CheckVerb::Set, 0, "passing")]);
    assert_eq!(response.errors, []);
    assert_eq!(response.results[1].check.as_ref().unwrap().create_index, m.index);
    let index = m.index;
    let texts = |response: model::txn::TxnResponse| -> Vec<String> {
        response.errors.into_iter().map(|error| error.what).collect()
    };
    assert_eq!(
        texts(m.txn(vec![set(NodeVerb::Cas, "tn", 1)])),
        ["failed to set node \"tn\", index is stale"]
    );
    assert_eq!(
        texts(m.txn(vec![set(NodeVerb::DeleteCas, "tn", 1)])),
        ["failed to delete node \"tn\", index is stale"]
    );
    assert!(texts(m.txn(vec![of_check(CheckVerb::Cas, index, "critical")])).is_empty());
    assert_eq!(
        texts(m.txn(vec![of_check(CheckVerb::DeleteCas, index, "")])),
        ["failed to delete check \"c1\" on node \"tn\", index is stale"]
    );
    assert!(texts(m.txn(vec![of_check(CheckVerb::Delete, 0, "")])).is_empty());
    assert_eq!(
        texts(m.txn(vec![of_check(CheckVerb::Get, 0, "")])),
        ["check \"c1\" on node \"tn\" doesn't exist"]
    );
    assert!(texts(m.txn(vec![set(NodeVerb::DeleteCas, "tn", index)])).is_empty());
    let ro = m.store.view().txn_ro(&[set(NodeVerb::Get, "tn", 0)]);
    assert_eq!(texts(ro), ["node \"tn\" doesn't exist"]);
    assert!(texts(m.txn(vec![set(NodeVerb::Delete, "tn", 0)])).is_empty());
}

#[test]
fn a_batch_does_what_its_commands_do_one_by_one() {
    let register = |name: &str| encode(command::REGISTER, &node(name));
    let request =
        |op, dir_ent| encode(command::KVS, &model::kv::KvsRequest { op, dir_ent, ..Default::default() });
    let commands = [
        register("n"),
        request(KvVerb::Set, entry("a", "1")),
        vec![command::KVS, 0xc1].into(),
        request(KvVerb::Cas, at("a", 11)),
        encode(command::REGISTER, &with_check(check("n", "c", "ghost", "passing"))),
        request(KvVerb::Delete, entry_of("a")),
        request(KvVerb::Set, entry("b", "1")),
    ];
    let mut single = Machine::default();
    let answers: Vec<Answer> = commands.iter().map(|one| single.raw(one.clone())).collect();
    let batch = Machine::default();
    let numbered: Vec<_> = (10..).zip(commands).collect();
    let applied = batch.store.apply_batch(&numbered);
    assert_eq!(applied.answers, answers);
    assert_eq!(applied.effects, single.effects);
    let bytes = |m: &Machine| {
        let mut bytes = Vec::new();
        m.store.view().write_snapshot(&mut bytes, m.store.view().index()).unwrap();
        bytes
    };
    assert_eq!(bytes(&batch), bytes(&single));
    assert_eq!(batch.store.view().index(), 16);
    assert!(batch.store.apply_batch(&[]).answers.is_empty());
}
