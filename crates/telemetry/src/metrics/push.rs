//! Numbers pushed as they come: statsd (UDP), statsite (TCP), dogstatsd (UDP
//! or a unix socket, with tags).
//!
//! A thread of its own gathers lines and sends them every 100 ms or when a
//! packet is full. What does not fit the queue or cannot be sent is lost and
//! counted: metrics never hold up the program.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::registry::{Id, Kind};

const QUEUE: usize = 8192;
/// Fits an Ethernet frame.
const PACKET: usize = 1400;
const FLUSH_EVERY: Duration = Duration::from_millis(100);
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a sink that cannot be reached is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Statsd(String),
    Statsite(String),
    Dogstatsd { address: String, tags: Vec<String> },
}

#[derive(Debug, Clone)]
pub(crate) struct Pusher {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
    /// Tags of every line; none: labels become part of the name.
    tags: Option<Vec<String>>,
}

impl Pusher {
    pub(crate) fn start(target: Target, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let tags = match &target {
            Target::Dogstatsd { tags, .. } => Some(tags.clone()),
            _ => None,
        };
        let sender = Sender { target, connection: None, failed: None, lost: lost.clone() };
        std::thread::Builder::new().name("metrics-push".to_owned()).spawn(move || sender.run(&queue))?;
        Ok(Self { lines, lost, tags })
    }

    pub(crate) fn push(&self, id: &Id, value: f64) {
        let line = self.line(id, value);
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn line(&self, id: &Id, value: f64) -> String {
        let kind = match id.kind {
            Kind::Gauge => "g",
            Kind::Counter => "c",
            Kind::Sample => "ms",
        };
        let clean = |text: &str| text.replace([':', ' ', '|', '\n'], "_");
        match &self.tags {
            None => {
                let mut name = clean(&id.name);
                for (_, label) in &id.labels {
                    name.push('.');
                    name.push_str(&clean(label));
                }
                format!("{name}:{value:.6}|{kind}\n")
            }
            Some(global) => {
                let own = id.labels.iter().map(|(k, v)| format!("{}:{}", clean(k), clean(v)));
                let tags: Vec<String> = global.iter().cloned().chain(own).collect();
                let name = clean(&id.name);
                if tags.is_empty() {
                    format!("{name}:{value}|{kind}\n")
                } else {
                    format!("{name}:{value}|{kind}|#{}\n", tags.join(","))
                }
            }
        }
    }
}

enum Connection {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Tcp(TcpStream),
}

struct Sender {
    target: Target,
    connection: Option<Connection>,
    failed: Option<Instant>,
    lost: Arc<AtomicU64>,
}

impl Sender {
    fn run(mut self, queue: &Receiver<String>) {
        let mut packet = String::new();
        let mut deadline = Instant::now() + FLUSH_EVERY;
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let ended = match queue.recv_timeout(wait) {
                Ok(line) => {
                    if packet.len() + line.len() > PACKET {
                        self.flush(&mut packet);
                    }
                    packet.push_str(&line);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.flush(&mut packet);
            if ended {
                return;
            }
            deadline = Instant::now() + FLUSH_EVERY;
        }
    }

    fn flush(&mut self, packet: &mut String) {
        if packet.is_empty() {
            return;
        }
        if self.send(packet.as_bytes()).is_err() {
            self.connection = None;
            self.failed = Some(Instant::now());
            self.lost.fetch_add(packet.lines().count() as u64, Ordering::Relaxed);
        }
        packet.clear();
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            if self.failed.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.connection = Some(connect(&self.target)?);
        }
        match &mut self.connection {
            Some(Connection::Udp(socket)) => match socket.send(packet) {
                // Somebody answered an earlier packet with "nobody here"; the next one may be heard.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                other => other.map(drop),
            },
            Some(Connection::Unix(socket)) => socket.send(packet).map(drop),
            Some(Connection::Tcp(stream)) => stream.write_all(packet),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn connect(target: &Target) -> io::Result<Connection> {
    let first = |address: &str| {
        address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address")))
    };
    let udp = |address: &str| -> io::Result<Connection> {
        let to = first(address)?;
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(to)?;
        Ok(Connection::Udp(socket))
    };
    match target {
        Target::Statsd(address) => udp(address),
        Target::Dogstatsd { address, .. } => match address.strip_prefix("unix://") {
            Some(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(TCP_TIMEOUT))?;
                socket.connect(path)?;
                Ok(Connection::Unix(socket))
            }
            None => udp(address),
        },
        Target::Statsite(address) => {
            let stream = TcpStream::connect_timeout(&first(address)?, TCP_TIMEOUT)?;
            stream.set_write_timeout(Some(TCP_TIMEOUT))?;
            Ok(Connection::Tcp(stream))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    fn id(kind: Kind, labels: &[(&str, &str)]) -> Id {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Id { kind, name: "consul.a b".to_owned(), labels }
    }

    fn receive(socket: &UdpSocket) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 2048];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    #[test]
    fn statsd_lines_share_a_packet() {
        let socket = UdpSocket::bind("127.25.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let pusher = Pusher::start(Target::Statsd(address), Arc::default()).unwrap();
        pusher.push(&id(Kind::Counter, &[("dc", "x:y")]), 2.0);
        pusher.push(&id(Kind::Gauge, &[]), 0.5);
        let mut text = receive(&socket);
        if text.lines().count() < 2 {
            text.push_str(&receive(&socket));
        }
        assert_eq!(text, "consul.a_b.x_y:2.000000|c\nconsul.a_b:0.500000|g\n");
    }

    #[test]
    fn dogstatsd_lines_have_tags() {
        let socket = UdpSocket::bind("127.25.0.1:0").unwrap();
        let target = Target::Dogstatsd {
            address: socket.local_addr().unwrap().to_string(),
            tags: vec!["env:test".to_owned()],
        };
        let pusher = Pusher::start(target, Arc::default()).unwrap();
        pusher.push(&id(Kind::Sample, &[("dc", "x")]), 1.5);
        assert_eq!(receive(&socket), "consul.a_b:1.5|ms|#env:test,dc:x\n");
    }

    #[test]
    fn statsite_lines_go_over_tcp() {
        let listener = TcpListener::bind("127.25.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pusher = Pusher::start(Target::Statsite(address), Arc::default()).unwrap();
        pusher.push(&id(Kind::Gauge, &[]), 1.0);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "consul.a_b:1.000000|g\n");
    }
}
