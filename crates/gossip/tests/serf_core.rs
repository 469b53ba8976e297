//! The serf layer in virtual time: a network in memory, no sockets, no sleeping.

use gossip::serf::snapshot::{Record, State};
use gossip::serf::{
    Coalesce, Event, KeyOp, Member, MemberEventKind, MemberStatus, Output, Policy, Serf, SerfConfig, Tags,
};
use gossip::swim::{self, ConnId, ExchangeId, Input, StreamFailure, SwimConfig, Tick};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const LATENCY: Duration = Duration::from_millis(2);

enum Parcel {
    Packet { from: SocketAddr, bytes: bytes::Bytes },
    Request { from: usize, id: ExchangeId, bytes: bytes::Bytes, answer: bool },
    Answer { id: ExchangeId, bytes: bytes::Bytes },
    Refused { id: ExchangeId },
}

struct Host {
    serf: Serf,
    up: bool,
    addr: SocketAddr,
    events: Vec<Event>,
    records: Vec<Record>,
    reports: Vec<gossip::serf::KeyReport>,
    left: bool,
    lost: bool,
    /// Whom to answer on a stream.
    conns: HashMap<ConnId, (usize, ExchangeId)>,
}

struct Net {
    now: Tick,
    hosts: Vec<Host>,
    parcels: BTreeMap<u64, (usize, Parcel)>,
    due: BinaryHeap<Reverse<(Tick, u64)>>,
    sent: u64,
    /// Extra way for packets of this host.
    far: HashMap<usize, Duration>,
}

fn addr(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + i as u8], 7946))
}

fn quick(cfg: &mut SwimConfig) {
    cfg.push_pull_interval = Duration::from_secs(10);
}

impl Net {
    fn new(n: usize) -> Self {
        let mut net = Net {
            now: Tick::ZERO,
            hosts: Vec::new(),
            parcels: BTreeMap::new(),
            due: BinaryHeap::new(),
            sent: 0,
            far: HashMap::new(),
        };
        for i in 0..n {
            net.add(&format!("n{i}"), SerfConfig::consul(), None);
        }
        for i in 1..n {
            net.join(i, 0);
        }
        if n > 1 {
            net.run(Duration::from_secs(5));
            for i in 0..n {
                assert_eq!(net.alive(i), n, "n{i}");
            }
        }
        net
    }

    fn add(&mut self, name: &str, cfg: SerfConfig, restored: Option<&State>) -> usize {
        let i = self.hosts.len();
        let mut swim_cfg = SwimConfig::lan();
        quick(&mut swim_cfg);
        let serf = Serf::new(cfg, swim_cfg, name, addr(i), 7 + i as u64, restored, self.now).unwrap();
        self.hosts.push(Host {
            serf,
            up: true,
            addr: addr(i),
            events: Vec::new(),
            records: Vec::new(),
            reports: Vec::new(),
            left: false,
            lost: false,
            conns: HashMap::new(),
        });
        self.collect(i);
        i
    }

    fn post(&mut self, to: usize, after: Duration, parcel: Parcel) {
        self.sent += 1;
        self.parcels.insert(self.sent, (to, parcel));
        self.due.push(Reverse((self.now + after, self.sent)));
    }

