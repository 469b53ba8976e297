//! Saving and restoring the state of a datacenter: the byte-5 protocol of the server port, both
//! ends of it.
//!
//! A request finds its server by the same rules as a call: the datacenter it names, there the
//! leader, or any server for a stale save.

use std::io::{self, Seek as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BytesMut};
use futures::future::BoxFuture;
use model::error::{ErrorKind, RpcError};
use model::internal::{SnapshotRequest, SnapshotResponse};
use model::options::QueryMeta;
use rpc::{BoxIo, ConnHandler, ConnPool, ServerAddr, first_byte};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::spool::Spool;

/// `Op` of a save.
pub const SAVE: i64 = 0;
/// `Op` of a restore.
pub const RESTORE: i64 = 1;
/// The longest request or answer in front of an archive.
const MAX_HEAD: usize = 64 * 1024;

/// Read and written at once while an archive is made.
const BUFFER: usize = 64 << 10;

/// An archive on its way.
pub type ArchiveReader = Box<dyn AsyncRead + Send + Unpin>;

fn failed(context: &str, error: impl std::fmt::Display) -> RpcError {
    RpcError::new(ErrorKind::Other, format!("{context}: {error}"))
}

/// Asks a server for an archive.
pub async fn request_save(
    pool: &ConnPool,
    server: &ServerAddr,
    request: &SnapshotRequest,
) -> Result<(QueryMeta, ArchiveReader), RpcError> {
    let mut io = pool.dial(server, first_byte::SNAPSHOT).await?;
    send(&mut io, request).await.map_err(|error| failed("failed to encode request", error))?;
    let (response, rest): (SnapshotResponse, BytesMut) =
        receive(&mut io).await.map_err(|error| failed("failed to decode response", error))?;
    if !response.error.is_empty() {
        return Err(RpcError::from_text(response.error));
    }
    Ok((response.meta, Box::new(tokio::io::AsyncReadExt::chain(io::Cursor::new(rest.freeze()), io))))
}

/// Sends a server an archive to restore.
pub async fn request_restore(
    pool: &ConnPool,
    server: &ServerAddr,
    request: &SnapshotRequest,
    mut archive: ArchiveReader,
) -> Result<(), RpcError> {
    let mut io = pool.dial(server, first_byte::SNAPSHOT).await?;
    send(&mut io, request).await.map_err(|error| failed("failed to encode request", error))?;
    let copied = async {
        tokio::io::copy(&mut archive, &mut io).await?;
        io.shutdown().await
    };
    // The server may refuse before it has read everything: then its answer counts, not our error.
    let sent = copied.await;
    match receive::<SnapshotResponse>(&mut io).await {
        Ok((response, _)) if response.error.is_empty() => Ok(()),
        Ok((response, _)) => Err(RpcError::from_text(response.error)),
        Err(error) => Err(failed("failed to copy snapshot in", sent.err().unwrap_or(error))),
    }
}

async fn send(io: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    io.write_all(&msgpack::to_vec(message).map_err(io::Error::other)?).await?;
    io.flush().await
}

/// Reads one value; gives back what was read beyond it.
async fn receive<T: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(T, BytesMut)> {
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some(len) = msgpack::skip_value(&buffer).map_err(io::Error::other)? {
            let value = msgpack::from_slice(&buffer[..len]).map_err(io::Error::other)?;
            buffer.advance(len);
            return Ok((value, buffer));
        }
        if buffer.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message is too long"));
        }
        if io.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

enum Target {
    Here,
    At(ServerAddr),
}

impl Core {
    fn snapshot_target(&self, request: &SnapshotRequest) -> Result<Target, RpcError> {
        if request.datacenter != self.datacenter() {
            let server = self.remotes.any_server(&request.datacenter)?;
            return Ok(Target::At(server));
        }
        if self.is_leader() || (request.allow_stale && request.op == SAVE && self.ever_heard_of_leader()) {
            return Ok(Target::Here);
        }
        let leader = self.leader().ok_or_else(RpcError::no_leader)?;
        let server = self
            .lookup
            .get(leader)
            .ok_or_else(|| RpcError::from_text("Raft leader not found in server lookup mapping"))?;
        Ok(Target::At(self.server_addr(server.name, server.rpc)))
    }

    /// An archive of the datacenter that the request names.
    pub async fn save_snapshot(
        self: &Arc<Self>,
        request: &SnapshotRequest,
    ) -> Result<(QueryMeta, ArchiveReader), RpcError> {
        match self.snapshot_target(request)? {
            Target::At(server) => request_save(&self.pool, &server, request).await,
            Target::Here => {
                if !request.allow_stale {
                    self.linearizable().await?;
                }
                self.save_here().await
            }
        }
    }

