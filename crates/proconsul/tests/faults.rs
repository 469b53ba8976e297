//! What the key-value store and its locks promise, while servers are killed, paused and restarted.
//!
//! Many clients record what they asked and were told; afterwards every history is searched for an order
//! that explains it. `PROCONSUL_FAULTS_SECONDS=600 cargo test --release -p proconsul --test faults`
//! runs for longer, `PROCONSUL_FAULTS_SEED` chooses the faults (the machine chooses the interleaving).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::linearizable::{Model, Verdict, check};
use e2e::workload::{self, Lock, Pair, Plan};
use e2e::{Datacenter, Slice, Stop};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

/// Each round has keys of its own, so that histories stay short enough to be searched.
const ROUND: Duration = Duration::from_secs(15);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn histories_are_linearizable_under_a_known_seed() {
    drive(number("PROCONSUL_FAULTS_SEED").unwrap_or(20_260_101));
}

#[test]
fn histories_are_linearizable_under_a_fresh_seed() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    drive(u64::try_from(now.as_micros()).expect("before the year 500000"));
}

fn drive(seed: u64) {
    println!("PROCONSUL_FAULTS_SEED={seed}");
    let slice = Slice::claim();
    let mut dc = Datacenter::start(PROCONSUL, &slice, 1, 3, 0, &json!({}));
    dc.ready();
    let rounds = number("PROCONSUL_FAULTS_SECONDS").unwrap_or(15).div_ceil(ROUND.as_secs());
    for round in 0..rounds {
        let plan = Plan {
            prefix: format!("round-{round}"),
            servers: dc.servers.iter().map(|s| s.http_within(Duration::from_secs(8))).collect(),
            workers: 10,
            pairs: 4,
            locks: 2,
            pause: Duration::from_millis(5),
            seed: seed.wrapping_add(round),
        };
        let stop = Stop::new();
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(round));
        let histories = std::thread::scope(|scope| {
            let _end = stop.at_end();
            let clients = scope.spawn(|| workload::run(&plan, &stop));
            let began = Instant::now();
            while began.elapsed() < ROUND && !clients.is_finished() {
                fault(&mut dc, &mut rng);
            }
            stop.now();
            clients.join().expect("the clients")
        });
        println!("round {round}: {} operations answered, {} not", histories.answered, histories.unanswered);
        assert!(histories.answered > 200, "too few to judge: {}", histories.answered);
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
        dc.ready();
    }
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
            rest.sort_by_key(|&i| history[i].called);
            for i in rest.into_iter().take(8) {
                println!("  no place  {:?}", history[i]);
            }
            panic!("{what}: no order explains these {} operations", history.len());
        }
    }
}

/// One fault, and its end.
fn fault(dc: &mut Datacenter, rng: &mut StdRng) {
    let victim = if rng.random_bool(0.5) { dc.leader() } else { rng.random_range(0..dc.servers.len()) };
    let hold = Duration::from_millis(rng.random_range(200..3000));
    match rng.random_range(0..10) {
        0..4 => {
            dc.servers[victim].kill();
            std::thread::sleep(hold);
            dc.servers[victim].spawn();
        }
        4..8 => {
            dc.servers[victim].pause();
            std::thread::sleep(hold);
            dc.servers[victim].resume();
        }
        8 => {
            dc.servers[victim].stop(Signal::SIGTERM);
            std::thread::sleep(hold / 4);
            dc.servers[victim].spawn();
        }
        // The lights go out everywhere.
        _ => {
            dc.kill();
            dc.spawn();
        }
    }
    dc.leader();
    std::thread::sleep(Duration::from_millis(rng.random_range(0..1500)));
}
