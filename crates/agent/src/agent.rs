//! A running agent: what its faces and duties share.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gossip::driver::PoolEvent;
use gossip::driver::PoolHandle;
use gossip::serf::consul::NEW_LEADER_EVENT;
use http_api::FaceConfig;
use parking_lot::RwLock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::RuntimeConfig;
use crate::delegate::Delegate;
use crate::events::Events;
use crate::local::Local;
use crate::remote_exec::RemoteExec;
use crate::services::Services;
use crate::watches::Watches;

/// What the agent's owner, the main loop, is asked for.
pub enum Request {
    /// Leave the pools and end.
    Leave {
        /// Told when the pools have been left.
        done: oneshot::Sender<()>,
    },
    /// Read the configuration again.
    Reload {
        /// Told how it went.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Something failed beyond repair; end with this text.
    Fail(String),
}

/// The tokens an agent acts with; changed by reload and by `/v1/agent/token/`.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// For requests that carry none.
    pub default: String,
    /// For the agent's own work; the default one if empty.
    pub agent: String,
    /// The key to the agent while no server answers.
    pub agent_master: String,
    /// For replication.
    pub replication: String,
}

impl Tokens {
    /// The token of the agent's own work.
    pub fn own(&self) -> &str {
        if self.agent.is_empty() { &self.default } else { &self.agent }
    }
}

/// A running agent.
pub struct Agent {
    pub(crate) config: ArcSwap<RuntimeConfig>,
    pub(crate) face: ArcSwap<FaceConfig>,
    pub(crate) dns: Arc<ArcSwap<dns::Config>>,
    pub(crate) datacenter: String,
    pub(crate) node_id: String,
    pub(crate) lan: PoolHandle,
    pub(crate) wan: Option<PoolHandle>,
    pub(crate) delegate: Delegate,
    pub(crate) local: Arc<Local>,
    pub(crate) services: Arc<Services>,
    pub(crate) events: Events,
    pub(crate) watches: Watches,
    /// Absent unless the configuration allows remote execution.
    pub(crate) remote_exec: Option<Arc<RemoteExec>>,
    pub(crate) tokens: Arc<RwLock<Tokens>>,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) log: telemetry::logging::LogHandle,
    pub(crate) metrics: telemetry::metrics::MetricsHandle,
    pub(crate) stop: CancellationToken,
}

impl Agent {
    /// Figures by subsystem, as `info` shows them.
    pub(crate) async fn stats(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut all = self.delegate.stats();
        let acl = if self.config.load().acl.enabled { "enabled" } else { "disabled" };
        all.entry("consul".to_owned()).or_default().insert("acl".to_owned(), acl.to_owned());
        all.insert("agent".to_owned(), self.services.stats());
        all.insert("build".to_owned(), build_stats());
        all.insert("runtime".to_owned(), runtime_stats());
        if let Ok(stats) = self.lan.stats().await {
            all.insert("serf_lan".to_owned(), stats);
        }
        if let Some(wan) = &self.wan
            && let Ok(stats) = wan.stats().await
        {
            all.insert("serf_wan".to_owned(), stats);
        }
        all
    }

    /// Ends the agent with an error when its server's part in the consensus has ended by itself. Whoever
    /// supervises it can start it anew; one that stayed could only say that there is no leader.
    pub(crate) async fn follow_consensus(self: Arc<Self>) {
        let Delegate::Server(server) = &self.delegate else { return };
        let why = server.failed().await;
        tracing::error!(target: "agent", error = %why, "Consensus has failed, shutting down");
        // The main loop may have ended already.
        let _ = self.requests.send(Request::Fail(format!("Consensus has failed: {why}"))).await;
    }

    /// Takes the LAN pool's events in, for the life of the agent.
    pub(crate) async fn follow_events(self: Arc<Self>) {
        let mut events = self.lan.events();
        loop {
            match events.recv().await {
                Ok(PoolEvent::User(event)) => {
                    if event.name == NEW_LEADER_EVENT {
                        let leader = String::from_utf8_lossy(&event.payload).into_owned();
                        tracing::info!(target: "agent", payload = %leader, "New leader elected");
                        self.local.trigger().server_up();
                    } else {
                        let asked =
                            self.events.receive(&event.name, event.ltime, &event.payload, &self.local);
                        if let (Some(event), Some(exec)) = (asked, &self.remote_exec) {
                            exec.take(event);
                        }
                    }
                }
                Ok(PoolEvent::MemberJoin(member)) => {
                    if member.tag("role") == Some("consul") {
                        self.local.trigger().server_up();
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn build_stats() -> BTreeMap<String, String> {
    [
        ("prerelease", String::new()),
        ("revision", String::new()),
        ("version", model::VERSION_SPOKEN.to_owned()),
        ("proconsul", env!("CARGO_PKG_VERSION").to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn runtime_stats() -> BTreeMap<String, String> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Handle::current();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        ("arch", arch.to_owned()),
        ("cpu_count", cpus.to_string()),
        // What monitors call so: tasks and the threads that run them.
        ("goroutines", runtime.metrics().num_alive_tasks().to_string()),
        ("max_procs", runtime.metrics().num_workers().to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("version", concat!("rust", env!("CARGO_PKG_RUST_VERSION")).to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
