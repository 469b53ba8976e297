//! Faults, one after the other, each with its end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::torn::Tear;
use e2e::{Datacenter, Disk, Wall, World};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disks::tear_log;

/// Room for the log of a run; one that fills it would be a fault nobody asked for.
const DISK: u64 = 128 << 20;

/// Faults by how often they come.
const ALWAYS: [(Fault, u32); 6] = [
    (Fault::Kill, 4),
    (Fault::Pause, 3),
    (Fault::Stop, 1),
    (Fault::LightsOut, 1),
    (Fault::Tear, 2),
    (Fault::KillTwo, 1),
];
const WITH_WALL: [(Fault, u32); 6] = [
    (Fault::Isolate, 4),
    (Fault::Deaf, 2),
    (Fault::Mute, 2),
    (Fault::Part, 2),
    (Fault::KillDuringCut, 2),
    (Fault::KillDuringPart, 2),
];
const WITH_DISKS: [(Fault, u32); 2] = [(Fault::Full, 2), (Fault::FullAll, 1)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill,
    /// A majority dies.
    KillTwo,
    Pause,
    /// SIGTERM, and a new start.
    Stop,
    /// Everyone dies at once.
    LightsOut,
    /// One server neither hears nor reaches the others.
    Isolate,
    /// One server does not hear the others, which hear it.
    Deaf,
    /// The others do not hear one server, which hears them.
    Mute,
    /// Two servers do not reach each other; the third reaches both.
    Part,
    /// While one is isolated another dies.
    KillDuringCut,
    /// While two servers do not reach each other the third dies, and is back at once: one of the two hears a
    /// leader by it, the other would like to be elected.
    KillDuringPart,
    /// The disk of one server is full.
    Full,
    /// All disks that can be filled (a majority of them) are.
    FullAll,
    /// One dies, and its log's last pages are torn.
    Tear,
}

/// A datacenter and what befalls it.
pub struct Schedule<'w> {
    // First, so that it is unmounted before the agents' folders go.
    disks: BTreeMap<usize, Disk>,
    pub dc: Datacenter,
    wall: Option<&'w Wall>,
    rng: StdRng,
    pub counts: BTreeMap<Fault, usize>,
    began: Instant,
}

impl<'w> Schedule<'w> {
    /// Starts the datacenter. All servers but the last have disks that can be filled; the last one's
    /// is the system's, with syncs that take time.
    pub fn start(mut dc: Datacenter, world: &'w World, seed: u64) -> Self {
        let mut disks = BTreeMap::new();
        if world.disks.is_ok() {
            for n in 0..dc.servers.len() - 1 {
                let disk = Disk::mount(&dc.servers[n].data_dir(), DISK).unwrap_or_else(|e| panic!("{e}"));
                disks.insert(n, disk);
            }
        }
        dc.spawn();
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(31));
        let wall = world.wall.as_ref().ok();
        let schedule = Schedule { disks, dc, wall, rng, counts: BTreeMap::new(), began: Instant::now() };
        schedule.dc.ready();
        schedule
    }

    fn choose(&mut self) -> Fault {
        let mut choices: Vec<(Fault, u32)> = ALWAYS.to_vec();
        if self.wall.is_some() {
            choices.extend(WITH_WALL);
        }
        if !self.disks.is_empty() {
            choices.extend(WITH_DISKS);
        }
        let mut left = self.rng.random_range(0..choices.iter().map(|(_, weight)| weight).sum());
        for (fault, weight) in choices {
            if left < weight {
                return fault;
            }
            left -= weight;
        }
        Fault::Kill
    }

    /// One fault and its end; returns when somebody leads again.
    pub fn fault(&mut self) {
        let fault = self.choose();
        let count = self.dc.servers.len();
        let victim = if self.rng.random_bool(0.5) { self.dc.led() } else { self.rng.random_range(0..count) };
        let other = (victim + self.rng.random_range(1..count)) % count;
        // Now and then long enough that gossip declares a server dead.
        let longest = if self.rng.random_bool(0.15) { 9000 } else { 3500 };
        let hold = Duration::from_millis(self.rng.random_range(200..longest));
        println!("{:?} {fault:?} of {victim} for {hold:?}", self.began.elapsed());
        *self.counts.entry(fault).or_default() += 1;
        let servers = &mut self.dc.servers;
        match fault {
            Fault::Kill => {
                servers[victim].kill();
                sleep(hold);
                servers[victim].spawn();
            }
            Fault::KillTwo => {
                servers[victim].kill();
                servers[other].kill();
                sleep(hold / 4);
                servers[other].spawn();
                servers[victim].spawn();
            }
            Fault::Pause => {
                servers[victim].pause();
                sleep(hold);
                servers[victim].resume();
            }
            Fault::Stop => {
                servers[victim].stop(Signal::SIGTERM);
                sleep(hold / 4);
                servers[victim].spawn();
            }
            Fault::LightsOut => {
                self.dc.kill();
                self.dc.spawn();
            }
            Fault::Isolate
            | Fault::Deaf
            | Fault::Mute
            | Fault::Part
            | Fault::KillDuringCut
            | Fault::KillDuringPart => {
                self.cut(fault, victim, other, hold);
            }
            Fault::Full => {
                let disk = self.disks.get(&victim).or_else(|| self.disks.values().next());
                if let Some(disk) = disk {
                    disk.fill();
                    sleep(hold);
                    disk.free();
                }
            }
            Fault::FullAll => {
                self.disks.values().for_each(Disk::fill);
                sleep(hold);
                self.disks.values().for_each(Disk::free);
            }
            Fault::Tear => {
                let how = Tear::ALL[self.rng.random_range(0..Tear::ALL.len())];
                tear_log(&mut self.dc, victim, how, &mut self.rng);
            }
        }
        self.dc.led();
        sleep(Duration::from_millis(self.rng.random_range(0..1500)));
    }

    fn cut(&mut self, fault: Fault, victim: usize, other: usize, hold: Duration) {
        let Some(wall) = self.wall else { return };
        let address = |n: usize| self.dc.servers[n].spec.addr;
        let rest: Vec<Ipv4Addr> = (0..self.dc.servers.len()).filter(|&n| n != victim).map(address).collect();
        let victim_at = address(victim);
        match fault {
            Fault::Deaf => rest.iter().for_each(|&from| wall.cut(from, victim_at)),
            Fault::Mute => rest.iter().for_each(|&to| wall.cut(victim_at, to)),
            Fault::Part | Fault::KillDuringPart => wall.part(victim_at, address(other)),
            _ => rest.iter().for_each(|&to| wall.part(victim_at, to)),
        }
        if fault == Fault::KillDuringCut {
            sleep(hold / 2);
            self.dc.servers[other].kill();
            sleep(hold / 4);
            self.dc.servers[other].spawn();
            sleep(hold / 4);
        } else if fault == Fault::KillDuringPart {
            sleep(hold / 2);
            let thirds = self.dc.servers.iter_mut().enumerate().filter(|(n, _)| ![victim, other].contains(n));
            thirds.for_each(|(_, third)| {
                third.kill();
                third.spawn();
            });
            sleep(hold / 2);
        } else {
            sleep(hold);
        }
        wall.heal();
    }
}
