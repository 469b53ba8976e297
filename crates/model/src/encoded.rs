//! Answers that were written before.
//!
//! Many clients ask the same, and what a server holds is shared between its answers. An answer made
//! of exactly the same shared parts as an earlier one has the same bytes: they are sent again
//! instead of written again. Parts are compared by identity, and the remembered answer holds them,
//! so that an address cannot come to mean something else.

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::catalog::IndexedNodes;
use crate::health::{CheckServiceNode, IndexedCheckServiceNodes, IndexedHealthChecks};

/// Answers remembered at most.
const MAX_ANSWERS: usize = 64;
/// Bytes remembered at most.
const MAX_BYTES: usize = 8 << 20;
/// Largest answer that is remembered, bytes.
const MAX_ANSWER: usize = 2 << 20;
/// Multiplier that spreads the bits of addresses.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A part of an answer, known by what it shares with other answers.
pub trait Part: Clone + Send + Sync + 'static {
    /// Notes something of everything that [`Part::same`] looks at.
    fn trace(&self, trace: &mut Trace);
    /// Whether the other is made of the very same things.
    fn same(&self, other: &Self) -> bool;
    /// Whether others hold it as well, so that it may come again.
    fn is_shared(&self) -> bool;
}

/// A hash of addresses and numbers; equality is looked at besides.
#[derive(Clone, Copy, Default)]
pub struct Trace(u64);

impl Trace {
    /// Adds a number.
    #[inline]
    pub fn number(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(SPREAD);
    }

    /// The hash of what was added.
    pub fn hash(self) -> u64 {
        self.0
    }

    /// Adds an address.
    #[inline]
    pub fn address<T>(&mut self, part: &Arc<T>) {
        self.number(Arc::as_ptr(part) as usize as u64);
    }
}

impl<T: Send + Sync + 'static> Part for Arc<T> {
    fn trace(&self, trace: &mut Trace) {
        trace.address(self);
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(self) > 1
    }
}

impl Part for CheckServiceNode {
    fn trace(&self, trace: &mut Trace) {
        trace.address(&self.node);
        trace.address(&self.service);
        for check in &self.checks {
            trace.address(check);
        }
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
            && Arc::ptr_eq(&self.service, &other.service)
            && all_same(&self.checks, &other.checks)
    }

    fn is_shared(&self) -> bool {
        self.service.is_shared()
    }
}

fn all_same<P: Part>(a: &[P], b: &[P]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

/// A list with its meta data is a part as a whole.
macro_rules! lists {
    ($($reply:ident.$list:ident),*) => {$(
        impl Part for $reply {
            fn trace(&self, trace: &mut Trace) {
                trace.number(self.meta.index);
                for part in &self.$list {
                    part.trace(trace);
                }
            }

            fn same(&self, other: &Self) -> bool {
                self.meta == other.meta && all_same(&self.$list, &other.$list)
            }

            fn is_shared(&self) -> bool {
                self.$list.first().is_some_and(Part::is_shared)
            }
        }
    )*};
}

lists!(IndexedNodes.nodes, IndexedCheckServiceNodes.nodes, IndexedHealthChecks.health_checks);

struct Answer {
    hash: u64,
    /// A `Vec` of some kind of part.
    parts: Box<dyn Any + Send + Sync>,
    body: Bytes,
    used: u64,
}

#[derive(Default)]
struct Answers {
    list: Vec<Answer>,
    bytes: usize,
    clock: u64,
}

/// See the module. Every kind of part is written in one way only.
#[derive(Default)]
pub struct EncodedAnswers(Mutex<Answers>);

impl EncodedAnswers {
    /// The bytes of these parts, remembered or written by `write`.
    pub fn get<'a, P: Part>(
        &self,
        parts: impl Iterator<Item = &'a P> + Clone,
        write: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        match self.try_get(parts, || Ok::<_, Infallible>(write())) {
            Ok(body) => body,
            Err(never) => match never {},
        }
    }

    /// The same where writing may fail.
    pub fn try_get<'a, P: Part, E>(
        &self,
        parts: impl Iterator<Item = &'a P> + Clone,
        write: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        // Parts that only this answer holds will not come again.
        if parts.clone().next().is_none_or(|first| !first.is_shared()) {
            return write().map(Bytes::from);
        }
        let mut trace = Trace::default();
        parts.clone().for_each(|part| part.trace(&mut trace));
        if let Some(body) = self.0.lock().find(trace.hash(), parts.clone()) {
            return Ok(body);
        }
        let body = Bytes::from(write()?);
        if body.len() <= MAX_ANSWER {
            self.0.lock().insert(trace.hash(), parts.cloned().collect::<Vec<P>>(), body.clone());
        }
        Ok(body)
    }
}

