//! A face on real sockets.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_api::{Bind, Server};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::fake::{self, FakeRoad, bench};

/// Sends a request and reads its answer whole.
pub async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

/// Reads an answer whole.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let len = stream.read(&mut chunk).await.unwrap();
        all.extend_from_slice(&chunk[..len]);
        let text = String::from_utf8_lossy(&all);
        let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            head.lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .is_none_or(|len| body.len() >= len.parse().unwrap())
        });
        if len == 0 || complete {
            return text.into_owned();
        }
    }
}

pub const LEADER: &str = "GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n";

/// A face that serves.
pub struct Running {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
    pub bench: fake::Bench,
}

pub async fn running(more: &[Bind]) -> Running {
    let bench = bench(FakeRoad::default().on("Status.Leader", "127.0.1.1:8300".to_owned()));
    let mut binds = vec![Bind::Tcp("127.27.0.1:0".parse().unwrap())];
    binds.extend_from_slice(more);
    let server = Server::bind(&binds).await.unwrap();
    let address = server.addresses()[0];
    let stop = CancellationToken::new();
    let task =
        tokio::spawn(server.serve(Arc::clone(&bench.face), None, stop.clone(), Duration::from_millis(200)));
    Running { address, stop, task, bench }
}