    fn find(&self, to: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|h| h.addr == to && h.up)
    }

    fn collect(&mut self, i: usize) {
        while let Some(output) = self.hosts[i].serf.poll_output() {
            let host = &mut self.hosts[i];
            match output {
                Output::Event(event) => host.events.push(event),
                Output::Snapshot(record) => host.records.push(record),
                Output::Keys(_, report) => host.reports.push(report),
                Output::LeaveDone => host.left = true,
                Output::ConflictLost => host.lost = true,
                Output::Query(..) | Output::SaveKeyring(_) => {}
                Output::Io(io) => self.io(i, io),
            }
        }
    }

    fn io(&mut self, i: usize, output: swim::Output) {
        let way = LATENCY + self.far.get(&i).copied().unwrap_or_default();
        match output {
            swim::Output::Packet { to, bytes } => {
                if let Some(to) = self.find(to) {
                    let way = way + self.far.get(&to).copied().unwrap_or_default();
                    let from = self.hosts[i].addr;
                    self.post(to, way, Parcel::Packet { from, bytes });
                }
            }
            swim::Output::OpenStream { id, to, request, answer, .. } => match self.find(to) {
                Some(to) => self.post(to, way, Parcel::Request { from: i, id, bytes: request, answer }),
                None => self.post(i, way, Parcel::Refused { id }),
            },
            swim::Output::StreamReply { id, bytes } => {
                if let (Some((to, id)), Some(bytes)) = (self.hosts[i].conns.remove(&id), bytes) {
                    self.post(to, way, Parcel::Answer { id, bytes });
                }
            }
            swim::Output::JoinDone { .. } | swim::Output::LeaveDone { .. } => {}
        }
    }

    /// Runs everything that happens within `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let parcel = self.due.peek().map(|Reverse((at, _))| *at);
            let timer = (0..self.hosts.len())
                .filter(|i| self.hosts[*i].up)
                .filter_map(|i| Some((self.hosts[i].serf.poll_timeout()?, i)))
                .min();
            let next = [parcel, timer.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            let now = self.now;
            if parcel == Some(at) {
                let Some(Reverse((_, number))) = self.due.pop() else { break };
                let Some((to, parcel)) = self.parcels.remove(&number) else { break };
                if !self.hosts[to].up {
                    continue;
                }
                let input = match parcel {
                    Parcel::Packet { from, bytes } => Input::Packet { from, bytes },
                    Parcel::Answer { id, bytes } => Input::StreamAnswered { id, bytes },
                    Parcel::Refused { id } => Input::StreamFailed {
                        id,
                        failure: StreamFailure { refused: true, text: "connection refused".into() },
                    },
                    Parcel::Request { from, id, bytes, answer } => {
                        let conn = ConnId(number);
                        if answer {
                            self.hosts[to].conns.insert(conn, (from, id));
                        } else {
                            self.post(from, LATENCY, Parcel::Answer { id, bytes: bytes::Bytes::new() });
                        }
                        Input::StreamRequest { id: conn, from: addr(from), bytes }
                    }
                };
                self.hosts[to].serf.handle(input, now);
                self.collect(to);
            } else if let Some((_, i)) = timer {
                self.hosts[i].serf.handle(Input::Timer, now);
                self.collect(i);
            }
        }
        self.now = end;
    }

    /// Lets host `i` do something now.
    fn act<T>(&mut self, i: usize, action: impl FnOnce(&mut Serf, Tick) -> T) -> T {
        let now = self.now;
        let result = action(&mut self.hosts[i].serf, now);
        self.collect(i);
        result
    }

    fn join(&mut self, i: usize, to: usize) {
        let to = self.hosts[to].addr;
        self.act(i, |serf, now| serf.begin_join(to, true, now));
        self.run(Duration::from_millis(100));
        self.act(i, Serf::announce_join);
    }

    fn member(&self, i: usize, name: &str) -> Option<&Arc<Member>> {
        self.hosts[i].serf.members().find(|m| *m.name == *name)
    }

    fn status(&self, i: usize, name: &str) -> Option<MemberStatus> {
        self.member(i, name).map(|m| m.status)
    }

    fn alive(&self, i: usize) -> usize {
        self.hosts[i].serf.members().filter(|m| m.status == MemberStatus::Alive).count()
    }

    fn kinds(&self, i: usize, name: &str) -> Vec<MemberEventKind> {
        self.hosts[i]
            .events
            .iter()
            .filter_map(|e| match e {
                Event::Member(kind, m) if *m.name == *name => Some(*kind),
                _ => None,
            })
            .collect()
    }

    fn user_events(&self, i: usize) -> Vec<String> {
        self.hosts[i]
            .events
            .iter()
            .filter_map(|e| match e {
                Event::User(e) => Some(e.name.clone()),
                _ => None,
            })
            .collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_leave_is_told_and_takes_its_time() {
    let mut net = Net::new(4);
    let began = net.now;
    net.act(3, Serf::leave);
    while !net.hosts[3].left {
        net.run(Duration::from_millis(50));
        assert!(net.now.since(began) < 15 * SECOND);
    }
    for i in 0..3 {
        assert_eq!(net.status(i, "n3"), Some(MemberStatus::Left), "n{i}");
        assert_eq!(net.kinds(i, "n3"), [MemberEventKind::Join, MemberEventKind::Leave]);
    }
    assert!(net.hosts[3].records.contains(&Record::Leave));
    assert!(net.now.since(began) >= 3 * SECOND, "it lingers");
}

#[test]
fn a_leave_alone_is_immediate() {
    let mut net = Net::new(1);
    net.act(0, Serf::leave);
    assert!(net.hosts[0].left);
}

#[test]
fn status_times_of_the_left_do_not_creep() {
    let mut net = Net::new(4);
    net.act(3, Serf::leave);
    net.run(15 * SECOND);
    net.hosts[3].up = false;
    // An exchange that crosses the news may still raise it once.
    net.run(60 * SECOND);
    let before = net.hosts[0].serf.stats().member_time;
    // Dozens of full exchanges.
    net.run(300 * SECOND);
    assert_eq!(net.hosts[0].serf.stats().member_time, before);
}

#[test]
fn the_failed_are_forced_out_and_pruned_everywhere() {
    let mut net = Net::new(5);
    net.hosts[4].up = false;
    net.run(40 * SECOND);
    for i in 0..4 {
        assert_eq!(net.status(i, "n4"), Some(MemberStatus::Failed), "n{i}");
    }
    net.act(1, |serf, now| serf.force_leave("n4", false, now));
    net.run(25 * SECOND);
    for i in 0..4 {
        assert_eq!(net.status(i, "n4"), Some(MemberStatus::Left), "n{i}");
    }
    net.act(2, |serf, now| serf.force_leave("n4", true, now));
    net.run(5 * SECOND);
    for i in 0..4 {
        assert_eq!(net.status(i, "n4"), None, "n{i}");
        assert_eq!(net.kinds(i, "n4").last(), Some(&MemberEventKind::Reap));
    }
    net.run(60 * SECOND);
    for i in 0..4 {
        assert_eq!(net.status(i, "n4"), None, "it does not come back to n{i}");
    }
}

#[test]
fn the_living_refute_being_forced_out() {
    let mut net = Net::new(3);
    net.act(0, |serf, now| serf.force_leave("n2", false, now));
    assert_eq!(net.status(0, "n2"), Some(MemberStatus::Leaving));
    net.run(5 * SECOND);
    for i in 0..3 {
        assert_eq!(net.status(i, "n2"), Some(MemberStatus::Alive), "n{i}");
    }
}

#[test]
fn who_comes_back_is_reached_again_and_joins_anew() {
    let mut net = Net::new(3);
    net.hosts[2].up = false;
    // Longer than the dead are gossiped to: only reconnecting helps.
    net.run(120 * SECOND);
    assert_eq!(net.status(0, "n2"), Some(MemberStatus::Failed));
    net.hosts[2].up = true;
    net.run(180 * SECOND);
    for i in 0..3 {
        assert_eq!(net.alive(i), 3, "n{i}");
    }
    use MemberEventKind::{Failed, Join};
    assert_eq!(net.kinds(0, "n2"), [Join, Failed, Join]);
}

struct Remember;

impl Policy for Remember {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        match members.iter().find(|m| m.tag("evil").is_some()) {
            Some(m) => Err(format!("Member '{}' is evil", m.name)),
            None => Ok(()),
        }
    }

    fn remember_for(&self, member: &Member) -> Option<Duration> {
        member.tag("short").map(|_| 60 * SECOND)
    }
}

