//! The queue of broadcasts that wait to ride along in packets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

/// Up to this many members, a broadcast is not dropped before every member was told.
pub const TELL_EVERYONE: usize = 40;

/// No broadcast is sent more often than this, whoever still lacks it.
const MAX_SENDS: u32 = 256;

/// To whom the packet being filled goes, and how far broadcasts are to be spread.
///
/// Made by [`Swim`](super::Swim) for each packet; the layer above passes it on to its own queues.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// A broadcast is dropped with its `limit`th send, but not before everyone was told.
    pub limit: u32,
    /// Small pools: the receiver's bit, if it is a known member.
    pub target: Option<u64>,
    /// Small pools: the bits of all other members that run. 0 in bigger pools.
    pub everyone: u64,
}

impl Spread {
    /// Spreading in a pool of `nodes` members.
    ///
    /// The reference sends `mult * ceil(log10(nodes + 1))` times to random members. Each member
    /// then gets about that many copies, and misses a given broadcast with probability
    /// `e^-copies`: with 4 sends among 9 members about one pair in 60 misses and waits for the next
    /// full exchange, half a minute or more. With `thorough`
    /// * in small pools each member tells each other one at least once (told by `everyone`), and
    /// * in bigger ones the count is raised so that the expected number of misses among all n²
    ///   pairs, `n² e^-copies`, stays under `e^-5` (Eugster et al., "Epidemic information
    ///   dissemination in distributed systems", 2004).
    pub fn new(mult: u32, nodes: usize, thorough: bool, target: Option<u64>, everyone: u64) -> Self {
        let n = nodes as f64;
        let reference = mult.saturating_mul((n + 1.0).log10().ceil() as u32).max(1);
        if !thorough {
            Spread { limit: reference, target: None, everyone: 0 }
        } else if nodes <= TELL_EVERYONE {
            Spread { limit: reference, target, everyone }
        } else {
            let nobody_missed = (2.0 * n.ln() + 5.0).ceil() as u32;
            Spread { limit: reference.max(nobody_missed), target: None, everyone: 0 }
        }
    }

    fn is_done(&self, sends: u32, told: u64) -> bool {
        sends >= MAX_SENDS || (sends >= self.limit && self.all_told(told))
    }

    fn all_told(&self, told: u64) -> bool {
        self.everyone & !told == 0
    }

    /// Has the receiver had it, while others have not?
    fn skips(&self, told: u64) -> bool {
        self.target.is_some_and(|bit| told & bit != 0) && !self.all_told(told)
    }
}

/// One broadcast in the queue.
#[derive(Debug)]
struct Item {
    /// Bytes of the message, with its type byte if it has one.
    message: Bytes,
    /// A newer broadcast with the same subject replaces this one.
    subject: Option<Arc<str>>,
    /// Reported when the broadcast leaves the queue.
    token: Option<u64>,
    /// Bits of the members that have it.
    told: u64,
}

/// Order in which items are tried: fewest sends first, then longest, then newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sends: u32,
    /// Complement of the length, so that the longest sorts first.
    shortness: u32,
    /// Complement of the number given at entry, so that the newest sorts first.
    age: u64,
}

/// Broadcasts waiting to be sent, the least often sent first.
///
/// Used for membership messages here and for each kind of serf message in the layer above.
#[derive(Debug, Default)]
pub struct TransmitQueue {
    items: BTreeMap<Rank, Item>,
    subjects: HashMap<Arc<str>, Rank>,
    entered: u64,
    finished: Vec<u64>,
}

fn shortness(len: usize) -> u32 {
    u32::MAX - u32::try_from(len).unwrap_or(u32::MAX)
}

