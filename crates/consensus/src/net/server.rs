//! The answering side.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use openraft::Raft;
use openraft::raft::{StreamAppendError, TransferLeaderRequest, VoteRequest};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::frame::{self, SnapshotHeader};
use super::{BoxedIo, Context, hello};
use crate::entry;
use crate::fsm::Fsm;
use crate::machine::Machine;
use crate::snapshot::{SnapshotData, SnapshotStore};
use crate::types::alias::{Append, Snapshot};
use crate::types::{ServerId, TypeConfig};

/// Append requests read ahead of their answers, for each connection.
const AHEAD: usize = 128;
/// A sender of a snapshot that falls silent for this long is dropped.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);

/// A connection of this server ended; it may have been the leader.
#[derive(Clone, Copy, Debug)]
pub struct LeaderGone(pub ServerId);

/// Everything a connection needs.
pub struct Serve<F: Fsm> {
    pub context: Arc<Context>,
    pub raft: Raft<TypeConfig, Machine<F>>,
    pub snapshots: Arc<SnapshotStore>,
    /// When a leader that we follow was last heard.
    pub contact: Arc<Mutex<Option<Instant>>>,
    pub gone: mpsc::Sender<LeaderGone>,
    pub refusals: Refusals,
    /// No vote is given before, unless the leader itself hands over; see `node::promise`.
    pub bound_until: Option<tokio::time::Instant>,
}

