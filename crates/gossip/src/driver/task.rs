//! The task that owns a pool's state machine.

use super::config::PoolConfig;
use super::disk::Disk;
use super::handle::{Command, PoolError, PoolEvent, Question, Shared};
use super::streams::{Dial, StreamEvent, Streams};
use crate::serf::snapshot::SnapshotFile;
use crate::serf::{Event, KeyReport, Output, QueryError, QueryId, QueryUpdate, Serf};
use crate::swim::{self, ConnId, Counters, ExchangeId, Input, Tick};
use arc_swap::ArcSwap;
use bytes::Bytes;
use rand::seq::SliceRandom;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most bytes of a datagram.
const PACKET_MAX: usize = 64 * 1024;
/// Receive buffer asked of the system; it may give less.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;
/// Datagrams read before the rest gets a turn.
const BATCH: usize = 64;
const COMMANDS_MAX: usize = 256;
const EVENTS_MAX: usize = 4096;
/// Acks and answers waiting for whoever asked.
const ANSWERS_MAX: usize = 1024;
/// A timer that is not needed.
const FAR: Duration = Duration::from_secs(3600);

struct Task {
    serf: Serf,
    udp: UdpSocket,
    streams: Streams,
    disk: Disk,
    conns: HashMap<ConnId, oneshot::Sender<Option<Bytes>>>,
    joins: HashMap<ExchangeId, oneshot::Sender<Result<(), String>>>,
    questions: HashMap<QueryId, mpsc::Sender<QueryUpdate>>,
    keys: HashMap<QueryId, oneshot::Sender<Result<KeyReport, QueryError>>>,
    shared: Arc<Shared>,
    version: Option<u64>,
    counted: Counters,
    /// Outputs that need the members to be published first.
    events: Vec<PoolEvent>,
}

/// Opens everything and starts the task. Also returns those to be joined again.
pub(super) async fn start(config: PoolConfig) -> Result<(Arc<Shared>, Vec<(String, SocketAddr)>), PoolError> {
    let (listener, udp, bound) =
        bind(config.bind).map_err(|source| PoolError::Bind { addr: config.bind, source })?;
    let addr = SocketAddr::new(
        config.advertise_addr.unwrap_or(bound.ip()),
        config.advertise_port.unwrap_or(bound.port()),
    );
    if addr.ip().is_unspecified() {
        return Err(PoolError::Advertise);
    }
    let (snapshot, restored) = match &config.snapshot_path {
        Some(path) => {
            let path = path.clone();
            let rejoin = config.rejoin_after_leave;
            let opened = tokio::task::spawn_blocking(move || SnapshotFile::open(&path, rejoin))
                .await
                .map_err(|e| PoolError::Thread(io::Error::other(e)))?;
            let (file, state) = opened?;
            (Some(file), Some(state))
        }
        None => (None, None),
    };
    let disk = Disk::start(snapshot, config.keyring_path.clone()).map_err(PoolError::Thread)?;

    let mut config = config;
    if addr == bound {
        config.swim.announce_source = false;
    }
    let seed = rand::random();
    let started = Instant::now();
    let tcp_timeout = config.swim.tcp_timeout;
    let leave_bound = config.serf.broadcast_timeout
        + config.swim.leave_timeout
        + config.serf.leave_propagate_delay
        + Duration::from_secs(2);
    let serf = Serf::new(config.serf, config.swim, &config.name, addr, seed, restored.as_ref(), Tick::ZERO)?;

    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (stream_events, stream_queue) = mpsc::channel(COMMANDS_MAX);
    let shared = Arc::new(Shared {
        name: config.name.as_str().into(),
        addr,
        started,
        commands,
        members: ArcSwap::default(),
        members_version: watch::Sender::new(0),
        events: broadcast::Sender::new(EVENTS_MAX),
        left: watch::Sender::new(false),
        cancel: CancellationToken::new(),
        tracker: TaskTracker::new(),
        leave_bound,
    });
    let streams = Streams::new(stream_events, shared.tracker.clone(), shared.cancel.clone(), bound.ip());
    streams.listen(listener, tcp_timeout);
    let mut task = Task {
        serf,
        udp,
        streams,
        disk,
        conns: HashMap::new(),
        joins: HashMap::new(),
        questions: HashMap::new(),
        keys: HashMap::new(),
        shared: shared.clone(),
        version: None,
        counted: Counters::default(),
        events: Vec::new(),
    };
    task.settle().await;
    shared.tracker.spawn(task.run(command_queue, stream_queue));

    let mut known: Vec<(String, SocketAddr)> = restored
        .map(|state| state.alive)
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| *name != config.name)
        .collect();
    known.shuffle(&mut rand::rng());
    Ok((shared, known))
}

