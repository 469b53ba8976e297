//! Replies that were read before.
//!
//! Who asks another datacenter, or a client agent its servers, mostly hears what it heard a moment
//! ago. A reply of exactly the same bytes as an earlier one is not read again: it shares the
//! earlier one's parts, and so do the answers made of it (see [`crate::encoded`]). What comes only
//! once takes no memory: a reply is remembered when it comes for the second time.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::encoded::Trace;
use crate::method::{Method, Reply};

/// Replies remembered at most.
const MAX_REPLIES: usize = 16;
/// Bytes of replies remembered at most; what is made of them takes a few times as much.
const MAX_BYTES: usize = 1 << 20;
/// Largest reply that is remembered, bytes.
const MAX_REPLY: usize = 256 << 10;
/// Smallest reply worth it, bytes.
const MIN_REPLY: usize = 1 << 10;
/// Replies that came once and are known again.
const SEEN: usize = 64;
/// Places at which replies are looked at to tell them apart quickly.
const SAMPLES: usize = 16;

struct Known {
    method: &'static str,
    hash: u64,
    bytes: Bytes,
    /// The method's reply.
    reply: Arc<dyn Any + Send + Sync>,
    used: u64,
}

#[derive(Default)]
struct Replies {
    list: Vec<Known>,
    bytes: usize,
    clock: u64,
    /// Hashes of what came once, the oldest first.
    seen: VecDeque<u64>,
}

/// See the module.
#[derive(Default)]
pub struct DecodedReplies(Mutex<Replies>);

/// A hash of a reply's length and of samples of its bytes.
fn hash_of(bytes: &[u8]) -> u64 {
    let mut trace = Trace::default();
    trace.number(bytes.len() as u64);
    let stride = (bytes.len() / SAMPLES).max(8);
    for sample in bytes.chunks(stride) {
        if let Some(sample) = sample.first_chunk() {
            trace.number(u64::from_le_bytes(*sample));
        }
    }
    trace.hash()
}

impl DecodedReplies {
    /// The reply of `M` that these bytes are.
    pub fn get<M: Method>(&self, bytes: &[u8]) -> Result<M::Reply, msgpack::Error> {
        if !M::Reply::SHARED || !(MIN_REPLY..=MAX_REPLY).contains(&bytes.len()) {
            return msgpack::from_slice(bytes);
        }
        let (method, hash) = (M::INFO.name, hash_of(bytes));
        let known = self.0.lock().find(method, hash);
        // Compared without the lock, as this takes as long as copying.
        if let Some((same, reply)) = known
            && *same == *bytes
            && let Some(reply) = reply.downcast_ref::<M::Reply>()
        {
            return Ok(reply.clone());
        }
        let reply: M::Reply = msgpack::from_slice(bytes)?;
        if self.0.lock().is_new(hash) {
            return Ok(reply);
        }
        // A copy: what arrived may be a small part of a large buffer.
        let bytes = Bytes::copy_from_slice(bytes);
        self.0.lock().insert(Known { method, hash, bytes, reply: Arc::new(reply.clone()), used: 0 });
        Ok(reply)
    }
}

impl Replies {
    fn find(&mut self, method: &str, hash: u64) -> Option<(Bytes, Arc<dyn Any + Send + Sync>)> {
        self.clock += 1;
        let known = self.list.iter_mut().find(|known| known.hash == hash && known.method == method)?;
        known.used = self.clock;
        Some((known.bytes.clone(), known.reply.clone()))
    }

    fn is_new(&mut self, hash: u64) -> bool {
        if self.seen.contains(&hash) {
            return false;
        }
        if self.seen.len() == SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(hash);
        true
    }

    fn insert(&mut self, mut new: Known) {
        // One that only looks the same gives way.
        self.remove_where(|known| known.hash == new.hash && known.method == new.method);
        new.used = self.clock;
        self.bytes += new.bytes.len();
        self.list.push(new);
        while self.list.len() > MAX_REPLIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.list.iter().map(|known| known.used).min() else { return };
            self.remove_where(|known| known.used == oldest);
        }
    }

    fn remove_where(&mut self, which: impl Fn(&Known) -> bool) {
        if let Some(at) = self.list.iter().position(which) {
            let gone = self.list.swap_remove(at);
            self.bytes -= gone.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{IndexedNodes, Node};
    use crate::methods::{CatalogListNodes, KvsGet};

    fn nodes(count: usize, name: &str) -> Vec<u8> {
        let node = |at: usize| Arc::new(Node { node: format!("{name}-{at:04}"), ..Node::default() });
        let reply = IndexedNodes { nodes: (0..count).map(node).collect(), ..IndexedNodes::default() };
        msgpack::to_vec(&reply).unwrap()
    }

    #[test]
    fn the_same_bytes_are_shared_from_the_second_time_on() {
        let replies = DecodedReplies::default();
        let first = replies.get::<CatalogListNodes>(&nodes(100, "a")).unwrap();
        assert!(replies.0.lock().list.is_empty());
        let second = replies.get::<CatalogListNodes>(&nodes(100, "a")).unwrap();
        let third = replies.get::<CatalogListNodes>(&nodes(100, "a")).unwrap();
        assert_eq!(first, second);
        assert_eq!(second, third);
        assert!(Arc::ptr_eq(&second.nodes[99], &third.nodes[99]));
    }

    #[test]
    fn what_differs_anywhere_is_read_again() {
        let replies = DecodedReplies::default();
        let bytes = nodes(100, "a");
        let first = replies.get::<CatalogListNodes>(&bytes).unwrap();
        replies.get::<CatalogListNodes>(&bytes).unwrap();
        for at in 0..100 {
            // One digit of one name, mostly not among the samples.
            let name = format!("a-{at:04}");
            let place = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
            let mut changed = bytes.clone();
            changed[place + 2] = b'9';
            for _ in 0..2 {
                let second = replies.get::<CatalogListNodes>(&changed).unwrap();
                assert_eq!(second.nodes[at].node, format!("a-9{:03}", at % 1000));
            }
            assert_eq!(first.nodes[at].node, name);
        }
        // The same bytes as another method's reply are not taken for it.
        let entries = replies.get::<KvsGet>(&bytes).unwrap();
        assert!(entries.entries.is_empty());
    }

    #[test]
    fn errors_are_not_remembered() {
        let replies = DecodedReplies::default();
        let bytes = nodes(100, "a");
        assert!(replies.get::<CatalogListNodes>(&bytes[..bytes.len() - 1]).is_err());
        assert!(replies.0.lock().list.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let replies = DecodedReplies::default();
        for count in (0..4000).step_by(50) {
            for _ in 0..2 {
                let reply = replies.get::<CatalogListNodes>(&nodes(count, "a")).unwrap();
                assert_eq!(reply.nodes.len(), count);
            }
        }
        let held = replies.0.lock();
        assert!(!held.list.is_empty() && held.list.len() <= MAX_REPLIES && held.bytes <= MAX_BYTES);
        assert!(held.seen.len() <= SEEN);
        assert_eq!(held.bytes, held.list.iter().map(|known| known.bytes.len()).sum::<usize>());
    }
}
