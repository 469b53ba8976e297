//! A token bucket: so many calls a second, and a burst on top.

use std::time::Instant;

use parking_lot::Mutex;

/// A limit on calls; without one everything passes.
#[derive(Debug)]
pub struct RateLimit {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Tokens a second; infinite is no limit.
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// `rate` calls a second, `burst` at once.
    pub fn new(rate: f64, burst: usize) -> Self {
        let burst = burst as f64;
        Self { bucket: Mutex::new(Bucket { rate, burst, tokens: burst, filled: Instant::now() }) }
    }

    /// Changes the limit; what was used stays used.
    pub fn set(&self, rate: f64, burst: usize) {
        let mut bucket = self.bucket.lock();
        bucket.rate = rate;
        bucket.burst = burst as f64;
        bucket.tokens = bucket.tokens.min(bucket.burst);
    }

    /// Takes one token, if there is one.
    pub fn take(&self) -> bool {
        let mut bucket = self.bucket.lock();
        if bucket.rate.is_infinite() {
            return true;
        }
        let now = Instant::now();
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * bucket.rate;
        bucket.tokens = (bucket.tokens + gained).min(bucket.burst);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_rules() {
        let limit = RateLimit::new(0.001, 3);
        assert_eq!((0..5).filter(|_| limit.take()).count(), 3);
        limit.set(f64::INFINITY, 0);
        assert!(limit.take());
    }
}
