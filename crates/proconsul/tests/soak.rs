//! Many services whose checks flap, over many agents, for a while: at the end the catalog shows what the agents know, and
//! nobody has grown.
//!
//! `PROCONSUL_SOAK_SECONDS=180 cargo test -p proconsul --test soak -- --nocapture` is the whole of it; without the
//! variable it is a short run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::{Agent, Datacenter, LONG, Slice, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

const CLIENTS: u8 = 9;
const SERVICES: usize = 500;

/// How far the resident memory may grow once everything is registered, bytes.
const GROWTH: u64 = 24 << 20;

/// Instance, check and status of everything of `agent`, as the agent tells it.
fn truth(agent: &Agent) -> Result<BTreeMap<String, String>, String> {
    let checks = agent.http().json("/v1/agent/checks")?;
    Ok(checks.as_object().into_iter().flatten().map(|(id, check)| (id.clone(), status(check))).collect())
}

/// The same as the catalog tells it, without the node's own check.
fn shown(through: &Agent, node: &str) -> Result<BTreeMap<String, String>, String> {
    let checks = through.http().json(&format!("/v1/health/node/{node}?consistent"))?;
    Ok(checks
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["CheckID"] != "serfHealth")
        .map(|check| (check["CheckID"].as_str().unwrap_or_default().to_owned(), status(check)))
        .collect())
}

fn status(check: &Value) -> String {
    check["Status"].as_str().unwrap_or_default().to_owned()
}

/// Resident memory of the process, bytes.
fn resident(agent: &Agent) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", agent.pid())).expect("statm");
    let pages: u64 = text.split_whitespace().nth(1).and_then(|p| p.parse().ok()).expect("pages");
    pages * 4096
}

#[test]
fn the_catalog_follows_flapping_checks() {
    let seconds = std::env::var("PROCONSUL_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(15);
    let slice = Slice::claim();
    let dc = Datacenter::start(PROCONSUL, &slice, 1, 1, CLIENTS, &json!({}));
    dc.ready();
    let agents: Vec<&Agent> = dc.agents().collect();
    let owner = |n: usize| agents[n % agents.len()];
    for n in 0..SERVICES {
        let check = json!({ "TTL": "1h", "Status": "passing" });
        let body = json!({ "Name": format!("web-{}", n % 50), "ID": format!("web-{n}"), "Port": 1000 + n, "Check": check });
        owner(n).http().write("/v1/agent/service/register", &body.to_string()).expect("registered");
    }
    let same_everywhere = || {
        for agent in &agents {
            let name = &agent.spec.name;
            until(&format!("the catalog shows what {name} knows"), LONG, || {
                let (truth, shown) = (truth(agent)?, shown(agents[0], name)?);
                let wrong: Vec<_> =
                    truth.iter().filter(|(id, status)| shown.get(*id) != Some(status)).collect();
                if wrong.is_empty() && truth.len() == shown.len() {
                    Ok(())
                } else {
                    Err(format!("{} checks there, {} here, wrong: {wrong:?}", shown.len(), truth.len()))
                }
            });
        }
    };
    same_everywhere();

    let mut rng = StdRng::seed_from_u64(3);
    let mut flap = |until: Instant| {
        let mut flaps = 0;
        while Instant::now() < until {
            let n = rng.random_range(0..SERVICES);
            let verdict = ["pass", "warn", "fail"][rng.random_range(0..3)];
            let path = format!("/v1/agent/check/{verdict}/service:web-{n}?note={flaps}");
            owner(n).http().write(&path, "").expect("updated");
            flaps += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        flaps
    };
    // A third of the time to reach the level that is then kept.
    let total = Duration::from_secs(seconds);
    let began = Instant::now();
    let warm = flap(began + total / 3);
    let before: Vec<u64> = agents.iter().map(|agent| resident(agent)).collect();
    let flaps = flap(began + total);
    for (agent, before) in agents.iter().zip(before) {
        let after = resident(agent);
        println!("{}: {} KiB, then {} KiB", agent.spec.name, before >> 10, after >> 10);
        assert!(after < before + GROWTH, "{} grew from {before} to {after}", agent.spec.name);
    }
    same_everywhere();
    println!("{} changes of checks in {seconds} s", warm + flaps);
}
