//! Durations: integer nanoseconds on the wire, text such as `1m30s` towards people.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signed duration in nanoseconds.
///
/// Wire: the integer. JSON: text (`"10s"`); a number is read as nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// No time at all, which mostly means "not set".
    pub const ZERO: Self = Self(0);

    /// Whole seconds; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The non-negative part as a standard duration.
    pub const fn to_std(self) -> Duration {
        Duration::from_nanos(if self.0 < 0 { 0 } else { self.0 as u64 })
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_go(*self))
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text does not follow `[+-](number unit)+`.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number stands without its unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit is none of ns, us, µs, ms, s, m, h.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit met.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads `[+-]` and one or more decimal numbers with units, such as `300ms`, `-1.5h`, `2h45m`; `0`
/// needs no unit.
pub fn parse_go(text: &str) -> Result<GoDuration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(GoDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let scale: i128 = match unit {
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
            }
        };
        let whole: i128 = match whole {
            "" => 0,
            digits => digits.parse::<i64>().map_err(|_| invalid())?.into(),
        };
        // More than 18 decimals are below a nanosecond for every unit.
        let digits = &fraction[..fraction.len().min(18)];
        let fraction: i128 = match digits {
            "" => 0,
            _ => digits.parse::<i64>().map_err(|_| invalid())?.into(),
        };
        total += whole * scale + fraction * scale / 10_i128.pow(digits.len() as u32);
        if total > i64::MAX.into() {
            return Err(invalid());
        }
        rest = next;
    }
    Ok(GoDuration(if negative { -total } else { total } as i64))
}

/// Writes the shortest form with units h, m, s, and below a second ms, µs or ns: `1h0m0s`, `1.5s`,
/// `20ms`, `0s`.
pub fn format_go(duration: GoDuration) -> String {
    let sign = if duration.0 < 0 { "-" } else { "" };
    let nanos = duration.0.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(nanos, scale));
    }
    let minutes_total = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    let (hours, minutes) = (minutes_total / 60, minutes_total % 60);
    if hours > 0 {
        format!("{sign}{hours}h{minutes}m{seconds}s")
    } else if minutes > 0 {
        format!("{sign}{minutes}m{seconds}s")
    } else {
        format!("{sign}{seconds}s")
    }
}

/// `value / scale` with as many decimals as it has.
fn decimal(value: u64, scale: u64) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10s\" or nanoseconds")
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
        Ok(GoDuration(nanos))
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
        i64::try_from(nanos).map(GoDuration).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
        Ok(GoDuration(nanos as i64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        parse_go(text).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<GoDuration, E> {
        Ok(GoDuration::ZERO)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(DurationVisitor)
        } else {
            deserializer.deserialize_i64(DurationVisitor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_people_write() {
        let secs = |s: f64| Ok(GoDuration((s * 1e9) as i64));
        assert_eq!(parse_go("10s"), secs(10.0));
        assert_eq!(parse_go("-1.5h"), secs(-5400.0));
        assert_eq!(parse_go("2h45m0.5s"), secs(9900.5));
        assert_eq!(parse_go("0"), Ok(GoDuration::ZERO));
        assert_eq!(parse_go("100us"), Ok(GoDuration(100_000)));
        assert!(matches!(parse_go("10"), Err(DurationError::MissingUnit(_))));
        assert!(matches!(parse_go("1d"), Err(DurationError::UnknownUnit { .. })));
        for bad in ["", "-", "s", ".s", "1.2.3s", "9223372036854775807h"] {
            assert!(parse_go(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn formats_as_the_reference_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (10_000_000_000, "10s"),
            (245_000_000_000, "4m5s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-1_500_000_000, "-1.5s"),
        ] {
            assert_eq!(format_go(GoDuration(nanos)), text);
            assert_eq!(parse_go(text), Ok(GoDuration(nanos)));
        }
    }
}
