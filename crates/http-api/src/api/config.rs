//! The settings of the face.

use std::net::IpAddr;
use std::time::Duration;

/// What the configuration says about the HTTP face. One immutable value; a reload brings another.
#[derive(Clone, Debug)]
pub struct FaceConfig {
    /// Largest value of `PUT /v1/kv/`, bytes. Default 512 KiB.
    pub kv_max_value_size: u64,
    /// Largest body of `PUT /v1/txn`, bytes. Default 512 KiB; `0` means `kv_max_value_size`.
    pub txn_max_req_len: u64,
    /// Headers added to every answer.
    pub response_headers: Vec<(String, String)>,
    /// Path prefixes that are refused with 403.
    pub block_endpoints: Vec<String>,
    /// Networks (address, prefix length) whose clients may write; empty allows all.
    pub allow_write_http_from: Vec<(IpAddr, u8)>,
    /// `allow` or `deny`: the X-Consul-Default-Acl-Policy header.
    pub acl_default_policy: String,
    /// Whether ACLs are on.
    pub acls_enabled: bool,
    /// Serves `/debug/pprof`.
    pub enable_debug: bool,
    /// Serves the web interface.
    pub ui_enabled: bool,
    /// Where the web interface is, with slashes at both ends. Default `/ui/`.
    pub ui_content_path: String,
    /// Longest wait of a blocking query. Default 600 s.
    pub max_query_time: Duration,
    /// The wait of a blocking query that names none. Default 300 s.
    pub default_query_time: Duration,
    /// Rewrites the addresses of other datacenters' nodes and services to their WAN addresses.
    pub translate_wan_addrs: bool,
    /// Connections per client address; `0` is no limit. Default 200.
    pub max_conns_per_client: usize,
    /// Whether `?cached` is honoured. Default true.
    pub use_cache: bool,
    /// Discovery reads are answered stale up to this age. Default zero: off.
    pub discovery_max_stale: Duration,
    /// Paths may hold characters that cannot be printed.
    pub unprintable_paths: bool,
    /// Largest request head, bytes. `0` is the default of 1 MiB.
    pub max_header_bytes: usize,
    /// Times of requests are also given under the name of older versions. Default true.
    pub older_metrics: bool,
    /// Whether Connect is on.
    pub connect_enabled: bool,
    /// Largest JSON body of the other writing endpoints, bytes. Default 8 MiB.
    pub max_json_body: usize,
}

impl Default for FaceConfig {
    fn default() -> Self {
        Self {
            kv_max_value_size: 512 * 1024,
            txn_max_req_len: 512 * 1024,
            response_headers: Vec::new(),
            block_endpoints: Vec::new(),
            allow_write_http_from: Vec::new(),
            acl_default_policy: "allow".to_owned(),
            acls_enabled: false,
            enable_debug: false,
            ui_enabled: false,
            ui_content_path: "/ui/".to_owned(),
            max_query_time: Duration::from_secs(600),
            default_query_time: Duration::from_secs(300),
            translate_wan_addrs: false,
            max_conns_per_client: 200,
            use_cache: true,
            discovery_max_stale: Duration::ZERO,
            unprintable_paths: false,
            max_header_bytes: 0,
            older_metrics: true,
            connect_enabled: false,
            max_json_body: 8 * 1024 * 1024,
        }
    }
}
