//! What a registration must keep to, before the agent sees it.

use std::collections::BTreeMap;

use model::definition::{CheckType, ConnectProxyConfig, ServiceDefinition};
use model::rules::{check_connect, is_any_address};

use crate::api::error::ApiError;

/// Most metadata pairs of a service.
const META_PAIRS: usize = 64;
/// Longest metadata key, bytes.
const META_KEY: usize = 128;
/// Longest metadata value, bytes.
const META_VALUE: usize = 512;
/// How metadata keys begin that are not for users.
const META_RESERVED: &str = "consul-";
/// Such keys that a registration carries nevertheless.
const META_ALLOWED: &[&str] = &["consul-wan-federation"];
/// Highest weight: what an SRV record holds.
const MAX_WEIGHT: i64 = 65_535;

/// Whether it names a check's status; empty stands for the default.
pub fn is_status(status: &str) -> bool {
    matches!(status, "" | "passing" | "warning" | "critical")
}

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::bad_request(text)
}

/// A check definition: what it does and when.
///
/// # Errors
/// 400 with the rule that is broken.
pub fn check(check: &CheckType) -> Result<(), ApiError> {
    let invalid = |text: &str| Err(bad(format!("Invalid check: {text}")));
    let script = !check.script_args.is_empty();
    let probes = script || !check.http.is_empty() || !check.tcp.is_empty() || !check.grpc.is_empty();
    let alias = !check.alias_node.is_empty() || !check.alias_service.is_empty();
    if check.interval.0 > 0 && check.ttl.0 > 0 {
        return invalid("Interval and TTL cannot both be specified");
    }
    if probes && check.interval.0 <= 0 {
        return invalid("Interval must be > 0 for Script, HTTP, or TCP checks");
    }
    if probes && alias {
        return invalid("Interval cannot be set for Alias checks");
    }
    if alias && check.ttl.0 > 0 {
        return invalid("TTL must be not be set for Alias checks");
    }
    if !probes && !alias && check.ttl.0 <= 0 {
        return invalid("TTL must be > 0 for TTL checks");
    }
    if check.output_max_size < 0 {
        return invalid("MaxOutputMaxSize must be positive");
    }
    Ok(())
}

/// Whether a check says anything; registrations without one carry an empty one.
pub fn is_check(check: &CheckType) -> bool {
    *check != CheckType::default()
}

/// A service definition with its checks.
///
/// # Errors
/// 400 with the rule that is broken.
pub fn service(service: &ServiceDefinition) -> Result<(), ApiError> {
    if service.name.is_empty() {
        return Err(bad("Missing service name"));
    }
    if is_any_address(&service.address)
        || service.tagged_addresses.values().any(|address| is_any_address(&address.address))
    {
        return Err(bad("Invalid service address"));
    }
    if let Some(weights) = &service.weights {
        if weights.passing < 1 {
            return Err(bad("Invalid Weights: Passing must be greater than 0"));
        }
        if weights.warning < 0 {
            return Err(bad("Invalid Weights: Warning must be greater or equal than 0"));
        }
        if weights.passing > MAX_WEIGHT || weights.warning > MAX_WEIGHT {
            return Err(bad(format!("Invalid Weights: DNS Weight must be between 0 and {MAX_WEIGHT}")));
        }
    }
    meta(&service.meta).map_err(|reason| bad(format!("Invalid Service Meta: {reason}")))?;
    for each in std::iter::once(&service.check).filter(|each| is_check(each)).chain(&service.checks) {
        check(each)?;
        if !is_status(&each.status) {
            return Err(bad("Status for checks must 'passing', 'warning', 'critical'"));
        }
    }
    let none = ConnectProxyConfig::default();
    let proxy = service.proxy.as_ref().unwrap_or(&none);
    let native = service.connect.as_ref().is_some_and(|connect| connect.native);
    check_connect(&service.kind, service.port, proxy, native).map_err(bad)
}

/// Metadata: bounded, and with keys that are plain words.
///
/// # Errors
/// The rule that is broken.
pub fn meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    if meta.len() > META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {META_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        if let Some(reason) = meta_pair(key, value) {
            return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {reason}"));
        }
    }
    Ok(())
}

fn meta_pair(key: &str, value: &str) -> Option<String> {
    if key.is_empty() {
        return Some("Key cannot be blank".to_owned());
    }
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Some("Key contains invalid characters".to_owned());
    }
    if key.len() > META_KEY {
        return Some(format!("Key is too long (limit: {META_KEY} characters)"));
    }
    if key.starts_with(META_RESERVED) && !META_ALLOWED.contains(&key) {
        return Some(format!("Key prefix '{META_RESERVED}' is reserved for internal use"));
    }
    if value.len() > META_VALUE {
        return Some(format!("Value is too long (limit: {META_VALUE} characters)"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::lenient;

    fn refusal(body: &str) -> String {
        service(&lenient(body.as_bytes()).unwrap()).err().map(|error| error.text).unwrap_or_default()
    }

    #[test]
    fn service_rules() {
        for (body, text) in [
            (r#"{"ID":"x"}"#, "Missing service name"),
            (r#"{"Name":"x","Address":"0.0.0.0"}"#, "Invalid service address"),
            (r#"{"Name":"x","Address":"::"}"#, "Invalid service address"),
            (
                r#"{"Name":"x","Check":{"TTL":"10s","HTTP":"http://127.0.0.1/","Interval":"5s"}}"#,
                "Invalid check: Interval and TTL cannot both be specified",
            ),
            (
                r#"{"Name":"x","Checks":[{"TTL":"10s"},{"TCP":"127.0.0.1:1"}]}"#,
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                r#"{"Name":"x","Check":{"AliasNode":"n","TTL":"5s"}}"#,
                "Invalid check: TTL must be not be set for Alias checks",
            ),
            (
                r#"{"Name":"x","Check":{"AliasNode":"n","TCP":"a:1","Interval":"5s"}}"#,
                "Invalid check: Interval cannot be set for Alias checks",
            ),
            (r#"{"Name":"x","Check":{"Interval":"5s"}}"#, "Invalid check: TTL must be > 0 for TTL checks"),
            (
                r#"{"Name":"x","Check":{"TTL":"10s","Status":"bogus"}}"#,
                "Status for checks must 'passing', 'warning', 'critical'",
            ),
            (
                r#"{"Name":"x","Weights":{"Passing":-1,"Warning":1}}"#,
                "Invalid Weights: Passing must be greater than 0",
            ),
            (
                r#"{"Name":"x","Weights":{"Passing":70000,"Warning":1}}"#,
                "Invalid Weights: DNS Weight must be between 0 and 65535",
            ),
            (
                r#"{"Name":"x","Meta":{"a b":"c"}}"#,
                "Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
            ),
            (
                r#"{"Name":"x","Meta":{"consul-x":"c"}}"#,
                "Invalid Service Meta: Couldn't load metadata pair ('consul-x', 'c'): Key prefix 'consul-' is reserved for internal use",
            ),
            (
                r#"{"Name":"x","Kind":"connect-proxy","Port":1}"#,
                "1 error occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
            ),
            (r#"{"Name":"x","Kind":"bogus"}"#, ""),
        ] {
            assert_eq!(refusal(body), text, "{body}");
        }
    }
}
