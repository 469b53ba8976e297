//! What travels inside recorded packets and streams for this layer: tags, coordinates, messages,
//! payloads, user states. Each must decode to its meaning and encode back to the same bytes.

use gossip::coordinate::Coordinate;
use gossip::serf::message::{
    ConflictResponse, Join, KeyRequest, KeyResponse, Leave, MemberRecord, Message, PushPull, Query,
    QueryResponse, RelayHeader, UserEvent, ip_from_bytes,
};
use gossip::serf::{Filter, tags};
use gossip::wire::{
    Ack, Alive, Codec, Keyring, MessageType, Progress, PushNodeState, PushPullHeader, StreamReader,
    UserHeader, for_each_message,
};
use model::event::FireEvent;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vectors::{gossip_over, unhex};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn codec(vector: &Value) -> Codec {
    let label = vector["decoded"]["label"].as_str().or(vector["label"].as_str()).unwrap_or("");
    let mut codec = Codec::new(label, false).unwrap();
    let texts: Vec<&str> = match &vector["key"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|k| k.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let keys: Vec<Vec<u8>> =
        texts.iter().map(|t| gossip::serf::keyring_file::key_from_text(t).unwrap()).collect();
    codec.keyring = Keyring::from_keys(&keys).unwrap();
    codec
}

fn meta(bytes: &[u8]) -> Value {
    let decoded = tags::decode(bytes);
    if bytes.first() != Some(&0xFF) {
        return json!({"role_only": decoded["role"]});
    }
    // The order of the entries is free, so only their meaning can be compared.
    let again = tags::encode(&decoded).unwrap();
    assert_eq!((again.len(), tags::decode(&again)), (bytes.len(), decoded.clone()));
    json!({"tags": decoded})
}

fn coordinate(payload: &[u8]) -> Value {
    let (c, used): (Coordinate, usize) = msgpack::from_slice_prefix(&payload[1..]).unwrap();
    assert_eq!(msgpack::to_vec(&c).unwrap(), payload[1..=used]);
    json!({"ping_version": payload[0], "coordinate": c})
}

/// Decodes, encodes back, and compares the bytes.
fn exact<M: Message>(bytes: &[u8]) -> M {
    let message = M::decode(bytes).unwrap();
    assert_eq!(hex(&message.encode().unwrap()), hex(bytes), "{}", M::KIND);
    message
}

fn ip(bytes: &[u8]) -> Value {
    json!(ip_from_bytes(bytes).unwrap().to_string())
}

fn text_or<'a>(payload: Option<&'a [u8]>, known: impl Fn(&'a [u8]) -> Option<Value>) -> Value {
    match payload {
        None => Value::Null,
        Some(bytes) => {
            known(bytes).unwrap_or_else(|| json!({"text": String::from_utf8(bytes.to_vec()).unwrap()}))
        }
    }
}

fn event_payload(name: &str, payload: Option<&[u8]>) -> Value {
    text_or(payload, |bytes| {
        name.starts_with("consul:event:").then(|| {
            let event = FireEvent::decode(bytes).unwrap();
            assert_eq!(event.gossip_name(), name);
            assert_eq!(hex(&event.encode().unwrap()), hex(bytes));
            let mut out = json!({"ID": event.id, "n": event.name, "v": event.version});
            if !event.payload.is_empty() {
                out["p"] = json!(hex(event.payload.as_slice()));
            }
            for (key, value) in
                [("nf", event.node_filter), ("sf", event.service_filter), ("tf", event.tag_filter)]
            {
                if !value.is_empty() {
                    out[key] = json!(value);
                }
            }
            json!({"consul_event": out})
        })
    })
}

fn record(r: MemberRecord) -> Value {
    json!({"Name": r.name, "Addr": ip(r.addr.as_deref().unwrap()), "Port": r.port, "Status": r.status,
        "Tags": r.tags, "ProtocolMin": r.protocol_min, "ProtocolMax": r.protocol_max,
        "ProtocolCur": r.protocol_cur, "DelegateMin": r.delegate_min, "DelegateMax": r.delegate_max,
        "DelegateCur": r.delegate_cur})
}

fn query_payload(bytes: &[u8]) -> Option<Value> {
    match bytes.first()? {
        6 => {
            let ConflictResponse(member) = exact(bytes);
            Some(json!({"conflictResponse": member.map(record)}))
        }
        7 => {
            let request: KeyRequest = exact(bytes);
            Some(json!({"keyRequest": {"Key": request.key.map(|k| hex(&k))}}))
        }
        8 => {
            let r: KeyResponse = exact(bytes);
            Some(json!({"keyResponse": {"Keys": r.keys, "Message": r.message, "PrimaryKey": r.primary_key,
                "Result": r.result}}))
        }
        _ => None,
    }
}

fn filter(bytes: &[u8]) -> Value {
    let filter = Filter::decode(bytes).unwrap();
    assert_eq!(hex(&filter.encode().unwrap()), hex(bytes));
    match filter {
        Filter::Nodes(names) => json!({"nodes": names}),
        Filter::Tag { tag, expr } => json!({"tag": {"Tag": tag, "Expr": expr}}),
    }
}

/// Meaning of a message of this layer.
fn serf(bytes: &[u8]) -> Value {
    match bytes[0] {
        0 => {
            let m: Leave = exact(bytes);
            json!({"serf": "leave", "LTime": m.ltime, "Node": m.node, "Prune": m.prune})
        }
        1 => {
            let m: Join = exact(bytes);
            json!({"serf": "join", "LTime": m.ltime, "Node": m.node})
        }
        2 => {
            let m = PushPull::decode(bytes).unwrap();
            // Status times are a map in free order.
            let again = m.encode().unwrap();
            assert_eq!((again.len(), PushPull::decode(&again).unwrap()), (bytes.len(), m.clone()));
            let Some(slots) = m.events else {
                return json!({"serf": "pushPull", "LTime": m.ltime, "EventLTime": m.event_ltime,
                    "QueryLTime": m.query_ltime, "LeftMembers": m.left_members,
                    "StatusLTimes": m.status_ltimes, "Events": null});
            };
            let filled: Vec<Value> = slots
                .iter()
                .enumerate()
                .filter_map(|(i, slot)| Some((i, slot.as_ref()?)))
                .map(|(i, slot)| {
                    let events: Vec<Value> = slot
                        .events
                        .iter()
                        .flatten()
                        .map(|e| {
                            let payload = e.payload.as_ref().map(|p| p.as_slice());
                            json!({"Name": e.name, "Payload": event_payload(&e.name, payload)})
                        })
                        .collect();
                    json!([i, {"LTime": slot.ltime, "Events": events}])
                })
                .collect();
            json!({"serf": "pushPull", "LTime": m.ltime, "EventLTime": m.event_ltime,
                "QueryLTime": m.query_ltime, "LeftMembers": m.left_members, "StatusLTimes": m.status_ltimes,
                "Events": {"slots": slots.len(), "filled": filled}})
        }
        3 => {
            let m: UserEvent = exact(bytes);
            let payload = event_payload(&m.name, m.payload.as_ref().map(|p| p.as_slice()));
            json!({"serf": "userEvent", "CC": m.cc, "LTime": m.ltime, "Name": m.name, "Payload": payload})
        }
        4 => {
            let m: Query = exact(bytes);
            let filters: Option<Vec<Value>> = m.filters.map(|f| f.iter().map(|f| filter(f)).collect());
            json!({"serf": "query", "Addr": ip(m.addr.as_deref().unwrap()), "Filters": filters,
                "Flags": m.flags, "ID": m.id, "LTime": m.ltime, "Name": m.name, "Port": m.port,
                "Payload": text_or(m.payload.as_ref().map(|p| p.as_slice()), query_payload),
                "RelayFactor": m.relay_factor, "SourceNode": m.source_node, "Timeout": m.timeout})
        }
        5 => {
            let m: QueryResponse = exact(bytes);
            json!({"serf": "queryResponse", "Flags": m.flags, "From": m.from, "ID": m.id, "LTime": m.ltime,
                "Payload": text_or(m.payload.as_ref().map(|p| p.as_slice()), query_payload)})
        }
        9 => {
            let (header, inner) = RelayHeader::unwrap(&bytes[1..]).unwrap();
            let again = RelayHeader::wrap(header.dest().unwrap(), &header.dest_name, inner).unwrap();
            assert_eq!(hex(&again), hex(bytes));
            let addr = &header.dest_addr;
            json!({"serf": "relay", "inner": serf(inner), "header": {"DestName": header.dest_name, "DestAddr":
                {"IP": ip(addr.ip.as_deref().unwrap()), "Port": addr.port, "Zone": addr.zone}}})
        }
        other => panic!("message type {other}"),
    }
}

/// Compares what a message carries for this layer; counts comparisons by kind.
fn compare(
    name: &str,
    kind: MessageType,
    body: &[u8],
    expected: &Value,
    counts: &mut BTreeMap<&'static str, u32>,
) {
    let (label, got, want) = match kind {
        MessageType::User => ("user", serf(body), &expected["message"]),
        MessageType::Ack => {
            let ack: Ack = msgpack::from_slice(body).unwrap();
            let Some(payload) = ack.payload.filter(|p| !p.0.is_empty()) else { return };
            ("ack", coordinate(payload.0), &expected["Payload"])
        }
        MessageType::Alive => {
            let alive: Alive = msgpack::from_slice(body).unwrap();
            if expected["Meta"].is_null() {
                return;
            }
            ("alive", meta(alive.meta.0), &expected["Meta"])
        }
        _ => return,
    };
    assert_eq!(got, *want, "{name}");
    *counts.entry(label).or_default() += 1;
}

fn parts(message: &Value) -> Vec<&Value> {
    match message["type"].as_str().unwrap() {
        "compress" => parts(&message["inner"]),
        "compound" => message["parts"].as_array().unwrap().iter().flat_map(parts).collect(),
        _ => vec![message],
    }
}

#[test]
fn packets() {
    let mut counts = BTreeMap::new();
    for (name, v) in gossip_over("udp") {
        let packet = unhex(v["hex"].as_str().unwrap());
        let plain = codec(&v).open_packet(&packet).unwrap().into_owned();
        let mut found = Vec::new();
        for_each_message(&plain, &mut |kind, body| found.push((kind, body.to_vec())), &mut |e| panic!("{e}"));
        let expected = parts(&v["decoded"]["message"]);
        assert_eq!(found.len(), expected.len(), "{name}");
        for ((kind, body), want) in found.iter().zip(expected) {
            compare(&name, *kind, body, want, &mut counts);
        }
    }
    assert!(counts["user"] >= 25 && counts["alive"] >= 8 && counts["ack"] >= 3, "{counts:?}");
}

#[test]
fn streams() {
    let mut counts = BTreeMap::new();
    let mut states = 0;
    for (name, v) in gossip_over("tcp") {
        let stream = unhex(v["hex"].as_str().unwrap());
        let Progress::Complete(complete) = StreamReader::new().push(&stream).unwrap() else {
            panic!("{name} is incomplete");
        };
        let answer = v["label"].is_string() && v["decoded"]["label"].is_null();
        let plain = codec(&v).open_stream(&complete, answer).unwrap().into_owned();
        let expected = &v["decoded"]["message"];
        let body = &plain[1..];
        match MessageType::from_byte(plain[0]).unwrap() {
            MessageType::PushPull => {
                let (header, mut at): (PushPullHeader, usize) = msgpack::from_slice_prefix(body).unwrap();
                for i in 0..header.nodes as usize {
                    let (n, used): (PushNodeState, usize) = msgpack::from_slice_prefix(&body[at..]).unwrap();
                    let want = &expected["nodes"][i]["Meta"];
                    if !want.is_null() {
                        assert_eq!(meta(n.meta.0), *want, "{name}");
                    }
                    at += used;
                }
                if at < body.len() && expected["user_state"]["serf"].is_string() {
                    assert_eq!(serf(&body[at..]), expected["user_state"], "{name}");
                    states += 1;
                }
            }
            MessageType::User => {
                let (_, used): (UserHeader, usize) = msgpack::from_slice_prefix(body).unwrap();
                // One of these was made up and carries no message of this layer.
                if expected["message"]["serf"].is_string() {
                    assert_eq!(serf(&body[used..]), expected["message"], "{name}");
                }
            }
            kind => compare(&name, kind, body, expected, &mut counts),
        }
    }
    assert!(states >= 8, "{states}");
}
