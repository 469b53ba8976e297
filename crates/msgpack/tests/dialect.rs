//! What is written, what is tolerated, what is refused.

use std::collections::BTreeMap;

use msgpack::{
    Error, Scanner, Value, from_slice, from_slice_prefix, skip_value, to_vec, to_vec_new_format,
    to_writer_vec,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(Debug, Serialize, Deserialize, PartialEq, Default, Clone)]
#[serde(default)]
struct Node {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Address")]
    address: String,
    #[serde(rename = "Index")]
    index: u64,
    #[serde(rename = "Up")]
    up: bool,
    #[serde(rename = "Weight")]
    weight: f64,
    #[serde(rename = "Tags", with = "msgpack::nil_if_empty")]
    tags: Vec<String>,
    #[serde(rename = "Meta", with = "msgpack::nil_if_empty")]
    meta: BTreeMap<String, String>,
    #[serde(rename = "Check")]
    check: Option<Box<Node>>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Marker;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
enum Op {
    #[serde(rename = "")]
    None,
    #[serde(rename = "set")]
    Set,
    #[serde(rename = "wrapped")]
    Wrapped(u32),
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_slice(bytes)
}

#[test]
fn writes_the_old_raw_family_and_smallest_integers() {
    assert_eq!(to_vec(&"a".repeat(31)).unwrap()[0], 0xbf);
    assert_eq!(to_vec(&"a".repeat(32)).unwrap()[..3], [0xda, 0, 32]);
    assert_eq!(to_vec(&"a".repeat(65536)).unwrap()[..5], [0xdb, 0, 1, 0, 0]);
    let bytes = ByteBuf::from(vec![0xff; 40]);
    assert_eq!(to_vec(&bytes).unwrap()[..3], [0xda, 0, 40]);
    assert_eq!(to_vec(&200i64).unwrap(), [0xcc, 200]);
    assert_eq!(to_vec(&-200i64).unwrap(), [0xd1, 0xff, 0x38]);
    assert_eq!(to_vec(&1.0f64).unwrap()[0], 0xcb);
    assert_eq!(to_vec(&1.0f32).unwrap()[0], 0xca);
    assert_eq!(to_vec(&()).unwrap(), [0xc0]);
    assert_eq!(to_vec(&Marker).unwrap(), [0x80]);
    assert_eq!(to_vec(&None::<u8>).unwrap(), [0xc0]);
    assert_eq!(to_vec(&Vec::<u8>::new()).unwrap(), [0x90]);
    assert_eq!(to_vec(&Op::Set).unwrap(), b"\xa3set");
    assert_eq!(to_vec(&vec![0u8; 16]).unwrap()[..3], [0xdc, 0, 16]);
}

#[test]
fn new_format_uses_str8_and_bin() {
    assert_eq!(to_vec_new_format("ab").unwrap(), b"\xa2ab");
    assert_eq!(to_vec_new_format(&"a".repeat(40)).unwrap()[..2], [0xd9, 40]);
    assert_eq!(to_vec_new_format(&ByteBuf::from(vec![1])).unwrap(), [0xc4, 1, 1]);
    assert_eq!(to_vec_new_format(&ByteBuf::new()).unwrap(), [0xc4, 0]);
    assert_eq!(to_vec_new_format(&ByteBuf::from(vec![1; 300])).unwrap()[..3], [0xc5, 1, 44]);
}

#[test]
fn structs_are_sorted_at_every_level() {
    let node = Node { name: "a".into(), check: Some(Box::new(Node::default())), ..Node::default() };
    let bytes = to_vec(&node).unwrap();
    let keys = [
        "Address", "Check", "Address", "Check", "Index", "Meta", "Name", "Tags", "Up", "Weight", "Index",
        "Meta", "Name", "Tags", "Up", "Weight",
    ];
    let mut from = 0;
    for key in keys {
        let mut needle = vec![0xa0 | key.len() as u8];
        needle.extend_from_slice(key.as_bytes());
        let at = bytes[from..].windows(needle.len()).position(|w| w == needle).unwrap();
        from += at + needle.len();
    }
    assert_eq!(read::<Node>(&bytes).unwrap(), node);
}

#[test]
fn of_two_equal_keys_the_first_is_written() {
    #[derive(Serialize)]
    struct Inner {
        a: u8,
        b: u8,
    }
    #[derive(Serialize)]
    struct Outer {
        b: u8,
        #[serde(flatten)]
        inner: Inner,
    }
    let bytes = to_vec(&Outer { b: 1, inner: Inner { a: 2, b: 3 } }).unwrap();
    assert_eq!(bytes, b"\x82\xa1a\x02\xa1b\x01");
}

#[test]
fn sequences_and_maps_of_unknown_length() {
    struct Stream(u32);
    impl Serialize for Stream {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_seq((0..self.0).filter(|_| true))
        }
    }
    for n in [0, 3, 16, 70000] {
        let bytes = to_vec(&Stream(n)).unwrap();
        let back: Vec<u32> = read(&bytes).unwrap();
        assert!(back.iter().copied().eq(0..n));
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        all: BTreeMap<String, u32>,
    }
    let all: BTreeMap<String, u32> = (0..20).map(|i| (format!("k{i:02}"), i)).collect();
    let bytes = to_vec(&Flat { all: all.clone() }).unwrap();
    assert_eq!(bytes[..3], [0xde, 0, 20]);
    assert_eq!(read::<Flat>(&bytes).unwrap().all, all);
}

