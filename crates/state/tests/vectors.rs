//! Recorded bytes of the reference.

mod common;

use bytes::Bytes;
use common::Machine;
use msgpack::Value;
use state::{Answer, Store, WatchSet};

/// Nil, no entries and no items are the same; and a time keeps its instant.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Nil,
        Value::Map(map) if map.is_empty() => Value::Nil,
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Map(map) => Value::Map(map.into_iter().map(|(key, value)| (key, plain(value))).collect()),
        other => other,
    }
}

fn records(mut bytes: &[u8]) -> (Value, Vec<(u8, Value)>) {
    let (header, len) = msgpack::from_slice_prefix::<Value>(bytes).unwrap();
    bytes = &bytes[len..];
    let mut records = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (value, len) = msgpack::from_slice_prefix::<Value>(rest).unwrap();
        records.push((*kind, plain(value)));
        bytes = &rest[len..];
    }
    (plain(header), records)
}

fn state_bin() -> Vec<u8> {
    vectors::rpc_named("snapshot_archive", "state.bin").bytes()
}

#[test]
fn recorded_state_restores_and_is_written_back() {
    let recorded = state_bin();
    let store = Store::new();
    let index = store.restore(&mut &*recorded).unwrap();
    assert_eq!(index, 27);
    let view = store.view();
    assert_eq!(view.index(), 27);

    let ws = &mut WatchSet::none();
    let (_, node) = view.node(ws, "n1");
    assert_eq!(node.unwrap().tagged_addresses["wan"], "127.0.9.2");
    let (index, lock) = view.kv_get(ws, "lock");
    assert_eq!((index, lock.unwrap().lock_index), (20, 1));
    assert_eq!(view.kv_get(ws, "gone").0, 27);
    assert_eq!(view.service_changed(ws, "consul"), 10);
    assert_eq!(view.sessions(ws).1.len(), 1);
    assert_eq!(view.queries(ws).1[0].name, "q1");
    assert_eq!(view.autopilot(ws).1.unwrap().max_trailing_logs, 250);

    let mut written = Vec::new();
    view.write_snapshot(&mut written, 27).unwrap();
    let (header, mut ours) = records(&written);
    let (recorded_header, mut theirs) = records(&recorded);
    assert_eq!(header, recorded_header);
    let order = |records: &[(u8, Value)]| {
        let mut kinds: Vec<u8> = records.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds
    };
    assert_eq!(order(&ours), order(&theirs));
    // Within a type the order is ours.
    let sort = |records: &mut Vec<(u8, Value)>| records.sort_by_key(|record| format!("{record:?}"));
    sort(&mut ours);
    sort(&mut theirs);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn minimal_state_restores() {
    // What the vector "minimal-accepted" holds: no header field but LastIndex, no indexes.
    let minimal = vectors::rpc_named("snapshot_archive", "minimal-accepted");
    let wanted = &minimal.decoded["state"]["records"];
    let mut bytes = msgpack::to_vec(&serde_json::json!({"LastIndex": 40})).unwrap();
    let mut keys = 0;
    for record in wanted.as_array().unwrap() {
        bytes.push(u8::try_from(record["type"].as_u64().unwrap()).unwrap());
        msgpack::to_writer_vec(&mut bytes, &record["value"]).unwrap();
        keys += usize::from(record["type"] == 2);
    }
    assert!(keys > 0);
    let store = Store::new();
    assert_eq!(store.restore(&mut &*bytes).unwrap(), 40);
    assert_eq!(store.view().counts().keys, keys);
}

#[test]
fn recorded_commands_apply() {
    let machine = Machine::default();
    let mut seen = 0;
    for vector in vectors::rpc("raft_log") {
        let data = &vector.decoded["Data"];
        let Some(kind) = data["fsm_type"].as_u64() else { continue };
        let index = vector.decoded["Index"].as_u64().unwrap();
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(rename = "Data", with = "serde_bytes")]
            data: Vec<u8>,
        }
        let entry: Entry = msgpack::from_slice(&vector.bytes()).unwrap();
        assert_eq!(u64::from(entry.data[0]), kind);
        let answer = machine.store.apply_batch(&[(index, Bytes::from(entry.data))]).answers.remove(0);
        let expected = match kind {
            0 | 2 | 7 | 9 => Answer::Nil,
            3 => Answer::Text(data["payload"]["Session"]["ID"].as_str().unwrap().to_owned()),
            _ => {
                assert!(matches!(answer, Answer::Error(_)), "{kind}: {answer:?}");
                seen += 1;
                continue;
            }
        };
        assert_eq!(answer, expected, "{kind}");
        seen += 1;
    }
    assert_eq!(seen, 11);
    let ws = &mut WatchSet::none();
    let view = machine.store.view();
    assert_eq!(view.node(ws, "S1").1.unwrap().id, "f5a405a8-bc4c-9b68-13c9-e7e8b8cb3bec");
    assert_eq!(view.kv_get(ws, "a").1.unwrap().value.as_slice(), b"1");
    assert_eq!(view.queries(ws).1[0].service.failover.datacenters, ["dc2"]);
    let (index, checks) = view.node_checks(ws, "s1");
    assert_eq!((index, &*checks[0].check_id, &*checks[0].status), (8, "serfHealth", "passing"));
}

fn kept() -> Machine {
    let mut machine = Machine::default();
    machine.set("kept", "1");
    machine
}

#[test]
fn damaged_states_are_refused_and_change_nothing() {
    let recorded = state_bin();
    let mut machine = kept();
    let mut refused = 0;
    for len in (0..recorded.len()).step_by(3) {
        match machine.store.restore(&mut &recorded[..len]) {
            Err(_) => {
                refused += 1;
                assert_eq!(machine.store.view().kv_get(&mut WatchSet::none(), "kept").0, 10);
            }
            // The prefix ended between two records and was a whole file.
            Ok(_) => machine = kept(),
        }
    }
    assert!(refused > 2000);
    let mut unknown = recorded.clone();
    unknown.extend([77, 0x80]);
    let error = machine.store.restore(&mut &*unknown).unwrap_err();
    assert_eq!(error.to_string(), "Unrecognized snapshot record type 77 (41 records before it)");
    assert_eq!(machine.store.view().counts().keys, 1);
}
