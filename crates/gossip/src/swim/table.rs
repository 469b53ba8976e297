//! The member table: compact records in slots, found by name.
//!
//! A record is 24 bytes beside what the member says of itself, and that part is shared; a pool
//! of 5,000 members in one process holds 25 million of them.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashTable;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::{Node, NodeInfo, NodeState, Tick};

/// Place of a record in the table. Reused after the record is dropped.
pub(super) type Slot = u32;

/// Shares what members say of themselves among several state machines in one process.
#[derive(Debug, Default)]
pub struct Interner(Mutex<HashSet<Arc<NodeInfo>>>);

impl Interner {
    /// The shared copy of `info`.
    pub fn share(&self, info: NodeInfo) -> Arc<NodeInfo> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(&info) {
            return shared.clone();
        }
        let shared = Arc::new(info);
        known.insert(shared.clone());
        shared
    }
}

#[derive(Debug)]
pub(super) struct Table {
    records: Vec<Option<Node>>,
    by_name: HashTable<Slot>,
    hasher: RandomState,
    free: Vec<Slot>,
    /// Order in which members are probed, and for small pools gossiped to.
    order: Vec<Slot>,
    probed: usize,
    gossiped: usize,
    alive: usize,
    suspect: usize,
    /// Bits of the running members in the first 64 slots.
    running: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        Table {
            records: Vec::new(),
            by_name: HashTable::new(),
            hasher: RandomState::new(),
            free: Vec::new(),
            order: Vec::new(),
            probed: 0,
            gossiped: 0,
            alive: 0,
            suspect: 0,
            running: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn num_alive(&self) -> usize {
        self.alive
    }

    pub(super) fn num_suspect(&self) -> usize {
        self.suspect
    }

    /// Bits of the members in the first 64 slots that are alive or suspect.
    pub(super) fn running(&self) -> u64 {
        self.running
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.records.get(slot as usize)?.as_ref()
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |&slot| self.get(slot).is_some_and(|n| &**n.name() == name)).copied()
    }

