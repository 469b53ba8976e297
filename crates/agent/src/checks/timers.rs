//! When each check is due: one ordered set for all of them. Pure.

use std::collections::BTreeSet;
use std::time::Instant;

/// Due times by check; a check is known by the number of its present run.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeSet<(Instant, u64)>,
}

impl Timers {
    /// Adds one.
    pub fn add(&mut self, at: Instant, run: u64) {
        self.due.insert((at, run));
    }

    /// Takes one out again.
    pub fn remove(&mut self, at: Instant, run: u64) {
        self.due.remove(&(at, run));
    }

    /// The next time at which something is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the first that is due by now.
    pub fn pop(&mut self, now: Instant) -> Option<u64> {
        let first = *self.due.first()?;
        if first.0 > now {
            return None;
        }
        self.due.remove(&first);
        Some(first.1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_in_order_of_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.add(later, 1);
        timers.add(now, 2);
        timers.add(now, 3);
        timers.remove(now, 3);
        assert_eq!(timers.next(), Some(now));
        assert_eq!(timers.pop(now), Some(2));
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.next(), Some(later));
        assert_eq!(timers.pop(later), Some(1));
        assert_eq!(timers.next(), None);
    }
}
