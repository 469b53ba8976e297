//! What an agent is to its datacenter: a server, or a client of the servers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use http_api::SnapshotPort;
use http_api::api::snapshot::ArchiveStream;
use model::error::RpcError;
use model::internal::SnapshotRequest;
use model::options::QueryMeta;
use model::road::Road;
use server::{ArchiveReader, RESTORE, SAVE, Server, request_restore, request_save};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::client::ClientRoad;

/// The agent's role.
#[derive(Clone)]
pub enum Delegate {
    /// It keeps the state with the other servers.
    Server(Arc<Server>),
    /// It asks them.
    Client(Arc<ClientRoad>),
}

impl Delegate {
    /// Where the agent's own calls go.
    pub fn road(&self) -> Road {
        match self {
            Self::Server(server) => server.road(),
            Self::Client(road) => Road::new(road.clone()),
        }
    }

    /// The part of `info` that depends on the role.
    pub fn stats(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let text = |pairs: Vec<(&str, String)>| -> BTreeMap<String, String> {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let mut all = BTreeMap::new();
        match self {
            Self::Server(server) => {
                let leader = server.leader_address().map(|address| address.to_string()).unwrap_or_default();
                let own = text(vec![
                    ("server", "true".to_owned()),
                    ("leader", server.is_leader().to_string()),
                    ("leader_addr", leader),
                    ("bootstrap", server.bootstrap().to_string()),
                    ("known_datacenters", server.known_datacenters().to_string()),
                ]);
                all.insert("consul".to_owned(), own);
                all.insert("raft".to_owned(), server.raft_stats());
            }
            Self::Client(road) => {
                let own = text(vec![
                    ("server", "false".to_owned()),
                    ("known_servers", road.servers().len().to_string()),
                ]);
                all.insert("consul".to_owned(), own);
            }
        }
        all
    }
}

#[async_trait]
impl SnapshotPort for Delegate {
    async fn save(&self, mut request: SnapshotRequest) -> Result<(QueryMeta, ArchiveStream), RpcError> {
        request.op = SAVE;
        let (meta, archive) = match self {
            Self::Server(server) => server.save_snapshot(&request).await?,
            Self::Client(road) => request_save(road.pool(), &road.first()?, &request).await?,
        };
        Ok((meta, ReaderStream::new(archive).boxed()))
    }

    async fn restore(&self, mut request: SnapshotRequest, archive: ArchiveStream) -> Result<(), RpcError> {
        request.op = RESTORE;
        let archive: ArchiveReader = Box::new(StreamReader::new(archive.map(io::Result::from)));
        match self {
            Self::Server(server) => server.restore_snapshot(&request, archive).await,
            Self::Client(road) => request_restore(road.pool(), &road.first()?, &request, archive).await,
        }
    }
}
