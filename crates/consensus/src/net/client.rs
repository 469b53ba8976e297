//! The calling side.
//!
//! A [`Link`] serves one purpose to one peer and owns at most one connection. A
//! call takes the connection out and puts it back when it ended cleanly; a call
//! that fails, times out or is dropped leaves none, and the next one dials anew.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
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
use super::pipeline::Pipeline;
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
        Link {
            context: self.0.clone(),
            target,
            hint: node.address,
            connection: Mutex::new(None),
            told: false,
        }
    }
}

pub(super) struct Connection {
    pub read: BufReader<ReadHalf<BoxedIo>>,
    pub write: WriteHalf<BoxedIo>,
}

pub struct Link {
    context: Arc<Context>,
    target: ServerId,
    hint: SocketAddr,
    /// Never contended; the engine asks for a `Sync` type.
    connection: Mutex<Option<Connection>>,
    /// That a snapshot did not arrive is said once.
    told: bool,
}

pub(super) fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// An error that is worth an immediate retry is a network error; one that says
/// the peer is not there makes the engine back off.
pub(super) fn rpc_error(error: &io::Error) -> Rpc {
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

pub(super) fn expect(kind: u8, (got, body): (u8, Bytes)) -> io::Result<Bytes> {
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
        let Connection { mut read, mut write } = self.take(APPEND_STALL).await?;
        let sent = async {
            frame::write(&mut write, &header.encode()?).await?;
            let mut chunks = read_in_chunks(data);
            while let Some(chunk) = chunks.recv().await {
                let chunk = chunk?;
                tokio::time::timeout(SNAPSHOT_STALL, write.write_all(&chunk))
                    .await
                    .map_err(|_| timed_out())??;
            }
            write.flush().await
        };
        let mut answer = std::pin::pin!(frame::read(&mut read));
        let answer = tokio::select! {
            biased;
            // Before all is sent it can only be a refusal.
            answer = &mut answer => answer,
            sent = sent => {
                // Whoever refuses closes the connection: what it said may still be there to read.
                let limit = if sent.is_ok() { SNAPSHOT_INSTALL } else { APPEND_STALL };
                match (tokio::time::timeout(limit, answer).await, sent) {
                    (Ok(Ok(answer)), _) => Ok(answer),
                    (_, Err(error)) => Err(error),
                    (Ok(Err(error)), Ok(())) => Err(error),
                    (Err(_), Ok(())) => Err(timed_out()),
                }
            }
        };
        let mut body = expect(frame::SNAPSHOT, answer?)?;
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
            let connection = self.take(limit).await.map_err(|e| rpc_error(&e))?;
            let pipeline = Pipeline::start(self.connection.get_mut(), connection, input, APPEND_STALL);
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
                Err(error) => {
                    if !self.told {
                        tracing::warn!(server = %self.target, %error, "snapshot was not taken, trying again");
                        self.told = true;
                    }
                    Err(streaming_error(&error))
                }
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
