//! What a server promised before it was started anew.
//!
//! A leader that is answered by a majority counts on these for a lease: they elect nobody meanwhile. One that dies
//! and is back within that time no longer knows when it answered last, but its log tells whom it
//! followed. So for a lease after its start it gives no vote, nor its own to itself; requests wait for as long. A leader
//! that is alive is followed at once.

use tokio::time::Instant;

use super::{Consensus, failover};
use crate::fsm::Fsm;
use crate::types::ServerId;
use crate::types::alias::Vote;

/// Whether the vote that `me` found in its log may be a promise to another: it followed a leader. One that only
/// voted had waited for the lease of the leader before.
pub fn binds(vote: Option<&Vote>, me: ServerId) -> bool {
    vote.is_some_and(|vote| vote.committed && vote.leader_id.voted_for != me)
}

/// Lets the engine campaign again when the promise is over, one voter after the other: where all were started
/// at once, all have waited for long enough by then.
pub async fn keep<F: Fsm>(node: Consensus<F>, until: Instant) {
    tokio::time::sleep_until(until).await;
    tokio::time::sleep(failover::turn(&node, None)).await;
    node.shared.raft.runtime_config().elect(true);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use openraft::EntryPayload;
    use openraft::raft::{VoteRequest, VoteResponse};
    use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
    use tokio::sync::mpsc;

    use super::*;
    use crate::fsm::SnapshotWriter;
    use crate::log::LogStorage;
    use crate::net::{BoxedIo, Context, RaftDial, frame, hello};
    use crate::node::Config;
    use crate::types::alias::{Entry, Membership, log_id};
    use crate::types::{Peer, TypeConfig};

    const LONG: Duration = Duration::from_secs(20);

    fn id(n: u128) -> ServerId {
        ServerId::from_u128(n)
    }

    fn address(n: u128) -> SocketAddr {
        ([127, 0, 0, n as u8], 8300).into()
    }

    fn followed(term: u64, leader: u128, committed: bool) -> Vote {
        if committed { Vote::new_committed(term, id(leader)) } else { Vote::new(term, id(leader)) }
    }

    #[test]
    fn only_who_followed_another_has_promised_something() {
        assert!(binds(Some(&followed(3, 2, true)), id(1)));
        assert!(!binds(Some(&followed(3, 1, true)), id(1)));
        assert!(!binds(Some(&followed(3, 2, false)), id(1)));
        assert!(!binds(None, id(1)));
    }

    struct Nothing;

    impl Fsm for Nothing {
        type Answer = ();

        fn apply_batch(&self, batch: &[(u64, Bytes)]) -> Vec<()> {
            batch.iter().map(|_| ()).collect()
        }

        fn snapshot(&self) -> SnapshotWriter {
            Box::new(|_| Ok(()))
        }

        fn restore(&self, _: &mut dyn io::Read, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    /// Reaches nobody, and tells when it tried.
    struct Tries(mpsc::UnboundedSender<Instant>);

    #[async_trait]
    impl RaftDial for Tries {
        async fn dial(&self, _: SocketAddr) -> io::Result<BoxedIo> {
            let _ = self.0.send(Instant::now());
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// Server 1 of three, which followed server 2 when it died.
    async fn back(dir: &Path) -> (Consensus<Nothing>, mpsc::UnboundedReceiver<Instant>) {
        let raft = dir.join("raft");
        let mut log = LogStorage::open(Some(&raft)).unwrap();
        let peers = [1, 2, 3].map(|n| (id(n), Peer { address: address(n) }));
        let members =
            Membership::new(vec![[id(1), id(2), id(3)].into()], std::collections::BTreeMap::from(peers));
        let first = Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(members.unwrap()) };
        log.save_vote(&followed(3, 2, true)).await.unwrap();
        log.blocking_append([first]).await.unwrap();
        log.close().await;
        let (tx, tries) = mpsc::unbounded_channel();
        let config = Config { dir: Some(raft), ..Config::new(id(1), address(1), "dc1") };
        let node = Consensus::start(config, Arc::new(Nothing), Arc::new(Tries(tx)), Arc::new(|_| None));
        (node.await.unwrap(), tries)
    }

    #[tokio::test]
    async fn who_followed_a_leader_does_not_campaign_within_a_lease() {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let (node, mut tries) = back(dir.path()).await;
        let first = tokio::time::timeout(LONG, tries.recv()).await.expect("it campaigns").unwrap();
        let lease = node.shared.config.timings.election_max;
        assert!(first - began >= lease, "after {:?}", first - began);
        node.stop().await;
    }

    #[tokio::test]
    async fn who_followed_a_leader_votes_for_nobody_within_a_lease() {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let (node, _tries) = back(dir.path()).await;
        for kind in [frame::PRE_VOTE, frame::VOTE] {
            let (near, far) = tokio::io::duplex(1 << 16);
            let mut near: BoxedIo = Box::new(near);
            let served = tokio::spawn({
                let node = node.clone();
                async move { node.serve(Box::new(far)).await }
            });
            let caller = Context {
                me: id(3),
                datacenter: "dc1".into(),
                dial: node.shared.context.dial.clone(),
                addresses: Arc::new(|_| None),
            };
            hello::introduce(&mut near, &caller, id(1)).await.unwrap();
            let request = VoteRequest::<TypeConfig>::new(followed(9, 3, false), Some(log_id(0, 0)));
            frame::write(&mut near, &frame::packed(kind, &request).unwrap()).await.unwrap();
            let answer =
                tokio::time::timeout(LONG, frame::read(&mut near)).await.expect("an answer").unwrap();
            let after = began.elapsed();
            assert_eq!(answer.0, kind | frame::ANSWER);
            let answer: VoteResponse<TypeConfig> = frame::unpack(&answer.1).unwrap();
            assert!(answer.vote_granted, "{answer:?}");
            assert!(after >= node.shared.config.timings.election_max, "after {after:?}");
            drop(near);
            let _ = served.await;
        }
        node.stop().await;
    }
}
