//! From a request to an answer: path, route, parameters, body, reply.

pub mod body;
pub mod call;
pub mod headers;
mod meters;
mod namespaces;
pub mod numbers;
pub mod options;
pub mod params;
pub mod path;
pub mod reply;
pub mod route;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use model::encoded::EncodedAnswers;
use model::road::Road;

use crate::api::agent::AgentApi;
use crate::api::config::FaceConfig;
use crate::api::snapshot::SnapshotPort;
use body::{ReplyBody, RequestBody};
use cache::Cache;
use call::Call;
use headers::Headers;
use meters::{Meter, Meters};
use params::Params;
use reply::Reply;
use route::{Answer, Found, Verb};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address.
    Ip(IpAddr),
    /// Over a unix socket.
    Unix,
}

/// The whole HTTP face of an agent.
pub struct Face {
    /// The agent itself.
    pub agent: Arc<dyn AgentApi>,
    /// Calls to the servers.
    pub road: Road,
    /// Snapshot streams.
    pub snapshots: Arc<dyn SnapshotPort>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) encoded: EncodedAnswers,
    meters: Meters,
}

impl Face {
    /// A face over an agent and its road.
    pub fn new(
        agent: Arc<dyn AgentApi>,
        road: Road,
        cache: Arc<Cache>,
        snapshots: Arc<dyn SnapshotPort>,
    ) -> Self {
        Self { agent, road, snapshots, cache, encoded: EncodedAnswers::default(), meters: Meters::default() }
    }

    /// Answers one request.
    ///
    /// Everything up to the endpoint happens at once, so that a request that waits holds little more
    /// than what it waits for.
    pub fn answer(
        &self,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Response<ReplyBody>> + Send {
        let config = self.agent.config();
        let gzip = accepts_gzip(request.headers());
        let reply = self.begin(request, peer, &config);
        async move {
            let reply = match reply {
                Begun::Outside(reply) => reply,
                Begun::Routed { answer, pretty, meter, began } => {
                    let mut reply = match answer {
                        Ok(answer) => {
                            let answer = answer.await;
                            meter.answered(&answer);
                            answer.unwrap_or_else(Reply::from)
                        }
                        Err(reply) => reply,
                    };
                    if pretty {
                        reply.indent();
                    }
                    meter.end(began);
                    reply.common(&config.acl_default_policy, config.translate_wan_addrs);
                    reply
                }
            };
            reply.into_response(&config.response_headers, gzip)
        }
    }

    fn begin(&self, request: Request<RequestBody>, peer: Peer, config: &Arc<FaceConfig>) -> Begun<'_> {
        let (Parts { method, uri, headers, .. }, body) = request.into_parts();
        if config.max_header_bytes > 0 && head_size(&uri, &headers) > config.max_header_bytes + HEAD_SLACK {
            let text = "431 Request Header Fields Too Large";
            return Begun::Outside(
                Reply::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text).header("Connection", "close"),
            );
        }
        let Some(path) = path::decode(uri.path()) else {
            return Begun::Outside(Reply::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
        };
        if !config.unprintable_paths && !path::is_printable(&path) {
            return Begun::Outside(Reply::empty().status(StatusCode::BAD_REQUEST));
        }
        if let Some(clean) = path::clean(&path) {
            return Begun::Outside(Reply::redirect(&clean, uri.query()));
        }
        let (route, rest_at) = match route::find(&path) {
            Found::Route(route, rest_at) => (route, rest_at),
            Found::Slash => return Begun::Outside(Reply::redirect(&format!("{path}/"), uri.query())),
            Found::Nothing => return Begun::Outside(self.outside(&path, config)),
        };
        let began = Instant::now();
        let params = Params::parse(uri.query());
        let pretty = params.has("pretty");
        let verb = Verb::of(&method).unwrap_or(Verb::Get);
        let meter = self.meters.of(route.pattern, verb, self.agent.node_name(), config.older_metrics);
        let config = Arc::clone(config);
        let headers = Headers::copy(&headers);
        let call = Call { path, rest_at, verb, params, headers, body, peer, config };
        let answer = match refusal(route, &call, &method) {
            Some(reply) => Err(reply),
            None => {
                meter.begin();
                Ok((route.handler)(self, call))
            }
        };
        Begun::Routed { answer, pretty, meter, began }
    }

