//! Loopback addresses for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::until;

/// First and last value of the second part of the addresses.
const SECOND: std::ops::RangeInclusive<u8> = 30..=39;

/// 127.N.*.* for one N, taken from other tests until dropped, those of other processes included.
pub struct Slice {
    second: u8,
    _claim: TcpListener,
}

impl Slice {
    /// Takes a free one; waits while there is none. The claim is a listener on a port that no agent uses.
    pub fn claim() -> Self {
        until("a free range of addresses", Duration::from_secs(600), || {
            SECOND
                .into_iter()
                .find_map(|second| {
                    let claim = TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), 7001)).ok()?;
                    let slice = Slice { second, _claim: claim };
                    // A test that was killed may have left its agents behind: they are not to answer
                    // for ours.
                    slice.is_silent().then_some(slice)
                })
                .ok_or_else(|| "all are taken".to_owned())
        })
    }

    /// Whether no server listens on any of the addresses that tests give to servers.
    fn is_silent(&self) -> bool {
        (1..=3).all(|dc| (1..=3).all(|n| TcpListener::bind((self.addr(dc, n), 8300)).is_ok()))
    }

    /// An address of a datacenter, both counted from 1.
    pub fn addr(&self, datacenter: u8, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, datacenter, number)
    }
}
