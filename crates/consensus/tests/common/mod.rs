//! A small state machine and a network inside the process, for the tests here.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use consensus::{
    BoxedIo, Config, Consensus, ConsensusError, Fsm, RaftDial, ServerId, SnapshotWriter, Timings,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Remembers every command with its index.
#[derive(Default)]
pub struct Journal {
    pub entries: Mutex<BTreeMap<u64, Bytes>>,
    pub restores: Mutex<usize>,
}

impl Journal {
    pub fn values(&self) -> Vec<Bytes> {
        self.entries.lock().values().cloned().collect()
    }
}

impl Fsm for Journal {
    /// How many commands the state holds.
    type Answer = usize;

    fn apply_batch(&self, batch: &[(u64, Bytes)]) -> Vec<usize> {
        let mut entries = self.entries.lock();
        batch
            .iter()
            .map(|(index, command)| {
                assert!(entries.last_key_value().is_none_or(|(last, _)| last < index));
                entries.insert(*index, command.clone());
                entries.len()
            })
            .collect()
    }

    fn snapshot(&self) -> SnapshotWriter {
        let copy = self.entries.lock().clone();
        Box::new(move |out| {
            for (index, command) in copy {
                out.write_all(&index.to_le_bytes())?;
                out.write_all(&(command.len() as u32).to_le_bytes())?;
                out.write_all(&command)?;
            }
            Ok(())
        })
    }

    fn restore(&self, reader: &mut dyn io::Read, _last_index: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let mut rest = &bytes[..];
        let mut restored = BTreeMap::new();
        while !rest.is_empty() {
            let (index, after) = rest.split_first_chunk::<8>().ok_or(io::ErrorKind::InvalidData)?;
            let (length, after) = after.split_first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (command, after) = after.split_at_checked(length).ok_or(io::ErrorKind::InvalidData)?;
            restored.insert(u64::from_le_bytes(*index), Bytes::copy_from_slice(command));
            rest = after;
        }
        *self.entries.lock() = restored;
        *self.restores.lock() += 1;
        Ok(())
    }
}

type Node = Consensus<Journal>;

struct Pipe {
    ends: [SocketAddr; 2],
    close: watch::Sender<bool>,
}

/// The network: servers by address, links that can be cut.
pub struct Net {
    nodes: Mutex<HashMap<SocketAddr, Node>>,
    cut: watch::Sender<HashSet<(SocketAddr, SocketAddr)>>,
    pipes: Mutex<Vec<Pipe>>,
}

impl Net {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            cut: watch::channel(HashSet::new()).0,
            pipes: Mutex::default(),
        })
    }

    /// Silently drops everything between two servers, in both directions.
    pub fn cut(&self, a: SocketAddr, b: SocketAddr) {
        self.cut.send_modify(|cut| {
            cut.insert((a, b));
            cut.insert((b, a));
        });
    }

    /// How often a server was dialed.
    pub fn dialed(&self, address: SocketAddr) -> usize {
        self.pipes.lock().iter().filter(|pipe| pipe.ends[1] == address).count()
    }

    pub fn heal(&self) {
        self.cut.send_modify(HashSet::clear);
    }

    /// Closes a server's connections and refuses new ones, as when its process died.
    pub fn unplug(&self, address: SocketAddr) {
        self.nodes.lock().remove(&address);
        self.pipes.lock().retain(|pipe| {
            let hit = pipe.ends.contains(&address);
            if hit {
                pipe.close.send_replace(true);
            }
            !hit
        });
    }
}

struct Dialer {
    net: Arc<Net>,
    from: SocketAddr,
}

async fn pump(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    way: (SocketAddr, SocketAddr),
    mut cut: watch::Receiver<HashSet<(SocketAddr, SocketAddr)>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        if cut.wait_for(|cut| !cut.contains(&way)).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..n]).await?;
    }
}

