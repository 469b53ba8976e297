//! Pools in simulation: how soon all see all, how soon a failure is known to all, who is held dead
//! without reason, and what it costs. Prints its measurements; docs/gossip.md discusses them.
//!
//! `GOSSIP_SIM=long cargo test --release -p gossip --test simulation -- --nocapture` runs more seeds
//! and pools of 5,000 members.

mod sim;

use std::time::Duration;

use gossip::swim::{NodeState, SwimConfig, Tick};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sim::{Alone, Core, Health, Network, WithSerf, World};

const SECOND: Duration = Duration::from_secs(1);

fn long() -> bool {
    std::env::var("GOSSIP_SIM").is_ok_and(|v| v == "long")
}

/// `n` members, all of which join through the first at the same moment.
fn all_join<C: Core>(n: usize, cfg: &SwimConfig, network: Network, seed: u64) -> World<C> {
    let mut world = World::new(n, cfg, network, seed);
    for i in 1..n {
        world.join(i, 0);
    }
    world
}

/// Shortest, mean and longest of some times.
struct Times(Vec<f64>);

impl Times {
    fn of(runs: u64, mut run: impl FnMut(u64) -> Duration) -> Self {
        Times((0..runs).map(|seed| run(seed).as_secs_f64()).collect())
    }
    fn worst(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let best = self.0.iter().copied().fold(f64::MAX, f64::min);
        let mean = self.0.iter().sum::<f64>() / self.0.len() as f64;
        write!(f, "{best:.2} / {mean:.2} / {:.2} s ({} runs)", self.worst(), self.0.len())
    }
}

fn join_times<C: Core>(n: usize, cfg: &SwimConfig, network: fn() -> Network, runs: u64) -> Times {
    Times::of(runs, |seed| {
        let mut world: World<C> = all_join(n, cfg, network(), seed);
        let took = world.run_until(200 * SECOND, World::converged).expect("never converged");
        assert_eq!(world.joins_failed, 0);
        took
    })
}

/// Time from the end of one member until every other one knows.
fn loss_times(n: usize, cfg: &SwimConfig, network: fn() -> Network, how: Health, runs: u64) -> Times {
    Times::of(runs, |seed| {
        let mut world = World::converged_pool(n, cfg, network(), seed);
        world.run_for(5 * SECOND + Duration::from_millis(37 * seed));
        assert_eq!(world.false_alarms(), 0);
        world.stop(n / 2, how);
        let took = world.run_until(400 * SECOND, World::converged).expect("never noticed");
        assert_eq!(world.false_alarms(), n - 1, "the dead one and nobody else");
        took
    })
}

fn lossy(loss: f64) -> Network {
    Network { loss, ..Network::lan() }
}

#[test]
fn all_see_all_soon_after_they_joined() {
    let runs = if long() { 1000 } else { 60 };
    let lan = SwimConfig::lan();
    let wan = SwimConfig::wan();
    println!("time until all see all after joining at once, best / mean / worst:");
    let twenty = join_times::<Alone>(20, &lan, Network::lan, runs);
    println!("  LAN  20: {twenty}");
    assert!(twenty.worst() < 2.0);
    let with_serf = join_times::<WithSerf>(20, &lan, Network::lan, runs / 3);
    println!("  LAN  20 with the serf layer: {with_serf}");
    assert!(with_serf.worst() < 2.0);
    let lost = join_times::<Alone>(20, &lan, || lossy(0.1), runs / 2);
    println!("  LAN  20 at 10 % loss: {lost}");
    assert!(lost.worst() < 2.0);
    let nine = join_times::<Alone>(9, &wan, Network::wan, runs);
    println!("  WAN   9: {nine}");
    assert!(nine.worst() < 5.0);
    let hundred = join_times::<Alone>(100, &lan, Network::lan, runs / 30);
    println!("  LAN 100: {hundred}");
    assert!(hundred.worst() < 5.0);
    let theirs = join_times::<Alone>(20, &lan.clone().like_reference(), Network::lan, runs / 3);
    println!("  LAN  20 without our additions: {theirs}");
    let theirs = join_times::<Alone>(9, &wan.clone().like_reference(), Network::wan, runs / 3);
    println!("  WAN   9 without our additions: {theirs}");
}

#[test]
fn a_crash_is_soon_known_to_all() {
    let runs = if long() { 500 } else { 40 };
    let lan = SwimConfig::lan();
    println!("time until all know of a failure, best / mean / worst:");
    for n in [3, 10, 20, 100] {
        let runs = if n > 50 { runs / 20 } else { runs };
        let crashed = loss_times(n, &lan, Network::lan, Health::Crashed, runs);
        let unplugged = loss_times(n, &lan, Network::lan, Health::Unplugged, runs);
        println!("  LAN {n:3}: process gone {crashed}, host gone {unplugged}");
        assert!(crashed.worst() < 8.0);
        assert!(unplugged.worst() < 16.0);
        if n == 20 {
            let late = crashed.0.iter().filter(|t| **t > 6.8).count();
            assert!(late * 50 <= crashed.0.len(), "{late} of {} took over 6.8 s", crashed.0.len());
        }
    }
    let theirs = lan.clone().like_reference();
    let crashed = loss_times(20, &theirs, Network::lan, Health::Crashed, runs);
    println!("  LAN  20 without our additions: process gone {crashed}");
    let wan = loss_times(9, &SwimConfig::wan(), Network::wan, Health::Crashed, runs / 2);
    println!("  WAN   9: process gone {wan}");
}

