//! The agents' side of `exec`: a command that an event asked for, run here, its output and exit code
//! written into the key/value store. Off unless `disable_remote_exec` is false.
//!
//! The layout is that of the command (`proconsul exec`): the job under `<prefix>/<session>/job`, the
//! node's part under `<prefix>/<session>/<node>/`: `ack`, `out/<5 hex digits>`, `exit`. Every key is
//! locked by the job's session, so that all of it vanishes with the session.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_api::api::types::UserEvent;
use model::error::RpcError;
use model::kv::{DirEntry, KeyRequest, KvsRequest};
use model::methods::{KvsApply, KvsGet};
use model::ops::KvVerb;
use model::options::QueryOptions;
use model::road::Road;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Bytes of output in one key at most.
const CHUNK: usize = 4 * 1024;
/// How long output is gathered before it is written.
const GATHER: Duration = Duration::from_millis(500);
/// Jobs that run at a time; one more is dropped.
const MAX_JOBS: usize = 8;
/// Pause between signs of life where the job names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// Why a job did not run.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("failed to decode the event: {0}")]
    Event(serde_json::Error),
    #[error("failed to read the job: {0}")]
    Job(String),
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("failed to write {0:?}: its lock is held elsewhere")]
    Locked(String),
    #[error("failed to start the command: {0}")]
    Start(#[from] std::io::Error),
}

/// What the event carries.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Announcement {
    prefix: String,
    session: String,
}

/// What is to be run.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Job {
    /// For a shell.
    command: String,
    /// Direct.
    args: Vec<String>,
    /// A script, base64.
    script: String,
    /// Nanoseconds that the caller waits for a sign of life.
    wait: u64,
}

/// Runs jobs of events.
pub struct RemoteExec {
    road: Road,
    node: String,
    datacenter: String,
    token: Arc<dyn Fn() -> String + Send + Sync>,
    jobs: Arc<Semaphore>,
}

impl RemoteExec {
    /// For the agent `node`.
    pub fn new(
        road: Road,
        node: String,
        datacenter: String,
        token: Arc<dyn Fn() -> String + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self { road, node, datacenter, token, jobs: Arc::new(Semaphore::new(MAX_JOBS)) })
    }

    /// Takes an event; the job runs beside what the agent does.
    pub fn take(self: &Arc<Self>, event: Arc<UserEvent>) {
        let Ok(place) = self.jobs.clone().try_acquire_owned() else {
            tracing::warn!(target: "agent", event = %event.id, "too many remote executions, dropping one");
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = this.run(&event).await {
                tracing::error!(target: "agent", event = %event.id, error = %error, "remote exec failed");
            }
        });
    }

    async fn run(&self, event: &UserEvent) -> Result<(), ExecError> {
        let announced: Announcement =
            serde_json::from_slice(event.payload.as_slice()).map_err(ExecError::Event)?;
        let Announcement { prefix, session } = announced;
        let job = self.job(&format!("{prefix}/{session}/job")).await?;
        let wait =
            Some(Duration::from_nanos(job.wait)).filter(|wait| !wait.is_zero()).unwrap_or(DEFAULT_WAIT);
        let output = Output { exec: self, base: format!("{prefix}/{session}/{}", self.node), session };
        output.put("ack", Vec::new()).await?;
        tracing::info!(target: "agent", event = %event.id, "remote exec started");
        let code = execute(&job, &output, wait).await?;
        output.put("exit", code.to_string().into_bytes()).await
    }

    async fn job(&self, key: &str) -> Result<Job, ExecError> {
        let request = KeyRequest {
            datacenter: self.datacenter.clone(),
            key: key.to_owned(),
            options: QueryOptions { token: (self.token)(), allow_stale: true, ..QueryOptions::default() },
        };
        let found = self.road.call::<KvsGet>(request).await?;
        let entry = found.entries.first().ok_or_else(|| ExecError::Job("it is not there".to_owned()))?;
        serde_json::from_slice(entry.value.as_slice()).map_err(|error| ExecError::Job(error.to_string()))
    }
}

/// Where the node's part of a job is written.
struct Output<'a> {
    exec: &'a RemoteExec,
    base: String,
    session: String,
}

impl Output<'_> {
    async fn put(&self, name: &str, value: Vec<u8>) -> Result<(), ExecError> {
        let key = format!("{}/{name}", self.base);
        let request = KvsRequest {
            datacenter: self.exec.datacenter.clone(),
            op: KvVerb::Lock,
            dir_ent: DirEntry {
                key: key.as_str().into(),
                value: value.into(),
                session: self.session.as_str().into(),
                ..DirEntry::default()
            },
            token: (self.exec.token)(),
        };
        if self.exec.road.call::<KvsApply>(request).await? { Ok(()) } else { Err(ExecError::Locked(key)) }
    }
}

/// Runs the job and streams its output; gives the exit code. The command dies with the job's session:
/// when its output cannot be written any more, it is killed.
async fn execute(job: &Job, output: &Output<'_>, wait: Duration) -> Result<i32, ExecError> {
    let (mut command, _script) = command(job)?;
    let (mut reader, writer) = std::io::pipe()
        .map(|(reader, writer)| (tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()), writer))?;
    let errors = writer.try_clone()?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors).kill_on_drop(true).process_group(0);
    let mut child = command.spawn()?;
    // The parent's copies of the writing end are in the command.
    drop(command);
    let reader = reader.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()))?;
    stream(reader, output, wait).await?;
    let status = child.wait().await?;
    Ok(status.code().unwrap_or(1))
}

/// The command of a job, and the file of its script as long as that is needed.
fn command(job: &Job) -> Result<(Command, Option<tempfile::TempPath>), ExecError> {
    if !job.script.is_empty() {
        let bytes = STANDARD.decode(&job.script).map_err(|error| ExecError::Job(error.to_string()))?;
        let mut file = tempfile::NamedTempFile::with_prefix("rexec")?;
        file.write_all(&bytes)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o700))?;
        // The path outlives the open file: a file that is open for writing cannot be run.
        let path = file.into_temp_path();
        return Ok((Command::new(&path), Some(path)));
    }
    if let [program, args @ ..] = job.args.as_slice() {
        let mut command = Command::new(program);
        command.args(args);
        return Ok((command, None));
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &job.command]);
    Ok((command, None))
}

/// Writes what is read in numbered pieces, and an empty one as a sign of life when there is nothing.
async fn stream(
    reader: &mut (impl AsyncRead + Unpin),
    output: &Output<'_>,
    wait: Duration,
) -> Result<(), ExecError> {
    let mut number = 0_u32;
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut filled = 0;
        let mut until = Instant::now() + wait / 2;
        let mut ended = false;
        while filled < CHUNK {
            match timeout_at(until, reader.read(&mut chunk[filled..])).await {
                Ok(Ok(0)) => {
                    ended = true;
                    break;
                }
                Ok(Ok(read)) => {
                    if filled == 0 {
                        until = Instant::now() + GATHER;
                    }
                    filled += read;
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => break,
            }
        }
        if filled > 0 || !ended {
            output.put(&format!("out/{number:05x}"), chunk[..filled].to_vec()).await?;
            number += 1;
        }
        if ended {
            return Ok(());
        }
    }
}
