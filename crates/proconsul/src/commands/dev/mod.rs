//! `dev`: a whole federation on this machine, for trying things out and for tests.
//!
//! Every agent is a process of its own with its own loopback address, so that everything works as
//! between machines: kill one, stop a datacenter, look at the logs.

mod check;
mod plan;
mod processes;
mod progress;

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::columns::{columns, row};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;
use plan::{Agent, Wishes};
use processes::{Ended, Processes, tail};
use progress::{Milestone, ROUND};

const FLAGS: &[Flag] = &[
    Flag::new("datacenters", Kind::Text, "Names of the datacenters, separated by commas.").or("dc1,dc2"),
    Flag::new("servers", Kind::Uint, "Servers in each datacenter.").or("3"),
    Flag::new("clients", Kind::Uint, "Clients in each datacenter.").or("1"),
    Flag::new("base", Kind::Text, "First two parts of the agents' addresses.").or("127.0"),
    Flag::new(
        "check",
        Kind::Switch,
        "Try everything once across datacenters, then stop; exit with 0 if all went well.",
    ),
    Flag::new("dir", Kind::Text, "Folder for data, configuration and logs; implies -keep."),
    Flag::new("keep", Kind::Switch, "Keep that folder."),
    Flag::new("timeout", Kind::Duration, "How long everything may take to come up.").or("2m"),
];

/// `dev`.
pub const COMMAND: Command = Command {
    name: "dev",
    synopsis: "Runs a whole federation on this machine",
    usage: "[options]",
    about: "Starts servers and clients of several datacenters on this machine, joins them over the WAN, and\nkeeps them until interrupted. Each agent is a process with its own loopback address and the usual\nports: 127.0.<datacenter>.<n> for servers, 127.0.<datacenter>.<100+n> for clients.",
    flags: &[FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// Where everything is kept; removed at the end unless wanted.
struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn make(parsed: &Parsed) -> std::io::Result<Self> {
        match parsed.given("dir").filter(|dir| !dir.is_empty()) {
            Some(dir) => {
                std::fs::create_dir_all(dir)?;
                Ok(Self { path: std::fs::canonicalize(dir)?, temporary: None })
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("proconsul-dev-").tempdir()?;
                Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
            }
        }
    }

    /// Removes it, or says where it is.
    fn finish(self, keep: bool) {
        match self.temporary {
            Some(temporary) if !keep => {
                if let Err(error) = temporary.close() {
                    ui::error(format_args!("cannot remove {}: {error}", self.path.display()));
                }
            }
            temporary => {
                if let Some(temporary) = temporary {
                    let _kept = temporary.keep();
                }
                ui::line(format_args!("Data and logs are in {}", self.path.display()));
            }
        }
    }
}

/// What ends a federation.
enum End {
    /// Ctrl-C or SIGTERM.
    Signal,
    /// An agent ended by itself.
    Died(Ended),
    /// Not everything happened in time.
    Missing(Vec<Milestone>),
    /// All checks were made.
    Checked(bool),
}

async fn run(parsed: Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(super::too_many(0, parsed.args.len()));
    }
    let program = std::env::current_exe().or_fail("cannot find this program")?;
    let folder = Folder::make(&parsed).or_fail("cannot make a folder")?;
    let wishes = wishes(&parsed, &folder.path)?;
    let agents = plan::plan(&wishes).map_err(Failure::new)?;
    if !wishes.own_addresses {
        ui::line("This system has no loopback addresses beside 127.0.0.1: agents get ports of their own.");
    }
    for agent in &agents {
        if progress::occupied(agent).await {
            return Err(Failure::new(format!(
                "something answers at {} already; give other addresses with -base=127.N",
                agent.http()
            )));
        }
    }
    let mut signals = Signals::listen().or_fail("cannot listen for signals")?;
    let mut processes = Processes::default();
    ui::line(format_args!(
        "Starting {} agents in {} datacenters, logs below {}",
        agents.len(),
        wishes.datacenters.len(),
        folder.path.display()
    ));
    for agent in &agents {
        if let Err(error) = processes.start(&program, agent) {
            processes.stop().await;
            return Err(Failure::new(format!("cannot start {}: {error}", agent.name)));
        }
    }
    let up = Cell::new(false);
    let end = {
        let mut live = std::pin::pin!(live(&parsed, &wishes, &agents, &up));
        loop {
            tokio::select! {
                end = &mut live => break end,
                ended = processes.ended() => {
                    // Once all is up, whoever ends an agent means to: that is what this is for.
                    if !up.get() || processes.is_empty() {
                        break End::Died(ended);
                    }
                    ui::line(describe(&ended, &agents));
                }
                () = signals.any() => break End::Signal,
            }
        }
    };
    let code = report(&end, &agents);
    ui::line("Stopping all agents");
    let killed = processes.stop().await;
    if killed > 0 {
        ui::error(format_args!("{killed} agents did not stop in time and were killed"));
    }
    folder.finish(parsed.on("keep"));
    Ok(code)
}

