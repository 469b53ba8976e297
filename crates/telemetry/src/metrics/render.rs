//! The two texts of the numbers: JSON of an interval, and Prometheus' format.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::registry::{INTERVAL, Id, Kind, Registry, Snapshot};
use crate::civil::Civil;

/// `Timestamp Gauges Points Counters Samples` of the last finished interval.
pub(crate) fn interval_json(registry: &Registry, now: Duration) -> Value {
    let shown = registry.shown_interval(now);
    let (mut gauges, mut counters, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for series in registry.all() {
        let id = &series.id;
        if id.kind == Kind::Gauge {
            let value = series.snapshot(now).gauge;
            // Numbers that JSON cannot write are as good as none.
            if value.is_finite() {
                gauges.push(json!({"Name": id.name, "Value": number(value), "Labels": labels(id)}));
            }
            continue;
        }
        let Some(aggregate) = series.aggregate(shown) else { continue };
        let entry = json!({
            "Name": id.name,
            "Count": aggregate.count,
            "Rate": number(aggregate.rate()),
            "Sum": number(aggregate.sum),
            "Min": number(aggregate.min),
            "Max": number(aggregate.max),
            "Mean": number(aggregate.mean()),
            "Stddev": number(aggregate.stddev()),
            "Labels": labels(id),
        });
        if id.kind == Kind::Counter { counters.push(entry) } else { samples.push(entry) }
    }
    let t = Civil::of(UNIX_EPOCH + Duration::from_secs(shown * INTERVAL.as_secs()));
    json!({
        "Timestamp": format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
            t.year, t.month, t.day, t.hour, t.minute, t.second
        ),
        "Gauges": gauges,
        "Points": [],
        "Counters": counters,
        "Samples": samples,
    })
}

/// Whole numbers without a fraction, as the reference writes them.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}

fn labels(id: &Id) -> Map<String, Value> {
    id.labels.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect()
}

/// Prometheus' text format, version 0.0.4, without series that have not moved for `retention`.
pub(crate) fn prometheus(registry: &Registry, now: Duration, retention: Duration) -> String {
    let mut out = String::new();
    let mut described: BTreeSet<String> = BTreeSet::new();
    // Series of one name must stand together: they are sorted by kind and name.
    for series in registry.all() {
        let snapshot = series.snapshot(now);
        if snapshot.updated.is_zero() || now.saturating_sub(snapshot.updated) > retention {
            continue;
        }
        let name = sanitized(&snapshot.id.name);
        let kind = match snapshot.id.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Sample => "summary",
        };
        if snapshot.id.kind == Kind::Gauge && snapshot.gauge.is_nan() {
            continue;
        }
        if described.insert(name.clone()) {
            let _ = write!(out, "# HELP {name} {name}\n# TYPE {name} {kind}\n");
        }
        write_series(&mut out, &name, &snapshot);
    }
    out
}

fn write_series(out: &mut String, name: &str, snapshot: &Snapshot) {
    let labels = &snapshot.id.labels;
    // Writing to a string cannot fail.
    let _ = match snapshot.id.kind {
        Kind::Gauge => writeln!(out, "{name}{} {}", braces(labels, None), float(snapshot.gauge)),
        Kind::Counter => writeln!(out, "{name}{} {}", braces(labels, None), float(snapshot.total.sum)),
        Kind::Sample => {
            for quantile in ["0.5", "0.9", "0.99"] {
                let value = quantile_of(&snapshot.values, quantile.parse().unwrap_or(0.5));
                let _ = writeln!(out, "{name}{} {}", braces(labels, Some(quantile)), float(value));
            }
            let plain = braces(labels, None);
            writeln!(
                out,
                "{name}_sum{plain} {}\n{name}_count{plain} {}",
                float(snapshot.total.sum),
                snapshot.total.count
            )
        }
    };
}

/// By nearest rank; NaN of nothing, as the format has it.
fn quantile_of(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

fn braces(labels: &[(String, String)], quantile: Option<&str>) -> String {
    let mut parts: Vec<String> = labels
        .iter()
        .map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{}=\"{value}\"", sanitized(key))
        })
        .collect();
    if let Some(quantile) = quantile {
        parts.push(format!("quantile=\"{quantile}\""));
    }
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}

/// Letters, digits and underscores; a name does not start with a digit.
fn sanitized(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (Registry, Duration) {
        let now = Duration::from_secs(1_625_142_645);
        let registry = Registry::new(now);
        let of = |kind, name: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            registry.series(Id { kind, name: name.to_owned(), labels }, now).unwrap()
        };
        of(Kind::Gauge, "consul.autopilot.healthy", &[]).set(1.0, now);
        of(Kind::Gauge, "consul.never.set", &[]);
        of(Kind::Gauge, "consul.not.a.number", &[]).set(f64::INFINITY, now);
        of(Kind::Counter, "consul.rpc.request", &[]).add(3.0, now);
        for value in 1..=10 {
            of(Kind::Sample, "consul.kvs.apply", &[("dc", "a\"b")]).add(f64::from(value) / 2.0, now);
        }
        (registry, now)
    }

    #[test]
    fn json_of_an_interval() {
        let (registry, now) = registry();
        let value = interval_json(&registry, now);
        assert_eq!(
            value,
            json!({
                "Timestamp": "2021-07-01 12:30:40 +0000 UTC",
                "Gauges": [{"Name": "consul.autopilot.healthy", "Value": 1, "Labels": {}}],
                "Points": [],
                "Counters": [{"Name": "consul.rpc.request", "Count": 1, "Rate": 0.3, "Sum": 3, "Min": 3, "Max": 3,
                    "Mean": 3, "Stddev": 0, "Labels": {}}],
                "Samples": [{"Name": "consul.kvs.apply", "Count": 10, "Rate": 2.75, "Sum": 27.5, "Min": 0.5, "Max": 5,
                    "Mean": 2.75, "Stddev": 1.513_825_177_048_745_9, "Labels": {"dc": "a\"b"}}],
            })
        );
        assert_eq!(value.as_object().unwrap().keys().count(), 5, "nothing but what clients know");
    }

    #[test]
    fn prometheus_text() {
        let (registry, now) = registry();
        let text = prometheus(&registry, now + Duration::from_secs(1), Duration::from_secs(60));
        for line in [
            "# TYPE consul_autopilot_healthy gauge",
            "consul_autopilot_healthy 1",
            "consul_not_a_number +Inf",
            "# TYPE consul_rpc_request counter",
            "consul_rpc_request 3",
            "# HELP consul_kvs_apply consul_kvs_apply",
            "# TYPE consul_kvs_apply summary",
            "consul_kvs_apply{dc=\"a\\\"b\",quantile=\"0.5\"} 2.5",
            "consul_kvs_apply{dc=\"a\\\"b\",quantile=\"0.99\"} 5",
            "consul_kvs_apply_sum{dc=\"a\\\"b\"} 27.5",
            "consul_kvs_apply_count{dc=\"a\\\"b\"} 10",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("never_set"));
        let later = prometheus(&registry, now + Duration::from_secs(61), Duration::from_secs(60));
        assert_eq!(later, "");
        let next = prometheus(&registry, now + Duration::from_secs(20), Duration::from_secs(60));
        assert!(next.contains("quantile=\"0.5\"} NaN"), "{next}");
    }
}
