//! Who takes part, and who leads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, RaftMetrics};

use super::{Consensus, Role};
use crate::error::ConsensusError;
use crate::fsm::Fsm;
use crate::types::alias::StoredMembership;
use crate::types::{Peer, ServerId, TypeConfig};

/// A server of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: ServerId,
    /// Address when it was added or last updated; gossip may know a newer one.
    pub address: SocketAddr,
    /// Whether it has a vote for good: amid a change it must have one before and after.
    pub voter: bool,
}

impl Member {
    pub(crate) fn all(config: &StoredMembership) -> Vec<Self> {
        let configs = config.membership().get_joint_config();
        let votes = |id| !configs.is_empty() && configs.iter().all(|voters| voters.contains(id));
        config.nodes().map(|(id, peer)| Self { id: *id, address: peer.address, voter: votes(id) }).collect()
    }
}

type Change = ChangeMembers<ServerId, Peer>;

/// How far a follower may be behind and still be handed the leadership, in entries.
const TRANSFER_LAG: u64 = 1000;

impl<F: Fsm> Consensus<F> {
    /// The servers of the configuration in force.
    pub fn membership(&self) -> Vec<Member> {
        self.shared.state.borrow().members.to_vec()
    }

    /// Adds a server that receives the log but has no vote. Returns when that is
    /// committed; the server may still be catching up.
    pub async fn add_learner(&self, id: ServerId, address: SocketAddr) -> Result<(), ConsensusError> {
        let node = BTreeMap::from([(id, Peer { address })]);
        self.change(|_| Ok((ChangeMembers::AddNodes(node), true))).await
    }

    /// Adds a server with a vote: as a learner until it has caught up, then for good.
    pub async fn add_voter(&self, id: ServerId, address: SocketAddr) -> Result<(), ConsensusError> {
        self.bounded(self.shared.raft.add_learner(id, Peer { address }, true)).await?;
        self.promote(id).await
    }

    /// Gives a learner a vote.
    pub async fn promote(&self, id: ServerId) -> Result<(), ConsensusError> {
        self.change(|_| Ok((ChangeMembers::AddVoterIds(BTreeSet::from([id])), true))).await
    }

    /// Takes a voter's vote; it stays as a learner.
    pub async fn demote(&self, id: ServerId) -> Result<(), ConsensusError> {
        self.change(|_| Ok((ChangeMembers::RemoveVoters(BTreeSet::from([id])), true))).await
    }

    /// Removes a server. A leader that removes itself hands over first.
    pub async fn remove(&self, id: ServerId) -> Result<(), ConsensusError> {
        let ids = BTreeSet::from([id]);
        self.change(|members| match members.into_iter().find(|m| m.id == id) {
            None => Err(ConsensusError::Membership(format!("server {id} is not a member"))),
            Some(m) if m.voter => Ok((ChangeMembers::RemoveVoters(ids), false)),
            Some(_) => Ok((ChangeMembers::RemoveNodes(ids), false)),
        })
        .await
    }

    /// Records a server's new address.
    pub async fn set_address(&self, id: ServerId, address: SocketAddr) -> Result<(), ConsensusError> {
        let node = BTreeMap::from([(id, Peer { address })]);
        self.change(|_| Ok((ChangeMembers::SetNodes(node), true))).await
    }

    /// Makes the change that `choose` says, upon a configuration that is no step between two others; it is told
    /// the members of that. Changes of this server take turns.
    async fn change(
        &self,
        choose: impl FnOnce(Vec<Member>) -> Result<(Change, bool), ConsensusError>,
    ) -> Result<(), ConsensusError> {
        self.bounded(async {
            let _turn = self.shared.changes.lock().await;
            if self.is_between() {
                self.settle().await?;
            }
            let (change, retain) = choose(self.state().members.to_vec())?;
            self.shared.raft.change_membership(change, retain).await?;
            Ok::<_, ConsensusError>(())
        })
        .await
    }