fn wishes(parsed: &Parsed, folder: &Path) -> Result<Wishes, Failure> {
    let small = |flag: &str| {
        u8::try_from(parsed.uint(flag)).map_err(|_| Failure::new(format!("-{flag} is too large")))
    };
    let base = parsed.text("base").trim_end_matches('.');
    let base = base
        .split_once('.')
        .and_then(|(a, b)| Some((a.parse::<u8>().ok()?, b.parse::<u8>().ok()?)))
        .filter(|(first, _)| *first == 127)
        .ok_or_else(|| Failure::new(format!("-base must be 127.N, not {base:?}")))?;
    Ok(Wishes {
        datacenters: parsed.text("datacenters").split(',').map(|dc| dc.trim().to_owned()).collect(),
        servers: small("servers")?,
        clients: small("clients")?,
        base,
        own_addresses: TcpListener::bind((Ipv4Addr::new(base.0, base.1, 1, 1), 0)).is_ok(),
        folder: folder.to_owned(),
    })
}

/// Waits until everything is up, then for ever, or until all checks were made.
async fn live(parsed: &Parsed, wishes: &Wishes, agents: &[Agent], up: &Cell<bool>) -> End {
    let start = Instant::now();
    let limit = parsed.duration("timeout");
    let mut missing = Milestone::all(&wishes.datacenters);
    while !missing.is_empty() {
        let mut still = Vec::new();
        for milestone in missing {
            if milestone.reached(agents).await {
                ui::line(format_args!("  {:6.1}s  {}", start.elapsed().as_secs_f64(), milestone.text()));
            } else {
                still.push(milestone);
            }
        }
        missing = still;
        if start.elapsed() > limit && !missing.is_empty() {
            return End::Missing(missing);
        }
        if !missing.is_empty() {
            tokio::time::sleep(ROUND).await;
        }
    }
    if parsed.on("check") {
        return End::Checked(check::check(agents, &wishes.datacenters).await);
    }
    ui::line(overview(agents));
    up.set(true);
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

fn overview(agents: &[Agent]) -> String {
    let mut rows = vec![row(["Agent", "Datacenter", "Role", "HTTP", "DNS", "Log"])];
    rows.extend(agents.iter().map(|agent| {
        row([
            &agent.name,
            &agent.datacenter,
            if agent.server { "server" } else { "client" },
            &format!("http://{}", agent.http()),
            &format!("{}:{}", agent.address, agent.ports.dns),
            &agent.log().to_string_lossy(),
        ])
    }));
    let mut text = format!("\n{}\n\nTry:\n", columns(&rows));
    if let (Some(first), Some(last)) = (agents.first(), agents.last()) {
        let (http, dc) = (first.http(), &last.datacenter);
        for command in [
            format!("proconsul members -wan -http-addr={http}"),
            format!("proconsul kv put -datacenter={dc} -http-addr={http} greeting hello"),
            format!("curl 'http://{http}/v1/catalog/nodes?dc={dc}'"),
            format!("dig @{} -p {} consul.service.{dc}.consul", first.address, first.ports.dns),
        ] {
            text.push_str(&format!("  {command}\n"));
        }
    }
    text.push_str("\nCtrl-C stops everything.");
    text
}

fn report(end: &End, agents: &[Agent]) -> u8 {
    match end {
        End::Signal => 0,
        End::Checked(true) => {
            ui::line("All checks passed");
            0
        }
        End::Checked(false) => {
            ui::error("Some checks failed");
            1
        }
        End::Missing(missing) => {
            ui::error("Not everything came up in time. Missing:");
            for milestone in missing {
                ui::error(format_args!("  {}", milestone.text()));
            }
            for agent in agents.iter().filter(|agent| agent.server) {
                ui::error(format_args!("--- end of {}", agent.log().display()));
                ui::error(tail(&agent.log(), 5));
            }
            1
        }
        End::Died(ended) => {
            let agent = &agents[ended.agent];
            ui::error(describe(ended, agents));
            ui::error(format_args!("--- end of {}", agent.log().display()));
            ui::error(tail(&agent.log(), 20));
            1
        }
    }
}

fn describe(ended: &Ended, agents: &[Agent]) -> String {
    let name = &agents[ended.agent].name;
    match &ended.status {
        Ok(status) => format!("{name} ended: {status}"),
        Err(error) => format!("{name} cannot be watched: {error}"),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
