//! Loopback addresses for one test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::until;

/// First and last value of the second part of the addresses.
const SECOND: RangeInclusive<u8> = 30..=39;

/// Where agents of tests are: datacenters, and their servers and first clients.
const DATACENTERS: RangeInclusive<u8> = 1..=3;
const NUMBERS: [u8; 6] = [1, 2, 3, 101, 102, 103];

/// 127.N.*.* for one N, taken from other tests until dropped, those of other processes included; or 10.*.*.* of a
/// private network.
pub struct Slice {
    first: u8,
    second: u8,
    _claim: Option<TcpListener>,
}

impl Slice {
    /// Takes a free one; waits while there is none. The claim is a listener on a port that no agent uses.
    pub fn claim() -> Self {
        until("a free range of addresses", Duration::from_secs(600), || {
            SECOND
                .into_iter()
                .find_map(|second| {
                    let claim = TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), 7001)).ok()?;
                    (!inhabited(second)).then_some(Slice { first: 127, second, _claim: Some(claim) })
                })
                .ok_or_else(|| "all are taken".to_owned())
        })
    }

    /// Addresses in a network that nobody shares.
    pub(crate) fn private() -> Self {
        Slice { first: 10, second: 0, _claim: None }
    }

    /// An address of a datacenter, both counted from 1.
    pub fn addr(&self, datacenter: u8, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(self.first, self.second, datacenter, number)
    }
}

/// Whether agents live there that a test left behind when it was killed.
fn inhabited(second: u8) -> bool {
    let answers = |address| TcpStream::connect((address, 8500)).is_ok();
    DATACENTERS
        .into_iter()
        .any(|dc| NUMBERS.into_iter().any(|number| answers(Ipv4Addr::new(127, second, dc, number))))
}
