//! Recorded archives, and what damage does to our own.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use snapshot::{Meta, ReadError, WriteError, read, summary, verify, write};

fn vector(name: &str) -> (Vec<u8>, serde_json::Value) {
    let found = vectors::rpc_named("snapshot_archive", name);
    (found.bytes(), found.decoded)
}

fn meta(size: usize) -> Meta {
    Meta {
        version: 1,
        id: "2-27-1".into(),
        index: 27,
        term: 2,
        peers: vec![0x90],
        configuration: snapshot::Configuration {
            servers: vec![snapshot::Server { suffrage: 0, id: "a".into(), address: "127.0.1.1:8300".into() }],
        },
        configuration_index: 1,
        size: size as u64,
    }
}

#[test]
fn the_recorded_archive_is_read() {
    let (bytes, decoded) = vector("archive");
    let mut state = Vec::new();
    let verified = read(&bytes[..], &mut state).unwrap();
    assert_eq!(state, vector("state.bin").0);
    let mut expected = decoded["meta"].clone();
    expected.as_object_mut().unwrap().remove("Peers_decoded");
    assert_eq!(serde_json::to_value(&verified.meta).unwrap(), expected);
}

#[test]
fn records_are_counted_by_type() {
    let (state, decoded) = vector("state.bin");
    let records = decoded["records"].as_array().unwrap();
    let summary = summary::summarize(&state[..]).unwrap();
    assert_eq!(summary.iter().map(|t| t.count).sum::<u64>(), records.len() as u64);
    for kind in &summary {
        let expected = records.iter().filter(|r| r["type"] == kind.kind).count();
        assert_eq!(kind.count, expected as u64, "{}", kind.name);
    }
    assert!(summary.windows(2).all(|w| w[0].bytes >= w[1].bytes));
    assert!(summary::summarize(&state[..state.len() - 1]).is_err());
}

#[test]
fn a_minimal_archive_and_a_padded_one_are_read() {
    let (bytes, _) = vector("minimal-accepted");
    let meta = verify(&bytes[..]).unwrap().meta;
    assert_eq!((meta.index, meta.term, meta.size), (50, 2, 190));
    // The reference refuses zeros after the end; there is nothing in them that could hurt.
    assert!(verify(&vector("padded-refused").0[..]).is_ok());
}

#[test]
fn what_is_written_is_read_back_and_ends_with_two_zero_blocks() {
    let state: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let archive = write(Vec::new(), &meta(state.len()), &state[..]).unwrap();
    let mut back = Vec::new();
    let verified = read(&archive[..], &mut back).unwrap();
    assert_eq!(verified.meta, meta(state.len()));
    assert_eq!(back, state);

    let mut tar = Vec::new();
    GzDecoder::new(&archive[..]).read_to_end(&mut tar).unwrap();
    let sums_header = tar.windows(10).rposition(|w| w == b"SHA256SUMS").unwrap();
    assert_eq!(tar.len(), sums_header + 512 + 512 + 1024);
    assert!(tar[tar.len() - 1024..].iter().all(|&b| b == 0));
}

#[test]
fn any_damage_is_noticed() {
    let state = vec![7; 5000];
    let archive = write(Vec::new(), &meta(5000), &state[..]).unwrap();
    for cut in [0, 1, 10, archive.len() / 2, archive.len() - 8, archive.len() - 1] {
        assert!(verify(&archive[..cut]).is_err(), "cut at {cut}");
    }
    for at in 10..archive.len() {
        let mut damaged = archive.clone();
        damaged[at] ^= 0x10;
        // The last bits of the deflate stream are padding: flipping those damages nothing.
        let mut back = Vec::new();
        match read(&damaged[..], &mut back) {
            Ok(verified) => assert!(
                at == archive.len() - 9 && verified.meta == meta(5000) && back == state,
                "flipped byte {at}"
            ),
            Err(_damage_noticed) => {}
        }
    }
    assert!(verify(&b"this is no archive"[..]).is_err());
}

#[test]
fn a_state_of_another_length_is_refused() {
    for actual in [4999, 5001] {
        let state = vec![7; actual];
        assert!(matches!(
            write(io::sink(), &meta(5000), &state[..]),
            Err(WriteError::Size { expected: 5000, .. })
        ));
    }
}

#[test]
fn only_the_three_files_belong_there() {
    let build = |names: &[&str]| {
        let mut tar =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_size(2);
            header.set_cksum();
            tar.append(&header, &b"{}"[..]).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    };
    assert!(matches!(
        verify(&build(&["meta.json", "evil"])[..]),
        Err(ReadError::Unexpected(name)) if name == "evil"
    ));
    assert!(matches!(verify(&build(&["meta.json", "meta.json"])[..]), Err(ReadError::Unexpected(_))));
    assert!(matches!(verify(&build(&["meta.json", "state.bin"])[..]), Err(ReadError::Missing("SHA256SUMS"))));
}