fn with(tags: &[(&str, &str)]) -> SerfConfig {
    let mut cfg = SerfConfig::consul();
    cfg.policy = Arc::new(Remember);
    cfg.reconnect_timeout = 600 * SECOND;
    cfg.tombstone_timeout = 300 * SECOND;
    cfg.tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    cfg
}

#[test]
fn the_gone_are_forgotten_in_time() {
    let mut net = Net::new(0);
    for (name, tags) in [("stays", &[][..]), ("fails", &[]), ("leaves", &[]), ("short", &[("short", "1")])] {
        let i = net.add(name, with(tags), None);
        if i > 0 {
            net.join(i, 0);
        }
    }
    net.run(5 * SECOND);
    assert_eq!(net.alive(0), 4);
    net.act(2, Serf::leave);
    net.run(15 * SECOND);
    for i in 1..4 {
        net.hosts[i].up = false;
    }
    net.run(50 * SECOND);
    assert_eq!(net.status(0, "short"), Some(MemberStatus::Failed));
    net.run(70 * SECOND);
    assert_eq!(net.status(0, "short"), None);
    assert_eq!(net.status(0, "leaves"), Some(MemberStatus::Left));
    net.run(220 * SECOND);
    assert_eq!(net.status(0, "leaves"), None);
    assert_eq!(net.status(0, "fails"), Some(MemberStatus::Failed));
    net.run(350 * SECOND);
    assert_eq!(net.status(0, "fails"), None);
    assert_eq!(net.alive(0), 1);
}