impl<F: Fsm> Serve<F> {
    /// Answers one connection until it ends.
    pub async fn run(&self, mut io: BoxedIo) -> io::Result<()> {
        let from = hello::receive(&mut io, &self.context).await?;
        let (read, mut write) = tokio::io::split(io);
        let mut read = BufReader::with_capacity(16 << 10, read);
        loop {
            let (kind, body) = match frame::read(&mut read).await {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            let answer = match kind {
                frame::APPEND => {
                    let first = frame::read_append_request(body)?;
                    let result = self.appends(first, read, write).await;
                    let _ = self.gone.try_send(LeaderGone(from));
                    return result;
                }
                frame::SNAPSHOT => self.snapshot(body, &mut read).await,
                _ => self.call(kind, &body).await,
            };
            match answer {
                Ok(bytes) => frame::write(&mut write, &bytes).await?,
                Err(error) => {
                    let mut out = frame::start(frame::FAILED, 64);
                    out.extend_from_slice(error.to_string().as_bytes());
                    frame::write(&mut write, &frame::finish(out)?).await?;
                    // After a failed snapshot the stream's position is unknown.
                    return Err(error);
                }
            }
        }
    }

    async fn call(&self, kind: u8, body: &Bytes) -> io::Result<Bytes> {
        let answer = kind | frame::ANSWER;
        match kind {
            frame::VOTE => {
                let request: VoteRequest<TypeConfig> = frame::unpack(body)?;
                if !request.leadership_transfer {
                    self.keep_promise().await;
                }
                frame::packed(answer, &self.raft.vote(request).await.map_err(io::Error::other)?)
            }
            frame::PRE_VOTE => {
                let request: VoteRequest<TypeConfig> = frame::unpack(body)?;
                self.keep_promise().await;
                frame::packed(answer, &self.raft.pre_vote(request).await.map_err(io::Error::other)?)
            }
            frame::TRANSFER => {
                let request: TransferLeaderRequest<TypeConfig> = frame::unpack(body)?;
                let result = self.raft.handle_transfer_leader(request).await;
                frame::packed(answer, &result.map_err(io::Error::other)?)
            }
            other => Err(frame::invalid(format!("unknown request type {other}"))),
        }
    }

    async fn keep_promise(&self) {
        if let Some(until) = self.bound_until {
            tokio::time::sleep_until(until).await;
        }
    }

    /// A connection that carries append requests carries nothing else.
    async fn appends(
        &self,
        first: Append,
        mut read: BufReader<ReadHalf<BoxedIo>>,
        mut write: WriteHalf<BoxedIo>,
    ) -> io::Result<()> {
        let (tx, mut rx) = mpsc::channel::<Append>(AHEAD);
        let requests = futures::stream::poll_fn(move |cx| rx.poll_recv(cx));
        let results = self.raft.stream_append(requests);
        let mut results = std::pin::pin!(results);
        let reader = async {
            let mut next = first;
            loop {
                if tx.send(next).await.is_err() {
                    return Ok(());
                }
                let (kind, body) = frame::read(&mut read).await?;
                if kind != frame::APPEND {
                    return Err(frame::invalid("other request among appends"));
                }
                next = frame::read_append_request(body)?;
            }
        };
        let writer = async {
            while let Some(result) = results.next().await {
                let result = result.map_err(io::Error::other)?;
                // A leader whose entries do not fit ours yet is a leader all the same.
                if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
                    *self.contact.lock() = Some(Instant::now());
                }
                frame::write(&mut write, &frame::append_answer(&result)?).await?;
                if result.is_err() {
                    // The caller starts anew from where we disagree.
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = reader => ended,
            ended = writer => ended,
        }
    }

    /// Receives a snapshot, then installs it.
    async fn snapshot(&self, body: Bytes, read: &mut BufReader<ReadHalf<BoxedIo>>) -> io::Result<Bytes> {
        let header = SnapshotHeader::decode(body)?;
        let data = match self.receive(&header, read).await {
            Ok(data) => data,
            Err(error) => {
                self.refusals.note(&error);
                return Err(error);
            }
        };
        self.refusals.end();
        let snapshot = Snapshot { meta: header.meta, snapshot: data };
        let response =
            self.raft.install_full_snapshot(header.vote, snapshot).await.map_err(io::Error::other)?;
        *self.contact.lock() = Some(Instant::now());
        let mut out = frame::start(frame::SNAPSHOT | frame::ANSWER, 32);
        entry::put_vote(&mut out, &response.vote);
        frame::finish(out)
    }

    /// Puts a snapshot on the disk, with everything that has to be written to install it. So what fails
    /// for want of space is the leader's request and not the engine; the leader asks again.
    async fn receive(
        &self,
        header: &SnapshotHeader,
        read: &mut BufReader<ReadHalf<BoxedIo>>,
    ) -> io::Result<SnapshotData> {
        let snapshots = self.snapshots.clone();
        let (tx, mut rx) = mpsc::channel::<Bytes>(4);
        let (meta, offset, size) = (header.meta.clone(), header.offset, header.size);
        let written = tokio::task::spawn_blocking(move || {
            snapshots.check_room(size)?;
            let mut incoming = snapshots.receive()?;
            while let Some(chunk) = rx.blocking_recv() {
                incoming.write_all(&chunk)?;
            }
            incoming.finish(&meta, offset)
        });
        let mut left = header.size;
        while left > 0 {
            let want = left.min(256 << 10) as usize;
            let mut chunk = BytesMut::with_capacity(want);
            let mut limited = (&mut *read).take(want as u64);
            while chunk.len() < want {
                let n = tokio::time::timeout(SNAPSHOT_STALL, limited.read_buf(&mut chunk))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            left -= want as u64;
            if tx.send(chunk.freeze()).await.is_err() {
                break;
            }
        }
        drop(tx);
        let data = written.await.map_err(io::Error::other)??;
        if data.size != header.size || data.crc != header.crc {
            return Err(frame::invalid("snapshot does not match its checksum"));
        }
        Ok(data)
    }
}

/// Snapshots of the leader that could not be taken: it tries again every second, and once is enough to tell.
#[derive(Default)]
pub struct Refusals(Mutex<Option<io::ErrorKind>>);

impl Refusals {
    fn note(&self, error: &io::Error) {
        if self.0.lock().replace(error.kind()) != Some(error.kind()) {
            tracing::warn!(%error, "the leader's snapshot is not taken; it will be offered again");
        }
    }

    fn end(&self) {
        if self.0.lock().take().is_some() {
            tracing::info!("the leader's snapshot is taken now");
        }
    }
}
