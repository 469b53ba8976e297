//! Numbers: one recorder for the whole process behind the `metrics` facade.
//!
//! Rooms name their metrics without the prefix (`rpc.request`); the recorder
//! puts the configured one before it, and the host's name before gauges where
//! that is wanted. Durations are recorded as histograms in milliseconds.

mod dump;
mod filter;
mod push;
mod registry;
mod render;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::RwLock;
use serde_json::Value;

pub use filter::Filter;

use push::{Pusher, Target};
use registry::{Id, Kind, Registry, Series};

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Stands before every name, with a dot between.
    pub prefix: String,
    /// The host's name, put into the names of gauges that leave this process.
    /// Absent if that is switched off.
    pub hostname: Option<String>,
    pub filter: Filter,
    /// Zero: no Prometheus text.
    pub prometheus_retention: Duration,
    /// `host:port`; empty: none. So for the two below.
    pub statsd_address: String,
    pub statsite_address: String,
    /// Also `unix:///path`.
    pub dogstatsd_address: String,
    pub dogstatsd_tags: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: "consul".to_owned(),
            hostname: None,
            filter: Filter::default(),
            prometheus_retention: Duration::ZERO,
            statsd_address: String::new(),
            statsite_address: String::new(),
            dogstatsd_address: String::new(),
            dogstatsd_tags: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("metrics were set up before")]
    Already,
    #[error("metrics cannot be pushed: {0}")]
    Push(std::io::Error),
}

/// Makes the recorder the process's own; once.
pub fn install(config: Config) -> Result<MetricsHandle, MetricsError> {
    let (recorder, handle) = recorder(config)?;
    ::metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Already)?;
    Ok(handle)
}

/// A recorder for those who install it themselves, as tests do.
pub fn recorder(config: Config) -> Result<(MetricsRecorder, MetricsHandle), MetricsError> {
    recorder_with_clock(config, now)
}