#[test]
fn nil_stands_for_any_zero_value() {
    let nil = [0xc0];
    assert_eq!(read::<String>(&nil), Ok(String::new()));
    assert_eq!(read::<i32>(&nil), Ok(0));
    assert_eq!(read::<f64>(&nil), Ok(0.0));
    assert_eq!(read::<bool>(&nil), Ok(false));
    assert_eq!(read::<Vec<u8>>(&nil), Ok(vec![]));
    assert_eq!(read::<ByteBuf>(&nil), Ok(ByteBuf::new()));
    assert_eq!(read::<BTreeMap<String, u8>>(&nil), Ok(BTreeMap::new()));
    assert_eq!(read::<Node>(&nil), Ok(Node::default()));
    assert_eq!(read::<Option<u8>>(&nil), Ok(None));
    assert_eq!(read::<Op>(&nil), Ok(Op::None));
    assert_eq!(read::<Marker>(&nil), Ok(Marker));
    assert_eq!(read::<()>(&[0x80]), Ok(()));
}

#[test]
fn other_forms_that_are_accepted() {
    // An array for a struct, longer or shorter than it.
    assert_eq!(read::<Node>(b"\x92\xa1n\xa1a").unwrap().address, "a");
    let long = b"\x92\x9a\xa1n\xa1a\x07\xc3\x01\xc0\xc0\xc0\x91\x01\xa1x\x05";
    let nodes: (Node, u8) = read(long).unwrap();
    assert_eq!((nodes.0.index, nodes.1), (7, 5));
    assert_eq!(read::<bool>(&[1]), Ok(true));
    assert_eq!(read::<String>(b"\xd9\x02hi").as_deref(), Ok("hi"));
    assert_eq!(read::<String>(b"\xc4\x02hi").as_deref(), Ok("hi"));
    assert_eq!(read::<ByteBuf>(b"\xc4\x02hi"), Ok(ByteBuf::from(*b"hi")));
    assert_eq!(read::<ByteBuf>(b"\xa2\xff\x00"), Ok(ByteBuf::from([255, 0])));
    assert_eq!(read::<[u8; 3]>(b"\xa3\x01\x02\xff"), Ok([1, 2, 255]));
    assert_eq!(read::<u8>(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(9));
    assert_eq!(read::<f64>(&[0xff]), Ok(-1.0));
    assert_eq!(read::<f64>(&[0xca, 0x3f, 0x80, 0, 0]), Ok(1.0));
    // Unknown keys at any depth; a bin key.
    let node = read::<Node>(b"\x83\xa1x\x81\xa1y\x92\x01\xc7\x01\x05\x00\xc4\x04Name\xa1n\xa4name\x01");
    assert_eq!(node.unwrap().name, "n");
    assert_eq!(read::<Op>(b"\x81\xa7wrapped\x05"), Ok(Op::Wrapped(5)));
    assert_eq!(read::<Op>(&to_vec(&Op::Wrapped(5)).unwrap()), Ok(Op::Wrapped(5)));
    // Bytes behind the value.
    assert_eq!(from_slice_prefix::<u8>(&[5, 6]), Ok((5, 1)));
}

#[test]
fn what_is_refused() {
    assert!(read::<u8>(&[0xcd, 1, 0]).is_err());
    assert!(read::<u64>(&[0xff]).is_err());
    assert!(matches!(
        read::<u64>(&[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        Err(Error::Unexpected { found: "a float", .. })
    ));
    assert!(matches!(read::<String>(b"\xa2\xff\xfe"), Err(Error::NotUtf8 { len: 2, offset: 1 })));
    assert!(read::<bool>(&[2]).is_err());
    assert!(read::<String>(&[1]).is_err());
    assert!(read::<Op>(b"\xa3get").is_err());
    assert!(matches!(read::<Value>(&[0xc1]), Err(Error::Unexpected { .. })));
    assert!(matches!(read::<Value>(&[]), Err(Error::Truncated { .. })));
    // Four billion elements announced in five bytes.
    for head in [0xdb, 0xdd, 0xdf, 0xc6] {
        let bytes = [head, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(read::<Value>(&bytes), Err(Error::Truncated { .. })));
    }
    for open in [0x91u8, 0x81] {
        let bytes = vec![open; 100_000];
        assert_eq!(read::<serde::de::IgnoredAny>(&bytes).err(), Some(Error::TooDeep));
        assert!(read::<Value>(&bytes).is_err());
        assert_eq!(skip_value(&bytes), Err(Error::TooDeep));
    }
}

#[test]
fn a_failed_append_leaves_the_buffer() {
    struct Bad;
    impl Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut out = vec![1, 2];
    assert!(to_writer_vec(&mut out, &("x", Bad)).is_err());
    assert_eq!(out, [1, 2]);
    to_writer_vec(&mut out, "x").unwrap();
    assert_eq!(out, [1, 2, 0xa1, b'x']);
}

#[test]
fn scanner_knows_the_end_in_pieces_and_the_limit() {
    let value = to_vec(&vec![Node::default(); 50]).unwrap();
    let mut scanner = Scanner::new(value.len());
    for n in 0..value.len() {
        assert_eq!(scanner.advance(&value[..n]), Ok(None));
    }
    let mut more = value.clone();
    more.push(1);
    assert_eq!(scanner.advance(&more), Ok(Some(value.len())));
    assert_eq!(Scanner::new(value.len() - 1).advance(&value), Err(Error::TooLong { limit: value.len() - 1 }));
    // The announced length alone is enough to refuse.
    assert!(Scanner::new(1000).advance(&[0xdb, 0, 0, 4, 0]).is_err());
    assert!(Scanner::new(1000).advance(&[0xdd, 0, 0, 4, 0]).is_err());
}

#[test]
fn values_from_json_carry_floats() {
    let value: Value = serde_json::from_str(r#"{"a":1,"b":[true,null,"x",-2.5]}"#).unwrap();
    assert_eq!(value.get("a"), Some(&Value::Float(1.0)));
    let bytes = to_vec(&value).unwrap();
    assert_eq!(bytes[3], 0xcb);
    let back: Value = from_slice(&bytes).unwrap();
    assert_eq!(back, value);
    assert_eq!(serde_json::to_string(&back).unwrap(), r#"{"a":1,"b":[true,null,"x",-2.5]}"#);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::UInt),
        (-1e300f64..1e300).prop_map(Value::Float),
        ".{0,40}".prop_map(Value::Str),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_filter("not text", |b| std::str::from_utf8(b).is_err())
            .prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::btree_map(".{0,12}", inner, 0..20).prop_map(Value::Map),
        ]
    })
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = (
        ".{0,50}",
        any::<u64>(),
        any::<bool>(),
        prop::collection::vec(".{0,5}", 0..20),
        prop::collection::btree_map(".{0,5}", ".{0,5}", 0..20),
    )
        .prop_map(|(name, index, up, tags, meta)| Node {
            name,
            index,
            up,
            tags,
            meta,
            ..Node::default()
        });
    leaf.prop_recursive(5, 10, 1, |inner| {
        inner.prop_map(|check| Node { address: "x".into(), check: Some(Box::new(check)), ..Node::default() })
    })
}

proptest! {
    #[test]
    fn values_round_trip(value in any_value()) {
        let bytes = to_vec(&value).unwrap();
        prop_assert_eq!(skip_value(&bytes).unwrap(), Some(bytes.len()));
        prop_assert_eq!(&from_slice::<Value>(&bytes).unwrap(), &value);
        let newer = to_vec_new_format(&value).unwrap();
        prop_assert_eq!(from_slice::<Value>(&newer).unwrap(), value);
        for n in 0..bytes.len() {
            prop_assert_eq!(skip_value(&bytes[..n]), Ok(None));
            prop_assert!(from_slice::<Value>(&bytes[..n]).is_err());
        }
    }

    #[test]
    fn structs_round_trip(node in any_node()) {
        let bytes = to_vec(&node).unwrap();
        prop_assert_eq!(from_slice::<Node>(&bytes).unwrap(), node);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let value = from_slice::<Value>(&bytes);
        let _ = from_slice::<Node>(&bytes);
        let _ = from_slice::<Op>(&bytes);
        let _ = from_slice::<Vec<ByteBuf>>(&bytes);
        let _ = from_slice::<BTreeMap<u8, Marker>>(&bytes);
        // Whatever decodes has a known end.
        if value.is_ok() {
            prop_assert!(matches!(skip_value(&bytes), Ok(Some(_))));
        }
    }

    #[test]
    fn damaged_structs_never_panic(node in any_node(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_vec(&node).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = from_slice::<Node>(&bytes);
        let _ = from_slice::<Value>(&bytes);
    }
}