impl Answers {
    fn find<'a, P: Part>(&mut self, hash: u64, parts: impl Iterator<Item = &'a P> + Clone) -> Option<Bytes> {
        self.clock += 1;
        let clock = self.clock;
        let answer = self.list.iter_mut().find(|answer| {
            answer.hash == hash
                && answer.parts.downcast_ref::<Vec<P>>().is_some_and(|known| {
                    let mut known = known.iter();
                    parts.clone().all(|part| known.next().is_some_and(|known| known.same(part)))
                        && known.next().is_none()
                })
        })?;
        answer.used = clock;
        Some(answer.body.clone())
    }

    fn insert<P: Part>(&mut self, hash: u64, parts: Vec<P>, body: Bytes) {
        self.bytes += body.len();
        self.list.push(Answer { hash, parts: Box::new(parts), body, used: self.clock });
        while self.list.len() > MAX_ANSWERS || self.bytes > MAX_BYTES {
            let Some(oldest) =
                self.list.iter().enumerate().min_by_key(|(_, answer)| answer.used).map(|(at, _)| at)
            else {
                return;
            };
            let gone = self.list.swap_remove(oldest);
            self.bytes -= gone.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Node, NodeService};
    use crate::options::QueryMeta;

    fn entry(id: usize) -> CheckServiceNode {
        let service = Arc::new(NodeService { id: id.to_string(), ..NodeService::default() });
        CheckServiceNode { service, ..CheckServiceNode::default() }
    }

    fn get<P: Part>(answers: &EncodedAnswers, entries: &[P], text: &str) -> String {
        let body = answers.get(entries.iter(), || text.as_bytes().to_vec());
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn the_same_parts_are_written_once() {
        let answers = EncodedAnswers::default();
        let state = vec![entry(1), entry(2)];
        assert_eq!(get(&answers, &state.clone(), "first"), "first");
        assert_eq!(get(&answers, &state.clone(), "second"), "first");
        // Fewer, others, or in another order: another answer.
        assert_eq!(get(&answers, &state.clone()[..1], "fewer"), "fewer");
        let turned = vec![state[1].clone(), state[0].clone()];
        assert_eq!(get(&answers, &turned, "turned"), "turned");
        let mut changed = state.clone();
        changed[1] = entry(2);
        assert_eq!(get(&answers, &changed, "changed"), "changed");
    }

    #[test]
    fn lists_are_the_same_with_their_meta_data_only() {
        let answers = EncodedAnswers::default();
        let nodes = vec![Arc::new(Node::default()), Arc::new(Node::default())];
        let reply =
            |index| IndexedNodes { nodes: nodes.clone(), meta: QueryMeta { index, ..QueryMeta::default() } };
        assert_eq!(get(&answers, &[reply(1)], "one"), "one");
        assert_eq!(get(&answers, &[reply(2)], "two"), "two");
        assert_eq!(get(&answers, &[reply(1)], "three"), "one");
        // The nodes alone are another kind of answer.
        assert_eq!(get(&answers, &nodes, "nodes"), "nodes");
        let mut led = reply(1);
        led.meta.known_leader = true;
        assert_eq!(get(&answers, &[led], "led"), "led");
    }

    #[test]
    fn what_nobody_shares_is_not_remembered() {
        let answers = EncodedAnswers::default();
        get(&answers, &[entry(1)], "x");
        get::<CheckServiceNode>(&answers, &[], "[]");
        assert!(answers.0.lock().list.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let answers = EncodedAnswers::default();
        let state: Vec<_> = (0..300).map(entry).collect();
        let big = "x".repeat(MAX_ANSWER / 2);
        for each in state.clone() {
            get(&answers, &[each], &big);
        }
        let held = answers.0.lock();
        assert!(held.list.len() <= MAX_ANSWERS && held.bytes <= MAX_BYTES);
        assert_eq!(held.bytes, held.list.iter().map(|answer| answer.body.len()).sum::<usize>());
    }
}