#[async_trait]
impl RaftDial for Dialer {
    async fn dial(&self, address: SocketAddr) -> io::Result<BoxedIo> {
        let mut cut = self.net.cut.subscribe();
        let way = (self.from, address);
        let _ = cut.wait_for(|cut| !cut.contains(&way)).await;
        let node = self.net.nodes.lock().get(&address).cloned();
        let node = node.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, near_far) = tokio::io::duplex(64 << 10);
        let (far_near, far) = tokio::io::duplex(64 << 10);
        let (close, mut closed) = watch::channel(false);
        self.net.pipes.lock().push(Pipe { ends: [self.from, address], close });
        let (a_read, a_write) = tokio::io::split(near_far);
        let (b_read, b_write) = tokio::io::split(far_near);
        let back = (address, self.from);
        let cut = self.net.cut.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                _ = async { tokio::join!(pump(a_read, b_write, way, cut.clone()), pump(b_read, a_write, back, cut)) } => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
        tokio::spawn(async move {
            let _ = node.serve(Box::new(far)).await;
        });
        Ok(Box::new(near))
    }
}

/// A server under test: it can be stopped and started again.
pub struct Server {
    pub config: Config,
    pub fsm: Arc<Journal>,
    pub node: Node,
    pub net: Arc<Net>,
}

pub fn id(n: u16) -> ServerId {
    ServerId::from_u128(0x1000 + u128::from(n))
}

pub fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 24, 0, 1], 8300 + n))
}

impl Server {
    pub async fn start(net: &Arc<Net>, config: Config) -> Self {
        Self::try_start(net, config).await.unwrap()
    }

    pub async fn try_start(net: &Arc<Net>, config: Config) -> Result<Self, ConsensusError> {
        let fsm = Arc::new(Journal::default());
        let dial = Arc::new(Dialer { net: net.clone(), from: config.address });
        // Nobody is known by address beforehand: the membership's hint is used.
        let book = Arc::new(|_: ServerId| None);
        let node = Consensus::start(config.clone(), fsm.clone(), dial, book).await?;
        net.nodes.lock().insert(config.address, node.clone());
        Ok(Self { config, fsm, node, net: net.clone() })
    }

    /// Ends the server as a crash looks to the others, keeping its files.
    pub async fn crash(self) -> Config {
        self.net.unplug(self.config.address);
        self.node.stop().await;
        self.config
    }

    pub async fn propose(&self, text: impl Into<String>) -> u64 {
        self.node.propose(Bytes::from(text.into())).await.unwrap().0
    }
}

pub fn config(n: u16, dir: Option<PathBuf>) -> Config {
    Config {
        dir,
        timings: Timings::from_multiplier(1),
        propose_timeout: Duration::from_secs(5),
        ..Config::new(id(n), address(n), "dc1")
    }
}

/// Servers 1..=count, bootstrapped together, each with its own directory.
pub async fn cluster(net: &Arc<Net>, dir: &tempfile::TempDir, count: u16) -> Vec<Server> {
    let mut servers = Vec::new();
    for n in 1..=count {
        let dir = dir.path().join(n.to_string());
        servers.push(Server::start(net, config(n, Some(dir))).await);
    }
    bootstrap(&servers).await;
    servers
}

/// Tells all servers their first configuration, as each would find out by itself.
pub async fn bootstrap(servers: &[Server]) {
    for server in servers {
        let voters = servers.iter().map(|s| (s.config.id, s.config.address));
        match server.node.bootstrap(voters).await {
            // The first ones may have elected a leader that was here already.
            Ok(()) | Err(ConsensusError::AlreadyBootstrapped) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until `check` gives something.
pub async fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "timed out waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a leader that itself says so; returns its position.
pub async fn leader(servers: &[Server]) -> usize {
    until("a leader", Duration::from_secs(10), || servers.iter().position(|s| s.node.is_leader())).await
}

/// Proposes through whoever leads, as a client that retries would.
pub async fn propose_anywhere(servers: &[Server], text: &str) -> Duration {
    let begun = Instant::now();
    loop {
        for server in servers {
            if server.node.is_leader() && server.node.propose(Bytes::from(text.to_owned())).await.is_ok() {
                return begun.elapsed();
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no write succeeded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until all servers hold the same commands, `count` of them.
pub async fn agree(servers: &[&Server], count: usize) {
    for server in servers {
        until("all entries on every server", Duration::from_secs(20), || {
            (server.fsm.entries.lock().len() == count).then_some(())
        })
        .await;
    }
    for pair in servers.windows(2) {
        assert_eq!(*pair[0].fsm.entries.lock(), *pair[1].fsm.entries.lock());
    }
}
