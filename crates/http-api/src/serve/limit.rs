//! How many connections a client address may hold.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Counts open connections by address.
#[derive(Debug, Default)]
pub struct Limit(Mutex<HashMap<IpAddr, usize>>);

/// A place that a connection holds until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    limit: &'a Limit,
    address: IpAddr,
}

impl Limit {
    /// Takes a place; `None` when the address holds `max` already. `0` is no limit.
    pub fn enter(&self, address: IpAddr, max: usize) -> Option<Place<'_>> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_insert(0);
        if max != 0 && *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { limit: self, address })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.limit.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_given_back() {
        let limit = Limit::default();
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = limit.enter(a, 1).unwrap();
        assert!(limit.enter(a, 1).is_none());
        assert!(limit.enter(b, 1).is_some());
        drop(first);
        assert!(limit.enter(a, 1).is_some());
        let many: Vec<_> = (0..100).map(|_| limit.enter(a, 0)).collect();
        assert!(many.iter().all(Option::is_some));
        drop(many);
        assert!(limit.0.lock().is_empty());
    }
}
