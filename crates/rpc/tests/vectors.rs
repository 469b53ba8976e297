//! Recorded traffic of the reference: frames, headers, errors.

mod support;

use rpc::yamux::{self, HEADER_LEN, Header, Kind, Session};
use rpc::{ListenerConfig, MessageReader, RequestHeader, ResponseHeader, write_request, write_response};
use support::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use vectors::{Vector, rpc as recorded, same, unhex};

fn frames(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(head).unwrap();
        assert_eq!(header.encode(), *head);
        let n = if header.kind == Kind::Data { header.length as usize } else { 0 };
        // The last recorded frame may be cut short.
        let n = n.min(rest.len());
        out.push((header, rest[..n].to_vec()));
        bytes = &rest[n..];
    }
    out
}

fn without_first_byte(vector: &Vector) -> Vec<u8> {
    let bytes = vector.bytes();
    if vector.layer == "yamux.c2s" {
        assert_eq!(bytes[0], rpc::first_byte::MULTIPLEX);
        bytes[1..].to_vec()
    } else {
        bytes
    }
}

#[test]
fn frames_decode_to_their_meaning_and_encode_back() {
    let vectors = recorded("streams");
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let frames = frames(&without_first_byte(&vector));
        let expected = vector.decoded["frames"].as_array().unwrap();
        assert_eq!(frames.len(), expected.len(), "{}", vector.name);
        for ((header, payload), expected) in frames.iter().zip(expected) {
            let kind = match header.kind {
                Kind::Data => "data",
                Kind::WindowUpdate => "window_update",
                Kind::Ping => "ping",
                Kind::GoAway => "go_away",
            };
            assert_eq!(kind, expected["type"]);
            assert_eq!(header.stream, expected["stream"]);
            assert_eq!(header.length, expected["length"]);
            let names = [("SYN", yamux::SYN), ("ACK", yamux::ACK), ("FIN", yamux::FIN), ("RST", yamux::RST)];
            let flags: Vec<&str> =
                names.iter().filter(|(_, flag)| header.flags & flag != 0).map(|(name, _)| *name).collect();
            assert_eq!(serde_json::json!(flags), expected["flags"]);
            if let Some(hex) = expected["payload_hex"].as_str() {
                assert_eq!(*payload, unhex(hex));
            }
        }
    }
}

/// What a caller wrote, given to our server: every stream arrives and is acknowledged, pings
/// are echoed.
#[tokio::test]
async fn recorded_callers_are_served() {
    for vector in recorded("streams").iter().filter(|v| v.layer == "yamux.c2s") {
        let bytes = without_first_byte(vector);
        let recorded = frames(&bytes);
        let (near, far) = duplex(1 << 20);
        let session = Session::server(near);
        let (mut reader, mut writer) = tokio::io::split(far);
        writer.write_all(&bytes).await.unwrap();
        let opened =
            recorded.iter().filter(|(h, _)| h.kind == Kind::WindowUpdate && h.flags & yamux::SYN != 0);
        let mut streams = Vec::new();
        for _ in opened {
            streams.push(session.accept().await.unwrap());
        }
        writer.shutdown().await.unwrap();

        let mut received = std::collections::BTreeMap::new();
        for mut stream in streams {
            let mut data = Vec::new();
            // Ends with an error where the recording stops before the stream's end.
            let _ = stream.read_to_end(&mut data).await;
            received.insert(stream.id(), data);
        }
        let mut expected = std::collections::BTreeMap::<u32, Vec<u8>>::new();
        for (header, payload) in &recorded {
            if matches!(header.kind, Kind::Data | Kind::WindowUpdate) {
                expected.entry(header.stream).or_default().extend(payload);
            }
        }
        assert_eq!(received, expected, "{}", vector.name);

        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        let answer = frames(&answer);
        for (header, _) in recorded.iter().filter(|(h, _)| h.flags & yamux::SYN != 0) {
            let answered = answer.iter().any(|(a, _)| {
                a.kind == header.kind
                    && a.stream == header.stream
                    && a.flags == yamux::ACK
                    && a.length == header.length
            });
            assert!(answered, "{}: {header:?}", vector.name);
        }
    }
}

/// Our caller writes the very bytes of the recorded one.
#[tokio::test]
async fn our_caller_writes_what_the_recorded_one_wrote() {
    let vectors = recorded("streams");
    let vector = vectors.iter().find(|v| v.name == "yamux-connection-1.c2s").unwrap();
    let bytes = without_first_byte(vector);
    let payload = frames(&bytes)[1].1.clone();
    let (near, mut far) = duplex(1 << 16);
    let session = Session::client(near);
    let mut stream = session.open().await.unwrap();
    let message = MessageReader::new(&payload[..], 1 << 20).next().await.unwrap().unwrap();
    write_request(&mut stream, &message.request_header().unwrap(), message.body()).await.unwrap();
    let mut written = vec![0; 2 * HEADER_LEN + payload.len()];
    far.read_exact(&mut written).await.unwrap();
    assert_eq!(written, bytes[..written.len()]);
}

