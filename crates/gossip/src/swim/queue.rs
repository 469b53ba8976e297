//! The queue of broadcasts that wait to ride along in packets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

/// How often a broadcast is sent in a pool of `nodes` members before it is dropped from the queue.
///
/// The reference sends `mult * ceil(log10(nodes + 1))` times to random members. Each member then
/// gets about that many copies, and misses a given broadcast with probability `e^-sends`: with 4
/// sends among 9 members 1 pair in 60 misses and waits for the next full exchange, half a minute
/// or more. With `thorough` the count is raised so that
/// * in small pools (up to 33) each member tells every other one (targets are taken in turn, see
///   [`Ring`](super::Swim)), and
/// * in bigger ones the expected number of misses among all n² pairs, `n² e^-sends`, stays under
///   `e^-5` (epidemic broadcast: Eugster et al., "From epidemics to distributed computing", 2004).
pub fn transmit_limit(mult: u32, nodes: usize, thorough: bool) -> u32 {
    let n = nodes as f64;
    let reference = mult.saturating_mul((n + 1.0).log10().ceil() as u32);
    if !thorough || nodes < 2 {
        return reference.max(1);
    }
    let ours = if nodes <= 33 { nodes as u32 - 1 } else { (2.0 * n.ln() + 5.0).ceil() as u32 };
    reference.max(ours)
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

impl TransmitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a broadcast. One with the same `subject` is replaced. When the broadcast has been sent
    /// often enough, or is replaced or dropped, `token` is reported by [`TransmitQueue::take_finished`].
    pub fn push(&mut self, message: Bytes, subject: Option<Arc<str>>, token: Option<u64>) {
        if let Some(subject) = &subject {
            self.remove_subject(subject);
        }
        self.entered += 1;
        let shortness = u32::MAX - u32::try_from(message.len()).unwrap_or(u32::MAX);
        let rank = Rank { sends: 0, shortness, age: u64::MAX - self.entered };
        if let Some(subject) = &subject {
            self.subjects.insert(subject.clone(), rank);
        }
        self.items.insert(rank, Item { message, subject, token });
    }

    /// Drops the broadcast with this subject.
    pub fn remove_subject(&mut self, subject: &str) {
        if let Some(rank) = self.subjects.remove(subject)
            && let Some(item) = self.items.remove(&rank)
        {
            self.finished.extend(item.token);
        }
    }

    /// Takes messages for one packet: each costs its length plus `overhead`, together at most
    /// `limit`. An item leaves the queue with its `max_sends`th send.
    pub fn take(&mut self, overhead: usize, limit: usize, max_sends: u32) -> Vec<Bytes> {
        let mut left = limit;
        let mut taken: Vec<Rank> = Vec::new();
        let mut messages = Vec::new();
        // One walk: within one number of sends the longest that fits comes first, and skipping
        // those too long never makes a shorter one unreachable.
        for (rank, item) in &self.items {
            if left <= overhead {
                break;
            }
            let cost = item.message.len() + overhead;
            if cost <= left {
                left -= cost;
                taken.push(*rank);
                messages.push(item.message.clone());
            }
        }
        for rank in taken {
            let Some(item) = self.items.remove(&rank) else { continue };
            if rank.sends + 1 >= max_sends {
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

    #[test]
    fn fewest_sends_first_then_longest_that_fits() {
        let mut q = TransmitQueue::new();
        q.push(bytes(50), None, None);
        q.push(bytes(80), None, None);
        q.push(bytes(10), None, None);
        let lens = |v: Vec<Bytes>| v.iter().map(Bytes::len).collect::<Vec<_>>();
        assert_eq!(lens(q.take(2, 100, 3)), [80, 10]);
        assert_eq!(lens(q.take(2, 100, 3)), [50, 10]);
        assert_eq!(lens(q.take(0, 9, 3)), [] as [usize; 0]);
    }

    #[test]
    fn leaves_after_its_last_send_and_reports_it() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), None, Some(7));
        for _ in 0..2 {
            assert_eq!(q.take(0, 100, 3).len(), 1);
            assert!(q.take_finished().is_empty());
        }
        assert_eq!(q.take(0, 100, 3).len(), 1);
        assert_eq!(q.take_finished(), [7]);
        assert!(q.is_empty());
    }

    #[test]
    fn same_subject_replaces() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), Some("a".into()), Some(1));
        q.take(0, 100, 9);
        q.push(bytes(6), Some("a".into()), Some(2));
        assert_eq!(q.len(), 1);
        assert_eq!(q.take_finished(), [1]);
        assert_eq!(q.take(0, 100, 9)[0].len(), 6);
    }

    #[test]
    fn prune_drops_the_most_sent() {
        let mut q = TransmitQueue::new();
        q.push(bytes(5), None, Some(1));
        q.take(0, 100, 9);
        q.push(bytes(5), None, Some(2));
        q.prune(1);
        assert_eq!(q.take_finished(), [1]);
        assert_eq!(q.len(), 1);
    }

    #[test]
    fn limits_of_the_reference_and_ours() {
        for (n, want) in [(2, 4), (9, 4), (10, 8), (99, 8), (999, 12), (9_999, 16)] {
            assert_eq!(transmit_limit(4, n, false), want, "{n}");
        }
        assert_eq!(transmit_limit(4, 9, true), 8);
        assert_eq!(transmit_limit(4, 20, true), 19);
        assert_eq!(transmit_limit(4, 1000, true), 19);
        assert_eq!(transmit_limit(4, 5000, true), 23);
    }
}