    /// The record with this address. Looks at all of them.
    pub(super) fn slot_of_address(&self, addr: SocketAddr) -> Option<Slot> {
        let at = |n: &Node| (n.info.ip, n.info.port) == (addr.ip(), addr.port());
        self.order.iter().copied().find(|&slot| self.get(slot).is_some_and(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> + Clone {
        self.records.iter().flatten()
    }

    /// Adds a record at a random place of the probe order. The name must not be there yet.
    pub(super) fn insert(&mut self, node: Node, rng: &mut SmallRng) -> Slot {
        let hash = self.hasher.hash_one(&**node.name());
        let state = node.state;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.records.push(None);
                (self.records.len() - 1) as Slot
            }
        };
        self.records[slot as usize] = Some(node);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_name.insert_unique(hash, slot, |&s| {
            records[s as usize].as_ref().map_or(0, |n| hasher.hash_one(&**n.name()))
        });
        // Swap instead of shift: every place is as likely, at constant cost.
        self.order.push(slot);
        let (last, at) = (self.order.len() - 1, rng.random_range(0..self.order.len()));
        self.order.swap(last, at);
        self.count(slot, state, true);
        slot
    }

    /// Changes a record; the counts follow its state.
    pub(super) fn update(&mut self, slot: Slot, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.records.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let before = node.state;
        change(node);
        let after = node.state;
        if before != after {
            self.count(slot, before, false);
            self.count(slot, after, true);
        }
    }

    fn count(&mut self, slot: Slot, state: NodeState, added: bool) {
        let counter = match state {
            NodeState::Alive => &mut self.alive,
            NodeState::Suspect => &mut self.suspect,
            NodeState::Dead | NodeState::Left => return,
        };
        let bit = bit_of(slot).unwrap_or(0);
        if added {
            *counter += 1;
            self.running |= bit;
        } else {
            *counter -= 1;
            self.running &= !bit;
        }
    }

    /// Drops the records for which `gone` holds; returns their slots.
    pub(super) fn remove_if(&mut self, mut gone: impl FnMut(&Node) -> bool) -> Vec<Slot> {
        let mut removed = Vec::new();
        for slot in 0..self.records.len() as Slot {
            let Some(node) = self.get(slot) else { continue };
            if !gone(node) {
                continue;
            }
            let (state, hash) = (node.state, self.hasher.hash_one(&**node.name()));
            if let Ok(entry) = self.by_name.find_entry(hash, |&s| s == slot) {
                entry.remove();
            }
            self.records[slot as usize] = None;
            self.count(slot, state, false);
            self.free.push(slot);
            removed.push(slot);
        }
        if !removed.is_empty() {
            let records = &self.records;
            self.order.retain(|&s| records[s as usize].is_some());
        }
        removed
    }

    /// The next record in probe order; `None` once at the end of each round.
    pub(super) fn next_to_probe(&mut self) -> Option<Slot> {
        let slot = self.order.get(self.probed).copied();
        self.probed = if slot.is_some() { self.probed + 1 } else { 0 };
        slot
    }

    pub(super) fn shuffle(&mut self, rng: &mut SmallRng) {
        self.order.shuffle(rng);
        self.probed = 0;
    }

    /// All records that are `wanted`, in probe order, from the one whose turn it is.
    pub(super) fn in_turn(&self, mut wanted: impl FnMut(&Node) -> bool) -> Vec<Slot> {
        let (later, first) = self.order.split_at(self.gossiped.min(self.order.len()));
        let round = first.iter().chain(later).copied();
        round.filter(|&slot| self.get(slot).is_some_and(&mut wanted)).collect()
    }

    /// The next turn begins with the record after this one.
    pub(super) fn turn_ends_with(&mut self, slot: Slot) {
        self.gossiped = self.order.iter().position(|&s| s == slot).map_or(0, |at| at + 1);
    }

    /// Up to `k` different records that are `wanted`, at random.
    pub(super) fn pick(
        &self,
        k: usize,
        rng: &mut SmallRng,
        mut wanted: impl FnMut(&Node) -> bool,
    ) -> Vec<Slot> {
        let mut found: Vec<Slot> = Vec::with_capacity(k);
        if self.order.is_empty() || k == 0 {
            return found;
        }
        // In a big pool nearly every draw fits.
        if self.order.len() > 8 * k {
            for _ in 0..8 * k {
                let slot = self.order[rng.random_range(0..self.order.len())];
                if !found.contains(&slot) && self.get(slot).is_some_and(&mut wanted) {
                    found.push(slot);
                    if found.len() == k {
                        return found;
                    }
                }
            }
        }
        // Few fit: look at all of them.
        let mut rest: Vec<Slot> = self.order.iter().copied().filter(|s| !found.contains(s)).collect();
        rest.retain(|&s| self.get(s).is_some_and(&mut wanted));
        let (chosen, _) = rest.partial_shuffle(rng, k - found.len());
        found.extend_from_slice(chosen);
        found
    }
}

/// The bit that stands for a slot, for the first 64.
pub(super) fn bit_of(slot: Slot) -> Option<u64> {
    (slot < 64).then(|| 1 << slot)
}

/// A record in the state in which unknown members are taken in.
pub(super) fn newcomer(info: Arc<NodeInfo>, now: Tick) -> Node {
    Node { info, changed: now, incarnation: 0, state: NodeState::Dead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn node(i: u32, state: NodeState) -> Node {
        let info = NodeInfo {
            name: format!("n{i}").into(),
            ip: [127, 0, 0, 1].into(),
            port: 1,
            meta: [].into(),
            vsn: super::super::VSN_CONSUL,
        };
        Node { state, ..newcomer(Arc::new(info), Tick::ZERO) }
    }

    #[test]
    fn finds_counts_and_reuses_slots() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut table = Table::new();
        for i in 0..100 {
            let state = if i % 2 == 0 { NodeState::Alive } else { NodeState::Dead };
            table.insert(node(i, state), &mut rng);
        }
        assert_eq!((table.len(), table.num_alive()), (100, 50));
        assert_eq!(table.running().count_ones(), 32);
        let slot = table.find("n7").unwrap();
        table.update(slot, |n| n.state = NodeState::Alive);
        assert_eq!(table.num_alive(), 51);
        assert_eq!(table.remove_if(|n| n.state == NodeState::Dead).len(), 49);
        assert!(table.find("n9").is_none() && table.find("n7").is_some());
        table.insert(node(9, NodeState::Alive), &mut rng);
        assert_eq!(table.get(table.find("n9").unwrap()).unwrap().name().as_ref(), "n9");
        assert_eq!((table.len(), table.num_alive()), (52, 52));
    }

    #[test]
    fn a_round_of_probes_meets_everyone_once() {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut table = Table::new();
        for i in 0..50 {
            table.insert(node(i, NodeState::Alive), &mut rng);
        }
        let mut met: Vec<_> = std::iter::from_fn(|| table.next_to_probe()).collect();
        met.sort_unstable();
        assert_eq!(met, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn picks_are_different_and_as_many_as_there_are() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut table = Table::new();
        for i in 0..200 {
            let state = if i < 5 { NodeState::Alive } else { NodeState::Left };
            table.insert(node(i, state), &mut rng);
        }
        for k in 0..8 {
            let mut picked = table.pick(k, &mut rng, |n| n.state == NodeState::Alive);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), k.min(5));
        }
        let alive = |n: &Node| n.state == NodeState::Alive;
        let round = table.in_turn(alive);
        assert_eq!(round.len(), 5);
        table.turn_ends_with(round[1]);
        assert_eq!(table.in_turn(alive)[..3], round[2..]);
    }
}
