//! `lock`: runs a program while holding a lock or one of several slots.
//!
//! The keys under the prefix, their flags and values are those of the reference, so that its
//! clients and ours exclude each other.

mod child;
mod mutex;
mod semaphore;
mod session;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;
use child::Child;
use mutex::Mutex;
use semaphore::Semaphore;
use session::Session;

/// How long one blocking query waits.
const WAIT: Duration = Duration::from_secs(15);
/// Pause before trying again after a lock was refused (the servers keep a lock that was lost back
/// for a while) and between failed looks at a lock that is held.
const RETRY: Duration = Duration::from_secs(1);

const FLAGS: &[Flag] = &[
    Flag::new("child-exit-code", Kind::Switch, "Exit with 2 if the program fails."),
    Flag::new("monitor-retry", Kind::Int, "How many failed looks at the held lock to bear before giving up.")
        .or("3"),
    Flag::new("n", Kind::Int, "How many may hold the lock at once.").or("1"),
    Flag::new("name", Kind::Text, "Name of the session."),
    Flag::new("pass-stdin", Kind::Switch, "Give the program this command's standard input."),
    Flag::new("shell", Kind::Switch, "Run the program through a shell.").or("true"),
    Flag::new("timeout", Kind::Duration, "Old name of -try."),
    Flag::new("try", Kind::Duration, "Give up if the lock cannot be had within this time."),
    Flag::new("verbose", Kind::Switch, "Say what is being done."),
];

/// `lock`.
pub const COMMAND: Command = Command {
    name: "lock",
    synopsis: "Runs a program while holding a lock",
    usage: "[options] prefix program...",
    about: "Takes a lock under the given key prefix, runs the program, and gives the lock back. Whoever\ncomes second waits. If the lock is lost, the program is stopped. With -n, that many may run at once.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: true,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// Why a lock could not be taken or kept.
#[derive(Debug, thiserror::Error)]
enum LockError {
    /// The agent could not be asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Something else lives under the key.
    #[error("Existing key does not match lock use")]
    OtherUse,
    /// Another holder says another number of slots.
    #[error("semaphore limit conflict (lock: {stored}, local: {ours})")]
    Limit {
        /// What the store says.
        stored: u64,
        /// What we were told.
        ours: u64,
    },
    /// The session is gone before anything was taken.
    #[error("failed to make contender entry")]
    Contender,
}

/// Either kind of lock.
enum Lock<'a> {
    Mutex(Mutex<'a>),
    Semaphore(Semaphore<'a>),
}

impl Lock<'_> {
    /// Waits for the lock; `false` if the deadline passed.
    async fn acquire(&mut self, deadline: Option<Instant>) -> Result<bool, LockError> {
        match self {
            Self::Mutex(mutex) => mutex.acquire(deadline).await,
            Self::Semaphore(semaphore) => semaphore.acquire(deadline).await,
        }
    }

    /// Blocks until something changes; says whether the lock is still ours.
    async fn still_held(&mut self) -> Result<bool, LockError> {
        match self {
            Self::Mutex(mutex) => mutex.still_held().await,
            Self::Semaphore(semaphore) => semaphore.still_held().await,
        }
    }

    /// Gives the lock back and removes what nobody needs any more.
    async fn release(&mut self) -> Result<(), LockError> {
        match self {
            Self::Mutex(mutex) => mutex.release().await,
            Self::Semaphore(semaphore) => semaphore.release().await,
        }
    }

    /// Returns once the lock is lost, or could not be looked at too often in a row.
    async fn lost(&mut self, retries: u64) {
        let mut failures = 0;
        loop {
            match self.still_held().await {
                Ok(true) => failures = 0,
                Ok(false) => return,
                Err(_) if failures < retries => {
                    failures += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(_) => return,
            }
        }
    }
}

/// How much longer to wait in one query; `None` if the time is up.
fn wait_until(deadline: Option<Instant>) -> Option<Duration> {
    match deadline {
        None => Some(WAIT),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            (!left.is_zero()).then(|| left.min(WAIT))
        }
    }
}

async fn run(parsed: Parsed) -> Outcome {
    let (prefix, program) = match parsed.args.as_slice() {
        [prefix, program @ ..] if !program.is_empty() => (prefix.trim_start_matches('/'), program),
        _ => return Err(Failure::usage("Key prefix and child command must be specified")),
    };
    let limit = u64::try_from(parsed.int("n")).unwrap_or(0);
    if limit == 0 {
        return Err(Failure::new("Lock holder limit must be positive"));
    }
    let patience = ["try", "timeout"].into_iter().find(|flag| parsed.is_set(flag));
    let patience = match patience.map(|flag| parsed.duration(flag)) {
        Some(Duration::ZERO) => return Err(Failure::new("Timeout must be positive")),
        other => other,
    };
    let verbose = |text: &str| {
        if parsed.on("verbose") {
            ui::line(text);
        }
    };
    let api = Api::from_flags(&parsed)?;
    let name = match parsed.text("name") {
        "" => format!("Consul lock for '{}' at '{prefix}'", program.join(" ")),
        name => name.to_owned(),
    };
    let mut stop = Stop::listen().or_fail("Error listening for signals")?;
    verbose("Setting up lock at path");
    let session =
        Session::create(&api, &name).await.or_fail("Lock setup failed: failed to create session")?;
    let mut lock = match limit {
        1 => Lock::Mutex(Mutex::new(&api, prefix, session.id())),
        limit => Lock::Semaphore(Semaphore::new(&api, prefix, session.id(), limit)),
    };
    verbose("Attempting lock acquisition");
    let deadline = patience.map(|patience| Instant::now() + patience);
    let acquired = tokio::select! {
        acquired = session.renewing(lock.acquire(deadline)) => acquired,
        () = stop.requested() => Ok(false),
    };
    let outcome = match acquired {
        Err(error) => Err(Failure::new(format!("Lock acquisition failed: {error}"))),
        Ok(false) => Err(Failure::new("Shutdown triggered or timeout during lock acquisition")),
        Ok(true) => {
            verbose("Starting handler");
            let outcome = supervise(&parsed, program, &session, &mut lock, &mut stop, &verbose).await;
            verbose("Cleanup");
            outcome
        }
    };
    // Also after a failed attempt: a slot may have been announced already.
    let released = lock.release().await;
    session.destroy().await;
    let code = outcome?;
    released.or_fail("Lock release failed")?;
    Ok(code)
}

/// Runs the program until it ends, the lock is lost or a signal comes.
async fn supervise(
    parsed: &Parsed,
    program: &[String],
    session: &Session<'_>,
    lock: &mut Lock<'_>,
    stop: &mut Stop,
    verbose: &dyn Fn(&str),
) -> Outcome {
    let mut child = Child::start(program, parsed.on("shell"), parsed.on("pass-stdin"))
        .or_fail("Failed to start child")?;
    let retries = u64::try_from(parsed.int("monitor-retry")).unwrap_or(0);
    tokio::select! {
        status = child.wait() => {
            let status = status.or_fail("Error waiting for child")?;
            if status.success() {
                return Ok(0);
            }
            ui::error(format_args!("Child failed: {}", model::process::ended(status)));
            return Ok(if parsed.on("child-exit-code") { 2 } else { 0 });
        }
        () = session.renewing(lock.lost(retries)) => verbose("Lock lost, killing child"),
        () = stop.requested() => verbose("Shutdown triggered, killing child"),
    }
    child.stop().await.or_fail("Error killing child")?;
    Ok(1)
}

/// Signals that ask for the end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
