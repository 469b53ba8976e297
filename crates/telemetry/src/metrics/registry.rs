//! All series of numbers, each with its present and its last finished interval.
//!
//! Time is given by the caller, in seconds and nanoseconds since 1970, so that
//! intervals begin on full ten seconds on every agent alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::SmallRng};

pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// Series beyond this are not kept: names that a peer can make up must not fill the memory.
const MAX_SERIES: usize = 20_000;
/// Values of an interval that quantiles are computed from.
const RESERVOIR: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Gauge,
    Counter,
    Sample,
}

/// Full name and sorted labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    pub kind: Kind,
    pub name: String,
    pub labels: Vec<(String, String)>,
}

/// Count, sum and spread of the values of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Aggregate {
    pub count: u64,
    pub sum: f64,
    pub sum_of_squares: f64,
    pub min: f64,
    pub max: f64,
}

impl Aggregate {
    fn add(&mut self, value: f64) {
        if self.count == 0 || value < self.min {
            self.min = value;
        }
        if self.count == 0 || value > self.max {
            self.max = value;
        }
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The sample's standard deviation (Bessel's correction); zero for fewer than two values.
    pub(crate) fn stddev(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let n = self.count as f64;
        let numerator = n * self.sum_of_squares - self.sum * self.sum;
        (numerator.max(0.0) / (n * (n - 1.0))).sqrt()
    }

    pub(crate) fn rate(&self) -> f64 {
        self.sum / INTERVAL.as_secs_f64()
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    pub id: Id,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    interval: u64,
    current: Aggregate,
    /// The interval before the present one, if something happened in it.
    finished: Option<(u64, Aggregate)>,
    /// The last value of a gauge; NaN means that there is none.
    gauge: f64,
    total: Aggregate,
    values: Vec<f64>,
    dice: SmallRng,
    updated: Duration,
}

/// What is known of a series at some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub id: Id,
    pub gauge: f64,
    pub total: Aggregate,
    /// Of the present interval, sorted.
    pub values: Vec<f64>,
    pub updated: Duration,
}

pub(crate) fn interval_of(now: Duration) -> u64 {
    now.as_secs() / INTERVAL.as_secs()
}

impl Series {
    fn new(id: Id, now: Duration) -> Self {
        let state = State {
            interval: interval_of(now),
            current: Aggregate::default(),
            finished: None,
            gauge: f64::NAN,
            total: Aggregate::default(),
            values: Vec::new(),
            dice: SmallRng::seed_from_u64(now.as_nanos() as u64),
            updated: Duration::ZERO,
        };
        Self { id, state: Mutex::new(state) }
    }

    /// Adds a value of a counter or sample. Values that are no number are left out.
    pub(crate) fn add(&self, value: f64, now: Duration) {
        if !value.is_finite() {
            return;
        }
        let mut state = self.state.lock();
        state.step(interval_of(now));
        state.updated = now;
        state.current.add(value);
        state.total.add(value);
        if self.id.kind == Kind::Sample {
            state.keep(value);
        }
    }

    /// Sets a gauge; NaN takes it out of sight.
    pub(crate) fn set(&self, value: f64, now: Duration) {
        let mut state = self.state.lock();
        state.gauge = value;
        state.updated = now;
    }

    /// Moves a gauge by some amount and returns where it stands.
    pub(crate) fn shift(&self, by: f64, now: Duration) -> f64 {
        let mut state = self.state.lock();
        let from = if state.gauge.is_nan() { 0.0 } else { state.gauge };
        state.gauge = from + by;
        state.updated = now;
        state.gauge
    }

    /// The sum so far, for counters that are told their absolute value.
    pub(crate) fn total(&self) -> f64 {
        self.state.lock().total.sum
    }

    pub(crate) fn aggregate(&self, interval: u64) -> Option<Aggregate> {
        let state = self.state.lock();
        if state.interval == interval {
            return Some(state.current).filter(|a| a.count > 0);
        }
        state.finished.filter(|(of, _)| *of == interval).map(|(_, aggregate)| aggregate)
    }

    pub(crate) fn snapshot(&self, now: Duration) -> Snapshot {
        let mut state = self.state.lock();
        state.step(interval_of(now));
        let mut values = state.values.clone();
        values.sort_by(f64::total_cmp);
        Snapshot {
            id: self.id.clone(),
            gauge: state.gauge,
            total: state.total,
            values,
            updated: state.updated,
        }
    }
}

impl State {
    fn step(&mut self, interval: u64) {
        if interval <= self.interval {
            return;
        }
        let past = std::mem::take(&mut self.current);
        self.finished = (past.count > 0).then_some((self.interval, past));
        self.values.clear();
        self.interval = interval;
    }

