//! What a service must keep to wherever it is registered.

use std::net::IpAddr;

use crate::definition::{ConnectProxyConfig, Upstream};

/// The kind of a service that stands before another one.
const PROXY: &str = "connect-proxy";
/// The kinds of gateways that are reached at a port of their own.
const GATEWAYS: &[&str] = &["mesh-gateway", "terminating-gateway"];
/// The name that stands for every service.
const WILDCARD: &str = "*";

/// Whether an address stands for "any", which reaches nothing.
pub fn is_any_address(address: &str) -> bool {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// Checks the parts of a service that say how it takes part in Connect.
///
/// # Errors
/// Every rule that is broken, as one text.
pub fn check_connect(kind: &str, port: i64, proxy: &ConnectProxyConfig, native: bool) -> Result<(), String> {
    let mut broken: Vec<String> = Vec::new();
    if kind == PROXY {
        if proxy.destination_service_name.trim().is_empty() {
            broken
                .push("Proxy.DestinationServiceName must be non-empty for Connect proxy services".to_owned());
        }
        if proxy.destination_service_name == WILDCARD {
            broken.push(
                "Proxy.DestinationServiceName must not be a wildcard for Connect proxy services".to_owned(),
            );
        }
        if port == 0 {
            broken.push("Port must be set for a Connect proxy".to_owned());
        }
        if native {
            broken.push("A Proxy cannot also be Connect Native, only typical services".to_owned());
        }
        broken.extend(proxy.upstreams.iter().filter_map(broken_upstream).map(str::to_owned));
    }
    if GATEWAYS.contains(&kind) && port == 0 {
        broken.push(format!("Port must be non-zero for a {kind}"));
    }
    if broken.is_empty() { Ok(()) } else { Err(several(&broken)) }
}

fn broken_upstream(upstream: &Upstream) -> Option<&'static str> {
    if upstream.destination_name.is_empty() {
        Some("upstream destination name cannot be empty")
    } else if upstream.destination_name == WILDCARD {
        Some("upstream destination name cannot be a wildcard")
    } else if upstream.local_bind_port == 0 {
        Some("upstream local bind port cannot be zero")
    } else {
        None
    }
}

/// Several errors as one text, in the form that clients of the API know.
pub fn several(errors: &[String]) -> String {
    let noun = if errors.len() == 1 { "error" } else { "errors" };
    let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
    format!("{} {noun} occurred:\n{list}\n", errors.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_reach_nothing() {
        for any in ["0.0.0.0", "::", "[::]"] {
            assert!(is_any_address(any), "{any}");
        }
        for fine in ["", "10.0.0.1", "db.example", "::1"] {
            assert!(!is_any_address(fine), "{fine}");
        }
    }

    #[test]
    fn proxies_need_a_destination_and_a_port() {
        let mut proxy = ConnectProxyConfig::default();
        assert_eq!(check_connect("", 0, &proxy, true), Ok(()));
        assert_eq!(
            check_connect(PROXY, 0, &proxy, false).unwrap_err(),
            "2 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\
             \t* Port must be set for a Connect proxy\n\n"
        );
        proxy.destination_service_name = "web".to_owned();
        assert_eq!(check_connect(PROXY, 21000, &proxy, false), Ok(()));
        proxy.upstreams.push(Upstream { destination_name: "db".to_owned(), ..Upstream::default() });
        assert_eq!(
            check_connect(PROXY, 21000, &proxy, false).unwrap_err(),
            "1 error occurred:\n\t* upstream local bind port cannot be zero\n\n"
        );
        assert!(check_connect("mesh-gateway", 0, &proxy, false).is_err());
        assert!(check_connect("ingress-gateway", 0, &proxy, false).is_ok());
    }
}
