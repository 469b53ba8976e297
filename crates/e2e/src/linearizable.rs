//! Is a recorded history linearizable?
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", JPDC 1993) with Lowe's
//! memory of configurations already seen ("Testing for linearizability", CCPE 2017): take any
//! operation that no other unfinished one must precede, apply it to the model, go on; step back when
//! nothing fits. Linearizability is local (Herlihy and Wing, TOPLAS 1990), so histories of independent
//! objects are checked one by one.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Op: Debug;
    type Answer: Debug;

    /// The state before the history.
    fn initial(&self) -> Self::State;

    /// The states that `op` may lead to from `state` when it answered `answer`; none when it cannot have
    /// answered that. Without an answer it is not known what came of it: every outcome counts.
    fn step(&self, state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Vec<Self::State>;
}

/// One operation of a history. Times are of one clock, in any unit.
#[derive(Debug, Clone)]
pub struct Event<Op, Answer> {
    pub called: u64,
    /// `None`: no answer came. It may have taken effect at any time after the call, or never.
    pub returned: Option<u64>,
    pub op: Op,
    pub answer: Option<Answer>,
}

/// What the search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// Indices of the operations that were placed by the longest attempt; none of the rest fits.
    NotLinearizable {
        placed: Vec<usize>,
    },
    /// The search was given up after as many configurations as allowed.
    Unknown,
}

/// Most configurations that are looked at; some 100 bytes each.
const MAX_CONFIGURATIONS: usize = 5_000_000;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn has(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }
    fn flip(&mut self, i: usize) {
        self.0[i / 64] ^= 1 << (i % 64);
    }
}

/// Searches an order of the operations that respects their times and the model.
pub fn check<M: Model>(model: &M, history: &[Event<M::Op, M::Answer>]) -> Verdict {
    // Operations in order of their calls, so that those that can come next are near each other.
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|&i| history[i].called);
    let must = history.iter().filter(|event| event.returned.is_some()).count();

    let mut placed = Placed(vec![0; history.len().div_ceil(64)]);
    let mut seen: HashSet<(Placed, M::State)> = HashSet::new();
    let mut best: Vec<usize> = Vec::new();
    let mut path: Vec<usize> = Vec::new();
    let mut done = 0;
    // One frame per placed operation: what else could be placed instead of what follows.
    let mut stack = vec![choices(model, history, &order, &placed, &model.initial())];

    if must == 0 {
        return Verdict::Linearizable;
    }
    while let Some(frame) = stack.last_mut() {
        let Some((i, state)) = frame.pop() else {
            stack.pop();
            if let Some(i) = path.pop() {
                placed.flip(i);
                done -= usize::from(history[i].returned.is_some());
            }
            continue;
        };
        placed.flip(i);
        if !seen.insert((placed.clone(), state.clone())) {
            placed.flip(i);
            continue;
        }
        if seen.len() > MAX_CONFIGURATIONS {
            return Verdict::Unknown;
        }
        path.push(i);
        done += usize::from(history[i].returned.is_some());
        if done == must {
            return Verdict::Linearizable;
        }
        if path.len() > best.len() {
            best.clone_from(&path);
        }
        stack.push(choices(model, history, &order, &placed, &state));
    }
    Verdict::NotLinearizable { placed: best }
}