/// Holds every `every`th member up for `stall` again and again, with a second of work between.
fn run_with_slow_members(world: &mut World, every: usize, stall: Duration, time: Duration) {
    let end = world.now + time;
    let mut rng = SmallRng::seed_from_u64(every as u64);
    while world.now < end {
        let now = world.now;
        for m in world.members.iter_mut().step_by(every) {
            if m.stalled_until + SECOND <= now {
                m.stalled_until = now + stall.mul_f64(rng.random_range(0.5..1.5));
            }
        }
        world.run_for(SECOND / 4);
    }
}

#[test]
fn nobody_is_held_dead_for_a_lossy_network_or_a_slow_neighbour() {
    let n = 100;
    let time = if long() { 600 * SECOND } else { 60 * SECOND };
    println!("members wrongly held gone (pairs of observer and member), {n} members, {time:?}:");
    for (loss, most) in [(0.0, 0), (0.1, 0), (0.3, n)] {
        let mut world = World::converged_pool(n, &SwimConfig::lan(), lossy(loss), 7);
        world.run_for(time);
        let (suspicions, refutations) = world.members.iter().fold((0, 0), |(s, r), m| {
            let c = m.core.swim.counters();
            (s + c.probes_failed, r + c.refuted)
        });
        println!(
            "  loss {:2.0} %: {} pairs; {suspicions} failed probes, {refutations} refutations",
            loss * 100.0,
            world.false_alarms()
        );
        assert!(world.false_alarms() <= most);
    }
    for stall in [2, 20] {
        let mut world = World::converged_pool(n, &SwimConfig::lan(), Network::lan(), 8);
        run_with_slow_members(&mut world, 50, stall * SECOND, time);
        let (about_slow, about_healthy) = alarms(&world);
        println!(
            "  2 % stalled for about {stall} s: {about_healthy} about healthy members, {about_slow} about stalled ones"
        );
        assert_eq!(about_healthy, 0);
    }
    // Lifeguard's question: what do members that are slow themselves make of the others?
    let plain = SwimConfig { awareness_max: 1, suspicion_max_mult: 1, ..SwimConfig::lan().like_reference() };
    let lagging = |cfg: &SwimConfig| {
        let mut world = World::converged_pool(n, cfg, Network::lan(), 8);
        world.members.iter_mut().step_by(50).for_each(|m| m.lag = 10 * SECOND);
        world.run_for(time);
        alarms(&world)
    };
    let (ours, without) = (lagging(&SwimConfig::lan()), lagging(&plain));
    println!("  2 % lagging by 10 s: {} about healthy members, {} about slow ones", ours.1, ours.0);
    println!(
        "  the same, SWIM without Lifeguard: {} about healthy, {} about slow ones",
        without.1, without.0
    );
    assert!(ours.1 < without.1);
}

/// Pairs of observer and member wrongly held gone: about members 0, 50, 100 and so on, which are
/// the slow ones, and about all others.
fn alarms(world: &World) -> (usize, usize) {
    let slow = |name: &str| name[1..].parse::<usize>().unwrap().is_multiple_of(50);
    let all = || world.members.iter().flat_map(|m| &m.core.notes.left);
    let about_slow = all().filter(|(name, _)| slow(name)).count();
    (about_slow, all().count() - about_slow)
}

#[test]
fn standing_still_costs_little() {
    println!("traffic at rest, per member and second:");
    for n in [20, 100] {
        let mut world: World<WithSerf> = all_join(n, &SwimConfig::lan(), Network::lan(), 3);
        world.run_for(30 * SECOND);
        let before = world.traffic;
        let time = 60 * SECOND;
        world.run_for(time);
        let per = |now: u64, then: u64| (now - then) as f64 / time.as_secs_f64() / n as f64;
        let packets = per(world.traffic.packets, before.packets);
        let bytes = per(world.traffic.packet_bytes, before.packet_bytes);
        let streams = per(world.traffic.stream_bytes, before.stream_bytes);
        println!("  LAN {n:3}: {packets:.2} packets, {bytes:.0} bytes, and {streams:.0} bytes in streams");
        assert!(packets < 2.2 && bytes <= 270.0);
    }
}

