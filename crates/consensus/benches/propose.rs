//! Closed-loop writers against one or three servers with their logs on a real disk.
//!
//! `BENCH_DIR` (default /var/tmp), `BENCH_CLIENTS` (64), `BENCH_SECONDS` (5),
//! `BENCH_SERVERS` (1; more talk over TCP on 127.24.0.x), `BENCH_MEMORY` (no disk).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use consensus::{BoxedIo, Config, Consensus, Fsm, RaftDial, ServerId, SnapshotWriter};

struct Nothing;

impl Fsm for Nothing {
    type Answer = bool;

    fn apply_batch(&self, entries: &[(u64, Bytes)]) -> Vec<bool> {
        vec![true; entries.len()]
    }

    fn snapshot(&self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&self, _: &mut dyn std::io::Read, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

struct Tcp;

#[async_trait]
impl RaftDial for Tcp {
    async fn dial(&self, address: SocketAddr) -> std::io::Result<BoxedIo> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

async fn server(n: u8, dir: Option<PathBuf>) -> Consensus<Nothing> {
    let address = address(n);
    let config = Config { dir, ..Config::new(id(n), address, "dc1") };
    let node = Consensus::start(config, Arc::new(Nothing), Arc::new(Tcp), Arc::new(|_: ServerId| None))
        .await
        .expect("start");
    let listener = tokio::net::TcpListener::bind(address).await.expect("an address to listen on");
    let serving = node.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let node = serving.clone();
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                node.serve(Box::new(stream)).await
            });
        }
    });
    node
}

fn id(n: u8) -> ServerId {
    ServerId::from_u128(u128::from(n))
}

fn address(n: u8) -> SocketAddr {
    ([127, 24, 0, n], 8300).into()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<i64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // Fields 14 and 15; the state letter and the name are not numbers.
    let ticks: i64 = fields.iter().skip(10).take(2).sum();
    Duration::from_millis(ticks.unsigned_abs() * 10)
}

#[tokio::main]
async fn main() {
    let clients = setting("BENCH_CLIENTS", 64);
    let seconds = setting("BENCH_SECONDS", 5);
    let base = std::env::var("BENCH_DIR").unwrap_or_else(|_| "/var/tmp".into());
    let dir = tempfile::tempdir_in(base).expect("a directory to write in");
    let servers = setting("BENCH_SERVERS", 1) as u8;
    let mut nodes = Vec::new();
    for n in 1..=servers {
        let disk = std::env::var("BENCH_MEMORY").is_err();
        nodes.push(server(n, disk.then(|| dir.path().join(n.to_string()))).await);
    }
    for node in &nodes {
        // A leader may have told the later ones already.
        let _ = node.bootstrap((1..=servers).map(|n| (id(n), address(n)))).await;
    }
    let leader = nodes[0].watch().wait_for(|s| s.leader.is_some()).await.expect("leader").leader;
    let node = nodes.iter().find(|n| Some(n.id()) == leader).expect("the leader").clone();
    node.watch().wait_for(|s| s.leader == leader).await.expect("leader");

    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let cpu_before = cpu();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let node = node.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            let payload = Bytes::from(vec![7u8; 128]);
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                node.propose(payload.clone()).await.expect("propose");
                latencies.push(sent.elapsed());
            }
            latencies
        });
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = tasks.join_all().await.concat();
    let (elapsed, used) = (begun.elapsed(), cpu() - cpu_before);
    latencies.sort_unstable();
    let at = |q: f64| {
        let last = latencies.len().saturating_sub(1) as f64;
        latencies.get((last * q) as usize).copied().unwrap_or_default()
    };
    println!(
        "{} clients: {:.0} writes/s, p50 {:?}, p99 {:?}, max {:?}, {:.1} us CPU each",
        clients,
        latencies.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        used.as_secs_f64() * 1e6 / latencies.len() as f64,
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        for line in status.lines().filter(|l| l.starts_with("Rss") || l.starts_with("VmHWM")) {
            println!("{line}");
        }
    }
    for node in nodes {
        node.stop().await;
    }
}
