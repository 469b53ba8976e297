//! Full disks and torn logs.

use std::fs;
use std::time::Duration;

use e2e::torn::{Tear, tear};
use e2e::{Datacenter, Disk, LONG, Slice, World, until};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::ledger::Ledger;
use crate::{PROCONSUL, fresh, steady};

/// Kills a server amid its writes, tears what it wrote to its log last, and starts it again when the others
/// go on without it. One that refuses is emptied, as its message says. Returns whether it refused.
///
/// More than a crash is done here: what was synced may be torn too. So the others must have all that was
/// acknowledged before this server may vote again.
pub fn tear_log(dc: &mut Datacenter, victim: usize, how: Tear, rng: &mut StdRng) -> bool {
    dc.voters();
    let raft = dc.servers[victim].data_dir().join("raft");
    let log = raft.join("log.redb");
    dc.servers[victim].pause();
    let before = fs::read(&log).expect("the log");
    dc.servers[victim].resume();
    std::thread::sleep(Duration::from_millis(rng.random_range(5..120)));
    dc.servers[victim].kill();
    let after = fs::read(&log).expect("the log");
    let leader = dc.leader();
    Ledger::default().write_soon("the others go on", &dc.servers[leader].http());
    let Some((torn, pages)) = tear(&before, &after, how, rng) else {
        dc.servers[victim].spawn();
        return false;
    };
    println!("{how:?}: pages {pages:?} of {}", after.len().div_ceil(4096));
    fs::write(&log, torn).expect("the torn log");
    let said = dc.servers[victim].log().len();
    dc.servers[victim].spawn();
    let server = &mut dc.servers[victim];
    let refused = until("the server takes part, or refuses", LONG, || {
        if server.exited() {
            return Ok(true);
        }
        match server.http().json("/v1/status/leader")?.as_str() {
            Some("") | None => Err("no leader".to_owned()),
            Some(_) => Ok(false),
        }
    });
    if refused {
        let status = server.wait_exit(LONG);
        let words = server.log()[said..].to_owned();
        assert!(!status.success(), "{status}");
        assert!(words.contains("log.redb") && words.contains("move the directory away"), "{words}");
        assert!(!words.contains("panicked"), "{words}");
        fs::remove_dir_all(&raft).expect("emptied");
        server.spawn();
    }
    refused
}

/// Room for a datacenter that does not do much.
const SMALL: u64 = 16 << 20;

