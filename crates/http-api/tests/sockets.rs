//! The face on real sockets.

mod fake;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use http_api::{Bind, FaceConfig, Server, UnixOptions};
use socket::{LEADER, ask, running};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

#[tokio::test]
async fn keep_alive_and_header_case() {
    let running = running(&[]).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..2 {
        let answer = ask(&mut stream, LEADER).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nX-Consul-Default-Acl-Policy: allow\r\n"), "{answer}");
        assert!(answer.ends_with("\"127.0.1.1:8300\""), "{answer}");
    }
    let answer = ask(&mut stream, "TRACE /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn oversized_bodies_are_refused_before_they_are_read() {
    let running = running(&[]).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = "PUT /v1/kv/big HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    let answer = ask(&mut stream, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn connections_per_client_are_bounded() {
    let running = running(&[]).await;
    *running.bench.agent.config.lock() =
        Arc::new(FaceConfig { max_conns_per_client: 2, ..FaceConfig::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert!(ask(&mut stream, LEADER).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let mut third = TcpStream::connect(running.address).await.unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
}

#[tokio::test]
async fn unix_sockets_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let options = UnixOptions { mode: Some(0o700), ..UnixOptions::default() };
    let bind = Bind::Unix(path.clone(), options);
    let running = running(std::slice::from_ref(&bind)).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut stream, LEADER).await.starts_with("HTTP/1.1 200 "));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    running.stop.cancel();
    running.task.await.unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(&[bind]).await.err().unwrap().to_string();
    assert!(error.contains("http.sock"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn stopping_ends_blocked_requests_in_bounded_time() {
    let running = running(&[]).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = "GET /v1/event/list?index=1&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // A second connection that is answered shows that the first was accepted.
    let mut other = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut other, LEADER).await.starts_with("HTTP/1.1 200 "));
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_client_that_sends_a_little_too_much_reads_why() {
    let running = running(&[]).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let size = 600 * 1024;
    let head = format!("PUT /v1/kv/big HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
    let answer = ask(&mut stream, &(head + &"x".repeat(size))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
