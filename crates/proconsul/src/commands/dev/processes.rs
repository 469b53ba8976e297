//! The agents as processes: started with their logs in files, watched, stopped together.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::plan::Agent;

/// Time between asking all agents to stop and ending those that did not.
const GRACE: Duration = Duration::from_secs(10);

/// An agent that ended before it was told to.
#[derive(Debug)]
pub struct Ended {
    /// Its place in the list of agents.
    pub agent: usize,
    /// How it ended.
    pub status: std::io::Result<ExitStatus>,
}

/// All running agents.
#[derive(Default)]
pub struct Processes {
    pids: Vec<Option<Pid>>,
    running: JoinSet<Ended>,
}

impl Processes {
    /// Writes an agent's configuration and starts it.
    pub fn start(&mut self, program: &Path, agent: &Agent) -> std::io::Result<()> {
        let config = agent.folder.join("config");
        fs::create_dir_all(&config)?;
        fs::create_dir_all(agent.folder.join("data"))?;
        fs::write(config.join("agent.json"), format!("{:#}\n", agent.config))?;
        let log = File::create(agent.log())?;
        let child = Command::new(program)
            .arg("agent")
            .arg("-config-dir")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches this process only; it stops the agents in its own way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let place = self.pids.len();
        self.pids.push(child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw));
        self.running.spawn(wait(place, child));
        Ok(())
    }

    /// Returns when an agent ends; never if none runs.
    pub async fn ended(&mut self) -> Ended {
        match self.running.join_next().await {
            Some(Ok(ended)) => {
                self.pids[ended.agent] = None;
                ended
            }
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Whether no agent runs any more.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Stops all agents; those that do not stop in time are killed. Returns how many had to be.
    pub async fn stop(mut self) -> usize {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, self.all_ended()).await.is_ok() {
            return 0;
        }
        let stubborn = self.pids.iter().flatten().count();
        self.signal(Signal::SIGKILL);
        let _killed_processes_end = tokio::time::timeout(GRACE, self.all_ended()).await;
        stubborn
    }

    async fn all_ended(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Ok(ended) = ended {
                self.pids[ended.agent] = None;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        for pid in self.pids.iter().flatten() {
            // Still ours: a process that ended is in the list until it has been waited for.
            let _gone = kill(*pid, signal);
        }
    }
}

async fn wait(agent: usize, mut child: Child) -> Ended {
    Ended { agent, status: child.wait().await }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::commands::dev::plan::{Wishes, plan};

    fn agents(folder: &Path) -> Vec<Agent> {
        let wishes = Wishes {
            datacenters: vec!["dc1".into()],
            servers: 2,
            clients: 0,
            base: (127, 26),
            own_addresses: true,
            folder: folder.to_owned(),
        };
        plan(&wishes).unwrap()
    }

    fn program(folder: &Path, script: &str) -> std::path::PathBuf {
        let path = folder.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn all_stop_when_asked() {
        let temp = tempfile::tempdir().unwrap();
        let program = program(temp.path(), "exec sleep 600");
        let mut processes = Processes::default();
        for agent in agents(temp.path()) {
            processes.start(&program, &agent).unwrap();
        }
        assert_eq!(processes.stop().await, 0);
    }

    #[tokio::test]
    async fn an_early_end_is_noticed_with_its_log() {
        let temp = tempfile::tempdir().unwrap();
        let program = program(temp.path(), "test -f \"$3/agent.json\" && echo one && echo two; exit 3");
        let agents = agents(temp.path());
        let mut processes = Processes::default();
        processes.start(&program, &agents[0]).unwrap();
        let ended = processes.ended().await;
        assert_eq!((ended.agent, ended.status.unwrap().code()), (0, Some(3)));
        assert_eq!(tail(&agents[0].log(), 1), "two");
    }
}