#[test]
fn the_refused_are_not_taken_in() {
    let mut net = Net::new(0);
    net.add("a", with(&[]), None);
    let b = net.add("b", with(&[]), None);
    let evil = net.add("c", with(&[("evil", "1")]), None);
    net.join(b, 0);
    net.join(evil, 0);
    net.run(30 * SECOND);
    assert_eq!((net.alive(0), net.alive(b)), (2, 2));
}

#[test]
fn events_are_delivered_once_and_the_past_is_not_told() {
    let mut net = Net::new(3);
    for (i, name) in [(0, "one"), (1, "two")] {
        net.act(i, |serf, now| serf.user_event(name, b"x", false, now)).unwrap();
        net.run(3 * SECOND);
    }
    net.run(40 * SECOND);
    for i in 0..3 {
        assert_eq!(net.user_events(i), ["one", "two"], "n{i}");
    }
    let late = net.add("late", SerfConfig::consul(), None);
    net.join(late, 0);
    net.run(40 * SECOND);
    assert_eq!(net.alive(late), 4);
    assert!(net.user_events(late).is_empty());
    net.act(2, |serf, now| serf.user_event("three", b"", false, now)).unwrap();
    net.run(5 * SECOND);
    assert_eq!(net.user_events(late), ["three"]);
}

#[test]
fn a_restored_agent_does_not_hear_the_old_again() {
    let mut net = Net::new(2);
    net.act(0, |serf, now| serf.user_event("old", b"", false, now)).unwrap();
    net.run(5 * SECOND);
    let text: String = net.hosts[1].records.iter().map(|r| format!("{r}\n")).collect();
    let state = State::replay(text.as_bytes(), false);
    assert_eq!(state.alive.len(), 2);
    assert_eq!(state.event_clock, 1);
    net.hosts[1].up = false;
    net.run(60 * SECOND);
    let again = net.add("again", SerfConfig::consul(), Some(&state));
    let to = net.hosts[0].addr;
    // As a rejoin does: without asking for the past to be left out.
    net.act(again, |serf, now| serf.begin_join(to, false, now));
    net.run(5 * SECOND);
    assert_eq!(net.alive(again), 2);
    assert!(net.user_events(again).is_empty());
}

#[test]
fn keys_without_encryption_are_an_error_everywhere() {
    let mut net = Net::new(3);
    net.act(0, |serf, now| serf.key_operation(KeyOp::List, b"", 0, now)).unwrap();
    net.run(5 * SECOND);
    let report = &net.hosts[0].reports[0];
    assert_eq!((report.num_nodes, report.num_resp, report.num_err), (3, 3, 3));
    assert_eq!(report.error().as_deref(), Some("3/3 nodes reported failure"));
    assert_eq!(report.messages["n2"], "Keyring is empty (encryption not enabled)");

    // One that is silent.
    net.hosts[2].up = false;
    net.act(0, |serf, now| serf.key_operation(KeyOp::List, b"", 0, now)).unwrap();
    net.run(10 * SECOND);
    let report = &net.hosts[0].reports[1];
    assert_eq!((report.num_nodes, report.num_resp), (3, 2));
}

