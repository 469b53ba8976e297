//! Points in time: 15 raw bytes on the wire, RFC 3339 in JSON.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds from 0001-01-01T00:00:00Z to 1970-01-01T00:00:00Z.
const UNIX_OFFSET: i64 = 62_135_596_800;
/// The zone field's mark for UTC.
const UTC: i16 = -1;

/// An instant with the zone it was written in.
///
/// The default is the zero time, 0001-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
    /// Zone offset in minutes; -1 marks UTC.
    pub zone_minutes: i16,
}

impl Default for Timestamp {
    fn default() -> Self {
        Self { unix_seconds: -UNIX_OFFSET, nanos: 0, zone_minutes: UTC }
    }
}

impl Timestamp {
    /// Whether it is the zero time, which means "never".
    pub fn is_zero(&self) -> bool {
        self.unix_seconds == -UNIX_OFFSET && self.nanos == 0
    }

    /// The present according to the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    fn to_wire(self) -> [u8; 15] {
        let mut out = [0; 15];
        out[0] = 1;
        out[1..9].copy_from_slice(&(self.unix_seconds.wrapping_add(UNIX_OFFSET)).to_be_bytes());
        out[9..13].copy_from_slice(&self.nanos.to_be_bytes());
        out[13..15].copy_from_slice(&self.zone_minutes.to_be_bytes());
        out
    }

    fn from_wire(bytes: &[u8]) -> Option<Self> {
        // Version 2 has one byte more, for zones with odd seconds.
        match (bytes.first()?, bytes.len()) {
            (1, 15) | (2, 16) => {}
            _ => return None,
        }
        Some(Self {
            unix_seconds: i64::from_be_bytes(bytes[1..9].try_into().ok()?).wrapping_sub(UNIX_OFFSET),
            nanos: u32::from_be_bytes(bytes[9..13].try_into().ok()?),
            zone_minutes: i16::from_be_bytes(bytes[13..15].try_into().ok()?),
        })
    }

    /// Reads RFC 3339 text, `2021-07-01T12:30:45.5+02:00`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let digits = text.get(range)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let bytes = text.as_bytes();
        if bytes.len() < 20 || bytes[4] != b'-' || bytes[7] != b'-' || bytes[13] != b':' || bytes[16] != b':'
        {
            return None;
        }
        if !matches!(bytes[10], b'T' | b't') {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut rest = text.get(19..)?;
        let mut nanos = 0;
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            if len == 0 {
                return None;
            }
            let digits = &after[..len.min(9)];
            nanos = digits.parse::<u32>().ok()? * 10_u32.pow(9 - digits.len() as u32);
            rest = &after[len..];
        }
        let zone_minutes = match rest.as_bytes() {
            [b'Z' | b'z'] => UTC,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
                if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
            {
                let minutes = i16::from((h1 - b'0') * 10 + (h2 - b'0')) * 60
                    + i16::from((m1 - b'0') * 10 + (m2 - b'0'));
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let offset = if zone_minutes == UTC { 0 } else { i64::from(zone_minutes) * 60 };
        let unix_seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
        Some(Self { unix_seconds, nanos, zone_minutes })
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        // Before 1970 the system's clock is wrong anyway: the epoch then.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            unix_seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
            zone_minutes: UTC,
        }
    }
}

/// Days from 1970-01-01 of a proleptic Gregorian date (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.zone_minutes == UTC;
        let offset = if utc { 0 } else { i64::from(self.zone_minutes) };
        let local = self.unix_seconds.saturating_add(offset * 60);
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let of_day = local.rem_euclid(86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60
        )?;
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        if offset == 0 {
            f.write_str("Z")
        } else {
            let sign = if offset < 0 { '-' } else { '+' };
            write!(f, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_wire())
        }
    }
}

struct TimestampVisitor;

impl Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time: RFC 3339 text or its 15-byte binary form")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Timestamp, E> {
        if bytes.is_empty() {
            return Ok(Timestamp::default());
        }
        Timestamp::from_wire(bytes).ok_or_else(|| E::custom("malformed binary time"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse_rfc3339(text).ok_or_else(|| E::custom(format!("malformed time {text:?}")))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Timestamp, E> {
        Ok(Timestamp::default())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(TimestampVisitor)
        } else {
            deserializer.deserialize_bytes(TimestampVisitor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "0001-01-01T00:00:00Z",
            "2021-07-01T12:30:45.123456789Z",
            "2021-07-01T14:30:45+02:00",
            "1969-12-31T23:59:59.5Z",
            "2024-02-29T00:00:00-03:30",
        ] {
            let time = Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(time.to_string(), text);
        }
        assert!(Timestamp::parse_rfc3339("0001-01-01T00:00:00Z").unwrap().is_zero());
        for bad in ["", "2021-07-01", "2021-13-01T00:00:00Z", "2021-07-01T12:30:45", "2021-07-01T12:30:45.Z"]
        {
            assert!(Timestamp::parse_rfc3339(bad).is_none(), "{bad:?} was taken");
        }
    }

    #[test]
    fn wire_form_follows_the_recorded_bytes() {
        let time = Timestamp::parse_rfc3339("2021-07-01T12:30:45.123456789Z").unwrap();
        let wire = msgpack::to_vec(&time).unwrap();
        let hex: String = wire.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "af010000000ed86fac75075bcd15ffff");
        assert_eq!(msgpack::from_slice::<Timestamp>(&wire).unwrap(), time);
    }
}
