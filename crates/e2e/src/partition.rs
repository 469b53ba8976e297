//! A network whose links can be cut: every agent is a host of its own, and one router stands between them.
//!
//! The hosts are network namespaces, the router is a private namespace of the test. What is cut is dropped
//! in silence on its way, as by a broken line or a firewall: nobody is refused, and no process notices but by waiting.
//! The test itself reaches every host all the time. Needs root and `ip` (iproute2).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Agent, Datacenter, Slice};

/// The router as the hosts see it.
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The place of the cuts among the rules of the router: after the addresses of the router itself, before the routes.
const PRIORITY: u32 = 100;

/// The router. Only the thread that made it, and those it starts afterwards, are where the hosts can be reached.
pub struct Network {
    hosts: AtomicU32,
    /// Who is not heard by whom.
    cuts: Mutex<BTreeSet<(Ipv4Addr, Ipv4Addr)>>,
}

/// Where an agent lives.
#[derive(Clone)]
pub struct Host {
    namespace: Arc<File>,
    /// The router's end of the line.
    line: String,
}

impl Network {
    /// Moves the calling thread into a network of its own. `None`, and a word why, where that is not allowed.
    pub fn enter() -> Option<Network> {
        let entered = unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| e.to_string())
            .and_then(|()| ip(None, &["link set lo up".to_owned()]))
            .and_then(|()| {
                fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| format!("ip_forward: {e}"))
            });
        match entered {
            Ok(()) => Some(Network { hosts: AtomicU32::new(0), cuts: Mutex::default() }),
            Err(reason) => {
                println!("SKIPPED: no network of its own for this test: {reason}");
                None
            }
        }
    }

    /// Addresses for agents of this network.
    pub fn slice(&self) -> Slice {
        Slice::private()
    }

    /// A new host with this address.
    pub fn host(&self, address: Ipv4Addr) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let namespace = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
                File::open("/proc/thread-self/ns/net").expect("the namespace")
            });
            made.join().expect("a host")
        });
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let line = format!("host{number}");
        let host = Host { namespace: Arc::new(namespace), line: line.clone() };
        ip(
            None,
            &[
                format!("link add {line} type veth peer name eth0 netns {path}"),
                format!("addr add {ROUTER}/32 dev {line}"),
                format!("link set {line} up"),
                format!("route add {address}/32 dev {line} src {ROUTER}"),
            ],
        )
        .expect("a line to the host");
        ip(
            Some(&host),
            &[
                "link set lo up".to_owned(),
                format!("addr add {address}/32 dev eth0"),
                "link set eth0 up".to_owned(),
                format!("route add {ROUTER}/32 dev eth0 src {address}"),
                format!("route add default via {ROUTER} src {address}"),
            ],
        )
        .expect("an address for the host");
        host
    }

    /// Gives every agent of a datacenter that was not started yet a host.
    pub fn place(&self, datacenter: &mut Datacenter) {
        for agent in datacenter.servers.iter_mut().chain(&mut datacenter.clients) {
            agent.live_on(self.host(agent.spec.addr));
        }
    }

    /// Nothing passes between the two sides any more, until healed.
    pub fn cut<'a>(
        &self,
        side: impl IntoIterator<Item = &'a Agent>,
        other: impl IntoIterator<Item = &'a Agent>,
    ) {
        let addresses = |agents: &mut dyn Iterator<Item = &'a Agent>| -> Vec<Ipv4Addr> {
            agents.map(|a| a.spec.addr).collect()
        };
        let side = addresses(&mut side.into_iter());
        let other = addresses(&mut other.into_iter());
        self.silence(&side, &other);
        self.silence(&other, &side);
    }

    /// What `from` sends does not reach `to` any more, until healed; the way back stays open.
    pub fn silence(&self, from: &[Ipv4Addr], to: &[Ipv4Addr]) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        let new: Vec<_> = pairs.filter(|(from, to)| from != to && cuts.insert((*from, *to))).collect();
        rules("add", new.iter());
    }

    /// All is whole again.
    pub fn heal(&self) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        rules("del", cuts.iter());
        cuts.clear();
    }

    /// What is sent to a host passes at this rate, and waits in line for up to ten seconds; `None` is as fast as it goes.
    pub fn throttle(&self, host: &Host, kilobits: Option<u32>) {
        let line = &host.line;
        let command = match kilobits {
            Some(rate) => format!("qdisc replace dev {line} root tbf rate {rate}kbit burst 3000 latency 10s"),
            None => format!("qdisc del dev {line} root"),
        };
        batch("tc", &[command]).expect("the rate of a line");
    }
}

/// Adds or removes the cuts at the router.
fn rules<'a>(verb: &str, pairs: impl Iterator<Item = &'a (Ipv4Addr, Ipv4Addr)>) {
    let lines: Vec<String> = pairs
        .map(|(from, to)| format!("rule {verb} from {from}/32 to {to}/32 priority {PRIORITY} blackhole"))
        .collect();
    ip(None, &lines).expect("rules of the router");
}

impl Host {
    /// Runs it on this host: sockets it opens and processes it starts are there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(&*self.namespace, CloneFlags::CLONE_NEWNET).expect("the namespace entered");
                work()
            });
            there.join().expect("work on a host")
        })
    }
}

/// Commands of `ip`, on a host or at the router.
fn ip(host: Option<&Host>, lines: &[String]) -> Result<(), String> {
    match host {
        None => batch("ip", lines),
        Some(host) => host.run(|| batch("ip", lines)),
    }
}

fn batch(tool: &str, lines: &[String]) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{tool}: {e}");
    let mut child = Command::new(tool)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(told)?;
    let mut input = child.stdin.take().expect("piped");
    input.write_all((lines.join("\n") + "\n").as_bytes()).map_err(told)?;
    drop(input);
    let output = child.wait_with_output().map_err(told)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{tool}: {}: {lines:?}", String::from_utf8_lossy(&output.stderr)))
    }
}
