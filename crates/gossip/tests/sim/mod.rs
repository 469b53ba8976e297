//! A pool in one process on virtual time: a network that delays, loses and partitions, and
//! members that crash, stall and come back. Everything random comes from one seed, so that a run
//! can be replayed.

#![allow(dead_code, unused_imports)] // each test binary uses its part

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip::swim::{ConnId, ExchangeId, Input, Interner, Output, StreamFailure, SwimConfig, Tick};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub use cores::{Alone, Core, WithSerf};

mod cores;

/// Bytes that IPv4 and UDP add to a packet.
const UDP_HEADERS: u64 = 28;
/// Rough bytes of a short TCP connection besides its data: handshake, acks, close.
const TCP_OVERHEAD: u64 = 8 * 52;

pub struct Network {
    /// Part of the packets that get lost, 0 to 1.
    pub loss: f64,
    /// One-way delay, drawn evenly from this range.
    pub delay: (Duration, Duration),
}

impl Network {
    pub fn lan() -> Self {
        Network { loss: 0.0, delay: (Duration::from_micros(100), Duration::from_micros(900)) }
    }

    pub fn wan() -> Self {
        Network { loss: 0.0, delay: (Duration::from_millis(20), Duration::from_millis(80)) }
    }
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// The process is gone; its host refuses connections.
    Crashed,
    /// The host is gone; nothing is answered.
    Unplugged,
}

enum Event {
    Wake,
    Input(Input),
    /// A request reaches the member; the answer goes back to (member, exchange).
    Request {
        from: usize,
        exchange: ExchangeId,
        request: Bytes,
        answer: bool,
        deadline: Tick,
    },
}

pub struct Member<C> {
    pub core: C,
    pub health: Health,
    /// Does nothing until then; what arrives meanwhile waits.
    pub stalled_until: Tick,
    /// What arrives is taken in so much later, as by an overloaded process; timers are not.
    pub lag: Duration,
    /// Members of different groups cannot reach each other.
    pub group: u32,
    /// Sees all running members.
    complete: bool,
    wake: Option<Tick>,
    replies: HashMap<ConnId, (usize, ExchangeId, bool, Tick)>,
}

#[derive(Default, Clone, Copy, Debug)]
pub struct Traffic {
    pub packets: u64,
    pub packet_bytes: u64,
    pub streams: u64,
    pub stream_bytes: u64,
}

pub struct World<C: Core = Alone> {
    pub members: Vec<Member<C>>,
    pub network: Network,
    pub now: Tick,
    pub traffic: Traffic,
    /// Pairs between which packets do not get through, but streams do.
    pub no_packets: Vec<(usize, usize)>,
    pub joins_failed: usize,
    pub leaves: usize,
    /// Hash over everything that was delivered, in order.
    pub trace: u64,
    /// Number of members that see exactly all running members.
    complete: usize,
    running: usize,
    rng: SmallRng,
    events: BinaryHeap<Reverse<(Tick, u64, usize)>>,
    pending: HashMap<u64, Event>,
    last_event: u64,
    last_conn: u64,
    interner: Arc<Interner>,
}

pub fn address(i: usize) -> SocketAddr {
    let [_, b, c, d] = (i as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), 8301)
}

fn index(addr: SocketAddr) -> usize {
    match addr.ip() {
        IpAddr::V4(v4) => (u32::from(v4) & 0x00ff_ffff) as usize,
        IpAddr::V6(_) => usize::MAX,
    }
}

pub fn name(i: usize) -> String {
    format!("n{i}")
}

impl<C: Core> World<C> {
    /// `n` members that do not know each other yet.
    pub fn new(n: usize, cfg: &SwimConfig, network: Network, seed: u64) -> Self {
        let mut world = World {
            members: Vec::with_capacity(n),
            network,
            now: Tick::ZERO,
            traffic: Traffic::default(),
            no_packets: Vec::new(),
            joins_failed: 0,
            leaves: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            complete: 0,
            running: 0,
            rng: SmallRng::seed_from_u64(seed),
            events: BinaryHeap::new(),
            pending: HashMap::new(),
            last_event: 0,
            last_conn: 0,
            interner: Arc::new(Interner::default()),
        };
        for _ in 0..n {
            world.add(cfg);
        }
        world
    }

    /// One more member; returns its number.
    pub fn add(&mut self, cfg: &SwimConfig) -> usize {
        self.add_as(&name(self.members.len()), cfg)
    }

    /// One more member, whatever others are called.
    pub fn add_as(&mut self, name: &str, cfg: &SwimConfig) -> usize {
        let i = self.members.len();
        let seed = self.rng.random();
        let core = self.start(i, name, cfg, seed);
        self.members.push(Member {
            core,
            health: Health::Up,
            stalled_until: Tick::ZERO,
            lag: Duration::ZERO,
            group: 0,
            complete: false,
            wake: None,
            replies: HashMap::new(),
        });
        self.running += 1;
        self.recount();
        self.settle(i);
        i
    }