/// Operations that may come next, with the states they lead to; the likeliest last.
fn choices<M: Model>(
    model: &M,
    history: &[Event<M::Op, M::Answer>],
    order: &[usize],
    placed: &Placed,
    state: &M::State,
) -> Vec<(usize, M::State)> {
    // Nothing that was called after some unplaced operation returned can come before it.
    let horizon = order
        .iter()
        .filter(|&&i| !placed.has(i))
        .filter_map(|&i| history[i].returned)
        .min()
        .unwrap_or(u64::MAX);
    let mut found: Vec<(usize, M::State)> = order
        .iter()
        .filter(|&&i| !placed.has(i))
        .take_while(|&&i| history[i].called <= horizon)
        .flat_map(|&i| {
            let event = &history[i];
            model.step(state, &event.op, event.answer.as_ref()).into_iter().map(move |next| (i, next))
        })
        .collect();
    // Answered operations first, in the order of their returns; the unanswered only if nothing else fits.
    found.sort_by_key(|&(i, _)| std::cmp::Reverse(history[i].returned.unwrap_or(u64::MAX)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A register: writes answer nothing, reads the value.
    struct Register;

    #[derive(Debug, Clone, PartialEq)]
    enum Op {
        Write(u8),
        Read,
    }

    impl Model for Register {
        type State = u8;
        type Op = Op;
        type Answer = u8;

        fn initial(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, op: &Op, answer: Option<&u8>) -> Vec<u8> {
            match (op, answer) {
                (Op::Write(value), _) => vec![*value],
                (Op::Read, Some(value)) if value != state => vec![],
                (Op::Read, _) => vec![*state],
            }
        }
    }

    fn write(called: u64, returned: Option<u64>, value: u8) -> Event<Op, u8> {
        Event { called, returned, op: Op::Write(value), answer: returned.map(|_| 0) }
    }

    fn read(called: u64, returned: u64, value: u8) -> Event<Op, u8> {
        Event { called, returned: Some(returned), op: Op::Read, answer: Some(value) }
    }

    fn linearizable(history: &[Event<Op, u8>]) -> bool {
        check(&Register, history) == Verdict::Linearizable
    }

    #[test]
    fn one_after_the_other() {
        assert!(linearizable(&[]));
        assert!(linearizable(&[write(0, Some(1), 5), read(2, 3, 5)]));
        assert!(!linearizable(&[write(0, Some(1), 5), read(2, 3, 0)]), "a stale read");
        assert!(!linearizable(&[read(0, 1, 7)]), "a value from nowhere");
    }

    #[test]
    fn at_the_same_time() {
        assert!(linearizable(&[write(0, Some(10), 5), read(1, 9, 0)]));
        assert!(linearizable(&[write(0, Some(10), 5), read(1, 9, 5)]));
        let back = [write(0, Some(10), 5), read(1, 3, 5), read(4, 6, 0)];
        assert!(!linearizable(&back), "once seen, it cannot be unseen");
    }

    #[test]
    fn without_an_answer() {
        assert!(linearizable(&[write(0, None, 5), read(2, 3, 0)]), "it never happened");
        assert!(linearizable(&[write(0, None, 5), read(2, 3, 0), read(4, 5, 5)]), "it happened late");
        assert!(!linearizable(&[write(0, None, 5), read(2, 3, 5), read(4, 5, 0)]));
        assert!(!linearizable(&[read(0, 1, 5), write(2, None, 5)]), "not before it was called");
    }

    #[test]
    fn the_longest_attempt_is_told() {
        let history = [write(0, Some(1), 5), read(2, 3, 5), read(4, 5, 6)];
        assert_eq!(check(&Register, &history), Verdict::NotLinearizable { placed: vec![0, 1] });
    }

    /// All orders, by brute force.
    fn brute(history: &[Event<Op, u8>]) -> bool {
        fn go(history: &[Event<Op, u8>], left: &[usize], state: u8) -> bool {
            if left.iter().all(|&i| history[i].returned.is_none()) {
                return true;
            }
            left.iter().any(|&i| {
                let rest: Vec<usize> = left.iter().copied().filter(|&j| j != i).collect();
                let first = rest
                    .iter()
                    .all(|&j| history[j].returned.is_none_or(|returned| returned >= history[i].called));
                first
                    && Register
                        .step(&state, &history[i].op, history[i].answer.as_ref())
                        .into_iter()
                        .any(|next| go(history, &rest, next))
            })
        }
        go(history, &(0..history.len()).collect::<Vec<_>>(), 0)
    }

    proptest! {
        #[test]
        fn agrees_with_brute_force(
            raw in proptest::collection::vec((0u64..12, 0u64..6, 0u8..3, any::<bool>(), any::<bool>()), 0..7)
        ) {
            let history: Vec<Event<Op, u8>> = raw
                .into_iter()
                .map(|(called, took, value, is_read, lost)| {
                    if is_read {
                        read(called, called + took, value)
                    } else {
                        write(called, (!lost).then_some(called + took), value)
                    }
                })
                .collect();
            prop_assert_eq!(linearizable(&history), brute(&history));
        }
    }
}
