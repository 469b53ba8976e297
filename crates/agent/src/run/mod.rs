//! The life of an agent: start in order, serve, reload, leave, stop in order.

mod banner;
mod setup;
mod start;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::agent::{Agent, Request};
use crate::config::{AgentFlags, RuntimeConfig, Sources, load};
use start::Running;

/// How long a graceful leave may take after a signal, and a clean end after a failure.
const GRACEFUL: Duration = Duration::from_secs(15);

/// The agent did not start, or ended in a way that is an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

impl RunError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }
}

/// What ends or interrupts the main loop.
enum Event {
    Interrupt,
    Terminate,
    Hangup,
    User1,
    Asked(Request),
}

/// Runs an agent until it is told to end; gives the exit code. The agent has a runtime of its own
/// with all processors, whatever runtime this is called in.
///
/// # Errors
/// When the configuration is wrong or something it names cannot be had; the text is for the user.
pub async fn run(flags: AgentFlags) -> Result<i32, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("proconsul")
        .build()
        .map_err(RunError::new)?;
    let result = runtime.spawn(life(flags)).await.map_err(RunError::new);
    runtime.shutdown_background();
    result?
}

async fn life(flags: AgentFlags) -> Result<i32, RunError> {
    let sources = Sources::from_flags(flags);
    let loaded = load(&sources).map_err(RunError::new)?;
    // Signals that come while the agent starts are for the agent, not for the system's defaults.
    let mut signals = Signals::new().map_err(RunError::new)?;
    let (requests, mut inbox) = mpsc::channel(16);
    let running = tokio::select! {
        running = start::start(loaded, requests) => running?,
        _ = signals.interrupt.recv() => return Ok(1),
        _ = signals.terminate.recv() => return Ok(1),
    };
    let code = main_loop(&running, &sources, &mut signals, &mut inbox).await;
    if code.is_err() {
        // What failed (a disk that does not answer) may be what a clean end would wait for.
        let stopped = tokio::time::timeout(GRACEFUL, running.stop()).await;
        if stopped.is_err() {
            tracing::warn!(target: "agent", "Timeout on shutdown. Exiting");
        }
    } else {
        running.stop().await;
    }
    code
}

async fn next(signals: &mut Signals, inbox: &mut mpsc::Receiver<Request>) -> Event {
    loop {
        tokio::select! {
            _ = signals.interrupt.recv() => return Event::Interrupt,
            _ = signals.terminate.recv() => return Event::Terminate,
            _ = signals.hangup.recv() => return Event::Hangup,
            _ = signals.user1.recv() => return Event::User1,
            request = inbox.recv() => if let Some(request) = request { return Event::Asked(request) },
        }
    }
}

async fn main_loop(
    running: &Running,
    sources: &Sources,
    signals: &mut Signals,
    inbox: &mut mpsc::Receiver<Request>,
) -> Result<i32, RunError> {
    let agent = &running.agent;
    loop {
        match next(signals, inbox).await {
            Event::Hangup => {
                tracing::info!(target: "agent", signal = "hangup", "Caught");
                if let Err(error) = reload(agent, sources).await {
                    tracing::error!(target: "agent", error = %error, "Reload failed");
                }
            }
            Event::User1 => {
                // Nobody may be there to read them.
                let _unread = std::io::stderr().write_all(agent.metrics.dump().as_bytes());
            }
            Event::Asked(Request::Reload { done }) => {
                // Who asked may be gone meanwhile.
                let _ = done.send(reload(agent, sources).await);
            }
            Event::Asked(Request::Leave { done }) => {
                running.leave().await;
                let _ = done.send(());
                return Ok(0);
            }
            Event::Asked(Request::Fail(text)) => return Err(RunError(text)),
            event @ (Event::Interrupt | Event::Terminate) => {
                return Ok(on_signal(running, matches!(event, Event::Interrupt), signals).await);
            }
        }
    }
}

/// Leaves if the configuration wants that for the signal. A second signal ends the wait.
async fn on_signal(running: &Running, interrupt: bool, signals: &mut Signals) -> i32 {
    let config = running.agent.config.load_full();
    let name = if interrupt { "interrupt" } else { "terminated" };
    tracing::info!(target: "agent", signal = name, "Caught");
    let graceful = if interrupt { !config.skip_leave_on_interrupt } else { config.leave_on_terminate };
    if !graceful {
        tracing::info!(target: "agent", "Graceful shutdown disabled. Exiting");
        return 1;
    }
    tracing::info!(target: "agent", "Gracefully shutting down agent...");
    tokio::select! {
        () = running.leave() => {
            tracing::info!(target: "agent", "Graceful exit completed");
            0
        }
        () = tokio::time::sleep(GRACEFUL) => {
            tracing::warn!(target: "agent", "Timeout on graceful leave. Exiting");
            1
        }
        _ = signals.interrupt.recv() => 1,
        _ = signals.terminate.recv() => 1,
    }
}

/// Reads the configuration again and takes over what can be taken over while running. A
/// configuration with errors changes nothing.
async fn reload(agent: &Arc<Agent>, sources: &Sources) -> Result<(), String> {
    tracing::info!(target: "agent", "Reloading configuration...");
    let loaded = load(sources).map_err(|error| format!("Failed reading configuration: {error}"))?;
    for warning in &loaded.warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
    let new = loaded.config;
    crate::watches::check(&new).map_err(|error| format!("Failed reloading watches: {error}"))?;
    let old = agent.config.load_full();
    for warning in old.reloadable_diff(&new).warnings() {
        tracing::warn!(target: "agent", "{warning}");
    }
    apply(agent, &old, new).await
}

async fn apply(agent: &Arc<Agent>, old: &RuntimeConfig, new: RuntimeConfig) -> Result<(), String> {
    if let Ok(level) = new.logging.level.parse() {
        agent.log.set_level(level);
    }
    agent.metrics.set_filter(setup::metrics_filter(&new));
    agent.face.store(Arc::new(setup::face_config(&new)));
    // The zones themselves need a restart.
    let mut zones = new.clone();
    zones.dns.domain = old.dns.domain.clone();
    zones.dns.alt_domain = old.dns.alt_domain.clone();
    agent.dns.store(Arc::new(crate::dns_face::settings(&zones).map_err(|error| error.to_string())?));
    if let crate::delegate::Delegate::Client(road) = &agent.delegate {
        road.set_limit(new.limits.rpc_rate, new.limits.rpc_max_burst);
    }
    if old.acl.tokens != new.acl.tokens {
        *agent.tokens.write() = setup::tokens(&new);
    }
    agent.local.change(|state| state.set_meta(setup::node_meta(&new)));
    if old.node_meta != new.node_meta {
        // The catalog is compared soon, not at once: many agents may be reloaded together.
        agent.local.trigger().server_up();
    }
    let services = agent.services.reload(&new).await;
    agent.watches.replace(&new);
    // What needs a restart stays as it was started with.
    let mut running = old.clone();
    running.services = new.services;
    running.checks = new.checks;
    running.watches = new.watches;
    running.node_meta = new.node_meta;
    running.logging.level = new.logging.level;
    running.dns = zones.dns;
    running.limits = new.limits;
    running.checks_policy.discard_output = new.checks_policy.discard_output;
    running.acl.tokens = new.acl.tokens;
    running.telemetry.allowed_prefixes = new.telemetry.allowed_prefixes;
    running.telemetry.blocked_prefixes = new.telemetry.blocked_prefixes;
    agent.config.store(Arc::new(running));
    services.map_err(|error| error.to_string())
}
