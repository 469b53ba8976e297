//! What encoding and decoding costs. `cargo bench -p msgpack`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Default, Clone)]
#[serde(default, rename_all = "PascalCase")]
struct DirEntry {
    lock_index: u64,
    key: String,
    flags: u64,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
    session: String,
    create_index: u64,
    modify_index: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Options {
    token: String,
    min_query_index: u64,
    max_query_time: i64,
    allow_stale: bool,
    require_consistent: bool,
    use_cache: bool,
    max_stale_duration: i64,
    max_age: i64,
    must_revalidate: bool,
    stale_if_error: i64,
    filter: String,
    allow_not_modified_response: bool,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct KeyRequest {
    datacenter: String,
    key: String,
    #[serde(flatten)]
    options: Options,
}

#[derive(Serialize, Deserialize, Default, Clone)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    address: String,
    create_index: u64,
    datacenter: String,
    meta: BTreeMap<String, String>,
    modify_index: u64,
    node: String,
    tagged_addresses: BTreeMap<String, String>,
}

/// CPU time of this process so far; the kernel counts in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn measure<T: Serialize + for<'de> Deserialize<'de>>(name: &str, value: &T, times: u32) {
    let bytes = msgpack::to_vec(value).expect("encode");
    let mut out = Vec::new();
    let began = cpu();
    for _ in 0..times {
        out.clear();
        msgpack::to_writer_vec(&mut out, black_box(value)).expect("encode");
    }
    let encode = (cpu() - began) / times;
    let began = cpu();
    for _ in 0..times {
        black_box(msgpack::from_slice::<T>(black_box(&bytes)).expect("decode"));
    }
    let decode = (cpu() - began) / times;
    let began = cpu();
    for _ in 0..times {
        black_box(msgpack::skip_value(black_box(&bytes)).expect("skip"));
    }
    let skip = (cpu() - began) / times;
    println!("{name:<28} {:7} bytes  encode {encode:?}  decode {decode:?}  skip {skip:?}", bytes.len());
}

fn main() {
    let entry = DirEntry {
        key: "service/web/leader".into(),
        value: b"some value of forty bytes, more or less.".to_vec(),
        session: "adf4238a-882b-9ddc-4a9d-5b6758e4159e".into(),
        create_index: 1000,
        modify_index: 70000,
        ..DirEntry::default()
    };
    measure("DirEntry, out of order", &entry, 1_000_000);
    let request = KeyRequest { datacenter: "dc2".into(), key: "a/b".into(), ..KeyRequest::default() };
    measure("KeyRequest, flattened", &request, 1_000_000);
    let addresses: BTreeMap<String, String> =
        ["lan", "lan_ipv4", "wan", "wan_ipv4"].map(|k| (k.to_owned(), "127.0.0.1".to_owned())).into();
    let node = Node {
        address: "127.0.0.1".into(),
        datacenter: "dc1".into(),
        node: "node-0001".into(),
        tagged_addresses: addresses,
        ..Node::default()
    };
    measure("1,000 nodes, in order", &vec![node; 1000], 1_000);
    measure("1,000 entries, out of order", &vec![entry; 1000], 1_000);
}