fn small_disks(dc: &Datacenter) -> Vec<Disk> {
    dc.servers.iter().map(|s| Disk::mount(&s.data_dir(), SMALL).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Writes much until one fails because of full disks. A leader whose own log had room left only sees that no
/// majority answers; the others' logs say why.
fn until_no_space(dc: &Datacenter, server: usize) {
    let said: Vec<usize> = dc.servers.iter().map(|s| s.log().len()).collect();
    let much = "x".repeat(200_000);
    until("writes end with an error, and somebody says why", LONG, || {
        let why = dc.servers[server].http().write("/v1/kv/much", &much).err().ok_or("a write succeeded")?;
        let told =
            dc.servers.iter().zip(&said).any(|(s, &said)| s.log()[said..].contains("waiting for space"));
        if told && why.contains(": 500 ") { Ok(()) } else { Err(why) }
    });
}

#[test]
fn full_disks_stop_writes_and_lose_nothing() {
    World::of("disks::full_disks_stop_writes_and_lose_nothing", |world| {
        if world.disks.is_err() {
            return;
        }
        let slice = Slice::claim();
        let mut dc = Datacenter::prepared(PROCONSUL, &slice, 1, 3, 0, &steady());
        let disks = small_disks(&dc);
        dc.spawn();
        dc.ready();
        let mut ledger = Ledger::default();
        (0..20).for_each(|_| ledger.write_soon("a write", &dc.servers[0].http()));

        let began = std::time::Instant::now();
        let phase = |name: &str| println!("{:?}: {name}", began.elapsed());
        phase("a follower's disk: nobody notices");
        let leader = dc.leader();
        let follower = (leader + 1) % 3;
        disks[follower].fill();
        (0..50)
            .for_each(|_| ledger.write_soon("a write beside a full follower", &dc.servers[follower].http()));
        disks[follower].free();

        phase("the leader's: another leads");
        disks[leader].fill();
        until("another server leads", LONG, || {
            let _ = ledger.write(&dc.servers[leader].http());
            let now = dc.leader();
            if now == leader { Err(format!("{leader} still leads")) } else { Ok(()) }
        });
        (0..20).for_each(|_| ledger.write_soon("a write with another leader", &dc.servers[follower].http()));
        disks[leader].free();
        ledger.check(&dc);

        phase("everyone's: no writes, but the reads that need no majority");
        let leader = dc.leader();
        disks.iter().for_each(Disk::fill);
        until_no_space(&dc, leader);
        for server in &dc.servers {
            let reply = server.http().get("/v1/kv/ledger/000001?stale").expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        disks.iter().for_each(Disk::free);
        (0..20).for_each(|_| ledger.write_soon("a write after space was freed", &dc.servers[0].http()));
        ledger.check(&dc);

        phase("who is asked to stop does, on a full disk too");
        let stopped = (dc.leader() + 1) % 3;
        disks[stopped].fill();
        (0..20).for_each(|_| ledger.write_soon("a write", &dc.servers[(stopped + 1) % 3].http()));
        dc.servers[stopped].stop(Signal::SIGTERM);
        disks[stopped].free();
        dc.servers[stopped].spawn();
        dc.ready();

        phase("death on a full disk, and a start on one: a server that cannot start says why");
        disks.iter().for_each(Disk::fill);
        until_no_space(&dc, dc.leader());
        dc.kill();
        let said = dc.servers[0].log().len();
        dc.servers[0].spawn();
        let server = &mut dc.servers[0];
        let ended = until("the server answers, or refuses", LONG, || {
            if server.exited() {
                return Ok(true);
            }
            server.http().get("/v1/status/peers").map(|_| false).map_err(String::from)
        });
        if ended {
            let status = server.wait_exit(LONG);
            let words = server.log()[said..].to_owned();
            assert!(!status.success() && words.contains("No space left"), "{status}: {words}");
        } else {
            server.kill();
        }
        phase(if ended { "it refused; freed" } else { "it started; freed" });
        disks.iter().for_each(Disk::free);
        dc.spawn();
        dc.ready();
        ledger.write_soon("a write after the restart", &dc.servers[0].http());
        ledger.check(&dc);
        println!("{} writes were acknowledged, all are there", ledger.len());
    });
}

/// A follower that is behind the log and has no room for the leader's snapshot lives without it until there is.
#[test]
fn a_snapshot_waits_for_room() {
    World::of("disks::a_snapshot_waits_for_room", |world| {
        if world.disks.is_err() {
            return;
        }
        let slice = Slice::claim();
        let mut config = steady();
        let settings = config.as_object_mut().expect("an object");
        settings.insert("raft_snapshot_interval".to_owned(), "500ms".into());
        settings.insert("raft_snapshot_threshold".to_owned(), 10.into());
        settings.insert("raft_trailing_logs".to_owned(), 5.into());
        let mut dc = Datacenter::prepared(PROCONSUL, &slice, 1, 3, 0, &config);
        let disks: Vec<Disk> = (dc.servers.iter())
            .map(|s| Disk::mount(&s.data_dir(), 8 * SMALL).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        dc.spawn();
        dc.ready();
        let mut ledger = Ledger::default();
        let leader = dc.leader();
        let behind = (leader + 1) % 3;
        (0..20).for_each(|_| ledger.write_soon("a write", &dc.servers[leader].http()));

        dc.servers[behind].kill();
        // The log is cut by some hundred entries at once.
        let much = "x".repeat(30_000);
        for n in 0..300 {
            until("a write", LONG, || dc.servers[leader].http().write(&format!("/v1/kv/much/{n}"), &much));
        }
        let raft = |dc: &Datacenter, server: usize, key: &str| -> Result<u64, String> {
            let this = dc.servers[server].http().json("/v1/agent/self")?;
            let value = &this["Stats"]["raft"][key];
            value.as_str().and_then(|v| v.parse().ok()).ok_or_else(|| format!("{key}: {value}"))
        };
        let written = until("the index", LONG, || raft(&dc, leader, "applied_index"));
        until("the leader has a snapshot of it all", LONG, || {
            match raft(&dc, leader, "last_snapshot_index")? {
                index if index >= written => Ok(()),
                index => Err(format!("{index} of {written}")),
            }
        });
        // Enough for its log.
        disks[behind].fill_but(4 << 20);
        dc.servers[behind].spawn();
        until("it refuses the snapshot", LONG, || {
            let log = dc.servers[behind].log();
            if log.contains("snapshot is not taken") { Ok(()) } else { Err(log) }
        });
        (0..20).for_each(|_| ledger.write_soon("a write beside it", &dc.servers[leader].http()));
        let stale = dc.servers[behind].http().get("/v1/catalog/nodes?stale").expect("an answer");
        assert_eq!(stale.status, 200, "{stale:?}");

        disks[behind].free();
        until("it has what the leader has", LONG, || {
            let (there, here) = (raft(&dc, leader, "applied_index")?, raft(&dc, behind, "applied_index")?);
            if here >= there { Ok(()) } else { Err(format!("{here} of {there}")) }
        });
        let log = dc.servers[behind].log();
        assert!(log.contains("snapshot is taken now"), "{log}");
        ledger.check(&dc);
    });
}

#[test]
fn a_torn_log_is_repaired_or_refused() {
    let seed = crate::number("PROCONSUL_FAULTS_SEED").unwrap_or_else(fresh);
    println!("PROCONSUL_FAULTS_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let slice = Slice::claim();
    let mut dc = Datacenter::start(PROCONSUL, &slice, 1, 3, 0, &steady());
    dc.ready();
    let mut ledger = Ledger::default();
    let mut refused = 0;
    for how in Tear::ALL {
        let victim = if rng.random_bool(0.5) { dc.leader() } else { rng.random_range(0..3) };
        let writer = dc.servers[(victim + 1) % 3].http();
        let stop = e2e::Stop::new();
        std::thread::scope(|scope| {
            let _end = stop.at_end();
            let writes = scope.spawn(|| {
                while !stop.is_set() {
                    let _ = ledger.write(&writer);
                }
            });
            std::thread::sleep(Duration::from_millis(200));
            refused += u32::from(tear_log(&mut dc, victim, how, &mut rng));
            stop.now();
            writes.join().expect("the writer");
        });
        dc.ready();
        ledger.check(&dc);
    }
    println!(
        "{} writes were acknowledged, all are there; {refused} of {} logs refused",
        ledger.len(),
        Tear::ALL.len()
    );
}
