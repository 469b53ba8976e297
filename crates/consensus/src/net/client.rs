//! The calling side.
//!
//! A [`Link`] serves one purpose to one peer and owns at most one connection. A
//! call takes the connection out and puts it back when it ended cleanly; a call
//! that fails, times out or is dropped leaves none, and the next one dials anew.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use super::frame::{self, SnapshotHeader};
use super::{BoxedIo, Context, hello};
use crate::snapshot::SnapshotData;
use crate::types::alias::{Append, Snapshot, Vote};
use crate::types::{Peer, ServerId, TypeConfig};

type C = TypeConfig;
type Rpc = RPCError<C>;

/// A snapshot that made no progress for this long is given up.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);
/// How long a follower may take to install a snapshot it has received.
const SNAPSHOT_INSTALL: Duration = Duration::from_secs(600);
/// A follower that leaves entries unanswered for this long is dialed anew.
const APPEND_STALL: Duration = Duration::from_secs(3);

/// Makes links for the engine.
pub struct Links(pub Arc<Context>);

impl RaftNetworkFactory<C> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: ServerId, node: &Peer) -> Link {
        Link { context: self.0.clone(), target, hint: node.address, connection: Mutex::new(None) }
    }
}

struct Connection {
    read: BufReader<ReadHalf<BoxedIo>>,
    write: WriteHalf<BoxedIo>,
}

pub struct Link {
    context: Arc<Context>,
    target: ServerId,
    hint: SocketAddr,
    /// Never contended; the engine asks for a `Sync` type.
    connection: Mutex<Option<Connection>>,
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// An error that is worth an immediate retry is a network error; one that says
/// the peer is not there makes the engine back off.
fn rpc_error(error: &io::Error) -> Rpc {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::TimedOut => RPCError::Network(NetworkError::new(error)),
        _ => RPCError::Unreachable(Unreachable::new(error)),
    }
}

fn streaming_error(error: &io::Error) -> StreamingError<C> {
    match rpc_error(error) {
        RPCError::Network(e) => StreamingError::Network(e),
        _ => StreamingError::Unreachable(Unreachable::new(error)),
    }
}

fn expect(kind: u8, (got, body): (u8, Bytes)) -> io::Result<Bytes> {
    if got == kind | frame::ANSWER {
        Ok(body)
    } else if got == frame::FAILED {
        Err(io::Error::other(String::from_utf8_lossy(&body).into_owned()))
    } else {
        Err(frame::invalid(format!("unexpected answer type {got}")))
    }
}

impl Link {
    async fn dial(&self) -> io::Result<Connection> {
        let address = self.context.addresses.resolve(self.target).unwrap_or(self.hint);
        let mut io = self.context.dial.dial(address).await?;
        hello::introduce(&mut io, &self.context, self.target).await?;
        let (read, write) = tokio::io::split(io);
        Ok(Connection { read: BufReader::with_capacity(8 << 10, read), write })
    }

    /// The idle connection, or a new one within `limit`.
    async fn take(&mut self, limit: Duration) -> io::Result<Connection> {
        let idle = self.connection.get_mut().take();
        match idle {
            Some(connection) => Ok(connection),
            None => tokio::time::timeout(limit, self.dial()).await.map_err(|_| timed_out())?,
        }
    }

    async fn call(&mut self, kind: u8, request: Bytes, limit: Duration) -> io::Result<Bytes> {
        let exchange = async {
            let mut connection = self.take(limit).await?;
            frame::write(&mut connection.write, &request).await?;
            let answer = frame::read(&mut connection.read).await?;
            *self.connection.get_mut() = Some(connection);
            expect(kind, answer)
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| timed_out())?
    }

    async fn send_snapshot(&mut self, vote: Vote, snapshot: Snapshot) -> io::Result<Vote> {
        let data = snapshot.snapshot;
        let header =
            SnapshotHeader { vote, meta: snapshot.meta, offset: data.offset, size: data.size, crc: data.crc };
        let mut connection = self.take(APPEND_STALL).await?;
        frame::write(&mut connection.write, &header.encode()?).await?;
        let mut chunks = read_in_chunks(data);
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            tokio::time::timeout(SNAPSHOT_STALL, connection.write.write_all(&chunk))
                .await
                .map_err(|_| timed_out())??;
        }
        connection.write.flush().await?;
        let answer = tokio::time::timeout(SNAPSHOT_INSTALL, frame::read(&mut connection.read))
            .await
            .map_err(|_| timed_out())??;
        let mut body = expect(frame::SNAPSHOT, answer)?;
        crate::entry::get_vote(&mut body)
    }
}

