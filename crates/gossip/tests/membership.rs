//! The rules of membership, in small simulated pools.

mod sim;

use std::time::Duration;

use gossip::swim::{Cidr, SwimConfig};
use gossip::wire::Keyring;
use sim::{Health, Network, World};

const SECOND: Duration = Duration::from_secs(1);

fn pool(n: usize, cfg: &SwimConfig) -> World {
    let mut world = World::new(n, cfg, Network::lan(), 1);
    for i in 1..n {
        world.join(i, 0);
    }
    world.run_until(5 * SECOND, World::converged).expect("never converged");
    assert_eq!(world.joins_failed, 0);
    world
}

fn keyed(keys: &[[u8; 16]]) -> SwimConfig {
    SwimConfig { keyring: Keyring::from_keys(keys).unwrap(), ..SwimConfig::lan() }
}

fn refutations(world: &World) -> u64 {
    world.members.iter().map(|m| m.core.swim.counters().refuted).sum()
}

#[test]
fn others_vouch_for_a_member_that_one_cannot_reach() {
    let mut world = pool(5, &SwimConfig::lan());
    world.no_packets = vec![(0, 1)];
    world.run_for(120 * SECOND);
    assert_eq!((world.false_alarms(), refutations(&world)), (0, 0));
    assert!(world.members.iter().all(|m| m.core.swim.counters().probes_failed == 0));
}

#[test]
fn a_stream_vouches_for_a_member_without_packets() {
    let mut world = pool(5, &SwimConfig::lan());
    world.no_packets = (0..5).filter(|i| *i != 1).map(|i| (i, 1)).collect();
    world.run_for(120 * SECOND);
    assert_eq!((world.false_alarms(), refutations(&world)), (0, 0));
    // Without that last resort it is held dead.
    let mut world = pool(5, &SwimConfig { tcp_pings: false, ..SwimConfig::lan() });
    world.no_packets = (0..5).filter(|i| *i != 1).map(|i| (i, 1)).collect();
    world.run_for(120 * SECOND);
    assert!(world.false_alarms() > 0);
}

#[test]
fn a_new_meta_reaches_everyone() {
    let mut world = pool(20, &SwimConfig::lan());
    world.with(7, |core, now| core.swim.update_meta(b"new".to_vec(), &mut core.notes, now).unwrap());
    let all_have =
        |w: &World| w.members.iter().all(|m| m.core.swim.member("n7").is_some_and(|n| **n.meta() == *b"new"));
    let took = world.run_until(3 * SECOND, all_have).expect("not everyone has it");
    assert!(took < 2 * SECOND);
    for (i, m) in world.members.iter().enumerate() {
        let told = m.core.notes.updated.iter().filter(|n| &***n == "n7").count();
        assert_eq!(told, 1, "member {i}");
        assert!(m.core.notes.left.is_empty());
    }
}

#[test]
fn without_the_key_nobody_gets_in() {
    let ours = keyed(&[[1; 16]]);
    for (cfg, what) in [(keyed(&[[2; 16]]), "other key"), (SwimConfig::lan(), "no key")] {
        let mut world = pool(3, &ours);
        let stranger = world.add(&cfg);
        world.join(stranger, 0);
        world.run_for(5 * SECOND);
        assert_eq!(world.joins_failed, 1, "{what}");
        for i in 0..3 {
            assert_eq!(world.members[i].core.swim.num_members(), 3, "{what}");
        }
        assert_eq!(world.members[stranger].core.swim.num_members(), 1, "{what}");
    }
}

#[test]
fn keys_are_rotated_without_losing_anyone() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut world = pool(5, &keyed(&[old]));
    type Step = fn(&mut Keyring, &[u8; 16], &[u8; 16]);
    let steps: [Step; 3] = [
        |ring, _, new| ring.install(new).unwrap(),
        |ring, _, new| ring.use_key(new).unwrap(),
        |ring, old, _| ring.remove(old).unwrap(),
    ];
    for step in steps {
        for i in 0..5 {
            world.with(i, |core, _| step(core.swim.keyring_mut().unwrap(), &old, &new));
            world.run_for(SECOND);
        }
    }
    world.run_for(30 * SECOND);
    assert!(world.converged());
    assert_eq!(world.false_alarms(), 0);
    assert!(world.members.iter().all(|m| m.core.swim.counters().dropped == 0));
}

#[test]
fn encryption_is_switched_on_in_a_running_pool() {
    // First everyone understands it, then everyone uses it, then everyone insists on it.
    let key = [[1; 16]];
    let understands = SwimConfig { verify_incoming: false, verify_outgoing: false, ..keyed(&key) };
    let uses = SwimConfig { verify_incoming: false, ..keyed(&key) };
    let insists = keyed(&key);
    for pair in [[&SwimConfig::lan(), &understands], [&understands, &uses], [&uses, &insists]] {
        let mut world: World = World::new(0, pair[0], Network::lan(), 2);
        for i in 0..4 {
            world.add(pair[i % 2]);
        }
        for i in 1..4 {
            world.join(i, 0);
        }
        world.run_until(5 * SECOND, World::converged).expect("never converged");
        world.run_for(20 * SECOND);
        assert_eq!((world.joins_failed, world.false_alarms()), (0, 0));
    }
}

#[test]
fn labels_keep_pools_apart() {
    let labelled = SwimConfig { label: "blue".into(), ..SwimConfig::lan() };
    let mut world = pool(4, &labelled);
    let stranger = world.add(&SwimConfig::lan());
    world.join(stranger, 0);
    world.run_for(20 * SECOND);
    assert_eq!(world.joins_failed, 1);
    assert_eq!(world.members[0].core.swim.num_members(), 4);
    assert_eq!(world.false_alarms(), 0);
}

#[test]
fn addresses_outside_the_allowed_ranges_stay_out() {
    let allowed = vec![Cidr::parse("10.0.0.0/30").unwrap()];
    let mut world = pool(4, &SwimConfig { allowed_cidrs: Some(allowed), ..SwimConfig::lan() });
    let outside = world.add(&SwimConfig::lan());
    assert_eq!(sim::address(outside).ip().to_string(), "10.0.0.4");
    world.join(outside, 0);
    world.run_for(5 * SECOND);
    for i in 0..4 {
        assert!(world.members[i].core.swim.member(&sim::name(outside)).is_none(), "member {i}");
    }
}

#[test]
fn the_dead_are_forgotten_and_found_again() {
    let mut world = pool(5, &SwimConfig::lan());
    world.stop(3, Health::Crashed);
    world.run_for(60 * SECOND);
    assert!(world.members[0].core.swim.member("n3").is_none(), "its record is dropped");
    // It starts without knowing anyone, and is found all the same.
    world.restart(3, &SwimConfig::lan());
    let took = world.run_until(20 * SECOND, World::converged).expect("not found");
    assert!(took < 10 * SECOND, "{took:?}");
    // Whoever was told to forget it does not look for it.
    world.stop(3, Health::Crashed);
    world.run_for(60 * SECOND);
    for i in [0, 1, 2, 4] {
        world.with(i, |core, _| core.swim.forget("n3"));
    }
    world.restart(3, &SwimConfig::lan());
    assert_eq!(world.run_until(60 * SECOND, World::converged), None);
}
