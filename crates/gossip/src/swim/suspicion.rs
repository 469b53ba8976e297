//! How long a member that does not answer is suspected (Lifeguard, section IV-B).

use std::sync::Arc;
use std::time::Duration;

use super::Tick;

/// A running suspicion. It starts long and is shortened as others confirm it independently.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// The member's statement that is doubted.
    pub(super) incarnation: u32,
    /// When the member is held dead.
    pub(super) deadline: Tick,
    start: Tick,
    min: Duration,
    max: Duration,
    /// Confirmations that are counted.
    k: u32,
    /// Who accused the member; the first does not count as confirmation.
    accusers: Vec<Arc<str>>,
}

impl Suspicion {
    /// `nodes` members in the pool; `mult`, `max_mult` and `interval` as configured.
    pub(super) fn new(
        incarnation: u32,
        from: Arc<str>,
        nodes: usize,
        (mult, max_mult): (u32, u32),
        interval: Duration,
        now: Tick,
    ) -> Self {
        let mut k = mult.saturating_sub(2);
        if nodes < k as usize + 2 {
            k = 0;
        }
        let min = shortest(mult, nodes, interval);
        let max = min * max_mult;
        let first = if k == 0 { min } else { max };
        Suspicion { incarnation, deadline: now + first, start: now, min, max, k, accusers: vec![from] }
    }

    /// Someone else says so too. Returns whether that was new and counts.
    pub(super) fn confirm(&mut self, from: &str) -> bool {
        let confirmations = self.accusers.len() as u32 - 1;
        if confirmations >= self.k || self.accusers.iter().any(|a| &**a == from) {
            return false;
        }
        self.accusers.push(from.into());
        let c = f64::from(confirmations + 1);
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        let span = max - (c + 1.0).ln() / (f64::from(self.k) + 1.0).ln() * (max - min);
        let span = Duration::from_millis((span * 1000.0).floor().max(0.0) as u64).max(self.min);
        self.deadline = self.deadline.min(self.start + span);
        true
    }

    /// There is hard evidence: nobody listens at the member's address.
    pub(super) fn shorten(&mut self, deadline: Tick) {
        self.deadline = self.deadline.min(deadline);
    }
}

/// `mult * log10(n) * interval`, the logarithm at least 1 and cut to three decimals.
fn shortest(mult: u32, nodes: usize, interval: Duration) -> Duration {
    let scale = (nodes.max(1) as f64).log10().max(1.0);
    let thousandths = (scale * 1000.0).floor() as u32;
    interval * mult * thousandths / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(nodes: usize, mult: u32, interval: u64) -> Vec<f64> {
        let mut s =
            Suspicion::new(1, "a".into(), nodes, (mult, 6), Duration::from_secs(interval), Tick::ZERO);
        let mut spans = vec![s.deadline.as_nanos() as f64 / 1e9];
        assert!(!s.confirm("a"));
        for from in ["b", "c", "d", "e", "f"] {
            if s.confirm(from) {
                spans.push(s.deadline.as_nanos() as f64 / 1e9);
            }
            assert!(!s.confirm(from));
        }
        spans
    }

    #[test]
    fn spans_of_the_profiles() {
        assert_eq!(spans(10, 4, 1), [24.0, 11.381, 4.0]);
        assert_eq!(spans(8, 6, 5), [180.0, 115.398, 77.609, 50.797, 30.0]);
        assert_eq!(spans(5, 6, 5), [30.0]);
        assert_eq!(spans(3, 4, 1), [4.0]);
        assert_eq!(spans(100, 4, 1)[2], 8.0);
    }
}
