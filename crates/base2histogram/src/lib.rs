//! A small histogram in the place of the registry's crate of this name.
//!
//! The consensus engine keeps statistics of its batch sizes in histograms of that
//! crate, always, whether or not anyone reads them. On first use it builds tables
//! for all sixteen of its resolutions, 26 MB that are never given back: more than
//! an idle server of ours may use in all. The root manifest puts this crate in its
//! place. It has the part of the interface that the engine uses and counts in 64
//! buckets, one for each power of two.

use std::fmt;
use std::marker::PhantomData;

const BUCKETS: usize = 65;

/// Counts of values by their magnitude. A percentile is reported as the smallest
/// value of its bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    slots: PhantomData<T>,
}

/// Selected percentiles of a [`Histogram`]; all zero while it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n={} p50={} p90={} p99={}", self.samples, self.p50, self.p90, self.p99)
    }
}

impl<T> Histogram<T> {
    pub fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, slots: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records the same value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] += count;
        self.total += count;
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value below which `per_mille` thousandths of the values lie.
    fn at(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(per_mille)).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return if bucket == 0 { 0 } else { 1 << (bucket - 1) };
            }
        }
        0
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        if self.total == 0 {
            return PercentileStats::default();
        }
        PercentileStats {
            samples: self.total,
            p0_1: self.at(1),
            p1: self.at(10),
            p5: self.at(50),
            p10: self.at(100),
            p50: self.at(500),
            p90: self.at(900),
            p99: self.at(990),
            p99_9: self.at(999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percentile_stats().fmt(f)
    }
}

/// Several histograms, shown one to a line.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    #[allow(clippy::should_implement_trait)]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.series.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.series {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_name_their_bucket() {
        let mut h = Histogram::<()>::new();
        assert_eq!(h.percentile_stats(), PercentileStats::default());
        for value in 0..1000 {
            h.record(value);
        }
        h.record(u64::MAX);
        let s = h.percentile_stats();
        assert_eq!((s.samples, s.p0_1, s.p50, s.p99), (1001, 1, 256, 512));
        assert_eq!(h.at(1000), 1 << 63);
        assert_eq!(h.total(), 1001);
    }

    #[test]
    fn chart_shows_every_series() {
        let mut h = Histogram::<()>::new();
        h.record(9);
        let text = AsciiChart::new().add("a", h).add("b", Histogram::new()).to_string();
        assert_eq!(text, "a: n=1 p50=8 p90=8 p99=8\nb: n=0 p50=0 p90=0 p99=0\n");
    }
}
