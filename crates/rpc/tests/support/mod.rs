//! A server that answers test methods.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rpc::{
    ConnPool, Listener, ListenerConfig, PoolConfig, RpcHandler, ServeError, ServerAddr, unknown_method,
};
use tokio::sync::Semaphore;

/// Waits until `condition` holds; fails after ten seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 10 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Answers `Test.*` and `Status.Ping`.
pub struct TestHandler {
    /// `Test.Wait` answers with one permit each.
    pub gate: Semaphore,
    /// Calls of `Test.Wait` that wait.
    pub waiting: AtomicUsize,
    /// Calls of `Test.Wait` that were dropped or answered.
    pub left: AtomicUsize,
}

impl TestHandler {
    pub fn new() -> Arc<TestHandler> {
        Arc::new(TestHandler {
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        })
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl RpcHandler for TestHandler {
    fn call<'a>(
        &'a self,
        method: &'a str,
        args: Bytes,
        _peer: SocketAddr,
    ) -> BoxFuture<'a, Result<Bytes, ServeError>> {
        async move {
            match method {
                "Status.Ping" => {
                    // Arguments that are no struct are refused, as an endpoint would.
                    msgpack::from_slice::<model::scalar::Empty>(&args)?;
                    Ok(Bytes::from_static(&[0x80]))
                }
                "Test.Echo" => Ok(args),
                "Test.Fail" => Err(ServeError::Method(msgpack::from_slice(&args)?)),
                "Test.Panic" => panic!("asked for"),
                "Test.Zeros" => {
                    let n: usize = msgpack::from_slice(&args)?;
                    Ok(Bytes::from(msgpack::to_vec(&"0".repeat(n))?))
                }
                "Test.Wait" => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    let _leave = Leave(&self.left);
                    self.gate.acquire().await.unwrap().forget();
                    Ok(args)
                }
                other => Err(unknown_method(other)),
            }
        }
        .boxed()
    }
}

pub async fn server(addr: &str, config: ListenerConfig) -> (Listener, Arc<TestHandler>) {
    let listener = Listener::bind(addr.parse().unwrap(), config).await.unwrap();
    let handler = TestHandler::new();
    listener.serve_rpc(handler.clone());
    (listener, handler)
}

pub fn pool() -> ConnPool {
    ConnPool::plain(None, PoolConfig::default())
}

pub fn target(listener: &Listener) -> ServerAddr {
    ServerAddr::new("s1", listener.local_addr(), "dc1")
}
