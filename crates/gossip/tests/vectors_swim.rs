//! Recorded packets and streams of the reference and its relatives: each must decode to its
//! meaning and, where the format leaves no choice, encode back to the same bytes.
//!
//! What travels inside for the serf layer (meta, payloads, user messages) is compared in
//! `vectors_serf.rs`; here its bytes must come through unchanged.

use std::net::IpAddr;

use base64::Engine as _;
use bytes::Bytes;
use gossip::wire::{
    Accusation, Ack, Alive, Codec, ErrorReply, IndirectPing, Keyring, MessageType, Nack, Ping, Progress,
    PushNodeState, PushPullHeader, Raw, StreamReader, UserHeader, decompress, encode, for_each_message,
};
use serde_json::{Map, Value, json};
use vectors::{gossip_over, unhex};

fn hex(v: &Value) -> Vec<u8> {
    unhex(v.as_str().unwrap())
}

fn keyring(v: &Value) -> Option<Keyring> {
    let texts: Vec<&str> = match v {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|k| k.as_str().unwrap()).collect(),
        _ => return None,
    };
    let decode = |t: &&str| base64::engine::general_purpose::STANDARD.decode(t).unwrap();
    Keyring::from_keys(&texts.iter().map(decode).collect::<Vec<_>>()).unwrap()
}

/// The codec of a member of the pool in which the vector was recorded.
fn codec(vector: &Value) -> Codec {
    let label = vector["decoded"]["label"].as_str().or(vector["label"].as_str()).unwrap_or("");
    let mut codec = Codec::new(label, false).unwrap();
    codec.keyring = keyring(&vector["key"]);
    codec
}

fn ip(raw: Raw<'_>) -> Value {
    let addr: IpAddr = match *raw.0 {
        [a, b, c, d] => [a, b, c, d].into(),
        _ => <[u8; 16]>::try_from(raw.0).unwrap().into(),
    };
    json!(addr.to_string())
}

fn source(out: &mut Value, addr: Raw<'_>, port: u16, node: &str) {
    if !addr.0.is_empty() {
        out["SourceAddr"] = ip(addr);
    }
    if port != 0 {
        out["SourcePort"] = json!(port);
    }
    if !node.is_empty() {
        out["SourceNode"] = json!(node);
    }
}

/// Decodes one message to the form of the vectors, and checks that encoding gives it back.
fn meaning(kind: MessageType, body: &[u8]) -> Value {
    let mut original = vec![kind as u8];
    original.extend_from_slice(body);
    macro_rules! read {
        ($ty:ty) => {{
            let value: $ty = msgpack::from_slice(body).unwrap();
            assert_eq!(encode(kind, &value).unwrap(), original, "{kind:?} encodes to other bytes");
            value
        }};
    }
    match kind {
        MessageType::Ping => {
            let m = read!(Ping);
            let mut out = json!({"type": "ping", "Node": m.node, "SeqNo": m.seq_no});
            source(&mut out, m.source_addr, m.source_port, m.source_node);
            out
        }
        MessageType::IndirectPing => {
            let m = read!(IndirectPing);
            let mut out = json!({"type": "indirectPing", "Node": m.node, "SeqNo": m.seq_no,
                "Target": ip(m.target), "Port": m.port, "Nack": m.nack});
            source(&mut out, m.source_addr, m.source_port, m.source_node);
            out
        }
        MessageType::Ack => {
            let m = read!(Ack);
            let mut out = json!({"type": "ackResp", "SeqNo": m.seq_no});
            if m.payload.is_none() {
                out["Payload"] = Value::Null;
            }
            out
        }
        MessageType::Nack => json!({"type": "nackResp", "SeqNo": read!(Nack).seq_no}),
        MessageType::Error => json!({"type": "err", "Error": read!(ErrorReply).error}),
        MessageType::Suspect | MessageType::Dead => {
            let m = read!(Accusation);
            let name = if kind == MessageType::Dead { "dead" } else { "suspect" };
            json!({"type": name, "Incarnation": m.incarnation, "Node": m.node, "From": m.from})
        }
        MessageType::Alive => {
            let m = read!(Alive);
            json!({"type": "alive", "Incarnation": m.incarnation, "Node": m.node, "Addr": ip(m.addr),
                "Port": m.port, "Vsn": m.vsn.0})
        }
        MessageType::User => json!({"type": "user"}),
        other => panic!("{other:?} has no body of its own"),
    }
}

