//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing here takes that long, even on a machine with much else to do.
pub const LONG: Duration = Duration::from_secs(60);

/// Tries until `condition` returns a value; panics with its last complaint after `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(complaint) if began.elapsed() > limit => {
                panic!("{what}: not within {limit:?}: {complaint}")
            }
            Err(_) => sleep(Duration::from_millis(25)),
        }
    }
}