#[test]
fn coordinates_come_to_tell_distances() {
    let mut net = Net::new(4);
    net.far.insert(3, Duration::from_millis(30));
    net.run(300 * SECOND);
    let here = net.hosts[0].serf.coordinate().unwrap();
    let near = here.distance(net.hosts[0].serf.cached_coordinate("n1").unwrap()).unwrap();
    let far = here.distance(net.hosts[0].serf.cached_coordinate("n3").unwrap()).unwrap();
    assert!(near < Duration::from_millis(12), "{near:?}");
    assert!(far > Duration::from_millis(45) && far < Duration::from_millis(80), "{far:?}");
}

#[test]
fn tags_change_everywhere() {
    let mut net = Net::new(3);
    let tags = Tags::from([("k".to_owned(), "v".to_owned())]);
    net.act(1, |serf, now| serf.set_tags(tags, now)).unwrap();
    net.run(3 * SECOND);
    for i in 0..3 {
        assert_eq!(net.member(i, "n1").unwrap().tag("k"), Some("v"), "n{i}");
    }
    let long = Tags::from([("k".to_owned(), "v".repeat(600))]);
    assert!(net.act(1, |serf, now| serf.set_tags(long, now)).is_err());
    assert_eq!(net.member(1, "n1").unwrap().tag("k"), Some("v"));
}

#[test]
fn the_minority_gives_a_disputed_name_up() {
    let mut net = Net::new(0);
    let mut cfg = SerfConfig::consul();
    cfg.resolve_conflicts = true;
    for name in ["a", "b", "c", "d"] {
        let i = net.add(name, cfg.clone(), None);
        if i > 0 {
            net.join(i, 0);
        }
    }
    net.run(5 * SECOND);
    let intruder = net.add("d", cfg, None);
    net.join(intruder, 0);
    net.run(60 * SECOND);
    assert!(net.hosts[intruder].lost);
    assert!(!net.hosts[3].lost);
    assert_eq!(net.member(0, "d").unwrap().socket_addr(), addr(3));
}

#[test]
fn coalescing_keeps_the_last_of_a_burst() {
    let mut cfg = SerfConfig::consul();
    cfg.coalesce = Some(Coalesce { window: 3 * SECOND, quiet: SECOND });
    let mut net = Net::new(0);
    net.add("a", cfg, None);
    for (name, payload, cc) in
        [("x", "1", true), ("x", "2", true), ("y", "1", false), ("y", "2", false), ("x", "3", true)]
    {
        net.act(0, |serf, now| serf.user_event(name, payload.as_bytes(), cc, now)).unwrap();
    }
    // Those that may not be merged are told at once.
    assert_eq!(net.user_events(0), ["y", "y"]);
    net.run(2 * SECOND);
    assert_eq!(net.user_events(0), ["y", "y", "x"]);
    let Some(Event::User(last)) = net.hosts[0].events.last() else { panic!("no event") };
    assert_eq!(last.payload, "3");
    assert_eq!(net.kinds(0, "a"), [MemberEventKind::Join]);
}

/// Recorded packets, whole and mutilated, from a stranger.
#[test]
fn mutilated_packets_do_no_harm() {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let mut packets = Vec::new();
    for (_, v) in vectors::gossip_over("udp") {
        if v["key"].is_null() {
            let bytes = vectors::unhex(v["hex"].as_str().unwrap());
            // A checksum would keep most mutilations out.
            packets.push(if bytes[0] == 12 { bytes[5..].to_vec() } else { bytes });
        }
    }
    assert!(packets.len() > 20);
    let mut net = Net::new(3);
    let mut rng = SmallRng::seed_from_u64(11);
    for _ in 0..20_000 {
        let mut bytes = packets[rng.random_range(0..packets.len())].clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => bytes.insert(at, rng.random()),
                _ if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
        net.act(0, |serf, now| {
            serf.handle(Input::Packet { from: addr(9), bytes: bytes.into() }, now);
        });
        if rng.random_bool(0.01) {
            net.run(Duration::from_millis(50));
        }
    }
    net.run(60 * SECOND);
    let known = net.hosts[0].serf.members().count();
    assert!((3..2000).contains(&known), "{known}");
    for name in ["n1", "n2"] {
        assert_eq!(net.status(0, name), Some(MemberStatus::Alive));
    }
}
