//! Waiting for conditions.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// Tells threads to end, at the latest when it is dropped: a test that fails does not wait for its helpers for ever.
#[derive(Default)]
pub struct Stop(AtomicBool);

/// Says stop when dropped.
pub struct Stopper<'a>(&'a Stop);

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// What says stop at the end of the scope.
    pub fn at_end(&self) -> Stopper<'_> {
        Stopper(self)
    }

    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.now();
    }
}
