//! The rules of membership, in small simulated pools.

mod sim;

use std::time::Duration;

use gossip::serf::MemberStatus;
use gossip::swim::{Cidr, SwimConfig};
use gossip::wire::Keyring;

use sim::{Core, Health, Network, WithSerf, World};

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

#[test]
fn a_namesake_that_leaves_takes_nobody_along() {
    let mut world: World<WithSerf> = World::new(4, &SwimConfig::lan(), Network::lan(), 3);
    for i in 1..4 {
        world.join(i, 0);
    }
    world.run_until(5 * SECOND, World::converged).expect("never converged");
    let twin = world.add_as("n2", &SwimConfig::lan());
    for through in [0, 2] {
        world.join(twin, through);
        world.run_for(10 * SECOND);
    }
    world.with(twin, |core, now| core.serf.leave(now));
    world.run_for(60 * SECOND);
    assert_eq!(world.leaves, 1, "the twin's leave ends");
    for i in 0..4 {
        assert_eq!(world.members[i].core.losses(), 0, "member {i}");
        assert_eq!(world.members[i].core.num_alive(), 4, "member {i}");
    }
    // Who has the name announces its leave all the same.
    world.with(2, |core, now| core.serf.leave(now));
    let status =
        |w: &World<WithSerf>| w.members[0].core.serf.members().find(|m| *m.name == *"n2").map(|m| m.status);
    world.run_until(10 * SECOND, |w| status(w) == Some(MemberStatus::Left)).expect("not known as left");
}

#[test]
fn a_member_that_moved_owns_its_name_as_soon_as_others_say_so() {
    let cfg = SwimConfig { dead_node_reclaim: SECOND, ..SwimConfig::lan() };
    let mut world = pool(4, &cfg);
    world.stop(3, Health::Crashed);
    let moved = world.add_as("n3", &cfg);
    world.join(moved, 0);
    world.run_for(SECOND);
    assert!(world.members[moved].core.swim.is_disowned(), "the old address is still in the lists");
    let owns = |w: &World| !w.members[moved].core.swim.is_disowned();
    world.run_until(90 * SECOND, owns).expect("never got its name back");
}
