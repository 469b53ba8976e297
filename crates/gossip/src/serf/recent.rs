//! What was seen lately, so that it is neither delivered nor passed on twice.
//!
//! A ring of slots, one per Lamport time modulo their number. A slot belongs to the newest time
//! that fell into it; older times are refused.

use super::clock::LamportTime;
use super::message::{RecentEvent, RecentEvents};

/// Number of slots; peers send the whole ring in a full exchange and expect this number.
pub const SLOTS: usize = 512;
/// Most things remembered of one time. Honest pools have one or two; more are refused.
const PER_SLOT: usize = 256;

/// The ring.
#[derive(Debug)]
pub struct Recent<T> {
    slots: Vec<Option<Slot<T>>>,
    /// Times before this one are not wanted.
    min_time: LamportTime,
}

#[derive(Debug)]
struct Slot<T> {
    time: LamportTime,
    seen: Vec<T>,
}

/// Verdict about something that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never seen.
    New,
    /// Seen before.
    Again,
    /// From before the time we want to know about.
    Unwanted,
    /// Too far behind the clock to tell whether it was seen.
    TooOld,
    /// More of one time than is believable.
    Flood,
}

impl<T: PartialEq> Default for Recent<T> {
    fn default() -> Self {
        Recent { slots: (0..SLOTS).map(|_| None).collect(), min_time: 0 }
    }
}

impl<T: PartialEq> Recent<T> {
    /// Refuses everything before `time` from now on.
    pub fn raise_min_time(&mut self, time: LamportTime) {
        self.min_time = self.min_time.max(time);
    }

    /// Takes note of `item` with `time`; `clock` has witnessed it already.
    pub fn note(&mut self, clock: LamportTime, time: LamportTime, item: T) -> Seen {
        if time < self.min_time {
            return Seen::Unwanted;
        }
        if clock > SLOTS as u64 && time < clock - SLOTS as u64 {
            return Seen::TooOld;
        }
        let slot = &mut self.slots[(time % SLOTS as u64) as usize];
        match slot {
            Some(s) if s.time == time => {
                if s.seen.contains(&item) {
                    return Seen::Again;
                }
                if s.seen.len() >= PER_SLOT {
                    return Seen::Flood;
                }
                s.seen.push(item);
            }
            Some(s) if s.time > time => return Seen::TooOld,
            _ => *slot = Some(Slot { time, seen: vec![item] }),
        }
        Seen::New
    }
}

impl Recent<RecentEvent> {
    /// The ring as it goes into a full exchange.
    pub fn to_wire(&self) -> Vec<Option<RecentEvents>> {
        self.slots
            .iter()
            .map(|slot| slot.as_ref().map(|s| RecentEvents { ltime: s.time, events: Some(s.seen.clone()) }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_new_once() {
        let mut r = Recent::default();
        assert_eq!(r.note(6, 5, 'a'), Seen::New);
        assert_eq!(r.note(6, 5, 'b'), Seen::New);
        assert_eq!(r.note(6, 5, 'a'), Seen::Again);
        assert_eq!(r.note(7, 6, 'a'), Seen::New);
    }

    #[test]
    fn a_newer_time_takes_the_slot() {
        let mut r = Recent::default();
        assert_eq!(r.note(6, 5, 'a'), Seen::New);
        assert_eq!(r.note(518, 517, 'a'), Seen::New);
        assert_eq!(r.note(518, 5, 'a'), Seen::TooOld);
        assert_eq!(r.note(518, 6, 'a'), Seen::New);
    }

    #[test]
    fn minimum_time_and_flood() {
        let mut r = Recent::default();
        r.raise_min_time(10);
        r.raise_min_time(4);
        assert_eq!(r.note(10, 9, 0), Seen::Unwanted);
        for i in 0..PER_SLOT {
            assert_eq!(r.note(11, 10, i), Seen::New);
        }
        assert_eq!(r.note(11, 10, PER_SLOT), Seen::Flood);
    }
}
