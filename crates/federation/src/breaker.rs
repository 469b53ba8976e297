//! The breaker of one datacenter: it stops calls that would only fail, and lets a trial through
//! now and then to learn when they would not.

use std::time::Duration;

/// When a breaker opens and how it closes again.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// Failed calls in a row, no success between, that open it.
    pub failures: u32,
    /// How long it stays open before the first trial. Stays the same from trial to trial, since
    /// a datacenter that returned has to be found within seconds.
    pub open_for: Duration,
}

impl Default for BreakerConfig {
    /// Three failures; a trial every second.
    fn default() -> Self {
        Self { failures: 3, open_for: Duration::from_secs(1) }
    }
}

/// Whether a call may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As usual.
    Pass,
    /// As the one trial of an open breaker.
    Trial,
    /// Not now.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration },
    Trying,
}

/// See the module's text. Times are durations since any fixed point.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed { failures: 0 } }
    }

    /// Asks for one call. After [`Admission::Trial`] every other call is refused until the trial's
    /// outcome is told or it is [`abandoned`](Self::abandoned).
    pub fn admit(&mut self, now: Duration) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Pass,
            State::Open { until } if now >= until => {
                self.state = State::Trying;
                Admission::Trial
            }
            State::Open { .. } | State::Trying => Admission::Refused,
        }
    }

    /// A server of the datacenter answered, or gossip saw one come back.
    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A call failed at every server that it tried.
    pub fn failed(&mut self, now: Duration) {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::Open { .. } => return,
            State::Trying => self.config.failures,
        };
        self.state = if failures >= self.config.failures {
            State::Open { until: now + self.config.open_for }
        } else {
            State::Closed { failures }
        };
    }

    /// The trial ended without telling anything, say since its caller went away.
    pub fn abandoned(&mut self, now: Duration) {
        if self.state == State::Trying {
            self.state = State::Open { until: now };
        }
    }

    /// Whether calls pass as usual.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(now: Duration) -> Breaker {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Admission::Pass);
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..10 {
            breaker.failed(Duration::ZERO);
            breaker.failed(Duration::ZERO);
            breaker.succeeded();
        }
        assert!(breaker.is_closed());
        assert!(!opened(Duration::ZERO).is_closed());
    }

    #[test]
    fn lets_one_trial_through_at_a_time() {
        let mut breaker = opened(Duration::ZERO);
        assert_eq!(breaker.admit(SECOND / 2), Admission::Refused);
        assert_eq!(breaker.admit(SECOND), Admission::Trial);
        assert_eq!(breaker.admit(SECOND), Admission::Refused);
        breaker.failed(SECOND);
        assert_eq!(breaker.admit(SECOND * 3 / 2), Admission::Refused);
        assert_eq!(breaker.admit(SECOND * 2), Admission::Trial);
        breaker.succeeded();
        assert_eq!(breaker.admit(SECOND * 2), Admission::Pass);
    }

    #[test]
    fn an_abandoned_trial_gives_its_place_back() {
        let mut breaker = opened(Duration::ZERO);
        assert_eq!(breaker.admit(SECOND), Admission::Trial);
        breaker.abandoned(SECOND);
        assert_eq!(breaker.admit(SECOND), Admission::Trial);
    }
}
