//! How the time of one call to another datacenter is shared among the servers tried.

use std::time::Duration;

/// The least that a server gets, so that a short budget is not cut into useless slices.
const MIN_SLICE: Duration = Duration::from_millis(250);

/// The time of one call: how long it may take in all, and how long the answer may be held back on
/// purpose (a blocking query).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// When the call has to end.
    deadline: Duration,
    /// How long the far side may hold the answer.
    hold: Duration,
}

impl Budget {
    /// `now` and the result's deadline count from the same fixed point. `limit` is the local limit
    /// for an answer that nobody holds back; the caller's own deadline wins if it is earlier.
    pub fn new(now: Duration, limit: Duration, hold: Duration, caller: Option<Duration>) -> Self {
        let own = now + limit + hold;
        Self { deadline: caller.map_or(own, |caller| caller.min(own)), hold }
    }

    /// When the call has to end.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How long the next server may take, with `left` servers not tried yet (itself included).
    ///
    /// A call that may be repeated shares what remains evenly, so that the last server still has
    /// its part; one that may not gives everything to the server that got it. `None`: no time is
    /// left.
    pub fn slice(&self, now: Duration, left: usize, repeatable: bool) -> Option<Duration> {
        let remaining = self.deadline.checked_sub(now).filter(|left| !left.is_zero())?;
        if !repeatable || left <= 1 {
            return Some(remaining);
        }
        // What the far side may hold back is not ours to share: each server may use all of it.
        let held = self.hold.min(remaining);
        let active = remaining - held;
        let share = active / u32::try_from(left).unwrap_or(u32::MAX);
        Some((held + share.max(MIN_SLICE)).min(remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reads_share_what_remains() {
        let budget = Budget::new(Duration::ZERO, MS * 4500, Duration::ZERO, None);
        assert_eq!(budget.slice(Duration::ZERO, 3, true), Some(MS * 1500));
        assert_eq!(budget.slice(MS * 1500, 2, true), Some(MS * 1500));
        assert_eq!(budget.slice(MS * 3000, 1, true), Some(MS * 1500));
        assert_eq!(budget.slice(MS * 4500, 1, true), None);
    }

    #[test]
    fn writes_get_all_of_it() {
        let budget = Budget::new(Duration::ZERO, MS * 4500, Duration::ZERO, None);
        assert_eq!(budget.slice(Duration::ZERO, 3, false), Some(MS * 4500));
    }

    #[test]
    fn the_callers_deadline_wins() {
        let budget = Budget::new(MS * 10, MS * 4500, Duration::ZERO, Some(MS * 110));
        assert_eq!(budget.deadline(), MS * 110);
        assert_eq!(budget.slice(MS * 10, 3, true), Some(MS * 100));
    }

    #[test]
    fn a_blocking_query_may_hold_at_every_server() {
        let hold = MS * 60_000;
        let budget = Budget::new(Duration::ZERO, MS * 4500, hold, None);
        assert_eq!(budget.slice(Duration::ZERO, 3, true), Some(hold + MS * 1500));
    }
}
