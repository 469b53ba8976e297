//! The network between datacenters is cut and made whole again: who is on one side works on, who asks for the other is
//! told soon, and nobody has to do anything afterwards.

use std::time::{Duration, Instant};

use e2e::{Agent, Datacenter, LONG, Network, until};
use serde_json::{Value, json};

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

/// By when a request for a datacenter behind a cut has ended, and works again afterwards.
const SOON: Duration = Duration::from_secs(5);

/// For scheduling on a busy machine.
const GRACE: Duration = Duration::from_secs(2);

/// The WAN pool gives up on a member within seconds instead of a minute.
fn impatient() -> Value {
    json!({ "gossip_wan": { "probe_interval": "500ms", "probe_timeout": "250ms", "suspicion_mult": 3 } })
}

/// Three datacenters of three servers and a client, joined.
fn federation(network: &Network, settings: &Value) -> Vec<Datacenter> {
    let slice = network.slice();
    let mut all: Vec<Datacenter> =
        (1..=3).map(|n| Datacenter::prepared(PROCONSUL, &slice, n, 3, 1, settings)).collect();
    for dc in &mut all {
        network.place(dc);
        dc.spawn();
    }
    all.iter().for_each(Datacenter::ready);
    for dc in &all[1..] {
        dc.servers[0].cli_ok(&["join", "-wan", &slice.addr(1, 1).to_string()]).expect("joined");
    }
    for agent in all.iter().flat_map(Datacenter::agents) {
        for dc in &all {
            until(&format!("{} reaches {}", agent.spec.name, dc.name), LONG, || reads(agent, dc));
        }
    }
    all
}

/// The catalog of `dc`, read through `agent`, is whole.
fn reads(agent: &Agent, dc: &Datacenter) -> Result<(), String> {
    let nodes = agent.http().column(&format!("/v1/catalog/nodes?dc={}", dc.name), "Node")?;
    if nodes == dc.names() { Ok(()) } else { Err(format!("{nodes:?}")) }
}

/// Every agent of `dc` reads and writes in `target`, promptly.
fn serves(dc: &Datacenter, target: &Datacenter, key: &str) {
    for agent in dc.agents() {
        let began = Instant::now();
        reads(agent, target).unwrap_or_else(|e| panic!("{} reads {}: {e}", agent.spec.name, target.name));
        agent
            .http()
            .write(&format!("/v1/kv/{key}/{}?dc={}", agent.spec.name, target.name), "x")
            .unwrap_or_else(|e| panic!("{} writes to {}: {e}", agent.spec.name, target.name));
        assert!(began.elapsed() < GRACE, "{}: {:?}", agent.spec.name, began.elapsed());
    }
}

/// Every agent of `dc` is told soon, and with the reason, that `gone` is not there, all asking at once.
fn told(dc: &Datacenter, gone: &str) -> Duration {
    std::thread::scope(|scope| {
        let asking: Vec<_> = dc
            .agents()
            .map(|agent| {
                scope.spawn(move || {
                    let began = Instant::now();
                    let reply = agent.http().get(&format!("/v1/catalog/nodes?dc={gone}")).expect("an answer");
                    let took = began.elapsed();
                    assert_eq!(reply.status, 500, "{}: {reply:?}", agent.spec.name);
                    assert!(reply.body.contains(&format!("datacenter \"{gone}\"")), "{reply:?}");
                    assert!(reply.body.contains(&format!("{gone}-s")), "no server is named: {reply:?}");
                    assert!(took < SOON + GRACE, "{}: {took:?} for {reply:?}", agent.spec.name);
                    took
                })
            })
            .collect();
        asking.into_iter().map(|asked| asked.join().expect("asked")).max().unwrap_or_default()
    })
}

/// The states of the members of `dc` in the WAN pool, as `agent` sees them.
fn wan_states(agent: &Agent, dc: &str) -> Result<Vec<String>, String> {
    let table = agent.cli_ok(&["members", "-wan"])?;
    let states = table.lines().filter(|l| l.starts_with(&format!("{dc}-")));
    Ok(states.filter_map(|l| l.split_whitespace().nth(2).map(str::to_owned)).collect())
}

#[test]
fn a_datacenter_behind_a_cut_is_missed_by_nobody_else_and_found_again() {
    let Some(network) = Network::enter() else { return };
    let dcs = federation(&network, &impatient());
    let [dc1, dc2, dc3] = &dcs[..] else { unreachable!("three datacenters") };

    // Once while nobody knows for sure, once until the pools have given up on each other.
    for (round, lasting) in [("short", false), ("long", true)] {
        network.cut(dc2.agents(), dc1.agents().chain(dc3.agents()));
        let mut worst = Duration::ZERO;
        for ask in 0..3 {
            serves(dc1, dc1, &format!("{round}{ask}"));
            serves(dc1, dc3, &format!("{round}{ask}"));
            serves(dc3, dc3, &format!("{round}{ask}"));
            // The other side is a datacenter too.
            serves(dc2, dc2, &format!("{round}{ask}"));
            worst = worst.max(told(dc1, "dc2")).max(told(dc2, "dc1"));
        }
        println!("{round} cut: requests across it ended within {worst:?}");
        if lasting {
            for (here, there) in [(dc1, "dc2"), (dc3, "dc2"), (dc2, "dc1"), (dc2, "dc3")] {
                for server in &here.servers {
                    until(&format!("{} knows that {there} failed", server.spec.name), LONG, || {
                        let states = wan_states(server, there)?;
                        let failed = states.len() == 3 && states.iter().all(|s| s == "failed");
                        if failed { Ok(()) } else { Err(format!("{states:?}")) }
                    });
                }
            }
            let worst = told(dc1, "dc2").max(told(dc2, "dc3"));
            println!("{round} cut: requests across it ended within {worst:?} once it was known");
            // A datacenter that failed is still one.
            let listed = dc1.clients[0].http().json("/v1/catalog/datacenters").expect("datacenters");
            assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
        }
        network.heal();
        let healed = Instant::now();
        for (here, there) in [(dc1, dc2), (dc3, dc2), (dc2, dc1), (dc2, dc3)] {
            for agent in here.agents() {
                until(&format!("{} reaches {} again", agent.spec.name, there.name), SOON + GRACE, || {
                    reads(agent, there)
                });
            }
        }
        println!("{round} cut: all reach all {:?} after it was healed", healed.elapsed());
        for (here, there) in [(dc1, dc2), (dc2, dc1)] {
            serves(here, there, round);
            for server in &here.servers {
                until(&format!("{} sees {} alive", server.spec.name, there.name), LONG, || {
                    let states = wan_states(server, &there.name)?;
                    let alive = states.len() == 3 && states.iter().all(|s| s == "alive");
                    if alive { Ok(()) } else { Err(format!("{states:?}")) }
                });
            }
        }
    }
}
