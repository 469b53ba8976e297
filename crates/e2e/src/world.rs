//! A network and disks of one test's own, in namespaces that need no privilege.
//!
//! A test that wants them starts itself again inside (`unshare`); there it is root over a loopback
//! that nobody else uses ([`Wall`] cuts it) and over mounts that nobody else sees ([`Disk`]). Systems
//! that allow no namespaces, or lack the tools, run the test without these faults, and the test says so.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::{Disk, Wall};

/// Set for the test that runs inside.
const INSIDE: &str = "PROCONSUL_E2E_INSIDE";

/// As itself first; a root that may not map users may still have namespaces.
const WAYS: [&[&str]; 2] = [&["--map-root-user", "--net", "--mount", "--"], &["--net", "--mount", "--"]];

/// What a test can do to its surroundings.
pub struct World {
    pub wall: Result<Wall, String>,
    /// Whether disks can be mounted.
    pub disks: Result<(), String>,
}

/// Runs a system tool; its complaint when it fails. Users need not have `/sbin` in their path.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Seen even when the test passes and its output is kept back.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl World {
    /// Runs `body` in a world of its own where that is possible, and in the common one otherwise.
    /// `test` is the full name of the test that calls this.
    pub fn of(test: &str, body: impl FnOnce(&World)) {
        if std::env::var_os(INSIDE).is_some() {
            let world = World::inside();
            for (what, missing) in
                [("partitions", world.wall.as_ref().err()), ("full disks", world.disks.as_ref().err())]
            {
                if let Some(why) = missing {
                    say(&format!("LEFT OUT in {test}: {what}: {why}"));
                }
            }
            return body(&world);
        }
        let mut refused = Vec::new();
        for way in WAYS {
            let probe: Vec<&str> = way.iter().copied().chain(["ip", "link", "set", "lo", "up"]).collect();
            match tool("unshare", &probe) {
                Ok(_) => return again(way, test),
                Err(why) => refused.push(why),
            }
        }
        let why = refused.join("; ");
        say(&format!("LEFT OUT in {test}: partitions and full disks: {why}"));
        body(&World { wall: Err(why.clone()), disks: Err(why) });
    }

    fn inside() -> World {
        if let Err(why) = tool("ip", &["link", "set", "lo", "up"]) {
            panic!("the loopback of the namespace: {why}");
        }
        let trial = tempfile::tempdir().expect("a folder");
        World { wall: Wall::build(), disks: Disk::mount(trial.path(), 1 << 20).map(drop) }
    }
}

/// Starts this test inside and repeats what it says; panics when it fails.
fn again(way: &[&str], test: &str) {
    let this = std::env::current_exe().expect("the test's own path");
    let mut child = Command::new("unshare")
        .args(way)
        .arg(this)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare was there a moment ago");
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut ran = false;
    std::thread::scope(|scope| {
        // Left-out faults are for everyone's eyes, the rest for those who look at a failure.
        let errors = scope.spawn(|| {
            let mut kept = Vec::new();
            for line in err.into_iter().flat_map(|err| BufReader::new(err).lines()).map_while(Result::ok) {
                if line.starts_with("LEFT OUT") { say(&line) } else { kept.push(line) }
            }
            kept
        });
        for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
            ran |= line == "running 1 test";
            println!("{line}");
        }
        for line in errors.join().expect("reads lines") {
            println!("{line}");
        }
    });
    let status = child.wait().expect("it ran");
    assert!(ran, "{test} is not the full name of a test");
    assert!(status.success(), "{test}, run in its own namespaces: {status}");
}
