//! What a call costs: time and CPU of both sides together, over loopback, each side with a runtime
//! of its own. `cargo bench -p rpc`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rpc::{ConnPool, Listener, ListenerConfig, PoolConfig, RpcHandler, ServeError, ServerAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

struct Fixed(Bytes);

impl RpcHandler for Fixed {
    fn call<'a>(
        &'a self,
        _method: &'a str,
        _args: Bytes,
        _peer: SocketAddr,
    ) -> BoxFuture<'a, Result<Bytes, ServeError>> {
        let reply = self.0.clone();
        async move { Ok(reply) }.boxed()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

/// CPU time of this process so far; the kernel counts in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn measure(name: &str, calls: u64, run: impl FnOnce()) {
    let (began, used) = (Instant::now(), cpu());
    run();
    let per_call = |t: Duration| t.as_nanos() as f64 / calls as f64 / 1000.0;
    println!(
        "{name:<44} {:8.2} us/call {:8.2} us CPU/call",
        per_call(began.elapsed()),
        per_call(cpu() - used)
    );
}

fn main() {
    let (there, here) = (runtime(), runtime());

    let echo = there.block_on(async { TcpListener::bind("127.23.2.1:0").await.expect("bind") });
    let echo_addr = echo.local_addr().expect("address");
    there.spawn(async move {
        while let Ok((mut tcp, _)) = echo.accept().await {
            let _ = tcp.set_nodelay(true);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n) = tcp.read(&mut buffer).await
                    && n > 0
                    && tcp.write_all(&buffer[..n]).await.is_ok()
                {}
            });
        }
    });
    let n = 50_000;
    measure("bare TCP, 300 bytes, one after the other", n, || {
        here.block_on(async {
            let task = tokio::spawn(async move {
                let mut tcp = TcpStream::connect(echo_addr).await.expect("connect");
                tcp.set_nodelay(true).expect("nodelay");
                let mut buffer = [0; 300];
                for _ in 0..n {
                    tcp.write_all(&buffer).await.expect("write");
                    tcp.read_exact(&mut buffer).await.expect("read");
                }
            });
            task.await.expect("task");
        });
    });

    let pool = here.block_on(async { ConnPool::plain(None, PoolConfig::default()) });
    let args = Arc::new(msgpack::to_vec(&"a".repeat(250)).expect("encode"));
    for size in [250usize, 5_000, 500_000] {
        let reply = Bytes::from(msgpack::to_vec(&"r".repeat(size)).expect("encode"));
        let listener = there.block_on(async {
            let addr = "127.23.2.1:0".parse().expect("address");
            Listener::bind(addr, ListenerConfig::default()).await.expect("bind")
        });
        listener.serve_rpc(Arc::new(Fixed(reply)));
        let to = ServerAddr::new(format!("s{size}"), listener.local_addr(), "dc1");
        let total = if size > 100_000 { 2_000 } else { 100_000u64 };
        for parallel in [1u64, 8, 64] {
            measure(&format!("call, reply of {size} bytes, {parallel} at a time"), total, || {
                here.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..parallel {
                        let (pool, to, args) = (pool.clone(), to.clone(), Arc::clone(&args));
                        tasks.spawn(async move {
                            for _ in 0..total / parallel {
                                let deadline = Some(Instant::now() + Duration::from_secs(10));
                                let reply =
                                    pool.call_raw(&to, "KVS.Get", &args, deadline).await.expect("call");
                                assert!(reply.len() > size);
                            }
                        });
                    }
                    while let Some(done) = tasks.join_next().await {
                        done.expect("task");
                    }
                });
            });
        }
    }
}
