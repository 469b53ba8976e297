//! Calendar dates from seconds, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub nanos: u32,
}

impl Civil {
    pub(crate) fn of(time: SystemTime) -> Self {
        // Before 1970 no agent ran; such a clock shows the epoch.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
        let (year, month, day) = date_of_day(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400) as u32;
        Self {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanos: since.subsec_nanos(),
        }
    }
}

/// Year, month and day of the n-th day after 1970-01-01, in the proleptic
/// Gregorian calendar. Years are counted from March, so that the leap day
/// comes last, in eras of 400 years, which are all of one length.
fn date_of_day(day: i64) -> (i64, u32, u32) {
    const DAYS_OF_ERA: i64 = 146_097;
    let from_march_of_year_0 = day + 719_468;
    let era = from_march_of_year_0.div_euclid(DAYS_OF_ERA);
    let of_era = from_march_of_year_0.rem_euclid(DAYS_OF_ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_days() {
        for (seconds, want) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (951_868_799, (2000, 2, 29, 23, 59, 59)),
            (1_625_142_645, (2021, 7, 1, 12, 30, 45)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        ] {
            let c = Civil::of(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!((c.year, c.month, c.day, c.hour, c.minute, c.second), want, "{seconds}");
        }
    }
}
