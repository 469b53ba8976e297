//! Network coordinates: estimates of the round-trip time between any two members of a pool
//! without measuring every pair.
//!
//! Vivaldi (Dabek et al., SIGCOMM 2004) with the height vector of its section 5.4, the adjustment
//! term of Lee et al. (*On Suitability of Euclidean Embedding for Host-Based Network Coordinate
//! Systems*, ToN 2010) and gravity towards the origin of Ledlie et al. (*Network Coordinates in
//! the Wild*, NSDI 2007).
//!
//! [`Coordinate`] is a place, [`Client`] moves our own place with every measured round trip.

mod client;

pub use client::{Client, UpdateError};

use rand::Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of dimensions of the Euclidean part.
pub const DIMENSIONS: usize = 8;
/// Error of a coordinate that knows nothing, also the largest error there is.
pub const ERROR_MAX: f64 = 1.5;
/// Smallest height, seconds.
pub const HEIGHT_MIN: f64 = 1e-5;
/// What counts as zero when dividing.
const ZERO_THRESHOLD: f64 = 1e-6;
const SECONDS_TO_NANOSECONDS: f64 = 1e9;

/// A place in the coordinate space; every number is in seconds (the error is relative).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Coordinate {
    /// Correction added to distances, from the average misprediction of late.
    #[serde(default)]
    pub adjustment: f64,
    /// Confidence: 0 is certain, [`ERROR_MAX`] knows nothing.
    #[serde(default)]
    pub error: f64,
    /// Distance from the plane, for what every path of this node has in common (its access link).
    #[serde(default)]
    pub height: f64,
    /// The Euclidean part.
    #[serde(default)]
    pub vec: Vec<f64>,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self::origin()
    }
}

impl Coordinate {
    /// Where everyone starts.
    pub fn origin() -> Self {
        Coordinate { adjustment: 0.0, error: ERROR_MAX, height: HEIGHT_MIN, vec: vec![0.0; DIMENSIONS] }
    }

    /// Whether every number is finite.
    pub fn is_valid(&self) -> bool {
        self.vec.iter().all(|v| v.is_finite())
            && self.error.is_finite()
            && self.adjustment.is_finite()
            && self.height.is_finite()
    }

    /// Whether both have the same number of dimensions.
    pub fn is_compatible(&self, other: &Coordinate) -> bool {
        self.vec.len() == other.vec.len()
    }

    /// Estimated round-trip time to `other`, cut to whole nanoseconds. Coordinates of different
    /// dimensions have no distance.
    pub fn distance(&self, other: &Coordinate) -> Option<Duration> {
        if !self.is_compatible(other) {
            return None;
        }
        Some(Duration::from_nanos(self.distance_nanos(other) as u64))
    }

    /// As [`distance`](Self::distance), signed: a negative value is possible only with heights
    /// below zero, which no honest peer sends.
    fn distance_nanos(&self, other: &Coordinate) -> i64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        let distance = if adjusted > 0.0 { adjusted } else { raw };
        (distance * SECONDS_TO_NANOSECONDS) as i64
    }

    /// Distance without the adjustments, seconds.
    fn raw_distance(&self, other: &Coordinate) -> f64 {
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    /// Moves away from `other` by `force` seconds (towards it when negative). `rng` picks the
    /// direction when both are in the same spot.
    fn apply_force(&mut self, force: f64, other: &Coordinate, rng: &mut impl Rng) {
        let (unit, distance) = direction(&self.vec, &other.vec, rng);
        for (mine, u) in self.vec.iter_mut().zip(&unit) {
            *mine += u * force;
        }
        if distance > ZERO_THRESHOLD {
            self.height = (self.height + other.height) * force / distance + self.height;
            self.height = self.height.max(HEIGHT_MIN);
        }
    }
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

fn magnitude(v: &[f64]) -> f64 {
    let mut sum = 0.0;
    for x in v {
        sum += x * x;
    }
    sum.sqrt()
}

fn scaled(mut v: Vec<f64>, factor: f64) -> Vec<f64> {
    for x in &mut v {
        *x *= factor;
    }
    v
}

/// The unit vector pointing from `b` to `a` and their distance; a random direction and zero when
/// they coincide.
fn direction(a: &[f64], b: &[f64], rng: &mut impl Rng) -> (Vec<f64>, f64) {
    let between = difference(a, b);
    let length = magnitude(&between);
    if length > ZERO_THRESHOLD {
        return (scaled(between, 1.0 / length), length);
    }
    loop {
        let random: Vec<f64> = a.iter().map(|_| rng.random::<f64>() - 0.5).collect();
        let length = magnitude(&random);
        if length > ZERO_THRESHOLD || a.is_empty() {
            return (scaled(random, 1.0 / length), 0.0);
        }
    }
}
