//! Recorded bytes: output of the peers' own codec.

use msgpack::{Value, from_slice, skip_value, to_vec};
use serde::{Deserialize, Serialize};

fn bytes_of(name: &str) -> Vec<u8> {
    vectors::rpc_named("encoding", name).bytes()
}

#[test]
fn every_vector_decodes_to_its_meaning_and_encodes_back() {
    let vectors = vectors::rpc("encoding");
    assert!(vectors.len() >= 28);
    for v in vectors {
        let bytes = v.bytes();
        assert_eq!(skip_value(&bytes).unwrap(), Some(bytes.len()), "{}", v.name);
        let value: Value = from_slice(&bytes).unwrap();
        assert!(vectors::same(&value, &v.decoded[0]), "{}: {value:?}", v.name);
        assert_eq!(to_vec(&value).unwrap(), bytes, "{}", v.name);
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
#[serde(default, rename_all = "PascalCase")]
struct QueryOptions {
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

#[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
#[serde(default, rename_all = "PascalCase")]
struct KeyRequest {
    datacenter: String,
    key: String,
    #[serde(flatten)]
    options: QueryOptions,
}

#[test]
fn flattened_group_both_ways() {
    let bytes = bytes_of("KeyRequest");
    let request: KeyRequest = from_slice(&bytes).unwrap();
    let expected = KeyRequest {
        datacenter: "dc2".into(),
        key: "a/b".into(),
        options: QueryOptions {
            token: "t".into(),
            min_query_index: 300,
            max_query_time: 5_000_000_000,
            ..QueryOptions::default()
        },
    };
    assert_eq!(request, expected);
    assert_eq!(to_vec(&expected).unwrap(), bytes);
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
#[serde(default)]
struct Filled {
    #[serde(rename = "TP", with = "serde_bytes")]
    tp: Option<Vec<u8>>,
    #[serde(rename = "T", with = "serde_bytes")]
    t: Vec<u8>,
    #[serde(rename = "Z")]
    z: String,
    #[serde(rename = "U8")]
    u8: u8,
    #[serde(rename = "P")]
    p: Option<Inner>,
    #[serde(rename = "M")]
    m: Option<std::collections::BTreeMap<String, String>>,
    #[serde(rename = "L")]
    l: Option<Vec<String>>,
    #[serde(rename = "I")]
    i: Value,
    #[serde(rename = "F")]
    f: f64,
    #[serde(rename = "D")]
    d: i64,
    #[serde(rename = "B")]
    b: i32,
    #[serde(rename = "A")]
    a: u32,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
#[serde(default)]
struct Inner {
    #[serde(rename = "B")]
    b: i64,
    #[serde(rename = "A")]
    a: u64,
}

#[test]
fn keys_are_sorted_whatever_the_declaration_order() {
    for name in ["struct, filled", "struct, zero values"] {
        let bytes = bytes_of(name);
        let value: Filled = from_slice(&bytes).unwrap();
        assert_eq!(to_vec(&value).unwrap(), bytes, "{name}");
    }
    let value: Filled = from_slice(&bytes_of("struct, filled")).unwrap();
    assert_eq!(value.p, Some(Inner { a: 200, b: -200 }));
    assert_eq!(value.d, 1_500_000_000);
}
