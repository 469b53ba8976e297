//! Servers that end by themselves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;

use super::{Config, Consensus, Role};
use crate::error::ConsensusError;
use crate::fsm::{Fsm, SnapshotWriter};
use crate::log::{Change, LogRead, LogStorage, LogStore, Recovered, RedbStore};
use crate::net::{BoxedIo, RaftDial};
use crate::types::ServerId;

const LONG: Duration = Duration::from_secs(20);

/// A disk that breaks when told to.
struct Breaks {
    inner: RedbStore,
    broken: Arc<AtomicBool>,
}

impl LogStore for Breaks {
    fn recovered(&self) -> &Recovered {
        self.inner.recovered()
    }

    fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("a sector is gone"));
        }
        self.inner.write(changes)
    }

    fn reader(&self) -> Arc<dyn LogRead> {
        self.inner.reader()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.inner.reopen()
    }

    fn compact(&mut self) -> io::Result<()> {
        self.inner.compact()
    }
}

/// Panics at the command `panic`.
struct Fragile;

impl Fsm for Fragile {
    type Answer = ();

    fn apply_batch(&self, batch: &[(u64, Bytes)]) -> Vec<()> {
        batch.iter().map(|(_, command)| assert_ne!(command, "panic")).collect()
    }

    fn snapshot(&self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&self, _: &mut dyn io::Read, _: u64) -> io::Result<()> {
        Ok(())
    }
}

struct Nowhere;

#[async_trait]
impl RaftDial for Nowhere {
    async fn dial(&self, _: std::net::SocketAddr) -> io::Result<BoxedIo> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// A server that leads alone, on a disk that breaks.
async fn alone(dir: &std::path::Path, broken: &Arc<AtomicBool>) -> Consensus<Fragile> {
    let (id, address) = (ServerId::from_u128(1), ([127, 0, 0, 1], 8300).into());
    let config = Config { dir: Some(dir.to_owned()), ..Config::new(id, address, "dc1") };
    let broken = broken.clone();
    let open = move |dir: Option<&std::path::Path>| {
        LogStorage::on(Breaks { inner: RedbStore::open(dir.expect("a folder"))?, broken })
    };
    let book = Arc::new(|_| None);
    let node = Consensus::start_on(config, Arc::new(Fragile), Arc::new(Nowhere), book, open).await.unwrap();
    node.bootstrap([(id, address)]).await.unwrap();
    let leads = |state: &super::RaftState| state.role == Role::Leader;
    tokio::time::timeout(LONG, node.watch().wait_for(leads)).await.unwrap().unwrap();
    node.propose("kept".into()).await.unwrap();
    node
}

/// What it tells of its failure, and that nothing is left of its leadership.
async fn why(node: &Consensus<Fragile>) -> String {
    let why = tokio::time::timeout(LONG, node.failed()).await.expect("it tells that it failed");
    assert_eq!((node.state().role, node.leader()), (Role::Shutdown, None));
    assert!(!node.lease_valid());
    assert!(node.propose("more".into()).await.is_err());
    // It can be stopped all the same, and the reason stays.
    tokio::time::timeout(LONG, node.shutdown()).await.expect("it stops").unwrap();
    assert_eq!(node.failed().now_or_never().as_ref(), Some(&why));
    why
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told() {
    let (dir, broken) = (tempfile::tempdir().unwrap(), Arc::default());
    let node = alone(dir.path(), &broken).await;
    assert_eq!(node.failed().now_or_never(), None);
    broken.store(true, Ordering::Relaxed);
    let lost = node.propose("lost".into()).await;
    assert!(matches!(lost, Err(ConsensusError::Storage(_))), "{lost:?}");
    let why = why(&node).await;
    assert!(why.contains("a sector is gone"), "{why}");
}

#[tokio::test]
async fn a_state_machine_that_panics_is_told() {
    let (dir, broken) = (tempfile::tempdir().unwrap(), Arc::default());
    let node = alone(dir.path(), &broken).await;
    let lost = node.propose("panic".into()).await;
    assert!(lost.is_err(), "{lost:?}");
    let why = why(&node).await;
    assert!(why.contains("the state machine panicked"), "{why}");
}

#[tokio::test]
async fn one_that_is_told_to_stop_has_not_failed() {
    let (dir, broken) = (tempfile::tempdir().unwrap(), Arc::default());
    let node = alone(dir.path(), &broken).await;
    let mut failed = std::pin::pin!(node.failed());
    assert_eq!(failed.as_mut().now_or_never(), None);
    node.shutdown().await.unwrap();
    assert_eq!(failed.now_or_never(), None);
    assert_eq!((node.state().role, node.state().failed), (Role::Shutdown, None));
    // Nor when it is looked at for the first time afterwards.
    assert_eq!(node.failed().now_or_never(), None);
}
