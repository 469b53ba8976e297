//! Streams: those that peers open, those that we open. Each has a task, a deadline, and a bound on
//! how many there are.

use crate::swim::{ConnId, ExchangeId, Input, StreamFailure};
use crate::wire::{Progress, StreamError, StreamReader};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most streams that peers may have open to us.
const INCOMING_MAX: usize = 128;
/// Most streams that we have open.
const OUTGOING_MAX: usize = 128;
const READ_CHUNK: usize = 16 * 1024;
/// Pause after the system refused to accept, for instance because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What streams tell the pool.
pub struct StreamEvent {
    /// What happened.
    pub input: Input,
    /// Where the answer of a peer's stream goes.
    pub reply: Option<(ConnId, oneshot::Sender<Option<Bytes>>)>,
}

/// Opens and accepts streams.
#[derive(Clone)]
pub struct Streams {
    events: mpsc::Sender<StreamEvent>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    outgoing: Arc<Semaphore>,
    /// Where our streams come from, as our packets do; `None` leaves it to the system.
    source: Option<IpAddr>,
}

/// An answer being awaited from the other side.
pub struct Dial {
    pub id: ExchangeId,
    pub to: SocketAddr,
    pub request: Bytes,
    pub answer: bool,
    pub deadline: Instant,
}

impl Streams {
    /// `bound` is where the pool's packets come from.
    pub fn new(
        events: mpsc::Sender<StreamEvent>,
        tracker: TaskTracker,
        cancel: CancellationToken,
        bound: IpAddr,
    ) -> Self {
        let source = Some(bound).filter(|ip| !ip.is_unspecified());
        Streams { events, tracker, cancel, outgoing: Arc::new(Semaphore::new(OUTGOING_MAX)), source }
    }

    /// Opens a stream, says something, and listens when an answer is expected.
    pub fn dial(&self, dial: Dial) {
        let this = self.clone();
        self.tracker.spawn(async move {
            let id = dial.id;
            let talk = async {
                let _permit = this.outgoing.acquire().await;
                converse(this.source, dial.to, &dial.request, dial.answer).await
            };
            let result = tokio::select! {
                () = this.cancel.cancelled() => return,
                result = timeout_at(dial.deadline, talk) => result,
            };
            let input = match result {
                Ok(Ok(bytes)) => Input::StreamAnswered { id, bytes },
                Ok(Err(error)) => Input::StreamFailed {
                    id,
                    failure: StreamFailure {
                        refused: error.kind() == io::ErrorKind::ConnectionRefused,
                        text: error.to_string(),
                    },
                },
                Err(_) => Input::StreamFailed {
                    id,
                    failure: StreamFailure { refused: false, text: "i/o timeout".to_owned() },
                },
            };
            // The pool may be gone already.
            let _ = this.events.send(StreamEvent { input, reply: None }).await;
        });
    }

    /// Accepts streams until the pool ends.
    pub fn listen(&self, listener: TcpListener, timeout: Duration) {
        let this = self.clone();
        self.tracker.spawn(async move {
            let incoming = Arc::new(Semaphore::new(INCOMING_MAX));
            let numbers = Arc::new(AtomicU64::new(1));
            loop {
                let accepted = tokio::select! {
                    () = this.cancel.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, from) = match accepted {
                    Ok(pair) => pair,
                    Err(error) => {
                        tracing::error!(%error, "memberlist: Error accepting TCP connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Ok(permit) = incoming.clone().try_acquire_owned() else {
                    tracing::error!("memberlist: Too many pending push/pull requests");
                    continue;
                };
                metrics::counter!("memberlist.tcp.accept").increment(1);
                let id = ConnId(numbers.fetch_add(1, Ordering::Relaxed));
                let conn = this.clone();
                this.tracker.spawn(async move {
                    let _permit = permit;
                    let served = timeout_at(Instant::now() + timeout, conn.serve(id, stream, from));
                    tokio::select! {
                        () = conn.cancel.cancelled() => {}
                        result = served => match result {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => {
                                tracing::debug!(%error, %from, "memberlist: stream failed");
                            }
                            Err(_) => tracing::debug!(%from, "memberlist: stream timed out"),
                        }
                    }
                });
            }
        });
    }

    async fn serve(&self, id: ConnId, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        let input = match read_message(&mut stream).await? {
            Ok(bytes) => Input::StreamRequest { id, from, bytes },
            Err(error) => Input::StreamRejected { id, from, error },
        };
        let (reply, answer) = oneshot::channel();
        let event = StreamEvent { input, reply: Some((id, reply)) };
        if self.events.send(event).await.is_err() {
            return Ok(());
        }
        if let Ok(Some(bytes)) = answer.await {
            metrics::counter!("memberlist.tcp.sent").increment(bytes.len() as u64);
            stream.write_all(&bytes).await?;
        }
        stream.shutdown().await
    }
}

/// A failed connection in the words that operators know; the kind stays.
fn dial_error(to: SocketAddr, error: &io::Error) -> io::Error {
    let cause = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("dial tcp {to}: connect: {cause}"))
}

async fn connect(source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}

async fn converse(source: Option<IpAddr>, to: SocketAddr, request: &[u8], answer: bool) -> io::Result<Bytes> {
    metrics::counter!("memberlist.tcp.connect").increment(1);
    let mut stream = connect(source, to).await.map_err(|error| dial_error(to, &error))?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    metrics::counter!("memberlist.tcp.sent").increment(request.len() as u64);
    if !answer {
        stream.shutdown().await?;
        return Ok(Bytes::new());
    }
    read_message(&mut stream).await?.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

/// Reads one message; the inner error is about its bytes.
async fn read_message(stream: &mut TcpStream) -> io::Result<Result<Bytes, StreamError>> {
    let mut reader = StreamReader::new();
    let mut chunk = vec![0; READ_CHUNK];
    loop {
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF"));
        }
        match reader.push(&chunk[..n]) {
            Ok(Progress::NeedMore) => {}
            Ok(Progress::Complete(bytes)) => return Ok(Ok(bytes)),
            Err(error) => return Ok(Err(error)),
        }
    }
}
