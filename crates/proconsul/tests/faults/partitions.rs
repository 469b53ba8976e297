//! A leader that is cut off, in every direction.

use e2e::{Datacenter, LONG, Slice, Wall, World, until};

use crate::ledger::Ledger;
use crate::{PROCONSUL, steady};

/// The place of a server that one of `seen_by` takes for the leader and that is not `old`.
fn next_leader(dc: &Datacenter, seen_by: &[usize], old: usize) -> usize {
    until("another server leads", LONG, || {
        let mut seen = Vec::new();
        for &n in seen_by {
            let told = dc.servers[n].http().json("/v1/status/leader")?;
            let place = dc.servers.iter().position(|s| told == format!("{}:8300", s.spec.addr));
            match place {
                Some(place) if place != old => return Ok(place),
                _ => seen.push(told),
            }
        }
        Err(format!("{seen:?}"))
    })
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_lies_to_nobody() {
    World::of("partitions::a_leader_that_is_cut_off_is_replaced_and_lies_to_nobody", |world| {
        let Ok(wall) = &world.wall else { return };
        let slice = Slice::claim();
        let dc = Datacenter::start(PROCONSUL, &slice, 1, 3, 0, &steady());
        dc.ready();
        let mut ledger = Ledger::default();
        for cut in [Cut::Both, Cut::Deaf, Cut::Mute] {
            replaced(&dc, wall, cut, &mut ledger);
        }
        println!("{} writes were acknowledged, all are there", ledger.len());
    });
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    Both,
    /// It does not hear the others.
    Deaf,
    /// They do not hear it.
    Mute,
}

fn replaced(dc: &Datacenter, wall: &Wall, cut: Cut, ledger: &mut Ledger) {
    dc.voters();
    let old = dc.leader();
    let others: Vec<usize> = (0..dc.servers.len()).filter(|&n| n != old).collect();
    let before = format!("before-{cut:?}");
    let path = format!("/v1/kv/{before}");
    until("a write", LONG, || dc.servers[old].http().write(&path, "old"));
    let at = dc.servers[old].spec.addr;
    for other in others.iter().map(|&n| dc.servers[n].spec.addr) {
        if cut != Cut::Deaf {
            wall.cut(at, other);
        }
        if cut != Cut::Mute {
            wall.cut(other, at);
        }
    }
    let new = next_leader(dc, &others, old);
    println!("{cut:?}: {old} -> {new}");
    (0..20).for_each(|_| ledger.write_soon("a write of the majority", &dc.servers[new].http()));
    until("the value is replaced", LONG, || dc.servers[new].http().write(&path, "new"));

    // The old leader's lease is over: it acknowledges nothing, and reads nothing that may be old, unless asked.
    let cut_off = dc.servers[old].http();
    let unheard = cut_off.put(&format!("{path}-lost"), "x").expect("an answer");
    assert_eq!(unheard.status, 500, "{unheard:?}");
    for mode in ["", "&consistent"] {
        match cut_off.get(&format!("{path}?raw{mode}")) {
            Ok(reply) if reply.ok() => assert_eq!(reply.body, "new", "a stale read, {mode:?}"),
            Ok(reply) => assert_eq!(reply.status, 500, "{reply:?}"),
            Err(_) => {}
        }
    }
    let stale = cut_off.get(&format!("{path}?stale&raw")).expect("an answer");
    assert!(stale.ok(), "{stale:?}");

    wall.heal();
    until("the old leader follows", LONG, || {
        let told = cut_off.json("/v1/status/leader")?;
        let reply = cut_off.get(&format!("{path}?consistent&raw"))?;
        if reply.ok() && reply.body == "new" { Ok(()) } else { Err(format!("{told}: {reply:?}")) }
    });
    dc.ready();
    ledger.check(dc);
}

#[test]
fn a_follower_that_reaches_only_a_follower_changes_nothing() {
    World::of("partitions::a_follower_that_reaches_only_a_follower_changes_nothing", |world| {
        let Ok(wall) = &world.wall else { return };
        let slice = Slice::claim();
        let dc = Datacenter::start(PROCONSUL, &slice, 1, 3, 0, &steady());
        dc.ready();
        let leader = dc.leader();
        let (cut, third) = ((leader + 1) % 3, (leader + 2) % 3);
        let term = |n: usize| {
            dc.servers[n].cli_ok(&["info"]).map(|text| {
                text.lines()
                    .find_map(|line| line.trim().strip_prefix("term = ").map(str::to_owned))
                    .unwrap_or_default()
            })
        };
        let before = until("the term", LONG, || term(third));
        wall.part(dc.servers[leader].spec.addr, dc.servers[cut].spec.addr);
        let mut ledger = Ledger::default();
        // Longer than any election timeout: its pre-votes are refused, for the third hears the leader.
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_secs(6) {
            ledger.write_soon("a write", &dc.servers[third].http());
        }
        assert_eq!(until("the term", LONG, || term(third)), before, "an election was forced");
        wall.heal();
        dc.ready();
        ledger.check(&dc);
        assert_eq!(dc.leader(), leader);
    });
}
