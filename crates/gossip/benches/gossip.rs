//! What reading and writing packets costs. `cargo bench -p gossip`; prints nanoseconds per packet.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip::wire::{Ack, Alive, Codec, Keyring, MessageType, Ping, Raw, encode, for_each_message};

/// Runs `work` for about a third of a second and prints the time of one run.
fn time(what: &str, mut work: impl FnMut()) {
    for _ in 0..100 {
        work();
    }
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_millis(300) {
        for _ in 0..100 {
            work();
        }
        runs += 100;
    }
    println!("{what:42} {:9.0} ns", start.elapsed().as_nanos() as f64 / runs as f64);
}

/// Decodes every message, as the state machine does.
fn read(codec: &Codec, packet: &[u8]) -> usize {
    let plain = codec.open_packet(packet).expect("own packet");
    let mut read = 0;
    let mut each = |kind: MessageType, body: &[u8]| {
        match kind {
            MessageType::Ping => drop(black_box(msgpack::from_slice::<Ping>(body))),
            MessageType::Ack => drop(black_box(msgpack::from_slice::<Ack>(body))),
            MessageType::Alive => drop(black_box(msgpack::from_slice::<Alive>(body))),
            _ => {}
        }
        read += 1;
    };
    for_each_message(&plain, &mut each, &mut |error| panic!("{error}"));
    read
}

fn main() {
    let meta: Vec<u8> = (0..186u8).map(|i| b"role=node dc=dc1 build=1.9.8: id="[i as usize % 33]).collect();
    let ping = Ping {
        seq_no: 4711,
        node: "server-17",
        source_addr: Raw(&[10, 0, 0, 1]),
        source_port: 8301,
        source_node: "client-42",
    };
    let payload: Vec<u8> = (0..117u8).map(|i| i.wrapping_mul(73)).collect();
    let ack = Ack { seq_no: 4711, payload: Some(Raw(&payload)) };
    let alive = |node| Alive {
        incarnation: 3,
        node,
        addr: Raw(&[10, 0, 0, 2]),
        port: 8301,
        meta: Raw(&meta),
        vsn: Raw(&[1, 5, 2, 2, 5, 4]),
    };
    let ping_bytes: Bytes = encode(MessageType::Ping, &ping).expect("ping").into();
    let ack_bytes: Bytes = encode(MessageType::Ack, &ack).expect("ack").into();
    let names = ["n1", "n2", "n3", "n4", "n5"];
    let news: Vec<Bytes> =
        names.iter().map(|n| encode(MessageType::Alive, &alive(n)).expect("alive").into()).collect();

    time("encode ping", || drop(black_box(encode(MessageType::Ping, &ping))));
    time("encode alive", || drop(black_box(encode(MessageType::Alive, &alive("n1")))));

    let key = Keyring::new(&[7; 32]).expect("key");
    for (name, encrypted, compression) in
        [("plain", false, false), ("compressed", false, true), ("encrypted", true, false)]
    {
        let mut codec = Codec::new("", compression).expect("codec");
        codec.keyring = encrypted.then(|| key.clone());
        for (what, messages) in [
            ("ping", std::slice::from_ref(&ping_bytes)),
            ("ack", std::slice::from_ref(&ack_bytes)),
            ("five alive", news.as_slice()),
        ] {
            let crc = messages.len() > 1;
            let packet = codec.seal_packet(messages, crc).expect("packet");
            time(&format!("seal {what}, {name} ({} bytes)", packet.len()), || {
                drop(black_box(codec.seal_packet(messages, crc)));
            });
            time(&format!("read {what}, {name}"), || {
                assert_eq!(read(&codec, &packet), messages.len());
            });
        }
    }
}
