//! Whatever bytes arrive: nothing panics, and what cannot be read changes nothing.

mod sim;

use std::net::SocketAddr;

use bytes::Bytes;
use gossip::swim::{ConnId, ExchangeId, Input, Output, SwimConfig, Tick};
use gossip::wire::{
    Accusation, Alive, Codec, Keyring, MessageType, Progress, Raw, StreamReader, decompress, encode,
    for_each_message,
};
use proptest::prelude::*;
use sim::{Alone, Core};

const FROM: ([u8; 4], u16) = ([10, 9, 9, 9], 8301);
const KEY: [u8; 16] = [7; 16];

/// Packets and streams that were recorded, to be mutilated.
fn recorded() -> Vec<Vec<u8>> {
    let hex = |v: &serde_json::Value| v["hex"].as_str().map(vectors::unhex);
    vectors::gossip().iter().map(|(name, v)| hex(v).unwrap_or_else(|| panic!("{name}: no bytes"))).collect()
}

fn mutilated() -> impl Strategy<Value = Vec<u8>> {
    let all = recorded();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (0..all.len(), edits, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        move |(which, edits, cut, cut_it)| {
            let mut bytes = all[which].clone();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if cut_it {
                bytes.truncate(cut.index(bytes.len()));
            }
            // Keep the checksum right, or every change would end there.
            if bytes.len() > 5 && bytes[0] == 12 {
                let sum = crc32fast::hash(&bytes[5..]).to_be_bytes();
                bytes[1..5].copy_from_slice(&sum);
            }
            bytes
        },
    )
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), mutilated()]
}

fn agent(key: bool) -> Alone {
    let keyring = key.then(|| Keyring::new(&KEY).unwrap());
    let cfg = SwimConfig { keyring, ..SwimConfig::lan() };
    Alone::start("a", sim::address(1), cfg, 1, Tick::ZERO)
}

fn members(agent: &Alone) -> Vec<String> {
    let mut all: Vec<String> = agent.swim.members().map(|n| format!("{n:?}")).collect();
    all.sort();
    all
}

fn outputs(agent: &mut Alone) -> Vec<Output> {
    std::iter::from_fn(|| agent.output()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn packets(bytes in hostile()) {
        let mut agent = agent(false);
        agent.handle(Input::Packet { from: FROM.into(), bytes: bytes.into() }, Tick::ZERO);
        agent.handle(Input::Timer, Tick::from_nanos(3_000_000_000));
        prop_assert!(agent.swim.num_members() >= 1);
    }

    #[test]
    fn packets_without_the_key_change_nothing(bytes in hostile()) {
        let mut agent = agent(true);
        let before = members(&agent);
        agent.handle(Input::Packet { from: FROM.into(), bytes: bytes.into() }, Tick::ZERO);
        prop_assert_eq!(members(&agent), before);
        prop_assert_eq!(agent.swim.counters().dropped, 1);
        prop_assert!(outputs(&mut agent).is_empty());
    }

    #[test]
    fn requests_are_answered_once(bytes in hostile(), key in any::<bool>()) {
        let mut agent = agent(key);
        let id = ConnId(5);
        agent.handle(Input::StreamRequest { id, from: FROM.into(), bytes: bytes.into() }, Tick::ZERO);
        let answers = outputs(&mut agent)
            .iter()
            .filter(|o| matches!(o, Output::StreamReply { id: to, .. } if *to == id))
            .count();
        prop_assert_eq!(answers, 1);
    }

    #[test]
    fn answers_end_the_join(bytes in hostile()) {
        let mut agent = agent(false);
        agent.join(FROM.into(), Tick::ZERO);
        let id = ExchangeId(1);
        agent.handle(Input::StreamAnswered { id, bytes: bytes.into() }, Tick::ZERO);
        let ends = outputs(&mut agent).iter().filter(|o| matches!(o, Output::JoinDone { .. })).count();
        prop_assert_eq!(ends, 1);
    }

    #[test]
    fn a_stream_in_pieces_ends_where_it_does_at_once(bytes in hostile(), piece in 1usize..40) {
        let at_once = StreamReader::new().push(&bytes);
        let mut reader = StreamReader::new();
        let mut in_pieces = Ok(Progress::NeedMore);
        for part in bytes.chunks(piece) {
            in_pieces = reader.push(part);
            if !matches!(in_pieces, Ok(Progress::NeedMore)) {
                break;
            }
        }
        prop_assert_eq!(in_pieces, at_once);
    }

    #[test]
    fn decompression_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(plain) = decompress(&bytes, 10_000) {
            prop_assert!(plain.len() <= 10_000);
        }
    }

    #[test]
    fn envelopes_come_off_as_they_went_on(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20),
        crc in any::<bool>(), key in any::<bool>(), compression in any::<bool>(), label in "[a-z]{0,9}",
    ) {
        let mut codec = Codec::new(&label, compression).unwrap();
        codec.keyring = key.then(|| Keyring::new(&KEY).unwrap());
        let messages: Vec<Bytes> = bodies.iter().map(|b| gossip::wire::user_message(b)).collect();
        let packet = codec.seal_packet(&messages, crc).unwrap();
        let plain = codec.open_packet(&packet).unwrap();
        let (mut found, mut bad) = (Vec::new(), 0);
        for_each_message(&plain, &mut |kind, body| {
            assert_eq!(kind, MessageType::User);
            found.push(body.to_vec());
        }, &mut |_| bad += 1);
        prop_assert_eq!((found, bad), (bodies, 0));
    }
}

