//! Lamport clocks (Lamport, *Time, Clocks, and the Ordering of Events in a Distributed System*,
//! CACM 1978): order without synchronised time.

/// A moment on a Lamport clock.
pub type LamportTime = u64;

/// One logical clock. A new one is incremented once, so the first time told is 1.
#[derive(Debug, Clone, Copy)]
pub struct LamportClock(LamportTime);

impl Default for LamportClock {
    fn default() -> Self {
        LamportClock(1)
    }
}

impl LamportClock {
    /// The current time.
    pub fn time(self) -> LamportTime {
        self.0
    }

    /// The current time; the clock moves on after it.
    pub fn take(&mut self) -> LamportTime {
        let now = self.0;
        self.0 = self.0.saturating_add(1);
        now
    }

    /// Moves the clock past a time seen elsewhere. A peer claiming the end of time moves it to the
    /// last value and no further.
    pub fn witness(&mut self, seen: LamportTime) {
        if seen >= self.0 {
            self.0 = seen.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witness_moves_past_and_never_back() {
        let mut clock = LamportClock::default();
        assert_eq!(clock.time(), 1);
        clock.witness(41);
        assert_eq!(clock.time(), 42);
        clock.witness(3);
        assert_eq!(clock.take(), 42);
        assert_eq!(clock.time(), 43);
        clock.witness(u64::MAX);
        assert_eq!(clock.take(), u64::MAX);
        assert_eq!(clock.time(), u64::MAX);
    }
}