/// Takes what the serf layer opens out of an expected message.
fn without_serf(message: &Value) -> Value {
    let mut m = message.clone();
    let o: &mut Map<String, Value> = m.as_object_mut().unwrap();
    o.remove("Meta");
    if o["type"] == "user" {
        o.retain(|k, _| k == "type");
    }
    if o["type"] == "ackResp" && !o["Payload"].is_null() {
        o.remove("Payload");
    }
    m
}

/// The messages that a packet is expected to contain.
fn expected(message: &Value) -> Vec<Value> {
    match message["type"].as_str().unwrap() {
        "compress" => expected(&message["inner"]),
        "compound" => message["parts"].as_array().unwrap().iter().flat_map(expected).collect(),
        _ => vec![without_serf(message)],
    }
}

fn messages(plain: &[u8]) -> Vec<(MessageType, Vec<u8>)> {
    let mut found = Vec::new();
    for_each_message(plain, &mut |kind, body| found.push((kind, body.to_vec())), &mut |error| {
        panic!("{error}")
    });
    found
}

#[test]
fn packets_decode_to_their_meaning_and_encode_back() {
    let mut seen = 0;
    for (name, v) in gossip_over("udp") {
        let packet = hex(&v["hex"]);
        let codec = codec(&v);
        let plain = codec.open_packet(&packet).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = messages(&plain);
        let meanings: Vec<Value> = found.iter().map(|(kind, body)| meaning(*kind, body)).collect();
        assert_eq!(meanings, expected(&v["decoded"]["message"]), "{name}");

        // Envelopes back on; compression is compared by what it decompresses to.
        let parts: Vec<Bytes> = found
            .iter()
            .map(|(kind, body)| Bytes::from([&[*kind as u8], body.as_slice()].concat()))
            .collect();
        let crc = v["decoded"]["crc"].is_string();
        let again = codec.seal_packet(&parts, crc).unwrap();
        let compressed = v["decoded"]["message"]["type"] == "compress";
        if codec.keyring.is_none() && !compressed {
            assert_eq!(again, packet, "{name}");
        } else {
            let reopened = codec.open_packet(&again).unwrap();
            assert_eq!(messages(&reopened), found, "{name}");
            if !compressed {
                assert_eq!(reopened, plain, "{name}");
            }
        }
        if v["reply_hex"].is_string() {
            let reply = hex(&v["reply_hex"]);
            let reply = codec.open_packet(&reply).unwrap();
            assert!(messages(&reply).iter().any(|(kind, _)| *kind == MessageType::Ack), "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 40, "{seen}");
}

/// Cuts the first message out of a stream, bytewise and at once.
fn cut(stream: &[u8]) -> Bytes {
    let mut slow = StreamReader::new();
    let mut complete = None;
    for (i, byte) in stream.iter().enumerate() {
        match slow.push(&[*byte]).unwrap() {
            Progress::NeedMore => {}
            Progress::Complete(message) => {
                assert_eq!(i + 1, message.len());
                complete = Some(message);
                break;
            }
        }
    }
    let complete = complete.expect("stream is complete");
    assert_eq!(StreamReader::new().push(stream).unwrap(), Progress::Complete(complete.clone()));
    complete
}

fn push_pull(body: &[u8]) -> Value {
    let (header, mut at): (PushPullHeader, usize) = msgpack::from_slice_prefix(body).unwrap();
    assert_eq!(msgpack::to_vec(&header).unwrap(), &body[..at]);
    let mut nodes = Vec::new();
    for _ in 0..header.nodes {
        let (n, used): (PushNodeState, usize) = msgpack::from_slice_prefix(&body[at..]).unwrap();
        assert_eq!(msgpack::to_vec(&n).unwrap(), &body[at..at + used]);
        at += used;
        nodes.push(json!({"Name": n.name, "Addr": ip(n.addr), "Port": n.port,
            "Incarnation": n.incarnation, "State": n.state, "Vsn": n.vsn.0}));
    }
    assert_eq!(body.len() - at, header.user_state_len as usize);
    json!({"type": "pushPull", "nodes": nodes, "header":
        {"Nodes": header.nodes, "UserStateLen": header.user_state_len, "Join": header.join}})
}

#[test]
fn streams_decode_to_their_meaning_and_encode_back() {
    let mut seen = 0;
    for (name, v) in gossip_over("tcp") {
        let stream = hex(&v["hex"]);
        let complete = cut(&stream);
        assert_eq!(complete.len(), stream.len(), "{name}: one message fills the stream");
        let mut codec = codec(&v);
        // The answering side leaves the label header out.
        let answer = v["label"].is_string() && v["decoded"]["label"].is_null();
        let plain = codec.open_stream(&complete, answer).unwrap_or_else(|e| panic!("{name}: {e}"));
        let kind = MessageType::from_byte(plain[0]).unwrap();
        let expected = &v["decoded"]["message"];
        match kind {
            MessageType::PushPull => {
                let mut want = expected.clone();
                want.as_object_mut().unwrap().remove("user_state");
                for node in want["nodes"].as_array_mut().unwrap() {
                    node.as_object_mut().unwrap().remove("Meta");
                }
                assert_eq!(push_pull(&plain[1..]), want, "{name}");
            }
            MessageType::User => {
                let (header, used): (UserHeader, usize) = msgpack::from_slice_prefix(&plain[1..]).unwrap();
                assert_eq!(json!(header.user_msg_len), expected["header"]["UserMsgLen"], "{name}");
                assert_eq!(plain.len(), 1 + used + header.user_msg_len as usize, "{name}");
            }
            _ => assert_eq!(meaning(kind, &plain[1..]), without_serf(expected), "{name}"),
        }
        let again = codec.seal_stream(&plain, !answer).unwrap();
        if codec.keyring.is_none() && v["decoded"]["compress"].is_null() {
            assert_eq!(again, complete, "{name}");
        }
        codec.compression = true;
        let again = codec.seal_stream(&plain, !answer).unwrap();
        assert_eq!(cut(&again), again, "{name}");
        assert_eq!(codec.open_stream(&again, answer).unwrap(), plain, "{name}");
        if v["reply_hex"].is_string() {
            let reply = cut(&hex(&v["reply_hex"]));
            codec.open_stream(&reply, true).unwrap_or_else(|e| panic!("{name}: reply {e}"));
        }
        seen += 1;
    }
    assert!(seen >= 18, "{seen}");
}

#[test]
fn compressed_bytes_decode() {
    let mut seen = 0;
    for (name, v) in gossip_over("lzw") {
        let plain = decompress(&hex(&v["hex"]), 1 << 20).unwrap_or_else(|e| panic!("{name}: {e}"));
        let decoded = &v["decoded"];
        if decoded["plain_hex"].is_string() {
            assert_eq!(plain, hex(&decoded["plain_hex"]), "{name}");
        } else {
            assert_eq!(plain.len() as u64, decoded["plain_len"].as_u64().unwrap(), "{name}");
            let sum = decoded["plain_crc32"].as_str().unwrap().to_owned();
            assert_eq!(format!("{:08x}", crc32fast::hash(&plain)), sum, "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}
