//! Sessions against each other and against misbehaving peers.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use rpc::yamux::{
    ACK, Config, FIN, HEADER_LEN, Header, INITIAL_WINDOW, Kind, RST, SYN, Session, SessionError,
};
use support::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn header(kind: Kind, flags: u16, stream: u32, length: u32) -> [u8; HEADER_LEN] {
    Header { kind, flags, stream, length }.encode()
}

async fn read_header(io: &mut DuplexStream) -> Header {
    let mut bytes = [0; HEADER_LEN];
    io.read_exact(&mut bytes).await.unwrap();
    Header::decode(&bytes).unwrap()
}

/// Our session with a peer played by hand.
fn by_hand(client: bool, config: Config) -> (Session, DuplexStream, tokio::task::JoinHandle<SessionError>) {
    let (near, far) = duplex(8 << 20);
    let (session, driver) = Session::new(near, client, config);
    (session, far, tokio::spawn(driver))
}

fn pair() -> (Session, Session) {
    let (a, b) = duplex(64 * 1024);
    (Session::client(a), Session::server(b))
}

#[tokio::test]
async fn bytes_both_ways_and_half_close() {
    let (client, server) = pair();
    let echo = tokio::spawn(async move {
        let mut stream = server.accept().await.unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).await.unwrap();
        stream.write_all(&data).await.unwrap();
        stream.shutdown().await.unwrap();
        // Keeps the session until the other side is done.
        server.accept().await.unwrap_err()
    });
    let mut stream = client.open().await.unwrap();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7) as u8).collect();
    stream.write_all(&data).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert!(back == data);
    drop((stream, client));
    assert_eq!(echo.await.unwrap(), SessionError::Eof);
}

#[tokio::test]
async fn a_stream_is_announced_with_its_first_data_only() {
    let (session, mut far, _driver) = by_hand(true, Config::default());
    drop(session.open().await.unwrap());
    let mut stream = session.open().await.unwrap();
    stream.write_all(b"hi").await.unwrap();
    assert_eq!(
        read_header(&mut far).await,
        Header { kind: Kind::WindowUpdate, flags: SYN, stream: 3, length: 0 }
    );
    assert_eq!(read_header(&mut far).await, Header { kind: Kind::Data, flags: 0, stream: 3, length: 2 });
    assert_eq!(far.read_u16().await.unwrap(), u16::from_be_bytes(*b"hi"));
    drop(stream);
    assert_eq!(
        read_header(&mut far).await,
        Header { kind: Kind::WindowUpdate, flags: FIN, stream: 3, length: 0 }
    );
    // An answer that comes now is refused, so that its sender does not wait for credit.
    far.write_all(&header(Kind::Data, ACK, 3, 4)).await.unwrap();
    far.write_all(b"late").await.unwrap();
    assert_eq!(
        read_header(&mut far).await,
        Header { kind: Kind::WindowUpdate, flags: RST, stream: 3, length: 0 }
    );
}

#[tokio::test]
async fn streams_are_acknowledged_when_accepted_and_the_backlog_is_bounded() {
    let (session, mut far, _driver) = by_hand(false, Config::default());
    for i in 0..257u32 {
        far.write_all(&header(Kind::WindowUpdate, SYN, 2 * i + 1, 0)).await.unwrap();
    }
    assert_eq!(
        read_header(&mut far).await,
        Header { kind: Kind::WindowUpdate, flags: RST, stream: 513, length: 0 }
    );
    let mut streams = Vec::new();
    for i in 0..256u32 {
        streams.push(session.accept().await.unwrap());
        assert_eq!(
            read_header(&mut far).await,
            Header { kind: Kind::WindowUpdate, flags: ACK, stream: 2 * i + 1, length: 0 }
        );
    }
    assert_eq!(streams[0].id(), 1);
    assert_eq!(session.stream_count(), 256);
}