#[test]
fn a_thousand_members() {
    let sizes: &[usize] = if long() { &[1000, 5000] } else { &[1000] };
    for &n in sizes {
        let cfg = SwimConfig { compression: false, ..SwimConfig::lan() };
        let mut world = World::converged_pool(n, &cfg, Network::lan(), 4);
        world.run_for(5 * SECOND);
        for _ in 0..5 {
            let newcomer = world.add(&cfg);
            world.join(newcomer, newcomer % 97);
        }
        let took = world.run_until(200 * SECOND, World::converged).expect("never converged");
        println!("{n} members: 5 newcomers known to all and knowing all after {took:?}");
        assert!(took < 10 * SECOND);
        world.stop(n / 2, Health::Crashed);
        world.stop(n / 3, Health::Unplugged);
        let crashed = sim::name(n / 2);
        let told = |world: &World, name: &str| {
            let knows = |m: &sim::Member<Alone>| m.core.notes.left.iter().any(|(gone, _)| **gone == *name);
            world.members.iter().filter(|m| knows(m)).count()
        };
        let start = world.now;
        let mut known = None;
        while !world.converged() {
            assert!(world.now - start < 60 * SECOND);
            world.run_for(SECOND / 5);
            if known.is_none() && told(&world, &crashed) == world.running() {
                known = Some(world.now - start);
            }
        }
        println!(
            "{n} members: crash known to all after {known:?}, unplugged host after {:?}",
            world.now - start
        );
        assert_eq!(world.false_alarms(), 2 * world.running());
        let before = world.traffic;
        world.run_for(5 * SECOND);
        let packets = (world.traffic.packets - before.packets) as f64 / 5.0 / n as f64;
        println!("{n} members: {packets:.2} packets per member and second");
        assert!(packets < 20.0);
    }
}

/// All members of a big pool join at once.
#[test]
fn a_big_pool_is_founded_in_one_moment() {
    let n = if long() { 1000 } else { 200 };
    let cfg = SwimConfig { compression: false, ..SwimConfig::lan() };
    let mut world: World = all_join(n, &cfg, Network::lan(), 5);
    let took = world.run_until(200 * SECOND, World::converged).expect("never converged");
    let bytes = world.traffic.packet_bytes / n as u64;
    println!("{n} members joining at once: {took:?}, {bytes} bytes each");
    assert!(took < 30 * SECOND);
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    let run = |seed: u64| {
        let mut world: World<WithSerf> = all_join(15, &SwimConfig::lan(), lossy(0.2), seed);
        world.run_for(20 * SECOND);
        world.stop(7, Health::Crashed);
        world.run_for(20 * SECOND);
        (world.trace, world.traffic.packets)
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11).0, run(12).0);
}

#[test]
fn a_partition_heals_by_itself() {
    let heal = |n: usize, cfg: &SwimConfig, network: Network, cut: Duration, seed: u64| {
        let mut world = World::converged_pool(n, cfg, network, seed);
        for m in world.members.iter_mut().take(n / 3) {
            m.group = 1;
        }
        world.run_for(cut);
        let sees = |i: usize| world.members[i].core.num_alive();
        assert!(sees(0) < n && sees(n - 1) < n, "each side misses the other");
        for m in &mut world.members {
            m.group = 0;
        }
        world.run_until(120 * SECOND, World::converged).expect("did not heal")
    };
    // Long enough for both sides to have forgotten each other's records.
    println!("time until a pool that was cut in two is whole again, best / mean / worst:");
    for cut in [25, 120] {
        let lan = Times::of(10, |s| heal(20, &SwimConfig::lan(), Network::lan(), cut * SECOND, s));
        println!("  LAN  20, cut for {cut} s: {lan}");
        assert!(lan.worst() < 10.0);
    }
    let wan = Times::of(10, |s| heal(9, &SwimConfig::wan(), Network::wan(), 300 * SECOND, s));
    println!("  WAN   9, cut for 300 s: {wan}");
    assert!(wan.worst() < 20.0);
}

#[test]
fn a_restarted_process_is_taken_back() {
    let mut world = World::converged_pool(20, &SwimConfig::lan(), Network::lan(), 9);
    world.run_for(2 * SECOND);
    // Back before anyone noticed, and back after all noticed; the counter starts at 1 each time.
    for pause in [SECOND / 2, 10 * SECOND] {
        world.stop(5, Health::Crashed);
        world.run_for(pause);
        world.restart(5, &SwimConfig::lan());
        world.join(5, 0);
        world.run_until(3 * SECOND, World::converged).expect("not taken back");
        world.run_for(20 * SECOND);
        assert!(world.converged());
    }
}

#[test]
fn who_leaves_has_left_and_not_failed() {
    let mut world = World::converged_pool(20, &SwimConfig::lan(), Network::lan(), 10);
    world.run_for(2 * SECOND);
    world.with(4, |core, now: Tick| core.leave(now));
    let gone = |world: &World, i: usize| world.members[i].core.notes.left.first().map(|(_, state)| *state);
    let all_know = |world: &World| (0..20).all(|i| i == 4 || gone(world, i) == Some(NodeState::Left));
    world.run_until(3 * SECOND, all_know).expect("not everyone knows");
    world.run_until(5 * SECOND, |w| w.leaves == 1).expect("the leaver was not told");
    world.stop(4, Health::Crashed);
    world.run_for(60 * SECOND);
    assert_eq!(world.false_alarms(), 19, "reported once");
}
