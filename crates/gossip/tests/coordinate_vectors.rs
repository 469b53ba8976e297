//! The coordinate arithmetic must give the same bits as the peers' does: every step of a recorded
//! sequence of observations.

use gossip::coordinate::{Client, Coordinate};
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::Value;
use std::time::Duration;

fn coordinate(v: &Value) -> Option<Coordinate> {
    let vec: Option<Vec<f64>> = v["Vec"].as_array()?.iter().map(Value::as_f64).collect();
    Some(Coordinate {
        vec: vec?,
        error: v["Error"].as_f64()?,
        adjustment: v["Adjustment"].as_f64()?,
        height: v["Height"].as_f64()?,
    })
}

#[test]
fn recorded_sequence_is_reproduced_bit_for_bit() {
    let recorded = vectors::coordinate_updates();
    let mut client = Client::new();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut compared = 0;
    let mut refused = 0;
    for (i, step) in recorded["steps"].as_array().unwrap().iter().enumerate() {
        let node = step["Node"].as_str().unwrap();
        let rtt = step["RttNs"].as_i64().unwrap();
        let before = client.coordinate().clone();
        // A recorded NaN has no JSON form; negative times have no form here.
        let (Some(other), Ok(rtt)) = (coordinate(&step["Other"]), u64::try_from(rtt)) else {
            assert_ne!(step["Err"].as_str().unwrap(), "", "step {i}");
            continue;
        };
        let result = client.update(node, &other, Duration::from_nanos(rtt), &mut rng);
        if step["Err"].as_str() != Some("") {
            assert!(result.is_err(), "step {i}");
            assert_eq!(*client.coordinate(), before, "step {i} must change nothing");
            refused += 1;
            continue;
        }
        result.unwrap();
        let expected = coordinate(&step["Result"]).unwrap();
        let got = client.coordinate();
        for (a, b) in got.vec.iter().zip(&expected.vec) {
            assert_eq!(a.to_bits(), b.to_bits(), "step {i}: {got:?} != {expected:?}");
        }
        assert_eq!(got.error.to_bits(), expected.error.to_bits(), "step {i} error");
        assert_eq!(got.height.to_bits(), expected.height.to_bits(), "step {i} height");
        assert_eq!(got.adjustment.to_bits(), expected.adjustment.to_bits(), "step {i} adjustment");
        assert_eq!(
            got.distance(&other).unwrap().as_nanos() as i64,
            step["DistanceNs"].as_i64().unwrap(),
            "step {i} distance"
        );
        compared += 1;
    }
    assert!(compared >= 30, "only {compared} steps compared");
    assert!(refused >= 2, "only {refused} refusals compared");
}

#[test]
fn coinciding_nodes_drift_apart() {
    let mut a = Client::new();
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..50 {
        a.update("b", &Coordinate::origin(), Duration::from_millis(40), &mut rng).unwrap();
    }
    let estimate = a.coordinate().distance(&Coordinate::origin()).unwrap();
    assert!((Duration::from_millis(36)..Duration::from_millis(44)).contains(&estimate), "{estimate:?}");
}