    /// The paths outside `/v1`.
    fn outside(&self, path: &str, config: &FaceConfig) -> Reply {
        if path == "/" {
            if config.ui_enabled {
                return Reply::redirect(&config.ui_content_path, None);
            }
            return Reply::plain(
                "Proconsul agent: the web interface is off; ui_config.enabled turns it on.\n",
            );
        }
        Reply::not_found()
    }
}

/// By how much a head may be larger than configured: what the reference reads at a time.
const HEAD_SLACK: usize = 4096;

/// Size of the head that a request came with, give or take the method.
fn head_size(uri: &http::Uri, headers: &http::HeaderMap) -> usize {
    let line = uri.path_and_query().map_or(0, |path| path.as_str().len()) + "GET  HTTP/1.1\r\n".len();
    // A colon and a blank, a carriage return and a newline.
    headers.iter().fold(line, |size, (name, value)| size + name.as_str().len() + value.len() + 4)
}

/// How far a request got before anything had to be waited for.
enum Begun<'a> {
    /// Answered, and not by the API.
    Outside(Reply),
    /// A request to the API: its endpoint, or why that is not reached.
    Routed { answer: Result<Answer<'a>, Reply>, pretty: bool, meter: Arc<Meter>, began: Instant },
}

/// Why a request does not reach its endpoint.
fn refusal(route: &route::Route, call: &Call, method: &Method) -> Option<Reply> {
    let config = &call.config;
    if config.block_endpoints.iter().any(|prefix| call.path.starts_with(prefix.as_str())) {
        return Some(Reply::text(StatusCode::FORBIDDEN, "Endpoint is blocked by agent configuration"));
    }
    if method == Method::OPTIONS {
        return Some(Reply::empty().header("Allow", &route.allow()));
    }
    let verb = Verb::of(method).filter(|verb| route.verbs.contains(verb));
    let Some(verb) = verb else {
        return Some(Reply::method_not_allowed(method.as_str(), &route.allow()));
    };
    if namespaces::are_told(route.pattern)
        && let Some(what) = namespaces::named(call)
    {
        return Some(Reply::text(
            StatusCode::BAD_REQUEST,
            format!("Bad request: Invalid {what} - Namespaces are a Consul Enterprise feature"),
        ));
    }
    if verb != Verb::Get && !may_write(config, call.peer) {
        return Some(Reply::text(StatusCode::FORBIDDEN, "Access is restricted"));
    }
    None
}

/// Whether writes are taken from this peer.
fn may_write(config: &FaceConfig, peer: Peer) -> bool {
    let Peer::Ip(address) = peer else { return true };
    config.allow_write_http_from.is_empty()
        || config.allow_write_http_from.iter().any(|(network, bits)| contains(*network, *bits, address))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(bits.into());
            shift == 32 || (network.to_bits() >> shift) == (address.to_bits() >> shift)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.saturating_sub(bits.into());
            shift == 128 || (network.to_bits() >> shift) == (address.to_bits() >> shift)
        }
        _ => false,
    }
}

fn accepts_gzip(headers: &http::HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            !refused && (name.eq_ignore_ascii_case("gzip") || name == "*")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let v4 = |text: &str| IpAddr::V4(text.parse().unwrap());
        assert!(contains(v4("127.0.0.0"), 8, v4("127.9.9.9")));
        assert!(!contains(v4("127.0.0.0"), 8, v4("10.0.0.1")));
        assert!(contains(v4("0.0.0.0"), 0, v4("10.0.0.1")));
        assert!(contains(v4("10.0.0.1"), 32, v4("10.0.0.1")));
        assert!(!contains("::1".parse().unwrap(), 128, v4("127.0.0.1")));
    }
}