#[tokio::test]
async fn opening_waits_while_too_many_are_unacknowledged() {
    let (session, mut far, _driver) = by_hand(true, Config::default());
    let mut streams = Vec::new();
    for _ in 0..256 {
        let mut stream = session.open().await.unwrap();
        stream.write_all(b"x").await.unwrap();
        streams.push(stream);
    }
    let mut next = tokio_test_task(session.clone());
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut next).await.is_err());
    far.write_all(&header(Kind::WindowUpdate, ACK, 1, 0)).await.unwrap();
    assert_eq!(next.await.unwrap(), 513);
}

/// Opens a stream in a task and tells its id.
fn tokio_test_task(session: Session) -> tokio::task::JoinHandle<u32> {
    tokio::spawn(async move { session.open().await.unwrap().id() })
}

#[tokio::test]
async fn credit_comes_back_in_large_pieces() {
    let (session, mut far, _driver) = by_hand(false, Config::default());
    far.write_all(&header(Kind::Data, SYN, 1, INITIAL_WINDOW)).await.unwrap();
    far.write_all(&vec![7; INITIAL_WINDOW as usize]).await.unwrap();
    let mut stream = session.accept().await.unwrap();
    assert_eq!(read_header(&mut far).await.flags, ACK);
    let mut data = vec![0; INITIAL_WINDOW as usize];
    stream.read_exact(&mut data).await.unwrap();
    let mut credit = 0;
    while credit < INITIAL_WINDOW / 2 {
        let update = read_header(&mut far).await;
        assert_eq!((update.kind, update.flags, update.stream), (Kind::WindowUpdate, 0, 1));
        assert!(update.length >= INITIAL_WINDOW / 2);
        credit += update.length;
    }
}

#[tokio::test]
async fn protocol_violations_end_the_session() {
    let mut too_much = header(Kind::Data, SYN, 1, INITIAL_WINDOW + 1).to_vec();
    too_much.extend([0; 10]);
    let twice = [header(Kind::WindowUpdate, SYN, 1, 0), header(Kind::WindowUpdate, SYN, 1, 0)].concat();
    let cases: [Vec<u8>; 5] = [
        too_much,
        twice,
        header(Kind::Data, SYN, 0, 0).to_vec(),
        vec![1; HEADER_LEN],
        [0, 9].into_iter().chain([0; 10]).collect(),
    ];
    for bytes in cases {
        let (session, mut far, driver) = by_hand(false, Config::default());
        far.write_all(&bytes).await.unwrap();
        assert!(matches!(driver.await.unwrap(), SessionError::Protocol(_)));
        assert!(session.unusable().is_some());
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest[rest.len() - HEADER_LEN..], header(Kind::GoAway, 0, 0, 1));
    }
}