/// One listener and one datagram socket on the same port.
fn bind(addr: SocketAddr) -> io::Result<(TcpListener, UdpSocket, SocketAddr)> {
    const TRIES: usize = 16;
    let mut tries = 0;
    loop {
        tries += 1;
        let listener = std::net::TcpListener::bind(addr)?;
        let bound = listener.local_addr()?;
        match bind_udp(bound) {
            Ok(udp) => {
                listener.set_nonblocking(true)?;
                return Ok((TcpListener::from_std(listener)?, udp, bound));
            }
            // The free port of one kind may be taken of the other.
            Err(_) if addr.port() == 0 && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    // The system caps what it gives; anything is enough for a small pool.
    if let Err(error) = socket.set_recv_buffer_size(SOCKET_BUFFER) {
        tracing::warn!(%error, "memberlist: Failed to set UDP receive buffer");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

impl Task {
    fn now(&self) -> Tick {
        Tick::from(self.shared.started.elapsed())
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut streams: mpsc::Receiver<StreamEvent>) {
        let cancel = self.shared.cancel.clone();
        let mut buffer = vec![0; PACKET_MAX];
        // One timer for all, and set anew only where it changes: to set it costs a wakeup.
        let timer = tokio::time::sleep(FAR);
        tokio::pin!(timer);
        let mut timer_at = None;
        loop {
            let wake = self.serf.poll_timeout();
            if timer_at != Some(wake) {
                timer_at = Some(wake);
                timer.as_mut().reset(match wake {
                    Some(at) => (self.shared.started + Duration::from_nanos(at.as_nanos())).into(),
                    None => (Instant::now() + FAR).into(),
                });
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                received = self.udp.recv_from(&mut buffer) => match received {
                    Ok((n, from)) => self.packets(&mut buffer, n, from),
                    Err(error) => tracing::error!(%error, "memberlist: Error reading UDP packet"),
                },
                Some(event) = streams.recv() => {
                    if let Some((id, reply)) = event.reply {
                        self.conns.insert(id, reply);
                    }
                    let now = self.now();
                    self.serf.handle(event.input, now);
                }
                Some(command) = commands.recv() => self.command(command),
                () = &mut timer => {
                    timer_at = None;
                    let now = self.now();
                    self.serf.handle(Input::Timer, now);
                }
            }
            self.settle().await;
        }
        self.disk.close().await;
    }

    /// Takes in a datagram and those that wait behind it.
    fn packets(&mut self, buffer: &mut [u8], mut n: usize, mut from: SocketAddr) {
        let now = self.now();
        for _ in 0..BATCH {
            metrics::counter!("memberlist.udp.received").increment(n as u64);
            let bytes = Bytes::copy_from_slice(&buffer[..n]);
            self.serf.handle(Input::Packet { from, bytes }, now);
            match self.udp.try_recv_from(buffer) {
                Ok(more) => (n, from) = more,
                Err(_) => break,
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        // Whoever asked may be gone when the answer is there: nothing is lost then.
        match command {
            Command::Join { to, ignore_old, reply } => {
                let id = self.serf.begin_join(to, ignore_old, now);
                self.joins.insert(id, reply);
            }
            Command::AnnounceJoin => self.serf.announce_join(now),
            Command::Leave => self.serf.leave(now),
            Command::ForceLeave { name, prune, reply } => {
                self.serf.force_leave(&name, prune, now);
                let _ = reply.send(());
            }
            Command::UserEvent { name, payload, coalesce, reply } => {
                let _ = reply.send(self.serf.user_event(&name, &payload, coalesce, now));
            }
            Command::Query { name, payload, options, reply } => {
                let asked = self.serf.query(&name, &payload, &options, now).map(|id| {
                    let (sender, updates) = mpsc::channel(ANSWERS_MAX);
                    self.questions.insert(id, sender);
                    Question { updates }
                });
                let _ = reply.send(asked);
            }
            Command::Respond { to, payload, reply } => {
                let _ = reply.send(self.serf.respond(&to, payload, now));
            }
            Command::Keys { op, key, relay_factor, reply } => {
                match self.serf.key_operation(op, &key, relay_factor, now) {
                    Ok(id) => {
                        self.keys.insert(id, reply);
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                }
            }
            Command::SetTags { tags, reply } => {
                let _ = reply.send(self.serf.set_tags(tags, now));
            }
            Command::Coordinate { reply } => {
                let _ = reply.send(self.serf.coordinate().cloned());
            }
            Command::CachedCoordinate { name, reply } => {
                let _ = reply.send(self.serf.cached_coordinate(&name).cloned());
            }
            Command::Stats { reply } => {
                let _ = reply.send(self.serf.stats());
            }
        }
    }

    /// Does what the state machine wants done, then publishes members and events.
    async fn settle(&mut self) {
        while let Some(output) = self.serf.poll_output() {
            match output {
                Output::Io(io) => self.io(io).await,
                Output::Event(Event::Member(kind, member)) => {
                    self.events.push(PoolEvent::member(kind, member));
                }
                Output::Event(Event::User(event)) => {
                    self.events.push(PoolEvent::User(Arc::new(event)));
                }
                Output::Event(Event::Query(query)) => {
                    self.events.push(PoolEvent::Query(Arc::new(query)));
                }
                Output::Query(id, QueryUpdate::Done) => {
                    self.questions.remove(&id);
                }
                Output::Query(id, update) => {
                    if let Some(sender) = self.questions.get(&id)
                        && sender.try_send(update).is_err()
                    {
                        tracing::warn!("serf: Failed to deliver query response, dropping");
                    }
                }
                Output::Keys(id, report) => {
                    if let Some(reply) = self.keys.remove(&id) {
                        let _ = reply.send(Ok(report));
                    }
                }
                Output::Snapshot(record) => self.disk.record(record),
                Output::SaveKeyring(keys) => self.disk.keyring(keys),
                Output::LeaveDone => {
                    self.shared.left.send_replace(true);
                }
                Output::ConflictLost => self.events.push(PoolEvent::ConflictLost),
            }
        }
        self.count();
        let version = self.serf.members_version();
        if self.version != Some(version) {
            self.version = Some(version);
            let members = self.serf.members().cloned().collect();
            self.shared.members.store(Arc::new(members));
            self.shared.members_version.send_replace(version);
        }
        for event in self.events.drain(..) {
            // Nobody may be listening.
            let _ = self.shared.events.send(event);
        }
    }

    /// Passes on what the layer below counted since the last time.
    fn count(&mut self) {
        let counters = self.serf.swim_counters();
        if *counters == self.counted {
            return;
        }
        let (new, old) = (counters.clone(), std::mem::replace(&mut self.counted, counters.clone()));
        for (name, new, old) in [
            ("memberlist.msg.alive", new.alive, old.alive),
            ("memberlist.msg.suspect", new.suspect, old.suspect),
            ("memberlist.msg.dead", new.dead, old.dead),
            ("memberlist.probes", new.probes, old.probes),
            ("memberlist.degraded.probe", new.probes_failed, old.probes_failed),
            ("memberlist.refuted", new.refuted, old.refuted),
            ("memberlist.dropped", new.dropped, old.dropped),
        ] {
            if new > old {
                metrics::counter!(name).increment(new - old);
            }
        }
        metrics::gauge!("memberlist.health.score").set(f64::from(self.serf.health_score()));
    }

    async fn io(&mut self, output: swim::Output) {
        match output {
            swim::Output::Packet { to, bytes } => self.send(to, &bytes).await,
            swim::Output::OpenStream { id, to, request, answer, deadline } => {
                let deadline = self.shared.started + Duration::from_nanos(deadline.as_nanos());
                self.streams.dial(Dial { id, to, request, answer, deadline: deadline.into() });
            }
            swim::Output::StreamReply { id, bytes } => {
                if let Some(reply) = self.conns.remove(&id) {
                    // The stream may have timed out.
                    let _ = reply.send(bytes);
                }
            }
            swim::Output::JoinDone { id, result, .. } => {
                if let Some(reply) = self.joins.remove(&id) {
                    let _ = reply.send(result);
                }
            }
            swim::Output::LeaveDone { .. } => {}
        }
    }

    async fn send(&self, to: SocketAddr, bytes: &[u8]) {
        metrics::counter!("memberlist.udp.sent").increment(bytes.len() as u64);
        let sent = match self.udp.try_send_to(bytes, to) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.udp.send_to(bytes, to).await,
            sent => sent,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, %to, "memberlist: Failed to send UDP packet");
        }
    }
}
