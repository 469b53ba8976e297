//! The DNS face, with this agent's settings.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use cache::Cache;
use dns::{Config, Face, InvalidName, ServiceTtl, Soa, Sockets, parse_name};
use model::road::Road;
use parking_lot::RwLock;

use crate::agent::Tokens;
use crate::config::RuntimeConfig;

/// Where recursors listen if nothing is said.
const DNS_PORT: u16 = 53;

/// Binds the addresses of the configuration, which may be none.
///
/// # Errors
/// When one of them cannot be had.
pub async fn bind(config: &RuntimeConfig) -> Result<Sockets, dns::BindError> {
    Sockets::bind(&config.net.dns).await
}

/// The face over the road. Queries carry no token, so the agent's default one is theirs.
pub fn face(
    settings: Arc<ArcSwap<Config>>,
    road: Road,
    cache: Arc<Cache>,
    tokens: Arc<RwLock<Tokens>>,
) -> Face {
    Face::new(settings, road, cache, Arc::new(move || tokens.read().default.clone()))
}

/// The settings of the configuration.
///
/// # Errors
/// When a domain is none.
pub fn settings(config: &RuntimeConfig) -> Result<Config, InvalidName> {
    let dns = &config.dns;
    let alt_domain = match dns.alt_domain.trim_end_matches('.') {
        "" => None,
        alt => Some(parse_name(alt)?),
    };
    Ok(Config {
        datacenter: config.datacenter.clone(),
        node_name: config.node_name.clone(),
        domain: parse_name(&dns.domain)?,
        alt_domain,
        recursors: dns.recursors.iter().filter_map(|text| recursor(text)).collect(),
        recursor_timeout: dns.recursor_timeout,
        allow_stale: dns.allow_stale,
        max_stale: dns.max_stale,
        cache: dns.use_cache.then_some(dns.cache_max_age),
        a_record_limit: dns.a_record_limit,
        udp_answer_limit: dns.udp_answer_limit,
        disable_compression: dns.disable_compression,
        enable_truncate: dns.enable_truncate,
        node_ttl: dns.node_ttl,
        service_ttl: ServiceTtl::new(dns.service_ttl.iter().map(|(name, ttl)| (name.as_str(), *ttl))),
        only_passing: dns.only_passing,
        node_meta_txt: dns.node_meta_txt,
        soa: Soa {
            refresh: dns.soa.refresh,
            retry: dns.soa.retry,
            expire: dns.soa.expire,
            min_ttl: dns.soa.min_ttl,
        },
        translate_wan_addrs: config.net.translate_wan_addrs,
    })
}

/// `address` or `address:port`, IPv6 addresses with a port in brackets.
fn recursor(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let found = match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, DNS_PORT)),
        Err(_) => text.parse().ok(),
    };
    if found.is_none() {
        tracing::warn!(target: "agent", recursor = text, "not an address; this recursor is not asked");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursors_have_the_usual_port() {
        let text = |text| recursor(text).map(|found| found.to_string());
        assert_eq!(text("8.8.8.8").as_deref(), Some("8.8.8.8:53"));
        assert_eq!(text("8.8.8.8:5300").as_deref(), Some("8.8.8.8:5300"));
        assert_eq!(text("::1").as_deref(), Some("[::1]:53"));
        assert_eq!(text("[::1]").as_deref(), Some("[::1]:53"));
        assert_eq!(text("[::1]:54").as_deref(), Some("[::1]:54"));
        assert_eq!(text("resolver.example"), None);
    }
}