    /// Keeps a fair choice of the interval's values (algorithm R).
    fn keep(&mut self, value: f64) {
        if self.values.len() < RESERVOIR {
            self.values.push(value);
            return;
        }
        let seen = usize::try_from(self.current.count).unwrap_or(usize::MAX);
        let place = self.dice.random_range(0..seen);
        if let Some(slot) = self.values.get_mut(place) {
            *slot = value;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    series: RwLock<HashMap<Id, Arc<Series>>>,
    first_interval: u64,
}

impl Registry {
    pub(crate) fn new(now: Duration) -> Self {
        Self { series: RwLock::new(HashMap::new()), first_interval: interval_of(now) }
    }

    /// The series of an id; none once there are too many.
    pub(crate) fn series(&self, id: Id, now: Duration) -> Option<Arc<Series>> {
        if let Some(found) = self.series.read().get(&id) {
            return Some(found.clone());
        }
        let mut all = self.series.write();
        if let Some(found) = all.get(&id) {
            return Some(found.clone());
        }
        if all.len() >= MAX_SERIES {
            return None;
        }
        let made = Arc::new(Series::new(id.clone(), now));
        all.insert(id, made.clone());
        Some(made)
    }

    /// All series in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<Arc<Series>> = self.series.read().values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The last finished interval, or the present one in the first ten seconds.
    pub(crate) fn shown_interval(&self, now: Duration) -> u64 {
        let present = interval_of(now);
        if present > self.first_interval { present - 1 } else { present }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(kind: Kind, name: &str) -> Id {
        Id { kind, name: name.to_owned(), labels: Vec::new() }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn intervals_pass() {
        let registry = Registry::new(at(1000));
        let series = registry.series(id(Kind::Sample, "a"), at(1000)).unwrap();
        for value in [1.0, 2.0, 3.0, 4.0] {
            series.add(value, at(1003));
        }
        let aggregate = series.aggregate(registry.shown_interval(at(1005))).unwrap();
        assert_eq!((aggregate.count, aggregate.sum, aggregate.min, aggregate.max), (4, 10.0, 1.0, 4.0));
        assert_eq!((aggregate.mean(), aggregate.rate()), (2.5, 1.0));
        assert!((aggregate.stddev() - 1.290_994_448).abs() < 1e-6);

        // In the next interval the finished one is shown, and then it is gone.
        series.add(9.0, at(1011));
        assert_eq!(series.aggregate(registry.shown_interval(at(1012))).unwrap().count, 4);
        assert_eq!(series.aggregate(registry.shown_interval(at(1025))).unwrap().sum, 9.0);
        assert_eq!(series.aggregate(registry.shown_interval(at(1035))), None);
        assert_eq!(series.total(), 19.0);
        series.add(f64::NAN, at(1036));
        assert_eq!(series.total(), 19.0);
    }

    #[test]
    fn one_value_has_no_spread() {
        let registry = Registry::new(at(0));
        let series = registry.series(id(Kind::Counter, "a"), at(0)).unwrap();
        series.add(0.1, at(1));
        let aggregate = series.aggregate(0).unwrap();
        assert_eq!((aggregate.stddev(), aggregate.min, aggregate.max), (0.0, 0.1, 0.1));
    }

    #[test]
    fn memory_is_bounded() {
        let registry = Registry::new(at(0));
        for n in 0..MAX_SERIES {
            assert!(registry.series(id(Kind::Gauge, &n.to_string()), at(0)).is_some());
        }
        assert!(registry.series(id(Kind::Gauge, "more"), at(0)).is_none());
        assert!(registry.series(id(Kind::Gauge, "0"), at(0)).is_some());

        let registry = Registry::new(at(0));
        let series = registry.series(id(Kind::Sample, "s"), at(0)).unwrap();
        for n in 0..10_000 {
            series.add(f64::from(n), at(1));
        }
        let values = series.snapshot(at(2)).values;
        assert_eq!(values.len(), RESERVOIR);
        let middle = values[RESERVOIR / 2];
        assert!((2_000.0..8_000.0).contains(&middle), "{middle}");
        assert!(series.snapshot(at(11)).values.is_empty());
    }

    #[test]
    fn gauges_stay_and_move() {
        let registry = Registry::new(at(0));
        let series = registry.series(id(Kind::Gauge, "g"), at(0)).unwrap();
        assert!(series.snapshot(at(0)).gauge.is_nan());
        assert_eq!(series.shift(2.0, at(1)), 2.0);
        series.set(7.0, at(2));
        assert_eq!(series.shift(-1.0, at(100)), 6.0);
        assert_eq!(series.snapshot(at(200)).gauge, 6.0);
    }
}
