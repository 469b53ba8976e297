//! The numbers as lines for people, which an agent writes when it gets the signal USR1.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::registry::{Aggregate, INTERVAL, Kind, Registry};
use crate::civil::Civil;

/// A line per series of the last finished interval: its begin, a letter for the kind, name and values.
pub(crate) fn text(registry: &Registry, now: Duration) -> String {
    let shown = registry.shown_interval(now);
    let t = Civil::of(UNIX_EPOCH + Duration::from_secs(shown * INTERVAL.as_secs()));
    let begin = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
        t.year, t.month, t.day, t.hour, t.minute, t.second
    );
    let mut out = String::new();
    for series in registry.all() {
        let id = &series.id;
        let (letter, values) = match id.kind {
            Kind::Gauge => {
                let value = series.snapshot(now).gauge;
                if !value.is_finite() {
                    continue;
                }
                ('G', format!("{value:.3}"))
            }
            kind => {
                let Some(aggregate) = series.aggregate(shown) else { continue };
                (if kind == Kind::Counter { 'C' } else { 'S' }, values(&aggregate))
            }
        };
        let mut name = id.name.clone();
        for (key, value) in &id.labels {
            let _ = write!(name, ";{key}={value}");
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, "[{begin}][{letter}] '{name}': {values}");
    }
    out
}

/// Where all values are the same there is no spread to show.
fn values(aggregate: &Aggregate) -> String {
    let Aggregate { count, sum, min, max, .. } = *aggregate;
    let stddev = aggregate.stddev();
    if stddev == 0.0 {
        return format!("Count: {count} Sum: {sum:.3}");
    }
    let mean = aggregate.mean();
    format!("Count: {count} Min: {min:.3} Mean: {mean:.3} Max: {max:.3} Stddev: {stddev:.3} Sum: {sum:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::registry::Id;

    #[test]
    fn a_line_for_each() {
        let now = Duration::from_secs(1_625_142_645);
        let registry = Registry::new(now);
        let of = |kind, name: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            registry.series(Id { kind, name: name.to_owned(), labels }, now).unwrap()
        };
        of(Kind::Gauge, "consul.autopilot.healthy", &[]).set(1.0, now);
        of(Kind::Gauge, "consul.never.set", &[]);
        let counter = of(Kind::Counter, "consul.client.rpc", &[]);
        counter.add(1.0, now);
        counter.add(1.0, now);
        for value in [1.0, 3.0] {
            of(Kind::Sample, "consul.api.http", &[("method", "GET")]).add(value, now);
        }
        assert_eq!(
            text(&registry, now),
            "[2021-07-01 12:30:40 +0000 UTC][G] 'consul.autopilot.healthy': 1.000\n\
             [2021-07-01 12:30:40 +0000 UTC][C] 'consul.client.rpc': Count: 2 Sum: 2.000\n\
             [2021-07-01 12:30:40 +0000 UTC][S] 'consul.api.http;method=GET': \
             Count: 2 Min: 1.000 Mean: 2.000 Max: 3.000 Stddev: 1.414 Sum: 4.000\n"
        );
    }
}
