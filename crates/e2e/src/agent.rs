//! One agent as a process.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Host, Http, until};

/// What an agent is started with. `config` is laid over the settings that every agent gets.
#[derive(Clone)]
pub struct Spec {
    pub name: String,
    pub datacenter: String,
    pub addr: Ipv4Addr,
    pub config: Value,
}

/// A process with its own folder; killed when dropped.
pub struct Agent {
    pub spec: Spec,
    binary: String,
    /// Kept when `PROCONSUL_E2E_KEEP` is set, for those who look into a failure.
    dir: TempDir,
    child: Option<Child>,
    /// Where it lives, if not where the test does.
    host: Option<Host>,
}

impl Agent {
    /// Writes the configuration and starts the process.
    pub fn start(binary: &str, spec: Spec) -> Self {
        let mut agent = Self::prepared(binary, spec);
        agent.spawn();
        agent
    }

    /// As [`Agent::start`], not started yet.
    pub fn prepared(binary: &str, spec: Spec) -> Self {
        let mut dir = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a folder");
        dir.disable_cleanup(std::env::var_os("PROCONSUL_E2E_KEEP").is_some());
        // A binary from elsewhere (a release build, another implementation) can be put in its place.
        let binary = std::env::var("PROCONSUL_BIN").unwrap_or_else(|_| binary.to_owned());
        let agent = Agent { spec, binary, dir, child: None, host: None };
        agent.write_config();
        agent
    }

    fn write_config(&self) {
        let addr = self.spec.addr.to_string();
        let mut config = json!({
            "node_name": self.spec.name,
            "datacenter": self.spec.datacenter,
            "bind_addr": addr,
            "client_addr": addr,
            "data_dir": self.dir.path().join("data"),
            "log_level": "debug",
            "retry_interval": "1s",
            "retry_interval_wan": "1s",
            "disable_update_check": true,
        });
        if let (Some(all), Some(own)) = (config.as_object_mut(), self.spec.config.as_object()) {
            all.extend(own.clone());
        }
        fs::write(self.config_path(), config.to_string()).expect("configuration written");
    }

    /// Changes one setting; counts from the next start or reload.
    pub fn set(&mut self, key: &str, value: Value) {
        self.spec.config[key] = value;
        self.write_config();
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.json")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the process, with the data of its earlier life if there was one.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} is running", self.spec.name);
        let log = File::options().create(true).append(true).open(self.log_path()).expect("log file");
        let mut command = Command::new(&self.binary);
        command
            .arg("agent")
            .arg(format!("-config-file={}", self.config_path().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log);
        let started = match &self.host {
            None => command.spawn(),
            Some(host) => host.run(|| command.spawn()),
        };
        self.child = Some(started.unwrap_or_else(|e| panic!("{}: {e}", self.binary)));
    }

    /// From its next start it lives there.
    pub fn live_on(&mut self, host: Host) {
        self.host = Some(host);
    }

    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Everything the process wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("pid");
        kill(Pid::from_raw(pid), signal).expect("signal sent");
    }

    /// kill -9, as when the machine dies.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process in its tracks: nothing is answered, nothing refused. Returns when it stands still.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        until("the process is stopped", Duration::from_secs(10), || {
            let stat = fs::read_to_string(&stat).map_err(|e| e.to_string())?;
            // The state follows the name, which is in parentheses.
            match stat.rsplit_once(')') {
                Some((_, rest)) if rest.trim_start().starts_with('T') => Ok(()),
                _ => Err(stat),
            }
        });
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// A signal, and the end of the process.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait_exit(Duration::from_secs(40))
    }

    /// Waits until the process has ended by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let name = self.spec.name.clone();
        let log = self.log_path();
        let child = self.child.as_mut().expect("running");
        let status = until(&format!("{name} ends"), limit, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("still running; log: {}", tail(&log, 20))),
            Err(e) => Err(e.to_string()),
        });
        self.child = None;
        status
    }

    /// Whether the process was started and has ended by itself.
    pub fn exited(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    pub fn running(&self) -> bool {
        self.child.is_some()
    }

    pub fn http(&self) -> Http {
        self.http_within(Duration::from_secs(15))
    }

    pub fn http_within(&self, limit: Duration) -> Http {
        Http::new((self.spec.addr, 8500).into(), limit)
    }

    /// Runs a command of the program against this agent.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(&self.binary)
            .args(args)
            .env("CONSUL_HTTP_ADDR", format!("{}:8500", self.spec.addr))
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }

    /// As [`Agent::cli`]; standard output if it exits with 0.
    pub fn cli_ok(&self, args: &[&str]) -> Result<String, String> {
        let output = self.cli(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(format!("{args:?}: {}{text}", String::from_utf8_lossy(&output.stderr)))
        }
    }
}

fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}, last lines of its log\n{}", self.spec.name, tail(&self.log_path(), 25));
        }
    }
}