fn told(agent: &mut Alone, kind: MessageType, body: &impl serde::Serialize, at: Tick) {
    let bytes = encode(kind, body).unwrap().into();
    agent.handle(Input::Packet { from: FROM.into(), bytes }, at);
}

fn alive(name: &str, incarnation: u32, host: u8) -> impl serde::Serialize + '_ {
    let addr: &'static [u8] = Box::leak(Box::new([10, 0, 0, host]));
    Alive {
        incarnation,
        node: name,
        addr: Raw(addr),
        port: 8301,
        meta: Raw(b"m"),
        vsn: Raw(&gossip::swim::VSN_CONSUL),
    }
}

#[test]
fn counters_cannot_be_driven_to_their_end() {
    let mut agent = agent(false);
    told(&mut agent, MessageType::Alive, &alive("b", 3, 2), Tick::ZERO);
    for incarnation in [u32::MAX, u32::MAX - 1, 1 << 30] {
        for kind in [MessageType::Suspect, MessageType::Dead] {
            for node in ["a", "b"] {
                let body = Accusation { incarnation, node, from: "x" };
                told(&mut agent, kind, &body, Tick::ZERO);
            }
        }
        told(&mut agent, MessageType::Alive, &alive("b", incarnation, 2), Tick::ZERO);
    }
    assert_eq!(agent.swim.local().incarnation(), 1);
    assert_eq!(agent.swim.member("b").unwrap().incarnation(), 3);
    // What may well be is believed.
    let body = Accusation { incarnation: 20, node: "a", from: "x" };
    told(&mut agent, MessageType::Dead, &body, Tick::ZERO);
    assert_eq!(agent.swim.local().incarnation(), 21);
}

#[test]
fn a_name_is_not_taken_over_while_its_member_lives() {
    let second = |s: u64| Tick::from_nanos(s * 1_000_000_000);
    let mut agent = agent(false);
    told(&mut agent, MessageType::Alive, &alive("b", 1, 2), Tick::ZERO);
    told(&mut agent, MessageType::Alive, &alive("b", 9, 3), Tick::ZERO);
    assert_eq!(agent.notes.conflicts, 1);
    let addr = |agent: &Alone| agent.swim.member("b").map(|n| n.addr());
    assert_eq!(addr(&agent), Some(SocketAddr::from(([10, 0, 0, 2], 8301))));
    // Left: its name is free at once.
    told(&mut agent, MessageType::Dead, &Accusation { incarnation: 1, node: "b", from: "b" }, second(1));
    told(&mut agent, MessageType::Alive, &alive("b", 1, 3), second(1));
    assert_eq!(addr(&agent), Some(SocketAddr::from(([10, 0, 0, 3], 8301))));
    // Dead: only after a while.
    told(&mut agent, MessageType::Dead, &Accusation { incarnation: 1, node: "b", from: "x" }, second(2));
    told(&mut agent, MessageType::Alive, &alive("b", 5, 4), second(3));
    assert_eq!(agent.notes.conflicts, 2);
    told(&mut agent, MessageType::Alive, &alive("b", 5, 4), second(33));
    assert_eq!(addr(&agent), Some(SocketAddr::from(([10, 0, 0, 4], 8301))));
}