    /// Whether the configuration in force is a step between two others.
    pub(super) fn is_between(&self) -> bool {
        let metrics = self.shared.raft.metrics();
        metrics.borrow_watched().membership_config.membership().get_joint_config().len() > 1
    }

    /// Finishes the change that led to the configuration in force, whoever began it. Whom it removes stays as a
    /// learner: it may have been to be demoted only.
    pub(super) async fn settle(&self) -> Result<(), ConsensusError> {
        let raft = &self.shared.raft;
        let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
        let done = raft.change_membership(nothing, true).await?;
        // What is decided next is decided by what the engine shows.
        let shown =
            |metrics: &RaftMetrics<TypeConfig>| *metrics.membership_config.log_id() >= Some(done.log_id);
        raft.wait(None)
            .metrics(shown, "a settled configuration")
            .await
            .map_err(|error| ConsensusError::Membership(error.to_string()))?;
        Ok(())
    }

    async fn bounded<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, ConsensusError>
    where
        ConsensusError: From<E>,
    {
        let limit = self.shared.config.propose_timeout;
        Ok(tokio::time::timeout(limit, work).await.map_err(|_| ConsensusError::Timeout)??)
    }

    /// The live voter with the longest log, other than this server, that lacks at most `lag` entries.
    pub(super) fn successor(&self, lag: u64) -> Option<ServerId> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let heartbeat = metrics.heartbeat.as_ref();
        let recent = self.shared.config.timings.election_max;
        let last = metrics.last_log_index.unwrap_or(0);
        metrics
            .membership_config
            .voter_ids()
            .filter(|id| *id != metrics.id)
            .filter(|id| {
                let heard = heartbeat.and_then(|h| h.get(id)).and_then(|at| *at);
                heard.is_some_and(|at| super::state::age(&at) < recent)
            })
            .filter_map(|id| Some((replication.get(&id)?.map(|l| l.index)?, id)))
            .filter(|(matched, _)| matched + lag >= last)
            .max()
            .map(|(_, id)| id)
    }

    /// Hands the leadership to `to`, or to the best follower, and returns when
    /// another server leads.
    ///
    /// # Errors
    /// `NotLeader`; `NoQuorum` when there is nobody fit to take it; `Timeout` when
    /// the chosen server did not. This server then steps down all the same, and
    /// the others elect.
    pub async fn transfer_leadership(&self, to: Option<ServerId>) -> Result<(), ConsensusError> {
        let shared = &self.shared;
        if !self.is_leader() {
            return Err(ConsensusError::NotLeader { leader: self.leader() });
        }
        let to = match to {
            Some(id) if id == self.id() => return Ok(()),
            Some(id) if !self.state().voters().any(|v| v == id) => {
                return Err(ConsensusError::Membership(format!("server {id} is not a voter")));
            }
            Some(id) => id,
            None => self.successor(TRANSFER_LAG).ok_or(ConsensusError::NoQuorum)?,
        };
        let mut state = self.watch();
        // The other may lead before this server hears of it.
        let term = shared.raft.metrics().borrow_watched().current_term;
        shared.waived.fetch_max(term, Ordering::AcqRel);
        shared.raft.trigger().transfer_leader(to).await?;
        let moved = |s: &super::RaftState| s.role != Role::Leader;
        let limit = shared.config.timings.election_max;
        if tokio::time::timeout(limit, state.wait_for(moved)).await.is_ok() {
            return Ok(());
        }
        // The engine takes no more proposals now. Falling silent lets the others
        // elect; their leases were ended by the transfer.
        tracing::warn!(%to, "leadership was not taken over, stepping down");
        shared.raft.runtime_config().heartbeat(false);
        let stepped = tokio::time::timeout(limit * 3 + Duration::from_secs(1), state.wait_for(moved)).await;
        shared.raft.runtime_config().heartbeat(true);
        match stepped {
            Ok(_) => Ok(()),
            Err(_) => Err(ConsensusError::Timeout),
        }
    }
}
