//! Snapshot archives, which pass as streams and not as calls.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::error::RpcError;
use model::internal::SnapshotRequest;
use model::options::QueryMeta;

/// The bytes of an archive.
pub type ArchiveStream = BoxStream<'static, io::Result<Bytes>>;

/// Saves and restores the state of a datacenter.
///
/// The request names the datacenter and the token; `op` is set by the implementation.
#[async_trait]
pub trait SnapshotPort: Send + Sync + 'static {
    /// Takes a snapshot and streams the archive.
    ///
    /// # Errors
    /// When no server that may answer can be reached, or the snapshot cannot be taken.
    async fn save(&self, request: SnapshotRequest) -> Result<(QueryMeta, ArchiveStream), RpcError>;

    /// Replaces the state by an archive's. Nothing changes unless the whole archive is sound.
    ///
    /// # Errors
    /// When the archive is broken, the stream ends early, or the leader cannot be reached.
    async fn restore(&self, request: SnapshotRequest, archive: ArchiveStream) -> Result<(), RpcError>;
}
