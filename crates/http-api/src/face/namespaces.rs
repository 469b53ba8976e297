//! Namespaces, which only the enterprise edition of the reference has: what keeps things by
//! namespace refuses a request that names one; other endpoints do not look.

use super::call::Call;

/// Patterns of the endpoints whose things would live in a namespace, by their beginnings.
const TOLD: &[&str] = &[
    "/v1/kv/",
    "/v1/session/",
    "/v1/catalog/",
    "/v1/health/",
    "/v1/agent/service",
    "/v1/agent/check",
    "/v1/agent/health/",
    "/v1/internal/ui/",
];
/// Those among them that are about nodes or datacenters.
const OUTSIDE: &[&str] = &["/v1/catalog/nodes", "/v1/catalog/datacenters"];

/// Whether a route looks at namespaces.
pub fn are_told(pattern: &str) -> bool {
    TOLD.iter().any(|begin| pattern.starts_with(begin)) && !OUTSIDE.contains(&pattern)
}

/// Where a request names a namespace.
pub fn named(call: &Call) -> Option<&'static str> {
    if call.headers.get("x-consul-namespace").is_some_and(|name| !name.is_empty()) {
        return Some("header: \"X-Consul-Namespace\"");
    }
    (!call.params.get("ns").is_empty()).then_some("query parameter: \"ns\"")
}
