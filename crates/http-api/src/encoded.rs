//! Health answers that were written before.
//!
//! Many clients watch the same services, and what a server holds is shared between its answers. An
//! answer made of exactly the same shared parts as an earlier one is the same JSON: it is sent
//! again instead of written again. Parts are compared by identity, and the remembered answer holds
//! them, so that an address cannot come to mean something else.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use model::health::CheckServiceNode;
use parking_lot::Mutex;

/// Answers remembered at most.
const MAX_ANSWERS: usize = 64;
/// Bytes of JSON remembered at most.
const MAX_BYTES: usize = 8 << 20;
/// Largest answer that is remembered, bytes.
const MAX_ANSWER: usize = 2 << 20;

struct Answer {
    hash: u64,
    parts: Vec<CheckServiceNode>,
    body: Bytes,
    used: u64,
}

#[derive(Default)]
struct Answers {
    list: Vec<Answer>,
    bytes: usize,
    clock: u64,
}

/// See the module.
#[derive(Default)]
pub struct EncodedAnswers(Mutex<Answers>);

fn hash_of<'a>(entries: impl Iterator<Item = &'a CheckServiceNode>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for entry in entries {
        Arc::as_ptr(&entry.node).hash(&mut hasher);
        Arc::as_ptr(&entry.service).hash(&mut hasher);
        for check in &entry.checks {
            Arc::as_ptr(check).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn same(a: &CheckServiceNode, b: &CheckServiceNode) -> bool {
    Arc::ptr_eq(&a.node, &b.node)
        && Arc::ptr_eq(&a.service, &b.service)
        && a.checks.len() == b.checks.len()
        && a.checks.iter().zip(&b.checks).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl EncodedAnswers {
    /// The JSON of these entries, remembered or written by `write`.
    pub fn get<'a>(
        &self,
        entries: impl Iterator<Item = &'a CheckServiceNode> + Clone,
        write: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        // Parts that only this answer holds (a client agent's) will not come again.
        if entries.clone().next().is_none_or(|first| Arc::strong_count(&first.service) < 2) {
            return write().into();
        }
        let hash = hash_of(entries.clone());
        if let Some(body) = self.0.lock().find(hash, entries.clone()) {
            return body;
        }
        let body = Bytes::from(write());
        if body.len() <= MAX_ANSWER {
            self.0.lock().insert(hash, entries.cloned().collect(), body.clone());
        }
        body
    }
}

impl Answers {
    fn find<'a>(
        &mut self,
        hash: u64,
        entries: impl Iterator<Item = &'a CheckServiceNode> + Clone,
    ) -> Option<Bytes> {
        self.clock += 1;
        let clock = self.clock;
        let answer = self.list.iter_mut().find(|answer| {
            answer.hash == hash && {
                let mut known = answer.parts.iter();
                entries.clone().all(|entry| known.next().is_some_and(|part| same(part, entry)))
                    && known.next().is_none()
            }
        })?;
        answer.used = clock;
        Some(answer.body.clone())
    }

    fn insert(&mut self, hash: u64, parts: Vec<CheckServiceNode>, body: Bytes) {
        self.bytes += body.len();
        self.list.push(Answer { hash, parts, body, used: self.clock });
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
    use model::catalog::NodeService;

    use super::*;

    fn entry(id: usize) -> CheckServiceNode {
        let service = Arc::new(NodeService { id: id.to_string(), ..NodeService::default() });
        CheckServiceNode { service, ..CheckServiceNode::default() }
    }

    fn get(answers: &EncodedAnswers, entries: &[CheckServiceNode], text: &str) -> String {
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
    fn what_nobody_shares_is_not_remembered() {
        let answers = EncodedAnswers::default();
        get(&answers, &[entry(1)], "x");
        get(&answers, &[], "[]");
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
