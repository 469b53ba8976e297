//! Lock delays: for how long a key whose lock was lost may not be taken.
//!
//! The lengths are in the replicated sessions, the clocks are each server's own: every server runs
//! them as it applies the loss, so that a new leader knows them too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Keys that remember a delay at most; the oldest would be over first anyway.
const MAX_DELAYS: usize = 65_536;

/// The running delays.
#[derive(Debug, Default)]
pub(crate) struct LockDelays {
    until: Mutex<HashMap<String, Instant>>,
}

impl LockDelays {
    /// Starts a delay.
    pub fn delay(&self, key: String, delay: Duration) {
        let now = Instant::now();
        let mut until = self.until.lock();
        if until.len() >= MAX_DELAYS {
            until.retain(|_, end| *end > now);
        }
        if until.len() < MAX_DELAYS {
            until.insert(key, now + delay);
        }
    }

    /// Whether the key may not be locked yet.
    pub fn is_delayed(&self, key: &str) -> bool {
        let mut until = self.until.lock();
        match until.get(key) {
            Some(end) if *end > Instant::now() => true,
            Some(_) => {
                until.remove(key);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_ends() {
        let delays = LockDelays::default();
        delays.delay("a".into(), Duration::from_secs(60));
        delays.delay("b".into(), Duration::ZERO);
        assert!(delays.is_delayed("a"));
        assert!(!delays.is_delayed("b"));
        assert!(!delays.is_delayed("c"));
    }
}
