//! What the key-value store and its locks promise, while servers are killed, paused, restarted and cut
//! off, and their disks fill up and tear.
//!
//! Many clients record what they asked and were told; afterwards every history is searched for an order
//! that explains it. `PROCONSUL_FAULTS_SECONDS=600 cargo test -p proconsul --test faults histories` runs
//! for longer, `PROCONSUL_FAULTS_SEED` chooses the faults (the machine chooses the interleaving).
//! Partitions and full disks need namespaces; see `e2e::World`.

mod disks;
mod ledger;
mod partitions;
mod schedule;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::holders;
use e2e::linearizable::{Model, Verdict, check};
use e2e::workload::{self, Lock, Pair, Plan};
use e2e::{Datacenter, Slice, Stop, World};
use serde_json::json;

use schedule::Schedule;

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

/// Each round has keys of its own, so that histories stay short enough to be searched.
const ROUND: Duration = Duration::from_secs(15);

/// Of datacenters whose servers are wanted back soon.
fn steady() -> serde_json::Value {
    json!({
        "autopilot": { "server_stabilization_time": "1s", "cleanup_dead_servers": false },
        "performance": { "rpc_hold_timeout": "2s" },
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("before the year 500000")
}

#[test]
fn histories_are_linearizable_under_a_known_seed() {
    World::of("histories_are_linearizable_under_a_known_seed", |world| {
        drive(number("PROCONSUL_FAULTS_SEED").unwrap_or(20_260_101), world);
    });
}

#[test]
fn histories_are_linearizable_under_a_fresh_seed() {
    World::of("histories_are_linearizable_under_a_fresh_seed", |world| drive(fresh(), world));
}

fn drive(seed: u64, world: &World) {
    println!("PROCONSUL_FAULTS_SEED={seed}");
    let slice = Slice::claim();
    // Every other seed lets the leader change the configuration too, as servers fail and come back.
    let autopilot =
        json!({ "server_stabilization_time": "1s", "cleanup_dead_servers": seed.is_multiple_of(2) });
    let config = json!({ "session_ttl_min": "1s", "autopilot": autopilot });
    let dc = Datacenter::prepared(PROCONSUL, &slice, 1, 3, 0, &config);
    let mut schedule = Schedule::start(dc, world, seed);
    let rounds = number("PROCONSUL_FAULTS_SECONDS").unwrap_or(15).div_ceil(ROUND.as_secs());
    let (mut operations, mut unanswered, mut holds) = (0, 0, 0);
    for round in 0..rounds {
        let servers: Vec<_> =
            schedule.dc.servers.iter().map(|s| s.http_within(Duration::from_secs(8))).collect();
        let plan = Plan {
            prefix: format!("round-{round}"),
            servers: servers.clone(),
            workers: 10,
            pairs: 4,
            locks: 2,
            pause: Duration::from_millis(5),
            seed: seed.wrapping_add(round),
        };
        let holding = holders::Plan {
            prefix: plan.prefix.clone(),
            servers,
            workers: 4,
            locks: 2,
            ttl: Duration::from_secs(2),
            seed: plan.seed,
        };
        let sessions = workload::sessions(&plan);
        let stop = Stop::new();
        let (histories, held) = std::thread::scope(|scope| {
            let _end = stop.at_end();
            let clients = scope.spawn(|| workload::run_with(&plan, &sessions, &stop));
            let holders = scope.spawn(|| holders::run(&holding, &stop));
            let began = Instant::now();
            while began.elapsed() < ROUND && !clients.is_finished() && !holders.is_finished() {
                schedule.fault();
            }
            stop.now();
            (clients.join().expect("the clients"), holders.join().expect("the holders"))
        });
        let held_now: usize = held.holds.iter().map(Vec::len).sum();
        println!(
            "round {round}: {} operations answered, {} not; locks held {held_now} times",
            histories.answered, histories.unanswered
        );
        operations += histories.answered;
        unanswered += histories.unanswered;
        holds += held_now;
        let mut judged = 0;
        for (n, history) in histories.pairs.iter().enumerate() {
            judged += usize::from(judge(&Pair, history, &format!("pair {n}")));
        }
        for (n, history) in histories.locks.iter().enumerate() {
            judged += usize::from(judge(&Lock, history, &format!("lock {n}")));
        }
        assert!(judged * 2 > plan.pairs + plan.locks, "only {judged} histories could be judged");
        for (value, indices) in &histories.versions {
            assert_eq!(indices.len(), 1, "{value} was applied more than once: {indices:?}");
        }
        assert!(held.broken.is_empty(), "a lock's promise was broken: {:#?}", held.broken);
        for (lock, holds) in held.holds.iter().enumerate() {
            holders::judge(holds).unwrap_or_else(|why| panic!("lock {lock} was {why}"));
        }
        schedule.dc.ready();
    }
    println!("seed {seed}: {operations} operations answered, {unanswered} not, locks held {holds} times");
    assert!(operations as u64 > 50 * rounds, "too few to judge: {operations}");
    println!("seed {seed}: faults {:?}", schedule.counts);
}

/// Panics if nothing explains the history; false if that could not be found out.
fn judge<M: Model>(model: &M, history: &[e2e::linearizable::Event<M::Op, M::Answer>], what: &str) -> bool {
    match check(model, history) {
        Verdict::Linearizable => true,
        Verdict::Unknown => {
            println!("{what}: {} operations, too many orders to search", history.len());
            false
        }
        Verdict::NotLinearizable { placed } => {
            for &i in placed.iter().rev().take(8).rev() {
                println!("  placed    {:?}", history[i]);
            }
            let mut rest: Vec<_> = (0..history.len()).filter(|i| !placed.contains(i)).collect();
            rest.sort_by_key(|&i| (history[i].returned.is_none(), history[i].called));
            for i in rest.into_iter().take(8) {
                println!("  no place  {:?}", history[i]);
            }
            panic!("{what}: no order explains these {} operations", history.len());
        }
    }
}