impl TransmitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a broadcast. One with the same `subject` is replaced. When the broadcast has been sent
    /// often enough, or is replaced or dropped, `token` is reported by [`TransmitQueue::take_finished`].
    pub fn push(&mut self, message: Bytes, subject: Option<Arc<str>>, token: Option<u64>) {
        self.push_heard(message, subject, token, 0);
    }

    /// As [`TransmitQueue::push`], of something that the members with the bits `told` know already.
    pub fn push_heard(&mut self, message: Bytes, subject: Option<Arc<str>>, token: Option<u64>, told: u64) {
        if let Some(subject) = &subject {
            self.remove_subject(subject);
        }
        self.entered += 1;
        let rank = Rank { sends: 0, shortness: shortness(message.len()), age: u64::MAX - self.entered };
        if let Some(subject) = &subject {
            self.subjects.insert(subject.clone(), rank);
        }
        self.items.insert(rank, Item { message, subject, token, told });
    }

    /// Drops the broadcast with this subject.
    pub fn remove_subject(&mut self, subject: &str) {
        if let Some(rank) = self.subjects.remove(subject)
            && let Some(item) = self.items.remove(&rank)
        {
            self.finished.extend(item.token);
        }
    }

    /// Takes messages for one packet: each costs its length plus `overhead`, together at most `limit`.
    pub fn take(&mut self, spread: &Spread, overhead: usize, limit: usize) -> Vec<Bytes> {
        let mut left = limit;
        let mut taken: Vec<Rank> = Vec::new();
        let mut messages = Vec::new();
        let mut next = self.items.range(..).next();
        while let Some((&rank, item)) = next {
            if left <= overhead {
                break;
            }
            let cost = item.message.len() + overhead;
            let mut from = std::ops::Bound::Excluded(rank);
            if cost > left {
                // Jump over those too long to the first that may fit among those sent as often.
                let fits = Rank { shortness: shortness(left - overhead), age: 0, ..rank };
                if fits > rank {
                    from = std::ops::Bound::Included(fits);
                }
            } else if !spread.skips(item.told) {
                left -= cost;
                taken.push(rank);
                messages.push(item.message.clone());
            }
            next = self.items.range((from, std::ops::Bound::Unbounded)).next();
        }
        for rank in taken {
            let Some(mut item) = self.items.remove(&rank) else { continue };
            item.told |= spread.target.unwrap_or(0);
            if spread.is_done(rank.sends + 1, item.told) {
                if let Some(subject) = &item.subject {
                    self.subjects.remove(subject);
                }
                self.finished.extend(item.token);
                continue;
            }
            let rank = Rank { sends: rank.sends + 1, ..rank };
            if let Some(subject) = &item.subject {
                self.subjects.insert(subject.clone(), rank);
            }
            self.items.insert(rank, item);
        }
        messages
    }

    /// A bit now stands for another member, who was told nothing yet.
    pub fn forget_told(&mut self, bit: u64) {
        for item in self.items.values_mut() {
            item.told &= !bit;
        }
    }

    /// Drops the most-sent and oldest broadcasts beyond `keep`.
    pub fn prune(&mut self, keep: usize) {
        while self.items.len() > keep {
            let Some((_, item)) = self.items.pop_last() else { return };
            if let Some(subject) = &item.subject {
                self.subjects.remove(subject);
            }
            self.finished.extend(item.token);
        }
    }

    /// Tokens of the broadcasts that left the queue since the last call.
    pub fn take_finished(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.finished)
    }

    /// Number of broadcasts waiting.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Nothing waiting?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> Bytes {
        Bytes::from(vec![0; n])
    }

    fn sends(limit: u32) -> Spread {
        Spread { limit, target: None, everyone: 0 }
    }

    #[test]
    fn fewest_sends_first_then_longest_that_fits() {
        let mut q = TransmitQueue::new();
        q.push(bytes(50), None, None);
        q.push(bytes(80), None, None);
        q.push(bytes(10), None, None);
        let lens = |v: Vec<Bytes>| v.iter().map(Bytes::len).collect::<Vec<_>>();
        assert_eq!(lens(q.take(&sends(3), 2, 100)), [80, 10]);
        assert_eq!(lens(q.take(&sends(3), 2, 100)), [50, 10]);
        assert_eq!(lens(q.take(&sends(3), 0, 9)), [] as [usize; 0]);
    }

    #[test]
    fn leaves_after_its_last_send_and_reports_it() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), None, Some(7));
        for _ in 0..2 {
            assert_eq!(q.take(&sends(3), 0, 100).len(), 1);
            assert!(q.take_finished().is_empty());
        }
        assert_eq!(q.take(&sends(3), 0, 100).len(), 1);
        assert_eq!(q.take_finished(), [7]);
        assert!(q.is_empty());
    }

    #[test]
    fn small_pools_tell_everyone_once_before_anyone_twice() {
        let mut q = TransmitQueue::new();
        q.push_heard(bytes(5), None, None, 0b0001);
        let to = |bit| Spread { limit: 2, target: Some(bit), everyone: 0b1111 };
        assert!(q.take(&to(0b0001), 0, 100).is_empty(), "has it already");
        assert_eq!(q.take(&to(0b0010), 0, 100).len(), 1);
        assert!(q.take(&to(0b0010), 0, 100).is_empty());
        assert_eq!(q.take(&to(0b0100), 0, 100).len(), 1);
        q.forget_told(0b0100);
        assert_eq!(q.take(&to(0b0100), 0, 100).len(), 1);
        assert_eq!(q.take(&to(0b1000), 0, 100).len(), 1);
        assert!(q.is_empty(), "everyone told, sent more than twice");
    }

    #[test]
    fn same_subject_replaces() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), Some("a".into()), Some(1));
        q.take(&sends(9), 0, 100);
        q.push(bytes(6), Some("a".into()), Some(2));
        assert_eq!(q.len(), 1);
        assert_eq!(q.take_finished(), [1]);
        assert_eq!(q.take(&sends(9), 0, 100)[0].len(), 6);
    }

    #[test]
    fn prune_drops_the_most_sent() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), None, Some(1));
        q.take(&sends(9), 0, 100);
        q.push(bytes(5), None, Some(2));
        q.prune(1);
        assert_eq!(q.take_finished(), [1]);
        assert_eq!(q.len(), 1);
    }

    #[test]
    fn limits_of_the_reference_and_ours() {
        let limit = |n, thorough| Spread::new(4, n, thorough, None, 0).limit;
        for (n, want) in [(2, 4), (9, 4), (10, 8), (99, 8), (999, 12), (9_999, 16)] {
            assert_eq!(limit(n, false), want, "{n}");
        }
        assert_eq!(limit(20, true), 8);
        assert_eq!(limit(1000, true), 19);
        assert_eq!(limit(5000, true), 23);
    }
}
