//! How many results in a row it takes to believe them.

use super::CRITICAL;

/// Counts results of one check. Nothing is known at first, so the first result counts at once;
/// later a change needs as many results in a row as its limit says.
#[derive(Clone, Debug)]
pub struct Thresholds {
    success_before_passing: i64,
    failures_before_critical: i64,
    successes: i64,
    failures: i64,
}

impl Thresholds {
    /// Limits below 1 mean 1.
    pub fn new(success_before_passing: i64, failures_before_critical: i64) -> Self {
        Self {
            success_before_passing,
            failures_before_critical,
            successes: success_before_passing,
            failures: failures_before_critical,
        }
    }

    /// Takes a result; tells whether the check now has this status.
    pub fn accept(&mut self, status: &str) -> bool {
        if status == CRITICAL {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            self.failures >= self.failures_before_critical
        } else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            self.successes >= self.success_before_passing
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checks::{PASSING, WARNING};

    #[test]
    fn the_first_result_counts_and_changes_take_their_time() {
        let mut limits = Thresholds::new(3, 3);
        assert!(limits.accept(PASSING));
        assert!(!limits.accept(CRITICAL));
        assert!(!limits.accept(CRITICAL));
        assert!(limits.accept(CRITICAL));
        assert!(limits.accept(CRITICAL));
        assert!(!limits.accept(PASSING));
        assert!(!limits.accept(WARNING));
        assert!(limits.accept(PASSING));
        assert!(!limits.accept(CRITICAL));
        assert!(!limits.accept(PASSING));
    }

    #[test]
    fn without_limits_everything_counts() {
        for limit in [-2, 0, 1] {
            let mut limits = Thresholds::new(limit, limit);
            for status in [CRITICAL, PASSING, CRITICAL, WARNING] {
                assert!(limits.accept(status));
            }
        }
    }

    proptest! {
        /// After the first result, a status is taken exactly when the run of its like is long enough
        /// or when it began as the accepted one.
        #[test]
        fn runs_decide(need in 1i64..5, results in prop::collection::vec(any::<bool>(), 1..60)) {
            let mut limits = Thresholds::new(need, need);
            let mut run = 0;
            let mut last = None;
            let mut first = true;
            let mut since_start = true;
            for good in results {
                if last == Some(good) { run += 1 } else { run = 1; since_start = first; }
                first = false;
                last = Some(good);
                let taken = limits.accept(if good { PASSING } else { CRITICAL });
                prop_assert_eq!(taken, since_start || run >= need);
            }
        }
    }
}
