//! Is a recorded history linearizable?
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", JPDC 1993) with Lowe's
//! memory of configurations already seen ("Testing for linearizability", CCPE 2017): take any
//! operation that no other unfinished one must precede, apply it to the model, go on; step back when
//! nothing fits. Linearizability is local (Herlihy and Wing, TOPLAS 1990), so histories of independent
//! objects are checked one by one.
//!
//! Three things keep the search short. An operation that changes nothing and fits now is placed now,
//! without alternatives. Operations without an answer are placed only when nothing else fits, first those
//! that make something else fit. Of equal ones without an answer only the oldest is tried.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Op: Debug + PartialEq;
    type Answer: Debug;

    /// The state before the history.
    fn initial(&self) -> Self::State;

    /// The state that `op` leads to from `state` when it answered `answer`; `None` when it cannot have
    /// answered that. Without an answer it is not known what came of it.
    fn step(&self, state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether an operation with this answer leaves every state as it is.
    fn is_read(&self, op: &Self::Op, answer: &Self::Answer) -> bool;
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

/// Most configurations that are looked at; some 200 bytes each.
const MAX_CONFIGURATIONS: usize = 200_000;

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

/// A place in the order that is to be filled.
struct Frame<State> {
    state: State,
    /// What can fill it and has not been tried, the best last.
    options: Vec<(usize, State)>,
    /// Whether operations without an answer are still to be considered.
    unanswered_too: bool,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Event<M::Op, M::Answer>],
    /// Indices of the answered and of the other operations, in the order of their calls.
    answered: Vec<usize>,
    unanswered: Vec<usize>,
    placed: Placed,
}

/// Searches an order of the operations that respects their times and the model.
pub fn check<M: Model>(model: &M, history: &[Event<M::Op, M::Answer>]) -> Verdict {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|&i| history[i].called);
    let (answered, unanswered): (Vec<usize>, Vec<usize>) =
        order.into_iter().partition(|&i| history[i].returned.is_some());
    let mut missing = answered.len();
    if missing == 0 {
        return Verdict::Linearizable;
    }
    let placed = Placed(vec![0; history.len().div_ceil(64)]);
    let mut search = Search { model, history, answered, unanswered, placed };

    let mut seen: HashSet<(Placed, M::State)> = HashSet::new();
    let mut best: Vec<usize> = Vec::new();
    let mut path: Vec<usize> = Vec::new();
    let mut stack = vec![search.frame(model.initial())];
    while let Some(frame) = stack.last_mut() {
        let Some((i, state)) = frame.options.pop() else {
            if frame.unanswered_too {
                frame.unanswered_too = false;
                frame.options = search.unanswered_options(&frame.state);
                continue;
            }
            stack.pop();
            if let Some(i) = path.pop() {
                search.placed.flip(i);
                missing += usize::from(history[i].returned.is_some());
            }
            continue;
        };
        search.placed.flip(i);
        if !seen.insert((search.placed.clone(), state.clone())) {
            search.placed.flip(i);
            continue;
        }
        if seen.len() > MAX_CONFIGURATIONS {
            return Verdict::Unknown;
        }
        path.push(i);
        missing -= usize::from(history[i].returned.is_some());
        if missing == 0 {
            return Verdict::Linearizable;
        }
        if path.len() > best.len() {
            best.clone_from(&path);
        }
        stack.push(search.frame(state));
    }
    Verdict::NotLinearizable { placed: best }
}

impl<M: Model> Search<'_, M> {
    /// Answered operations that are not placed and that no other one must precede.
    fn candidates(&self) -> impl Iterator<Item = usize> {
        let open = || self.answered.iter().copied().filter(|&i| !self.placed.has(i));
        let horizon = open().filter_map(|i| self.history[i].returned).min().unwrap_or(u64::MAX);
        open().take_while(move |&i| self.history[i].called <= horizon)
    }

    fn step(&self, state: &M::State, i: usize) -> Option<M::State> {
        let event = &self.history[i];
        self.model.step(state, &event.op, event.answer.as_ref())
    }

    fn frame(&self, state: M::State) -> Frame<M::State> {
        let mut options = Vec::new();
        for i in self.candidates() {
            let Some(next) = self.step(&state, i) else { continue };
            let event = &self.history[i];
            if event.answer.as_ref().is_some_and(|answer| self.model.is_read(&event.op, answer)) {
                return Frame { state, options: vec![(i, next)], unanswered_too: false };
            }
            options.push((i, next));
        }
        options.sort_by_key(|&(i, _)| std::cmp::Reverse(self.history[i].returned));
        Frame { state, options, unanswered_too: true }
    }

    fn unanswered_options(&self, state: &M::State) -> Vec<(usize, M::State)> {
        // What was called after something unplaced returned cannot come before it.
        let candidates: Vec<usize> = self.candidates().collect();
        let horizon = candidates.iter().filter_map(|&i| self.history[i].returned).min().unwrap_or(u64::MAX);
        let stuck: Vec<usize> = candidates.into_iter().filter(|&i| self.step(state, i).is_none()).collect();
        let mut options: Vec<(bool, usize, M::State)> = Vec::new();
        for &i in self.unanswered.iter().filter(|&&i| !self.placed.has(i)) {
            if self.history[i].called > horizon {
                break;
            }
            let Some(next) = self.step(state, i) else { continue };
            let equal = |&(_, j, _): &(bool, usize, M::State)| self.history[j].op == self.history[i].op;
            if next == *state || options.iter().any(equal) {
                continue;
            }
            let helps = stuck.iter().any(|&j| self.step(&next, j).is_some());
            options.push((helps, i, next));
        }
        options.sort_by_key(|&(helps, i, _)| (helps, std::cmp::Reverse(self.history[i].called)));
        options.into_iter().map(|(_, i, next)| (i, next)).collect()
    }
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

        fn step(&self, state: &u8, op: &Op, answer: Option<&u8>) -> Option<u8> {
            match (op, answer) {
                (Op::Write(value), _) => Some(*value),
                (Op::Read, Some(value)) if value != state => None,
                (Op::Read, _) => Some(*state),
            }
        }

        fn is_read(&self, op: &Op, _answer: &u8) -> bool {
            *op == Op::Read
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
