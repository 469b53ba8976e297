//! The DNS face of an agent: names of nodes, services and prepared queries, over UDP and TCP.
//!
//! A query goes through four steps: [`query`] reads the message, [`lookup`] tells what its name asks
//! for, [`face`] fetches that over the road, and [`records`] and [`encode`] make the answer. Only the
//! third one waits for anything.

mod compress;
pub mod config;
pub mod encode;
pub mod face;
mod fetch;
pub mod lookup;
mod name;
pub mod query;
pub mod records;
mod recursor;
mod serve;
mod tcp;
mod udp;

pub use config::{Config, ServiceTtl, Soa};
pub use face::{Face, Transport};
pub use name::{DnsName, InvalidName, parse_name};
pub use serve::{BindError, Sockets};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The defaults, in `dc1`.
    pub fn config() -> Config {
        Config {
            datacenter: "dc1".to_owned(),
            node_name: "agent".to_owned(),
            domain: parse_name("consul").unwrap(),
            alt_domain: None,
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            allow_stale: true,
            max_stale: Duration::from_secs(87_600 * 3600),
            cache: None,
            a_record_limit: 0,
            udp_answer_limit: 3,
            disable_compression: false,
            enable_truncate: false,
            node_ttl: Duration::ZERO,
            service_ttl: ServiceTtl::default(),
            only_passing: false,
            node_meta_txt: true,
            soa: Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 },
            translate_wan_addrs: false,
        }
    }
}
