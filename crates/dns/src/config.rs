//! What the face is told to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::name::DnsName;

/// Settings of the face; replaced as a whole when the agent reloads.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's datacenter: what names without one mean.
    pub datacenter: String,
    /// The agent's node, which prepared queries sort by.
    pub node_name: String,
    /// The zone.
    pub domain: DnsName,
    /// A second zone with the same names.
    pub alt_domain: Option<DnsName>,
    /// Who is asked for names outside the zone, in this order.
    pub recursors: Vec<SocketAddr>,
    /// How long each of them may take.
    pub recursor_timeout: Duration,
    /// Any server may answer, not just the leader.
    pub allow_stale: bool,
    /// An answer that is older is fetched again from the leader.
    pub max_stale: Duration,
    /// Services, nodes and prepared queries are answered from the agent's cache, which is kept current;
    /// what it cannot keep current may be this old, zero being no bound.
    pub cache: Option<Duration>,
    /// Most address records of a service's answer; 0: all.
    pub a_record_limit: usize,
    /// Most answer records over UDP without EDNS, at most [`crate::encode::MAX_UDP_ANSWERS`].
    pub udp_answer_limit: usize,
    /// Names are written in full.
    pub disable_compression: bool,
    /// An answer from which something was left out says so.
    pub enable_truncate: bool,
    /// How long node answers may be kept.
    pub node_ttl: Duration,
    /// How long service answers may be kept.
    pub service_ttl: ServiceTtl,
    /// Instances with warnings are left out, too.
    pub only_passing: bool,
    /// A node's metadata accompanies its addresses.
    pub node_meta_txt: bool,
    /// Timers of the zone.
    pub soa: Soa,
    /// Things of other datacenters are shown with their WAN addresses.
    pub translate_wan_addrs: bool,
}

/// Timers of the SOA record, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// How often secondaries look for changes.
    pub refresh: u32,
    /// How soon after a failure again.
    pub retry: u32,
    /// When they give up.
    pub expire: u32,
    /// TTL of the record and of negative answers.
    pub min_ttl: u32,
}

/// TTLs by service name.
#[derive(Clone, Debug, Default)]
pub struct ServiceTtl {
    exact: BTreeMap<String, u32>,
    /// Longest prefix first; the empty one fits all.
    prefixes: Vec<(String, u32)>,
}

impl ServiceTtl {
    /// From patterns: a name, `prefix*`, or `*`.
    pub fn new<'a>(patterns: impl IntoIterator<Item = (&'a str, Duration)>) -> Self {
        let mut this = Self::default();
        for (pattern, ttl) in patterns {
            let pattern = pattern.to_ascii_lowercase();
            match pattern.strip_suffix('*') {
                Some(prefix) => this.prefixes.push((prefix.to_owned(), seconds(ttl))),
                None => {
                    this.exact.insert(pattern, seconds(ttl));
                }
            }
        }
        this.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        this
    }

    /// Seconds for a service, 0 if nothing is said.
    pub fn of(&self, service: &str) -> u32 {
        if self.exact.is_empty() && self.prefixes.is_empty() {
            return 0;
        }
        let service = service.to_ascii_lowercase();
        if let Some(ttl) = self.exact.get(&service) {
            return *ttl;
        }
        self.prefixes
            .iter()
            .find(|(prefix, _)| service.starts_with(prefix.as_str()))
            .map_or(0, |(_, ttl)| *ttl)
    }
}

/// Whole seconds as a TTL has them: 31 bits, RFC 2181 section 8.
pub fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_pattern_gives_the_ttl() {
        let secs = Duration::from_secs;
        let ttl =
            ServiceTtl::new([("*", secs(5)), ("web", secs(30)), ("db*", secs(20)), ("db-long*", secs(25))]);
        assert_eq!(ttl.of("web"), 30);
        assert_eq!(ttl.of("WEB"), 30);
        assert_eq!(ttl.of("web2"), 5);
        assert_eq!(ttl.of("db-1"), 20);
        assert_eq!(ttl.of("db-long-2"), 25);
        assert_eq!(ServiceTtl::default().of("web"), 0);
    }
}