    fn start(&mut self, i: usize, name: &str, cfg: &SwimConfig, seed: u64) -> C {
        let cfg = SwimConfig { interner: Some(self.interner.clone()), ..cfg.clone() };
        C::start(name, address(i), cfg, seed, self.now)
    }

    /// The process of a crashed member starts again and knows nothing.
    pub fn restart(&mut self, i: usize, cfg: &SwimConfig) {
        assert_ne!(self.members[i].health, Health::Up);
        let seed = self.rng.random();
        self.members[i].core = self.start(i, &name(i), cfg, seed);
        self.members[i].health = Health::Up;
        self.members[i].wake = None;
        self.members[i].replies.clear();
        self.running += 1;
        self.recount();
        self.settle(i);
    }

    pub fn stop(&mut self, i: usize, how: Health) {
        assert_eq!(self.members[i].health, Health::Up);
        self.members[i].health = how;
        self.running -= 1;
        self.recount();
    }

    /// Member `i` joins through member `through`.
    pub fn join(&mut self, i: usize, through: usize) {
        let now = self.now;
        self.members[i].core.join(address(through), now);
        self.settle(i);
    }

    pub fn with<R>(&mut self, i: usize, f: impl FnOnce(&mut C, Tick) -> R) -> R {
        let now = self.now;
        let result = f(&mut self.members[i].core, now);
        self.settle(i);
        result
    }

    /// Every running member sees exactly the running members.
    pub fn converged(&self) -> bool {
        self.complete == self.running
    }

    pub fn running(&self) -> usize {
        self.running
    }

