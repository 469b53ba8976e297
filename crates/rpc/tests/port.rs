//! Listener and pool over loopback TCP: load, misbehaving peers, shutdown.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use model::error::{ErrorKind, RpcError};
use rpc::yamux::{Config, Session};
use rpc::{BoxIo, CallError, ConnHandler, ConnPool, ListenerConfig, PoolConfig, ServerAddr, first_byte};
use support::{pool, server, target, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NIL: &[u8] = &[0xc0];

fn in_seconds(n: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(n))
}

#[tokio::test]
async fn calls_reuse_one_connection_and_one_stream() {
    let (listener, _) = server("127.23.0.1:0", ListenerConfig::default()).await;
    let pool = pool();
    for i in 0..100u32 {
        let args = msgpack::to_vec(&i).unwrap();
        let reply = pool.call_raw(&target(&listener), "Test.Echo", &args, None).await.unwrap();
        assert_eq!(reply, args);
    }
    assert_eq!(pool.connections(), 1);
    pool.call::<model::methods::StatusPing>(&target(&listener), &model::scalar::Empty {}, in_seconds(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn errors_keep_text_and_connection() {
    let (listener, _) = server("127.23.0.2:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    let args = msgpack::to_vec("No cluster leader").unwrap();
    let error = pool.call_raw(&to, "Test.Fail", &args, None).await.unwrap_err();
    assert_eq!(error, CallError::Remote("No cluster leader".into()));
    let error = RpcError::from(error);
    assert_eq!(error.text(), "rpc error making call: No cluster leader");
    assert_eq!(error.kind(), ErrorKind::NoLeader);
    let error = pool.call_raw(&to, "Nope.Nope", NIL, None).await.unwrap_err();
    assert_eq!(error, CallError::Remote("rpc: can't find service Nope.Nope".into()));
    // A handler that panics costs its stream, nothing else.
    let error = pool.call_raw(&to, "Test.Panic", NIL, None).await.unwrap_err();
    assert!(matches!(&error, CallError::Broken(text) if text.ends_with(": EOF")), "{error}");
    assert_eq!(RpcError::from(error).kind(), ErrorKind::Transport);
    assert_eq!(pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap(), NIL);
    assert_eq!(pool.connections(), 1);
}

#[tokio::test]
async fn a_thousand_blocking_calls_share_one_connection() {
    let (listener, handler) = server("127.23.0.3:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    let mut calls = JoinSet::new();
    for i in 0..1000u32 {
        let (pool, to) = (pool.clone(), to.clone());
        calls.spawn(async move {
            let args = msgpack::to_vec(&i).unwrap();
            let reply = pool.call_raw(&to, "Test.Wait", &args, None).await.unwrap();
            assert_eq!(reply, args);
        });
    }
    until("all calls arrived", || handler.waiting.load(Ordering::SeqCst) == 1000).await;
    assert_eq!(pool.connections(), 1);
    // Others pass by.
    assert_eq!(pool.call_raw(&to, "Test.Echo", NIL, in_seconds(5)).await.unwrap(), NIL);
    handler.gate.add_permits(1000);
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

/// 700 streams opened by a peer that, like the reference, stops at 256 unacknowledged ones.
#[tokio::test]
async fn unanswered_streams_do_not_stall_the_connection() {
    let (listener, handler) = server("127.23.0.4:0", ListenerConfig::default()).await;
    let mut tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    tcp.write_all(&[first_byte::MULTIPLEX]).await.unwrap();
    let session = Session::client(tcp);
    let mut open = Vec::new();
    for seq in 0..700 {
        let mut stream = session.open().await.unwrap();
        let header = rpc::RequestHeader { seq, method: "Test.Wait" };
        rpc::write_request(&mut stream, &header, NIL).await.unwrap();
        open.push(stream);
    }
    until("all arrived", || handler.waiting.load(Ordering::SeqCst) == 700).await;
}

#[tokio::test]
async fn big_bodies_both_ways() {
    let (listener, _) = server("127.23.0.5:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    let args = msgpack::to_vec(&"x".repeat(5_000_000)).unwrap();
    assert!(pool.call_raw(&to, "Test.Echo", &args, None).await.unwrap() == args);
    let n = 20_000_000usize;
    let reply = pool.call_raw(&to, "Test.Zeros", &msgpack::to_vec(&n).unwrap(), None).await.unwrap();
    assert_eq!(msgpack::from_slice::<&str>(&reply).unwrap().len(), n);
}

#[tokio::test]
async fn requests_and_replies_have_limits() {
    let config = ListenerConfig { max_request: 10_000, ..ListenerConfig::default() };
    let (listener, _) = server("127.23.0.6:0", config).await;
    let pool = ConnPool::plain(None, PoolConfig { max_reply: 10_000, ..PoolConfig::default() });
    let to = target(&listener);
    let args = msgpack::to_vec(&"x".repeat(20_000)).unwrap();
    assert!(matches!(pool.call_raw(&to, "Test.Echo", &args, None).await, Err(CallError::Broken(_))));
    let n = msgpack::to_vec(&20_000usize).unwrap();
    assert!(matches!(pool.call_raw(&to, "Test.Zeros", &n, None).await, Err(CallError::Broken(_))));
    assert_eq!(pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap(), NIL);
}

#[tokio::test]
async fn a_dropped_call_tells_the_server() {
    let (listener, handler) = server("127.23.0.7:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    let deadline = Some(Instant::now() + Duration::from_millis(50));
    let error = pool.call_raw(&to, "Test.Wait", NIL, deadline).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline(_)));
    assert_eq!(RpcError::from(error).kind(), ErrorKind::Deadline);
    until("the server dropped the call", || handler.left.load(Ordering::SeqCst) == 1).await;
    assert_eq!(listener.active_calls(), 0);
    assert_eq!(pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap(), NIL);
    assert_eq!(pool.connections(), 1);
}

#[tokio::test]
async fn calls_in_flight_per_server_are_bounded() {
    let (listener, handler) = server("127.23.0.8:0", ListenerConfig::default()).await;
    let pool = ConnPool::plain(None, PoolConfig { max_in_flight: 2, ..PoolConfig::default() });
    let to = target(&listener);
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let (pool, to) = (pool.clone(), to.clone());
        calls.spawn(async move { pool.call_raw(&to, "Test.Wait", NIL, None).await.unwrap() });
    }
    until("both wait", || handler.waiting.load(Ordering::SeqCst) == 2).await;
    let error = pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap_err();
    assert!(matches!(error, CallError::Busy(_)) && !error.may_have_run());
    handler.gate.add_permits(2);
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert!(pool.call_raw(&to, "Test.Echo", NIL, None).await.is_ok());
}

#[tokio::test]
async fn a_restarted_server_is_dialled_again() {
    let (listener, _) = server("127.23.0.9:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap();
    listener.shutdown(Duration::ZERO).await;
    // The pool may not have noticed yet.
    let error = loop {
        match pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap_err() {
            CallError::Broken(_) => tokio::task::yield_now().await,
            error => break error,
        }
    };
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "rpc error getting client: failed to get conn: dial tcp {}: connect: connection refused",
            to.addr
        )
    );
    assert!(!error.may_have_run());
    let (_again, _) = server(&to.addr.to_string(), ListenerConfig::default()).await;
    pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap();
}

/// A peer that accepts and then says nothing: calls end by their deadline, the connection by its
/// keepalive.
#[tokio::test]
async fn half_open_connections_end() {
    let silent = TcpListener::bind("127.23.0.10:0").await.unwrap();
    let to = ServerAddr::new("s1", silent.local_addr().unwrap(), "dc1");
    let yamux = Config {
        keepalive: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let pool = ConnPool::plain(None, PoolConfig { yamux, ..PoolConfig::default() });
    let began = Instant::now();
    let deadline = Some(began + Duration::from_millis(20));
    let error = pool.call_raw(&to, "Test.Echo", NIL, deadline).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline(_)));
    let error = pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap_err();
    assert!(error.to_string().contains("keepalive timeout"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn one_dial_serves_all_who_wait_and_survives_those_who_give_up() {
    let (listener, _) = server("127.23.0.11:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    // Gives up at once, in the middle of the dial.
    assert!(pool.call_raw(&to, "Test.Echo", NIL, None).now_or_never().is_none());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (pool, to) = (pool.clone(), to.clone());
        calls.spawn(async move { pool.call_raw(&to, "Test.Echo", NIL, None).await.unwrap() });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(pool.connections(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (listener, _) = server("127.23.0.12:0", ListenerConfig::default()).await;
    let config = PoolConfig { idle_timeout: Duration::from_millis(100), ..PoolConfig::default() };
    let pool = ConnPool::plain(None, config);
    pool.call_raw(&target(&listener), "Test.Echo", NIL, None).await.unwrap();
    until("closed", || pool.connections() == 0).await;
}

#[tokio::test]
async fn source_address_is_bound() {
    struct Peers(tokio::sync::mpsc::UnboundedSender<SocketAddr>);
    impl ConnHandler for Peers {
        fn serve(&self, _io: BoxIo, peer: SocketAddr, _stop: CancellationToken) -> BoxFuture<'static, ()> {
            self.0.send(peer).unwrap();
            async {}.boxed()
        }
    }
    let (listener, _) = server("127.23.0.13:0", ListenerConfig::default()).await;
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    listener.register(first_byte::SNAPSHOT, Arc::new(Peers(tx)));
    let pool = ConnPool::plain(Some("127.23.9.9".parse().unwrap()), PoolConfig::default());
    let _io = pool.dial(&target(&listener), first_byte::SNAPSHOT).await.unwrap();
    assert_eq!(rx.recv().await.unwrap().ip().to_string(), "127.23.9.9");
}

#[tokio::test]
async fn other_protocols_share_the_port() {
    struct Shout;
    impl ConnHandler for Shout {
        fn serve(
            &self,
            mut io: BoxIo,
            _peer: SocketAddr,
            _stop: CancellationToken,
        ) -> BoxFuture<'static, ()> {
            async move {
                let mut text = String::new();
                io.read_to_string(&mut text).await.unwrap();
                io.write_all(text.to_uppercase().as_bytes()).await.unwrap();
            }
            .boxed()
        }
    }
    let (listener, _) = server("127.23.0.14:0", ListenerConfig::default()).await;
    listener.register(first_byte::RAFT, Arc::new(Shout));
    let mut io = pool().dial(&target(&listener), first_byte::RAFT).await.unwrap();
    io.write_all(b"vote").await.unwrap();
    io.shutdown().await.unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "VOTE");
}

#[tokio::test]
async fn garbage_and_unserved_bytes_close_the_connection() {
    let (listener, _) = server("127.23.0.15:0", ListenerConfig::default()).await;
    for byte in [2u8, 3, 6, 7, 8, 9, 0x16, b'G', 0xff] {
        let mut tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
        tcp.write_all(&[byte]).await.unwrap();
        assert_eq!(tcp.read(&mut [0; 8]).await.unwrap(), 0, "byte {byte}");
    }
    // Garbage inside both forms of calls.
    let mut seed = 7u64;
    for byte in [first_byte::SINGLE, first_byte::MULTIPLEX] {
        for _ in 0..50 {
            let mut tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
            let mut bytes = vec![byte];
            bytes.extend((0..200).map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            }));
            tcp.write_all(&bytes).await.unwrap();
            tcp.shutdown().await.unwrap();
            // Ends, in whatever way.
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut rest)).await.unwrap();
        }
    }
    assert_eq!(pool().call_raw(&target(&listener), "Test.Echo", NIL, in_seconds(5)).await.unwrap(), NIL);
}

#[tokio::test]
async fn slow_loris_and_the_limit_per_client() {
    let config = ListenerConfig {
        max_conns_per_client: 5,
        handshake_timeout: Duration::from_millis(300),
        ..ListenerConfig::default()
    };
    let (listener, _) = server("127.23.0.16:0", config).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(listener.local_addr()).await.unwrap());
    }
    // One too many: closed at once, without a word.
    let mut extra = TcpStream::connect(listener.local_addr()).await.unwrap();
    let began = Instant::now();
    assert_eq!(extra.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(began.elapsed() < Duration::from_millis(250));
    // Others are served meanwhile.
    let elsewhere = ConnPool::plain(Some("127.23.8.8".parse().unwrap()), PoolConfig::default());
    elsewhere.call_raw(&target(&listener), "Test.Echo", NIL, in_seconds(5)).await.unwrap();
    for mut tcp in silent {
        assert_eq!(tcp.read(&mut [0; 1]).await.unwrap(), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    // Their places are free again.
    pool().call_raw(&target(&listener), "Test.Echo", NIL, in_seconds(5)).await.unwrap();
}

#[tokio::test]
async fn shutdown_lets_calls_finish_and_bounds_the_wait() {
    let (listener, handler) = server("127.23.0.17:0", ListenerConfig::default()).await;
    let pool = pool();
    let to = target(&listener);
    let call = {
        let (pool, to) = (pool.clone(), to.clone());
        tokio::spawn(async move { pool.call_raw(&to, "Test.Wait", NIL, None).await })
    };
    until("waits", || handler.waiting.load(Ordering::SeqCst) == 1).await;
    let closing = {
        let listener = listener.clone();
        tokio::spawn(async move { listener.shutdown(Duration::from_secs(10)).await })
    };
    until("no new connections", || std::net::TcpStream::connect(to.addr).is_err()).await;
    handler.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), NIL);
    closing.await.unwrap();

    let (listener, handler) = server("127.23.0.17:0", ListenerConfig::default()).await;
    let to = target(&listener);
    let call = {
        let (pool, to) = (pool.clone(), to.clone());
        tokio::spawn(async move { pool.call_raw(&to, "Test.Wait", NIL, None).await })
    };
    until("waits", || handler.waiting.load(Ordering::SeqCst) == 1).await;
    let began = Instant::now();
    listener.shutdown(Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(matches!(call.await.unwrap(), Err(CallError::Broken(_))));
    pool.shutdown().await;
    assert_eq!(pool.call_raw(&to, "Test.Echo", NIL, None).await, Err(CallError::Shutdown));
}

/// Behind a blocking call on the plain form, and after the caller closed its side.
#[tokio::test]
async fn the_plain_form_answers_in_order() {
    let (listener, handler) = server("127.23.0.18:0", ListenerConfig::default()).await;
    let mut tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    tcp.write_all(&[first_byte::SINGLE]).await.unwrap();
    for (seq, method) in [(1, "Test.Wait"), (2, "Status.Ping")] {
        rpc::write_request(&mut tcp, &rpc::RequestHeader { seq, method }, NIL).await.unwrap();
    }
    tcp.shutdown().await.unwrap();
    until("waits", || handler.waiting.load(Ordering::SeqCst) == 1).await;
    handler.gate.add_permits(1);
    let mut reader = rpc::MessageReader::new(tcp, 1000);
    for seq in [1, 2] {
        let answer = reader.next().await.unwrap().unwrap();
        assert_eq!(answer.response_header().unwrap().seq, seq);
    }
    assert!(reader.next().await.unwrap().is_none());
}
