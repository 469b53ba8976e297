//! Recorded vectors, and a server that answers test methods.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use msgpack::Value;
use rpc::{
    ConnPool, Listener, ListenerConfig, PoolConfig, RpcHandler, ServeError, ServerAddr, unknown_method,
};
use serde::Deserialize;
use tokio::sync::Semaphore;

#[derive(Debug, Deserialize)]
pub struct Vector {
    pub name: String,
    pub layer: String,
    pub hex: String,
    pub decoded: serde_json::Value,
}

impl Vector {
    pub fn bytes(&self) -> Vec<u8> {
        unhex(&self.hex)
    }
}

pub fn vectors(file: &str) -> Vec<Vector> {
    let path = format!("{}/tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// The recorded meaning marks byte strings as `{"$raw": hex}`.
pub fn same(value: &Value, json: &serde_json::Value) -> bool {
    use serde_json::Value as J;
    if let Some(raw) = json.get("$raw").and_then(J::as_str) {
        return match value {
            Value::Bytes(bytes) => *bytes == unhex(raw),
            Value::Str(text) => text.as_bytes() == unhex(raw),
            _ => false,
        };
    }
    match (value, json) {
        (Value::Nil, J::Null) => true,
        (Value::Bool(a), J::Bool(b)) => a == b,
        (Value::Str(a), J::String(b)) => a == b,
        (Value::Int(a), J::Number(b)) => b.as_i64() == Some(*a),
        (Value::UInt(a), J::Number(b)) => b.as_u64() == Some(*a),
        (Value::Float(a), J::Number(b)) => b.as_f64() == Some(*a),
        (Value::Array(a), J::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), J::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

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
