//! Scripts: a program whose exit code tells.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use model::duration::GoDuration;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::output::Tail;
use super::{Outcome, WARNING};

/// How long the output of a program that has ended may stay open: what it left running in the
/// background may hold it.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const READ: usize = 4096;

/// Kills a program with all it started, unless it has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended just now.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a program to its end: 0 is passing, 1 warning, everything else critical. Its output, both
/// streams in the order written, is kept up to `output_max` bytes from the end. When time is over
/// or the probe is dropped, its process group is killed.
pub async fn probe(args: &[String], timeout: Duration, output_max: usize) -> Outcome {
    let mut tail = Tail::new(output_max);
    match tokio::time::timeout(timeout, run(args, &mut tail)).await {
        Ok(Ok(code)) => {
            let output = tail.remarked();
            match code {
                Some(0) => Outcome::passing(output),
                Some(1) => Outcome { status: WARNING, output },
                _ => Outcome::critical(output),
            }
        }
        Ok(Err(error)) => Outcome::critical(error.to_string()),
        Err(_) => {
            let mut said = format!("Timed out ({}) running check", GoDuration::from(timeout));
            let output = tail.remarked();
            if !output.is_empty() {
                said.push_str("\n\n");
                said.push_str(&output);
            }
            Outcome::critical(said)
        }
    }
}

async fn run(args: &[String], tail: &mut Tail) -> io::Result<Option<i32>> {
    let Some((program, args)) = args.split_first() else {
        return Err(io::Error::other("need an executable to run"));
    };
    let (read, write) = io::pipe()?;
    let mut output = pipe::Receiver::from_owned_fd(OwnedFd::from(read))?;
    let mut child = {
        // The command holds our ends of the pipe: it has to go before the output can end.
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(write.try_clone()?)
            .stderr(write)
            .process_group(0)
            .kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), model::process::not_started(program, &error)))?
    };
    let group = Group::of(&child);
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            more = read_some(&mut output, tail), if open => open = more?,
        }
    };
    group.ended();
    if open {
        let rest = async {
            while read_some(&mut output, tail).await? {}
            io::Result::Ok(())
        };
        if let Ok(drained) = tokio::time::timeout(DRAIN, rest).await {
            drained?;
        }
    }
    Ok(status.code())
}

/// Reads a piece; false at the end.
async fn read_some(output: &mut pipe::Receiver, tail: &mut Tail) -> io::Result<bool> {
    let mut piece = [0; READ];
    let count = output.read(&mut piece).await?;
    tail.write(&piece[..count]);
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{CRITICAL, PASSING};

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn exit_codes_decide_and_output_comes_in_order() {
        for (code, status) in [(0, PASSING), (1, WARNING), (2, CRITICAL), (77, CRITICAL)] {
            let outcome =
                probe(&sh(&format!("echo code {code}; echo err >&2; exit {code}")), LONG, 4096).await;
            assert_eq!((outcome.status, outcome.output), (status, format!("code {code}\nerr\n")));
        }
        assert_eq!(probe(&sh("kill -9 $$"), LONG, 4096).await.status, CRITICAL);
        let missing = probe(&["/no/such/program".to_owned()], LONG, 4096).await;
        assert_eq!(
            (missing.status, missing.output.as_str()),
            (CRITICAL, "fork/exec /no/such/program: no such file or directory")
        );
    }

    #[tokio::test]
    async fn endless_output_is_cut_to_its_end() {
        let outcome = probe(&sh("yes x | head -c 100000; echo end"), LONG, 20).await;
        assert_eq!(outcome.status, PASSING);
        assert!(outcome.output.starts_with("Captured 20 of 100004 bytes\n...\n"), "{}", outcome.output);
        assert!(outcome.output.ends_with("x\nend\n"));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("pid");
        let script = format!("echo early; sleep 300 & echo $! > {}; wait", file.display());
        let outcome = probe(&sh(&script), Duration::from_secs(1), 4096).await;
        assert_eq!(outcome.status, CRITICAL);
        assert_eq!(outcome.output, "Timed out (1s) running check\n\nearly\n");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            // Killed, and waiting for its parent.
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => true,
        };
        let patience = std::time::Instant::now() + LONG;
        while !gone() {
            assert!(std::time::Instant::now() < patience, "the child lives on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_stays_behind_does_not_hold_the_result() {
        let outcome = probe(&sh("sleep 5 & echo done"), LONG, 4096).await;
        assert_eq!((outcome.status, outcome.output.as_str()), (PASSING, "done\n"));
    }
}