    async fn save_here(self: &Arc<Self>) -> Result<(QueryMeta, ArchiveReader), RpcError> {
        let view = self.store.view();
        let raft = self.raft.state();
        let servers = raft.members.iter().map(|member| snapshot::Server {
            suffrage: u8::from(!member.voter),
            id: member.id.to_string(),
            address: self.address_of(member.id).unwrap_or(member.address).to_string(),
        });
        let configuration = snapshot::Configuration { servers: servers.collect() };
        let voters: Vec<&str> = configuration
            .servers
            .iter()
            .filter(|server| server.suffrage == 0)
            .map(|server| server.address.as_str())
            .collect();
        let peers = msgpack::to_vec(&voters).map_err(|error| failed("failed to encode peers", error))?;
        let index = view.index();
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut meta = snapshot::Meta {
            version: 1,
            id: format!("{}-{index}-{millis}", raft.term),
            index,
            term: raft.term,
            peers,
            configuration,
            configuration_index: raft.members_index,
            size: 0,
        };
        let query_meta = QueryMeta { index, ..self.query_meta() };
        let archive = consensus::background(move || {
            let mut state = io::BufWriter::with_capacity(BUFFER, Spool::new()?);
            view.write_snapshot(&mut state, index)?;
            let mut state = state.into_inner().map_err(io::IntoInnerError::into_error)?;
            meta.size = state.stream_position()?;
            state.rewind()?;
            let state = io::BufReader::with_capacity(BUFFER, state);
            snapshot::write(Spool::new()?, &meta, state).map_err(io::Error::other)?.into_reader()
        })
        .await
        .map_err(|error| failed("failed to create snapshot", error))?;
        Ok((query_meta, Box::new(archive)))
    }

    /// Replaces the state of the datacenter that the request names. The archive is read and checked
    /// as a whole before anything changes.
    pub async fn restore_snapshot(
        self: &Arc<Self>,
        request: &SnapshotRequest,
        archive: ArchiveReader,
    ) -> Result<(), RpcError> {
        if request.allow_stale {
            return Err(RpcError::from_text("stale not allowed for restore"));
        }
        match self.snapshot_target(request)? {
            Target::At(server) => request_restore(&self.pool, &server, request, archive).await,
            Target::Here => self.restore_here(archive).await,
        }
    }

    async fn restore_here(self: &Arc<Self>, mut archive: ArchiveReader) -> Result<(), RpcError> {
        let mut spool = spooled(&mut archive).await?;
        let (state, meta) = tokio::task::spawn_blocking(move || -> Result<_, RpcError> {
            let context = "failed to read snapshot file";
            spool.rewind().map_err(|error| failed(context, error))?;
            let mut state = Spool::new().map_err(|error| failed(context, error))?;
            let verified = snapshot::read(io::BufReader::new(spool), &mut state)
                .map_err(|error| RpcError::new(ErrorKind::Other, error.to_string()))?;
            state.rewind().map_err(|error| failed(context, error))?;
            Ok((state, verified.meta))
        })
        .await
        .map_err(|error| failed("failed to read snapshot file", error))??;
        self.raft
            .restore_from(state, meta.index)
            .await
            .map_err(|error| failed("Raft error when restoring snapshot", error))?;
        tracing::info!(target: "server", index = meta.index, "restored user snapshot");
        Ok(())
    }
}

/// Serves connections that begin with byte 5.
pub(crate) struct SnapshotFace(pub Arc<Core>);

impl ConnHandler for SnapshotFace {
    fn serve(&self, io: BoxIo, peer: SocketAddr, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let core = self.0.clone();
        Box::pin(async move {
            tokio::select! {
                result = serve(core, io) => if let Err(error) = result {
                    tracing::error!(target: "server.rpc", %peer, error = %error, "Failed to handle snapshot request");
                },
                () = stop.cancelled() => {}
            }
        })
    }
}

async fn serve(core: Arc<Core>, mut io: BoxIo) -> io::Result<()> {
    let (request, rest): (SnapshotRequest, BytesMut) = receive(&mut io).await?;
    let (mut receiver, mut sender) = tokio::io::split(io);
    let outcome = match request.op {
        SAVE => core.save_snapshot(&request).await.map(|(meta, archive)| (meta, Some(archive))),
        RESTORE => {
            let archive = tokio::io::AsyncReadExt::chain(io::Cursor::new(rest.freeze()), &mut receiver);
            restore(&core, &request, archive).await.map(|()| (QueryMeta::default(), None))
        }
        other => Err(RpcError::from_text(format!("unrecognized snapshot op '{other}'"))),
    };
    match outcome {
        Ok((meta, archive)) => {
            send(&mut sender, &SnapshotResponse { error: String::new(), meta }).await?;
            if let Some(mut archive) = archive {
                tokio::io::copy(&mut archive, &mut sender).await?;
            }
        }
        Err(error) => {
            let error = error.text().to_owned();
            send(&mut sender, &SnapshotResponse { error, meta: QueryMeta::default() }).await?;
        }
    }
    sender.shutdown().await
}

/// The archive borrows the connection, so it is spooled before it goes on.
async fn restore(
    core: &Arc<Core>,
    request: &SnapshotRequest,
    mut archive: impl AsyncRead + Unpin,
) -> Result<(), RpcError> {
    let spool = spooled(&mut archive).await?;
    let archive = spool.into_reader().map_err(|error| failed("failed to copy snapshot in", error))?;
    core.restore_snapshot(request, Box::new(archive)).await
}

/// An archive as a file.
async fn spooled(archive: &mut (impl AsyncRead + Unpin)) -> Result<Spool, RpcError> {
    let unwritable = |error| failed("failed to create temp snapshot file", error);
    let spool = Spool::new().map_err(unwritable)?;
    let mut file = tokio::fs::File::from_std(spool.handle().map_err(unwritable)?);
    let context = "failed to copy snapshot in";
    tokio::io::copy(archive, &mut file).await.map_err(|error| failed(context, error))?;
    file.flush().await.map_err(|error| failed(context, error))?;
    Ok(spool)
}
