//! Our own coordinate and how it moves.

use super::{Coordinate, DIMENSIONS, ERROR_MAX, ZERO_THRESHOLD};
use rand::Rng;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How strongly one observation pulls on error and position.
const TUNING: f64 = 0.25;
/// Observations averaged for the adjustment term.
const ADJUSTMENT_WINDOW: usize = 20;
/// Observations per peer the median is taken of.
const LATENCY_FILTER: usize = 3;
/// Distance from the origin, seconds, at which gravity is as strong as one second of force.
const GRAVITY_RHO: f64 = 150.0;
/// Round trips at or above this are measuring mistakes.
const RTT_MAX: Duration = Duration::from_secs(10);

/// Why an observation was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The peer's coordinate has another number of dimensions.
    #[error("dimensions aren't compatible")]
    Incompatible,
    /// The peer's coordinate contains a NaN or an infinity.
    #[error("coordinate is invalid")]
    Invalid,
    /// The round trip is too long to be true.
    #[error("round trip time not in valid range, duration {0:?} is not a positive value less than 10s")]
    RoundTrip(Duration),
}

/// Keeps our coordinate. One per pool.
#[derive(Debug)]
pub struct Client {
    coordinate: Coordinate,
    origin: Coordinate,
    adjustment_index: usize,
    adjustment_samples: [f64; ADJUSTMENT_WINDOW],
    latency_samples: HashMap<String, VecDeque<Duration>>,
    resets: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Starts at the origin.
    pub fn new() -> Self {
        Client {
            coordinate: Coordinate::origin(),
            origin: Coordinate::origin(),
            adjustment_index: 0,
            adjustment_samples: [0.0; ADJUSTMENT_WINDOW],
            latency_samples: HashMap::new(),
            resets: 0,
        }
    }

    /// Where we are.
    pub fn coordinate(&self) -> &Coordinate {
        &self.coordinate
    }

    /// How often the coordinate became unusable and was started afresh.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Drops what is remembered of a peer that is gone.
    pub fn forget(&mut self, node: &str) {
        self.latency_samples.remove(node);
    }

    /// Takes in one measured round trip to `node`, which reported to be at `other`.
    pub fn update(
        &mut self,
        node: &str,
        other: &Coordinate,
        rtt: Duration,
        rng: &mut impl Rng,
    ) -> Result<(), UpdateError> {
        if other.vec.len() != DIMENSIONS {
            return Err(UpdateError::Incompatible);
        }
        if !other.is_valid() {
            return Err(UpdateError::Invalid);
        }
        if rtt >= RTT_MAX {
            return Err(UpdateError::RoundTrip(rtt));
        }
        let rtt = self.filter_latency(node, rtt);
        self.update_position(other, rtt, rng);
        self.update_adjustment(other, rtt);
        self.pull_to_origin(rng);
        if !self.coordinate.is_valid() {
            self.coordinate = Coordinate::origin();
            self.resets += 1;
        }
        Ok(())
    }

    /// Median of the last few round trips to `node`, seconds.
    fn filter_latency(&mut self, node: &str, rtt: Duration) -> f64 {
        let samples = self.latency_samples.entry(node.to_owned()).or_default();
        samples.push_back(rtt);
        if samples.len() > LATENCY_FILTER {
            samples.pop_front();
        }
        let mut sorted: Vec<Duration> = samples.iter().copied().collect();
        sorted.sort_unstable();
        seconds(sorted[sorted.len() / 2].as_nanos() as i64)
    }

    fn update_position(&mut self, other: &Coordinate, rtt: f64, rng: &mut impl Rng) {
        let predicted = seconds(self.coordinate.distance_nanos(other));
        let rtt = rtt.max(ZERO_THRESHOLD);
        let wrongness = (predicted - rtt).abs() / rtt;
        let total_error = (self.coordinate.error + other.error).max(ZERO_THRESHOLD);
        let weight = self.coordinate.error / total_error;
        let error = TUNING * weight * wrongness + self.coordinate.error * (1.0 - TUNING * weight);
        self.coordinate.error = error.min(ERROR_MAX);
        let force = TUNING * weight * (rtt - predicted);
        self.coordinate.apply_force(force, other, rng);
    }

    fn update_adjustment(&mut self, other: &Coordinate, rtt: f64) {
        self.adjustment_samples[self.adjustment_index] = rtt - self.coordinate.raw_distance(other);
        self.adjustment_index = (self.adjustment_index + 1) % ADJUSTMENT_WINDOW;
        let mut sum = 0.0;
        for sample in &self.adjustment_samples {
            sum += sample;
        }
        self.coordinate.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    fn pull_to_origin(&mut self, rng: &mut impl Rng) {
        let distance = seconds(self.origin.distance_nanos(&self.coordinate));
        let relative = distance / GRAVITY_RHO;
        let force = -(relative * relative);
        let origin = std::mem::take(&mut self.origin);
        self.coordinate.apply_force(force, &origin, rng);
        self.origin = origin;
    }
}

/// Whole seconds and the rest are converted apart: the last bit of the result depends on it, and
/// peers compute it this way.
fn seconds(nanos: i64) -> f64 {
    const GIGA: i64 = 1_000_000_000;
    (nanos / GIGA) as f64 + (nanos % GIGA) as f64 / 1e9
}