    /// Runs until `done` or for `most`; returns the time it took, or `None`.
    pub fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        let end = start + most;
        loop {
            if done(self) {
                return Some(self.now - start);
            }
            match self.events.peek() {
                Some(Reverse((at, _, _))) if *at <= end => self.step(),
                _ => {
                    self.now = end;
                    return None;
                }
            }
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn step(&mut self) {
        let Some(Reverse((at, id, to))) = self.events.pop() else { return };
        self.now = at;
        let event = self.pending.remove(&id).unwrap_or(Event::Wake);
        if self.members[to].stalled_until > at {
            let until = self.members[to].stalled_until;
            if matches!(event, Event::Wake) {
                // Woken up when it runs again, if this was its next wake-up.
                if self.members[to].wake == Some(at) {
                    self.wake_at(until, to);
                }
            } else {
                self.deliver(until, to, event);
            }
            return;
        }
        match event {
            Event::Wake => {
                if self.members[to].wake != Some(at) {
                    return; // an earlier wake-up took its place
                }
                self.members[to].wake = None;
                if self.members[to].health != Health::Up {
                    return;
                }
                self.note(to, 0, 0);
                self.input(to, Input::Timer);
            }
            Event::Input(input) => {
                if self.members[to].health != Health::Up {
                    return;
                }
                match &input {
                    Input::Packet { bytes, .. } => self.note(to, 1, bytes.len()),
                    Input::StreamAnswered { bytes, .. } => self.note(to, 2, bytes.len()),
                    _ => self.note(to, 3, 0),
                }
                self.input(to, input);
            }
            Event::Request { from, exchange, request, answer, deadline } => {
                match self.members[to].health {
                    Health::Up => {}
                    Health::Crashed => return self.refuse(from, exchange),
                    Health::Unplugged => return self.time_out(from, exchange, deadline),
                }
                self.note(to, 4, request.len());
                self.last_conn += 1;
                let id = ConnId(self.last_conn);
                self.members[to].replies.insert(id, (from, exchange, answer, deadline));
                let from = address(from);
                self.input(to, Input::StreamRequest { id, from, bytes: request });
            }
        }
        self.settle(to);
    }

    fn input(&mut self, to: usize, input: Input) {
        let now = self.now;
        self.members[to].core.handle(input, now);
    }

    fn note(&mut self, to: usize, kind: u64, len: usize) {
        for value in [self.now.as_nanos(), to as u64, kind, len as u64] {
            self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn schedule(&mut self, mut at: Tick, to: usize, event: Event) {
        at += self.members[to].lag;
        self.deliver(at, to, event);
    }

    fn deliver(&mut self, at: Tick, to: usize, event: Event) {
        self.last_event += 1;
        self.pending.insert(self.last_event, event);
        self.events.push(Reverse((at, self.last_event, to)));
    }

    fn wake_at(&mut self, at: Tick, to: usize) {
        self.members[to].wake = Some(at);
        self.last_event += 1;
        self.events.push(Reverse((at, self.last_event, to)));
    }

    fn delay(&mut self) -> Duration {
        let (min, max) = self.network.delay;
        self.rng.random_range(min..=max)
    }

    fn refuse(&mut self, to: usize, id: ExchangeId) {
        let at = self.now + self.delay();
        let failure = StreamFailure { refused: true, text: "connection refused".into() };
        self.schedule(at, to, Event::Input(Input::StreamFailed { id, failure }));
    }

    fn time_out(&mut self, to: usize, id: ExchangeId, deadline: Tick) {
        let failure = StreamFailure { refused: false, text: "i/o timeout".into() };
        self.schedule(deadline, to, Event::Input(Input::StreamFailed { id, failure }));
    }

    fn reachable(&self, a: usize, b: usize) -> bool {
        b < self.members.len() && self.members[a].group == self.members[b].group
    }

    /// Does what a member wants done and sees to its next wake-up.
    fn settle(&mut self, i: usize) {
        while let Some(output) = self.members[i].core.output() {
            self.output(i, output);
        }
        if let Some(at) = self.members[i].core.timeout()
            && self.members[i].wake.is_none_or(|wake| at < wake)
        {
            self.wake_at(at, i);
        }
        let complete =
            self.members[i].health == Health::Up && self.members[i].core.num_alive() == self.running;
        if complete != self.members[i].complete {
            self.members[i].complete = complete;
            self.complete = if complete { self.complete + 1 } else { self.complete - 1 };
        }
    }

    fn recount(&mut self) {
        self.complete = 0;
        for m in &mut self.members {
            m.complete = m.health == Health::Up && m.core.num_alive() == self.running;
            self.complete += usize::from(m.complete);
        }
    }

    fn output(&mut self, from: usize, output: Output) {
        match output {
            Output::Packet { to, bytes } => {
                self.traffic.packets += 1;
                self.traffic.packet_bytes += bytes.len() as u64 + UDP_HEADERS;
                let to = index(to);
                let cut = self.no_packets.iter().any(|&(a, b)| (a, b) == (from, to) || (b, a) == (from, to));
                if cut || !self.reachable(from, to) || self.rng.random_bool(self.network.loss) {
                    return;
                }
                let at = self.now + self.delay();
                let from = address(from);
                self.schedule(at, to, Event::Input(Input::Packet { from, bytes }));
            }
            Output::OpenStream { id, to, request, answer, deadline } => {
                self.traffic.streams += 1;
                self.traffic.stream_bytes += request.len() as u64 + TCP_OVERHEAD;
                let to = index(to);
                if !self.reachable(from, to) {
                    return self.time_out(from, id, deadline);
                }
                // Handshake, then the request; each lost segment costs a retransmission.
                let mut delay = self.delay() * 3;
                while self.rng.random_bool(self.network.loss) && delay < Duration::from_secs(5) {
                    delay += Duration::from_millis(300);
                }
                let at = self.now + delay;
                if at > deadline {
                    return self.time_out(from, id, deadline);
                }
                self.schedule(at, to, Event::Request { from, exchange: id, request, answer, deadline });
            }
            Output::StreamReply { id, bytes } => {
                let Some((to, exchange, answer, deadline)) = self.members[from].replies.remove(&id) else {
                    panic!("answer to a stream that is not open");
                };
                let at = self.now + self.delay();
                self.traffic.stream_bytes += bytes.as_ref().map_or(0, |b| b.len() as u64);
                if at > deadline || !self.reachable(from, to) {
                    return self.time_out(to, exchange, deadline);
                }
                let input = match bytes {
                    Some(bytes) => Input::StreamAnswered { id: exchange, bytes },
                    None if !answer => Input::StreamAnswered { id: exchange, bytes: Bytes::new() },
                    None => Input::StreamFailed {
                        id: exchange,
                        failure: StreamFailure { refused: false, text: "EOF".into() },
                    },
                };
                self.schedule(at, to, Event::Input(input));
            }
            Output::JoinDone { result, .. } => self.joins_failed += usize::from(result.is_err()),
            Output::LeaveDone { timed_out } => {
                assert!(!timed_out, "nobody was told of the leave");
                self.leaves += 1;
            }
        }
    }
}

impl World<Alone> {
    /// `n` members that know each other already.
    pub fn converged_pool(n: usize, cfg: &SwimConfig, network: Network, seed: u64) -> Self {
        let mut world: World = World::new(n, cfg, network, seed);
        let all: Vec<_> = world.members.iter().map(|m| m.core.swim.local().clone()).collect();
        for i in 0..n {
            world.members[i].core.swim.preload(&all);
        }
        world.recount();
        assert!(world.converged());
        world
    }

    /// Members that somebody holds dead or left although they run, and how many hold so.
    pub fn false_alarms(&self) -> usize {
        self.members.iter().map(|m| m.core.notes.left.len()).sum()
    }
}
