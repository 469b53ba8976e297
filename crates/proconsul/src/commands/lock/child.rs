//! The program that runs under the lock.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use model::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Child {
    process: tokio::process::Child,
}

impl Child {
    pub(super) fn start(program: &[String], shell: bool, pass_stdin: bool) -> Result<Self, String> {
        let (name, mut command) = match (shell, program.split_first()) {
            (false, Some((name, args))) => {
                let mut command = tokio::process::Command::new(name);
                command.args(args);
                (name.clone(), command)
            }
            _ => {
                let shell = std::env::var("SHELL").ok().filter(|s| !s.is_empty());
                let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
                let mut command = tokio::process::Command::new(&shell);
                command.arg("-c").arg(program.join(" "));
                (shell, command)
            }
        };
        command
            .env("CONSUL_LOCK_HELD", "true")
            .stdin(if pass_stdin { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true);
        let started = command.spawn();
        Ok(Self { process: started.map_err(|error| process::not_started(&name, &error))? })
    }

    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks the program to end, and ends it if it does not.
    pub(super) async fn stop(&mut self) -> std::io::Result<()> {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended this moment.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        match tokio::time::timeout(GRACE, self.process.wait()).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => self.process.kill().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_can_end_is_not_killed() {
        let script = ["trap 'exit 0' TERM; while :; do sleep 0.05; done".to_owned()];
        let mut child = Child::start(&script, true, false).unwrap();
        // Asking again until the trap is installed is not needed: either way it ends by SIGTERM.
        child.stop().await.unwrap();
        assert!(child.process.try_wait().unwrap().is_some());
    }

    #[tokio::test]
    async fn programs_run_directly_or_through_a_shell() {
        let direct = ["test".to_owned(), "x".to_owned(), "=".to_owned(), "x".to_owned()];
        assert!(Child::start(&direct, false, false).unwrap().wait().await.unwrap().success());
        let shell = ["test $CONSUL_LOCK_HELD = true &&".to_owned(), "exit 7".to_owned()];
        let status = Child::start(&shell, true, false).unwrap().wait().await.unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(Child::start(&["/no/such/program".to_owned()], false, false).is_err());
    }
}