fn recorder_with_clock(
    config: Config,
    clock: fn() -> Duration,
) -> Result<(MetricsRecorder, MetricsHandle), MetricsError> {
    let lost = Arc::new(AtomicU64::new(0));
    let mut pushers = Vec::new();
    let mut push = |address: &str, target: Target| {
        if address.is_empty() {
            return Ok(());
        }
        pushers.push(Pusher::start(target, lost.clone()).map_err(MetricsError::Push)?);
        Ok(())
    };
    push(&config.statsd_address, Target::Statsd(config.statsd_address.clone()))?;
    push(&config.statsite_address, Target::Statsite(config.statsite_address.clone()))?;
    push(
        &config.dogstatsd_address,
        Target::Dogstatsd { address: config.dogstatsd_address.clone(), tags: config.dogstatsd_tags.clone() },
    )?;
    // The host's name is only of use where numbers of several hosts meet.
    let leaves = !pushers.is_empty() || !config.prometheus_retention.is_zero();
    let shared = Arc::new(Shared {
        registry: Registry::new(clock()),
        clock,
        prefix: config.prefix,
        hostname: config.hostname.filter(|name| leaves && !name.is_empty()),
        filter: RwLock::new(Arc::new(config.filter)),
        retention: config.prometheus_retention,
        pushers,
        lost,
    });
    Ok((MetricsRecorder { shared: shared.clone() }, MetricsHandle { shared }))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Shared {
    registry: Registry,
    /// Time since 1970.
    clock: fn() -> Duration,
    prefix: String,
    hostname: Option<String>,
    filter: RwLock<Arc<Filter>>,
    retention: Duration,
    pushers: Vec<Pusher>,
    lost: Arc<AtomicU64>,
}

/// To read the numbers.
#[derive(Clone)]
pub struct MetricsHandle {
    shared: Arc<Shared>,
}

impl MetricsHandle {
    /// `Timestamp Gauges Points Counters Samples` of the last finished ten
    /// seconds, in the first ten seconds of those so far.
    pub fn json(&self) -> Value {
        render::interval_json(&self.shared.registry, (self.shared.clock)())
    }

    /// Prometheus' text; none unless a retention time is configured.
    pub fn prometheus(&self) -> Option<String> {
        let retention = self.shared.retention;
        (!retention.is_zero())
            .then(|| render::prometheus(&self.shared.registry, (self.shared.clock)(), retention))
    }

    /// The numbers of [`json`](Self::json) as lines for people.
    pub fn dump(&self) -> String {
        dump::text(&self.shared.registry, (self.shared.clock)())
    }

    /// What is kept from now on, numbers of known series included.
    pub fn set_filter(&self, filter: Filter) {
        *self.shared.filter.write() = Arc::new(filter);
    }

    /// Numbers that could not be pushed so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The recorder itself; see [`install`].
pub struct MetricsRecorder {
    shared: Arc<Shared>,
}

impl MetricsRecorder {
    fn handle(&self, kind: Kind, key: &Key) -> Option<Arc<Handle>> {
        let shared = &self.shared;
        let mut name = String::new();
        if !shared.prefix.is_empty() {
            name.push_str(&shared.prefix);
            name.push('.');
        }
        if let (Kind::Gauge, Some(host)) = (kind, &shared.hostname) {
            name.push_str(host);
            name.push('.');
        }
        name.push_str(key.name());
        let mut labels: Vec<(String, String)> =
            key.labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
        labels.sort();
        let series = shared.registry.series(Id { kind, name, labels }, (shared.clock)())?;
        Some(Arc::new(Handle { series, shared: shared.clone() }))
    }
}

impl Recorder for MetricsRecorder {
    // Units and descriptions have no place in what clients read.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.handle(Kind::Counter, key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.handle(Kind::Gauge, key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.handle(Kind::Sample, key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

struct Handle {
    series: Arc<Series>,
    shared: Arc<Shared>,
}

impl Handle {
    fn allowed(&self) -> bool {
        self.shared.filter.read().allows(&self.series.id.name)
    }

    fn push(&self, value: f64) {
        if value.is_finite() {
            for pusher in &self.shared.pushers {
                pusher.push(&self.series.id, value);
            }
        }
    }

    fn add(&self, value: f64) {
        if self.allowed() {
            self.series.add(value, (self.shared.clock)());
            self.push(value);
        }
    }

    fn shift(&self, by: f64) {
        if self.allowed() {
            let value = self.series.shift(by, (self.shared.clock)());
            self.push(value);
        }
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        let more = value as f64 - self.series.total();
        if more > 0.0 {
            self.add(more);
        }
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.shift(value);
    }

    fn decrement(&self, value: f64) {
        self.shift(-value);
    }

    fn set(&self, value: f64) {
        if self.allowed() {
            self.series.set(value, (self.shared.clock)());
            self.push(value);
        }
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

#[cfg(test)]
mod tests {
    use ::metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    fn fixed(config: Config) -> Result<(MetricsRecorder, MetricsHandle), MetricsError> {
        recorder_with_clock(config, || Duration::from_secs(1_625_142_645))
    }

    fn names(value: &Value, list: &str) -> Vec<String> {
        value[list].as_array().unwrap().iter().map(|m| m["Name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn names_get_their_prefix() {
        let config = Config { hostname: Some("h1".to_owned()), ..Config::default() };
        let (local, handle) = fixed(config.clone()).unwrap();
        with_local_recorder(&local, || {
            gauge!("autopilot.healthy").set(1.0);
            counter!("rpc.request", "dc" => "dc1").increment(2);
            counter!("absolute").absolute(5);
            counter!("absolute").absolute(5);
            histogram!("kvs.apply").record(0.25);
        });
        let value = handle.json();
        assert_eq!(names(&value, "Gauges"), ["consul.autopilot.healthy"]);
        assert_eq!(names(&value, "Counters"), ["consul.absolute", "consul.rpc.request"]);
        assert_eq!(value["Counters"][0]["Sum"], 5);
        assert_eq!(value["Counters"][1]["Labels"]["dc"], "dc1");
        assert_eq!(names(&value, "Samples"), ["consul.kvs.apply"]);
        assert_eq!(handle.prometheus(), None);

        // The host's name comes in where numbers leave the process.
        let (local, handle) =
            fixed(Config { prometheus_retention: Duration::from_secs(60), ..config }).unwrap();
        with_local_recorder(&local, || gauge!("autopilot.healthy").set(1.0));
        assert!(handle.prometheus().unwrap().contains("\nconsul_h1_autopilot_healthy 1\n"));
    }

    #[test]
    fn filters_can_change() {
        let (local, handle) = fixed(Config::default()).unwrap();
        with_local_recorder(&local, || {
            counter!("a").increment(1);
            handle.set_filter(Filter { blocked: vec!["consul.a".to_owned()], ..Filter::default() });
            counter!("a").increment(1);
            counter!("b").increment(1);
        });
        let value = handle.json();
        assert_eq!(names(&value, "Counters"), ["consul.a", "consul.b"]);
        assert_eq!(value["Counters"][0]["Count"], 1);
    }
}
