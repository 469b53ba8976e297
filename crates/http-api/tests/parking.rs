//! Connections that are parked while a query blocks, or while nothing is asked.

mod fake;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use http_api::api::types::UserEvent;
use socket::{LEADER, Running, answer, ask, running};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than a client may take for the head of a request.
const LONG: Duration = Duration::from_secs(120);

impl Running {
    /// Waits until so many queries block.
    async fn blocked(&self, queries: usize) {
        let all = async {
            while self.bench.agent.changes.receiver_count() != queries {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all).await.expect("as many queries that block");
    }

    fn fire(&self) {
        let event = UserEvent {
            id: "8d8cf9ab-0b49-4d5f-9f29-6c1b0b2a54c1".to_owned(),
            name: "deploy".to_owned(),
            ..UserEvent::default()
        };
        self.bench.agent.events.lock().push(Arc::new(event));
        self.bench.agent.changes.send_modify(|changes| *changes += 1);
    }

    async fn asks(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

fn events(version: &str, more: &str) -> String {
    format!("GET /v1/event/list?index=1&wait=60s {version}\r\nHost: x\r\n{more}\r\n")
}

#[tokio::test]
async fn a_blocked_query_is_answered_and_the_connection_goes_on() {
    let running = running(&[]).await;
    let mut stream = running.asks(&events("HTTP/1.1", "")).await;
    running.blocked(1).await;
    running.fire();
    let first = answer(&mut stream).await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("\"deploy\""), "{first}");
    for _ in 0..2 {
        assert!(ask(&mut stream, LEADER).await.ends_with("\"127.0.1.1:8300\""));
    }
}

#[tokio::test]
async fn the_reply_keeps_to_the_request_that_waited() {
    let running = running(&[]).await;
    let requests = [
        events("HTTP/1.1", "Connection: close\r\n"),
        events("HTTP/1.0", ""),
        events("HTTP/1.0", "Connection: keep-alive\r\n"),
    ];
    let mut streams = Vec::new();
    for request in &requests {
        streams.push(running.asks(request).await);
    }
    running.blocked(requests.len()).await;
    running.fire();

    let mut kept = streams.pop().unwrap();
    let reply = answer(&mut kept).await;
    assert!(reply.starts_with("HTTP/1.0 200 OK\r\n") && reply.contains("keep-alive"), "{reply}");
    assert!(ask(&mut kept, LEADER).await.starts_with("HTTP/1.1 200 "));
    for (stream, start) in [(0, "HTTP/1.1 200 OK\r\n"), (1, "HTTP/1.0 200 OK\r\n")] {
        // These end by themselves.
        let mut reply = String::new();
        streams[stream].read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with(start) && reply.contains("\"deploy\""), "{reply}");
    }
}

#[tokio::test]
async fn a_query_ends_with_its_client() {
    let running = running(&[]).await;
    let stream = running.asks(&events("HTTP/1.1", "")).await;
    running.blocked(1).await;
    drop(stream);
    running.blocked(0).await;
}

#[tokio::test]
async fn what_is_sent_behind_a_blocked_query_is_answered_behind_it() {
    let running = running(&[]).await;
    // One with it, and one, in two parts, while it waits.
    let mut stream = running.asks(&(events("HTTP/1.1", "") + LEADER)).await;
    running.blocked(1).await;
    let last = LEADER.replace("Host: x", "Host: x\r\nConnection: close");
    let (begin, end) = last.split_at(9);
    for part in [begin, end] {
        stream.write_all(part.as_bytes()).await.unwrap();
        running.blocked(1).await;
    }
    running.fire();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    let at = all.find("\"deploy\"").expect("the query's answer");
    assert_eq!(all[at..].matches("HTTP/1.1 200 OK").count(), 2, "{all}");
}

#[tokio::test]
async fn a_client_may_keep_its_connection_for_later() {
    let running = running(&[]).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut begun = running.asks("GET /v1").await;
    let mut slow = running.asks(LEADER).await;
    answer(&mut slow).await;
    slow.write_all(b"GET /v1").await.unwrap();
    assert!(ask(&mut stream, LEADER).await.starts_with("HTTP/1.1 200 "));

    tokio::time::pause();
    tokio::time::advance(LONG).await;
    // Whoever has begun and does not go on is not waited for.
    for stream in [&mut begun, &mut slow] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    }
    tokio::time::resume();
    for stream in [&mut stream, &mut silent] {
        assert!(ask(stream, LEADER).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn plain_queries_follow_each_other_and_are_answered_as_by_a_codec() {
    let running = running(&[]).await;
    let mut stream = running.asks(&events("HTTP/1.1", "")).await;
    running.blocked(1).await;
    running.fire();
    let first = answer(&mut stream).await;
    // There is news already, so that these are answered at once; an empty body is one that takes a codec to
    // read.
    let plain = ask(&mut stream, &events("HTTP/1.1", "")).await;
    let codec = ask(&mut stream, &events("HTTP/1.1", "Content-Length: 0\r\n")).await;
    let undated = |reply: &str| {
        let lines = reply.split("\r\n").filter(|line| !line.starts_with("Date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(undated(&first), undated(&codec));
    assert_eq!(undated(&plain), undated(&codec));
    assert_eq!(plain.split("\r\n").count(), undated(&plain).len() + 1, "{plain}");

    let last = LEADER.replace("Host: x", "Host: x\r\nConnection: close");
    let three = events("HTTP/1.1", "") + &events("HTTP/1.1", "") + &last;
    stream.write_all(three.as_bytes()).await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 3, "{all}");
    assert_eq!(all.matches("\"deploy\"").count(), 2, "{all}");
}

#[tokio::test]
async fn a_plain_query_that_waits_at_the_stop_is_answered_and_its_connection_ends() {
    let running = running(&[]).await;
    let mut stream = running.asks(&events("HTTP/1.1", "")).await;
    running.blocked(1).await;
    running.stop.cancel();
    running.fire();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("\"deploy\""), "{reply}");
}
