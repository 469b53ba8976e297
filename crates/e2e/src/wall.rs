//! Partitions: packets between two addresses of this network namespace are lost, silently, in the
//! directions that were asked for. Agents must send from their own addresses, as Proconsul's do.

use std::net::Ipv4Addr;

use crate::world::tool;

const TABLE: &str = "table inet e2e { set cut { type ipv4_addr . ipv4_addr; }; \
     chain in { type filter hook input priority 0; ip saddr . ip daddr @cut drop; }; }";

/// A packet filter of this namespace.
pub struct Wall(());

impl Wall {
    /// Nothing is cut yet. Only for a namespace of the test's own.
    pub(crate) fn build() -> Result<Wall, String> {
        tool("nft", &[TABLE])?;
        Ok(Wall(()))
    }

    /// What `from` sends to `to` is lost from now on.
    pub fn cut(&self, from: Ipv4Addr, to: Ipv4Addr) {
        let element = format!("add element inet e2e cut {{ {from} . {to} }}");
        tool("nft", &[&element]).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Neither hears the other.
    pub fn part(&self, one: Ipv4Addr, other: Ipv4Addr) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Everyone hears everyone.
    pub fn heal(&self) {
        tool("nft", &["flush set inet e2e cut"]).unwrap_or_else(|e| panic!("{e}"));
    }
}