#[tokio::test]
async fn go_away_of_the_peer_stops_new_streams_only() {
    let (session, mut far, _driver) = by_hand(true, Config::default());
    let mut stream = session.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    far.write_all(&header(Kind::GoAway, 0, 0, 0)).await.unwrap();
    until("go away seen", || session.unusable().is_some()).await;
    assert_eq!(session.open().await.unwrap_err(), SessionError::RemoteGoAway);
    far.write_all(&header(Kind::Data, ACK, 1, 1)).await.unwrap();
    far.write_all(b"y").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn reset_reaches_reader_and_writer() {
    let (session, mut far, _driver) = by_hand(true, Config::default());
    let mut stream = session.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    far.write_all(&header(Kind::WindowUpdate, RST, 1, 0)).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(stream.write_u8(1).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn pings_every_half_minute_and_an_unanswered_one_ends_it() {
    let (session, mut far, driver) = by_hand(true, Config::default());
    let began = tokio::time::Instant::now();
    for i in 0..3 {
        assert_eq!(
            read_header(&mut far).await,
            Header { kind: Kind::Ping, flags: SYN, stream: 0, length: i }
        );
        assert_eq!(began.elapsed().as_secs(), 30 * u64::from(i + 1));
        if i < 2 {
            far.write_all(&header(Kind::Ping, ACK, 0, i)).await.unwrap();
        }
    }
    assert_eq!(driver.await.unwrap(), SessionError::Keepalive);
    assert_eq!(began.elapsed().as_secs(), 100);
    assert_eq!(session.open().await.unwrap_err(), SessionError::Keepalive);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_ends_it() {
    let (near, _far) = duplex(16);
    let (session, driver) = Session::new(near, true, Config::default());
    let driver = tokio::spawn(driver);
    let mut stream = session.open().await.unwrap();
    stream.write_all(&[0; 1000]).await.unwrap();
    assert_eq!(driver.await.unwrap(), SessionError::WriteTimeout);
    assert!(stream.read_u8().await.is_err());
}

/// A peer that asks for answers and never reads them is not read from any more.
#[tokio::test(start_paused = true)]
async fn answers_to_a_flood_are_bounded() {
    let (near, mut far) = duplex(1024);
    let (_session, driver) = Session::new(near, false, Config::default());
    let driver = tokio::spawn(driver);
    let flood = header(Kind::Ping, SYN, 0, 1).repeat(1000);
    let mut sent = 0usize;
    while tokio::time::timeout(Duration::from_secs(60), far.write_all(&flood)).await.is_ok_and(|r| r.is_ok())
    {
        sent += flood.len();
        assert!(sent < 16 << 20, "still reading");
    }
    assert_eq!(driver.await.unwrap(), SessionError::WriteTimeout);
}

#[tokio::test]
async fn many_streams_at_once_with_little_connection() {
    let (client, server) = pair();
    tokio::spawn(async move {
        while let Ok(mut stream) = server.accept().await {
            tokio::spawn(async move {
                let mut data = Vec::new();
                stream.read_to_end(&mut data).await.unwrap();
                stream.write_all(&data).await.unwrap();
                stream.shutdown().await.unwrap();
                // Gone only when the other side has it all.
                let _ = stream.read_u8().await;
            });
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..300usize {
        let client = client.clone();
        tasks.spawn(async move {
            let mut stream = client.open().await.unwrap();
            let data = vec![i as u8; 1000 * (i % 40) + 1];
            stream.write_all(&data).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert!(back == data);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(client.stream_count(), 0);
}

#[tokio::test]
async fn dropping_all_handles_closes_the_connection() {
    let (session, mut far, driver) = by_hand(true, Config::default());
    let mut stream = session.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    drop(session);
    assert!(!driver.is_finished());
    drop(stream);
    assert_eq!(driver.await.unwrap(), SessionError::Closed);
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[all.len() - HEADER_LEN..], header(Kind::GoAway, 0, 0, 0));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(Kind::Data), Just(Kind::WindowUpdate), Just(Kind::Ping), Just(Kind::GoAway)];
    (kind, 0u16..16, 0u32..6, prop_oneof![0u32..40, any::<u32>()]).prop_map(
        |(kind, flags, stream, length)| {
            let mut bytes = header(kind, flags, stream, length).to_vec();
            if kind == Kind::Data {
                bytes.extend(vec![9; length.min(50) as usize]);
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes, the session answers or ends; it never panics and never hangs.
    #[test]
    fn any_input_is_digested(frames in prop::collection::vec(any_frame(), 0..40), noise in prop::collection::vec(any::<u8>(), 0..40), client in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (session, mut far, driver) = by_hand(client, Config::default());
            let acceptor = session.clone();
            let serving = tokio::spawn(async move {
                while let Ok(mut stream) = acceptor.accept().await {
                    tokio::spawn(async move {
                        let mut data = Vec::new();
                        let _ = stream.read_to_end(&mut data).await;
                        let _ = stream.write_all(&data).await;
                    });
                }
            });
            if client && let Ok(mut stream) = session.open().await {
                let _ = stream.write_all(b"hello").await;
            }
            // The session may be over before all is written.
            let _ = far.write_all(&frames.concat()).await;
            let _ = far.write_all(&noise).await;
            let _ = far.shutdown().await;
            drop(session);
            let end = tokio::time::timeout(Duration::from_secs(5), async {
                driver.await.unwrap();
                serving.await.unwrap();
            });
            end.await.unwrap();
        });
    }
}
