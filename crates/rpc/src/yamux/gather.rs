//! When to write at once, and when to let others add to what is to be written.
//!
//! The driver of a session runs as soon as the first of many tasks has something to send. If it waits until the
//! tasks that are ready have run, what they send goes out with one system call. That costs a turn of the
//! scheduler, so it is done only where it has lately paid.

/// Writes after which waiting is tried again, at most, when it did not pay.
const MOST_SKIPPED: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What there was to write when the others were let run.
    waiting: Option<usize>,
    /// Writes to be made at once before the next try, and how many that were last time.
    skip: u32,
    skipped: u32,
}

impl Gather {
    /// Whether to let others run first; `pending` bytes, at least one, are to be written. After a yes the next
    /// answer is a no.
    pub(super) fn waits(&mut self, pending: usize) -> bool {
        match self.waiting.take() {
            Some(before) => {
                self.skipped = if pending > before { 0 } else { (self.skipped * 2 + 1).min(MOST_SKIPPED) };
                self.skip = self.skipped;
                false
            }
            None if self.skip > 0 => {
                self.skip -= 1;
                false
            }
            None => {
                self.waiting = Some(pending);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_every_time_while_others_add() {
        let mut gather = Gather::default();
        for _ in 0..10 {
            assert!(gather.waits(10));
            assert!(!gather.waits(30));
        }
    }

    #[test]
    fn waits_ever_more_rarely_while_nobody_does() {
        let mut gather = Gather::default();
        let writes = 10_000;
        let mut waited = 0;
        for _ in 0..writes {
            if gather.waits(10) {
                waited += 1;
                assert!(!gather.waits(10));
            }
        }
        assert!(waited < 10 + writes / 64, "{waited}");
        // And finds out again.
        while !gather.waits(10) {}
        assert!(!gather.waits(20));
        assert!(gather.waits(10));
    }
}