#[tokio::test]
async fn headers_and_bodies_of_every_call() {
    let mut seen = 0;
    for file in ["errors", "status", "protocol_errors", "forwarding"] {
        for vector in recorded(file) {
            let bytes = vector.bytes();
            let mut reader = MessageReader::new(&bytes[..], 1 << 20);
            let message = reader.next().await.unwrap().unwrap();
            assert!(reader.next().await.unwrap().is_none(), "{}: bytes left", vector.name);
            let expected = &vector.decoded["header"];
            let mut again = Vec::new();
            match vector.layer.as_str() {
                "rpc.request" => {
                    let header = message.request_header().unwrap();
                    assert_eq!(header.seq, expected["Seq"]);
                    assert_eq!(header.method, expected["ServiceMethod"]);
                    let header = RequestHeader { seq: header.seq, method: header.method };
                    write_request(&mut again, &header, message.body()).await.unwrap();
                }
                "rpc.response" => {
                    let header = message.response_header().unwrap();
                    assert_eq!(header.seq, expected["Seq"]);
                    assert_eq!(header.method, expected["ServiceMethod"]);
                    assert_eq!(header.error, expected["Error"]);
                    let header =
                        ResponseHeader { error: header.error, seq: header.seq, method: header.method };
                    write_response(&mut again, &header, message.body()).await.unwrap();
                }
                other => panic!("layer {other}"),
            }
            assert_eq!(again, bytes, "{}", vector.name);
            let body: msgpack::Value = msgpack::from_slice(message.body()).unwrap();
            assert!(same(&body, &vector.decoded["body"]), "{}: {body:?}", vector.name);
            seen += 1;
        }
    }
    assert!(seen >= 54);
}

/// The recorded requests that break the protocol, sent to our port in the plain form: the same
/// texts where clients could match on them, and the connection closed or not as recorded.
#[tokio::test]
async fn protocol_errors_are_answered_as_recorded() {
    let (listener, _) = server("127.23.1.1:0", ListenerConfig::default()).await;
    let vectors = recorded("protocol_errors");
    let mut checked = 0;
    for pair in vectors.chunks(2) {
        let [request, response] = pair else { panic!("not a pair") };
        let method = request.decoded["header"]["ServiceMethod"].as_str().unwrap();
        if method.starts_with("KVS.") {
            // Needs the method itself.
            continue;
        }
        let mut tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
        tcp.write_all(&[rpc::first_byte::SINGLE]).await.unwrap();
        tcp.write_all(&request.bytes()).await.unwrap();
        let mut reader = MessageReader::new(&mut tcp, 1 << 20);
        let answer = reader.next().await.unwrap().unwrap();
        let header = answer.response_header().unwrap();
        let expected = response.decoded["header"]["Error"].as_str().unwrap();
        assert_eq!(header.seq, 7);
        if expected.starts_with("codec.decoder: ") {
            assert!(header.error.starts_with("codec.decoder: "), "{}", header.error);
        } else {
            assert_eq!(header.error, expected, "{}", request.name);
        }
        if expected.is_empty() {
            tcp.write_all(&request.bytes()).await.unwrap();
            let mut reader = MessageReader::new(&mut tcp, 1 << 20);
            assert!(reader.next().await.unwrap().is_some());
        } else {
            assert_eq!(answer.body()[..], [0x80]);
            assert_eq!(tcp.read(&mut [0; 8]).await.unwrap(), 0, "{}: still open", request.name);
        }
        checked += 1;
    }
    assert_eq!(checked, 5);
}

/// The snapshot protocol's headers are single values at the start of a connection.
#[test]
fn snapshot_headers_are_found_by_their_length() {
    for vector in recorded("snapshot_rpc") {
        let mut bytes = vector.bytes();
        if vector.layer == "snapshot.request" {
            assert_eq!(bytes.remove(0), rpc::first_byte::SNAPSHOT);
        }
        let (header, len) = msgpack::from_slice_prefix::<msgpack::Value>(&bytes).unwrap();
        assert_eq!(msgpack::skip_value(&bytes).unwrap(), Some(len));
        assert!(same(&header, &vector.decoded["header"]), "{}", vector.name);
    }
}