/// Reads a snapshot on a blocking thread, a few chunks ahead of the network.
fn read_in_chunks(data: SnapshotData) -> tokio::sync::mpsc::Receiver<io::Result<Bytes>> {
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut file = match data.open() {
            Ok(file) => file,
            Err(error) => {
                let _ = tx.blocking_send(Err(error));
                return;
            }
        };
        loop {
            let mut chunk = vec![0u8; 256 << 10];
            match file.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => {
                    chunk.truncate(n);
                    if tx.blocking_send(Ok(chunk.into())).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = tx.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    rx
}

/// Sends every request of `input`, noting when.
async fn send_all<S>(
    mut write: WriteHalf<BoxedIo>,
    mut input: S,
    sent: Arc<Mutex<VecDeque<Instant>>>,
) -> io::Result<WriteHalf<BoxedIo>>
where
    S: Stream<Item = Append> + Send + Unpin + 'static,
{
    while let Some(request) = input.next().await {
        let bytes = frame::append_request(&request)?;
        sent.lock().push_back(Instant::now());
        frame::write(&mut write, &bytes).await?;
    }
    Ok(write)
}

/// Sends until the input ends, then gives the writing half back.
type Sender = BoxFuture<'static, io::Result<WriteHalf<BoxedIo>>>;

/// One stream of append requests and its answers.
struct Pipeline<'s> {
    link: &'s mut Link,
    read: BufReader<ReadHalf<BoxedIo>>,
    sender: Option<Sender>,
    idle_writer: Option<WriteHalf<BoxedIo>>,
    sent: Arc<Mutex<VecDeque<Instant>>>,
    stall: Duration,
    ended: bool,
}

impl Pipeline<'_> {
    /// The next answer; `None` when the input ended and everything was answered.
    async fn next(&mut self) -> Option<Result<StreamAppendResult<C>, Rpc>> {
        if self.ended {
            return None;
        }
        match self.advance().await {
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(result)) => {
                self.ended = result.is_err();
                Some(Ok(result))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(rpc_error(&error)))
            }
        }
    }

    async fn advance(&mut self) -> io::Result<Option<StreamAppendResult<C>>> {
        let answer = {
            let waiting = self.sent.clone();
            let stall = self.stall;
            let read = &mut self.read;
            let mut reading = std::pin::pin!(
                async {
                    loop {
                        match tokio::time::timeout(stall / 4, read.fill_buf_ready()).await {
                            Ok(ready) => {
                                ready?;
                                return tokio::time::timeout(stall, frame::read(read))
                                    .await
                                    .map_err(|_| timed_out())?;
                            }
                            // The limit counts only while an answer is due.
                            Err(_) if waiting.lock().front().is_none_or(|at| at.elapsed() < stall) => {}
                            Err(_) => return Err(timed_out()),
                        }
                    }
                }
                .fuse()
            );
            loop {
                match &mut self.sender {
                    None => {
                        if self.sent.lock().is_empty() {
                            break None;
                        }
                        break Some(reading.as_mut().await?);
                    }
                    Some(sender) => tokio::select! {
                        biased;
                        done = sender => {
                            self.idle_writer = Some(done?);
                            self.sender = None;
                        }
                        answer = &mut reading => break Some(answer?),
                    },
                }
            }
        };
        let Some(answer) = answer else {
            return Ok(None);
        };
        let body = expect(frame::APPEND, answer)?;
        if self.sent.lock().pop_front().is_none() {
            return Err(frame::invalid("answer without a request"));
        }
        frame::read_append_answer(body).map(Some)
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        // Only a connection with nothing under way may serve the next call.
        if let Some(write) = self.idle_writer.take()
            && self.sent.lock().is_empty()
        {
            let (placeholder, _) = tokio::io::split(Box::new(tokio::io::empty()) as BoxedIo);
            let read = std::mem::replace(&mut self.read, BufReader::with_capacity(1, placeholder));
            *self.link.connection.get_mut() = Some(Connection { read, write });
        }
    }
}

trait FillBuf {
    async fn fill_buf_ready(&mut self) -> io::Result<()>;
}

impl FillBuf for BufReader<ReadHalf<BoxedIo>> {
    /// Waits until there is something to read, consuming nothing.
    async fn fill_buf_ready(&mut self) -> io::Result<()> {
        use tokio::io::AsyncBufReadExt;
        if self.fill_buf().await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl RaftNetworkV2<C> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, Rpc> {
        let result = async {
            let bytes = frame::append_request(&request)?;
            let body = self.call(frame::APPEND, bytes, option.soft_ttl()).await?;
            frame::read_append_answer(body)
        };
        result.await.map(Into::into).map_err(|e| rpc_error(&e))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, Rpc>>, Rpc>>
    where
        S: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let limit = option.soft_ttl().max(Duration::from_millis(50));
            // The engine's pauses after errors are in the input: asked before the dial, a follower
            // that is gone does not keep the leader busy.
            let Some(first) = input.next().await else { return Ok(futures::stream::empty().boxed()) };
            let input = futures::stream::iter([first]).chain(input);
            let Connection { read, write } = self.take(limit).await.map_err(|e| rpc_error(&e))?;
            let sent = Arc::new(Mutex::new(VecDeque::new()));
            let pipeline = Pipeline {
                link: self,
                read,
                sender: Some(Box::pin(send_all(write, input, sent.clone()))),
                idle_writer: None,
                sent,
                stall: APPEND_STALL,
                ended: false,
            };
            let answers = futures::stream::unfold(pipeline, |mut pipeline| async move {
                let next = pipeline.next().await?;
                Some((next, pipeline))
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, Rpc> {
        self.packed(frame::VOTE, &request, &option).await
    }

    async fn pre_vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, Rpc> {
        self.packed(frame::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(streaming_error(&error)),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, Rpc> {
        self.packed(frame::TRANSFER, &request, &option).await
    }
}

impl Link {
    async fn packed<Q, A>(&mut self, kind: u8, request: &Q, option: &RPCOption) -> Result<A, Rpc>
    where
        Q: serde::Serialize,
        A: serde::de::DeserializeOwned,
    {
        let result = async {
            let request = frame::packed(kind, request)?;
            let body = self.call(kind, request, option.soft_ttl()).await?;
            frame::unpack(&body)
        };
        result.await.map_err(|e| rpc_error(&e))
    }
}
