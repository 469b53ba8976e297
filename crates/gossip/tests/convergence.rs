//! Twenty agents with the timing of a LAN, in one process over real sockets: how soon all see all,
//! and what standing still costs.

use gossip::driver::{Pool, PoolConfig, PoolHandle};
use gossip::serf::MemberStatus;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const AGENTS: usize = 20;
/// All see all this soon after the joins began.
const CONVERGED: Duration = Duration::from_secs(2);

async fn start(subnet: u8) -> Vec<PoolHandle> {
    let mut pools = Vec::new();
    for i in 0..AGENTS {
        let bind = SocketAddr::from(([127, 22, subnet, 1 + i as u8], 0));
        pools.push(Pool::start(PoolConfig::lan(&format!("agent-{i}"), bind)).await.unwrap());
    }
    pools
}

fn complete(pool: &PoolHandle) -> bool {
    let members = pool.members();
    members.len() == AGENTS && members.iter().all(|m| m.status == MemberStatus::Alive)
}

async fn join_all(pools: &[PoolHandle]) -> Duration {
    let seed = [pools[0].addr().to_string()];
    let began = Instant::now();
    let joins: Vec<_> = pools[1..]
        .iter()
        .map(|pool| {
            let (pool, seed) = (pool.clone(), seed.clone());
            tokio::spawn(async move { pool.join(&seed, true).await.joined() })
        })
        .collect();
    for join in joins {
        assert_eq!(join.await.unwrap(), 1);
    }
    for pool in pools {
        let mut changes = pool.members_changed();
        while !complete(pool) {
            tokio::time::timeout(Duration::from_secs(60), changes.changed())
                .await
                .expect("everyone is seen in the end")
                .unwrap();
        }
    }
    began.elapsed()
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |n: usize| fields.split(' ').nth(n).unwrap().parse::<u64>().unwrap();
    // utime and stime, in hundredths of a second.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_joining_at_once_see_each_other_soon() {
    for round in 0..5 {
        let pools = start(40 + round).await;
        let took = join_all(&pools).await;
        println!("round {round}: {took:?}");
        assert!(took < CONVERGED, "round {round} took {took:?}");
        for pool in pools {
            pool.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, and in release"]
async fn standing_still_is_cheap() {
    let pools = start(50).await;
    join_all(&pools).await;
    // Until nothing more is being spread.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (before, began) = (cpu_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let used = cpu_time() - before;
    let per_agent = used.as_secs_f64() * 1e3 / began.elapsed().as_secs_f64() / AGENTS as f64;
    println!("{per_agent:.3} ms of CPU per second and agent");
    for pool in &pools {
        pool.shutdown().await;
    }
    assert!(per_agent < 1.2, "{per_agent}");
}
