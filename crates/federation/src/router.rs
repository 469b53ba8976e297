//! From a datacenter's name to the servers to try, best first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::seq::SliceRandom;

use crate::breaker::{Admission, Breaker, BreakerConfig};

/// Servers whose round-trip times differ by no more than this share the load.
const NEAR_ENOUGH: Duration = Duration::from_millis(2);
/// How much of a new measurement enters the smoothed round-trip time: one part in this many.
const SMOOTHING: u32 = 8;

/// Bounds of a router.
#[derive(Clone, Copy, Debug)]
pub struct RouterConfig {
    /// Requests in flight to one datacenter.
    pub max_in_flight: usize,
    /// How long a server that failed a call is tried only after the others.
    pub penalty: Duration,
    /// The breaker of each datacenter.
    pub breaker: BreakerConfig,
}

impl Default for RouterConfig {
    /// 4,096 requests in flight, five seconds behind the others after a failure.
    fn default() -> Self {
        Self { max_in_flight: 4096, penalty: Duration::from_secs(5), breaker: BreakerConfig::default() }
    }
}

/// A server of a datacenter, as WAN gossip tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerInfo {
    /// Name in the WAN pool, `node.datacenter`.
    pub name: String,
    /// Its datacenter.
    pub datacenter: String,
    /// RPC address.
    pub address: SocketAddr,
    /// Whether it wants TLS.
    pub use_tls: bool,
}

#[derive(Debug)]
struct Server {
    info: ServerInfo,
    /// WAN gossip has it as failed.
    failed: bool,
    /// A call failed lately: behind the others until then.
    penalty_until: Option<Duration>,
    /// Smoothed time of calls, or the estimate from coordinates before the first.
    round_trip: Option<Duration>,
}

#[derive(Debug)]
struct Datacenter {
    servers: Vec<Server>,
    breaker: Breaker,
    in_flight: usize,
    /// Why the last call failed, for those that the breaker refuses.
    last_failure: String,
}

/// Why no server can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The datacenter is unknown, or all its servers have left.
    #[error("No path to datacenter")]
    NoPath,
    /// Calls failed too often of late; the text is the last reason.
    #[error("{0}")]
    Open(String),
    /// Too many requests wait for the datacenter already.
    #[error(
        "Remote DC has no server currently reachable: {in_flight} requests to datacenter {datacenter:?} are in flight already"
    )]
    Busy {
        /// The datacenter.
        datacenter: String,
        /// How many wait.
        in_flight: usize,
    },
}

/// Leave for one call; give it back with [`Router::finish`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket {
    datacenter: String,
    trial: bool,
    /// The servers to try, best first; never empty.
    pub servers: Vec<ServerInfo>,
}

impl Ticket {
    /// The datacenter asked.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// Whether the call is the one that finds out if the datacenter is back.
    pub fn is_trial(&self) -> bool {
        self.trial
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server answered (an error of the method counts: the server works).
    Answered,
    /// No server tried could be reached in time, for this reason.
    Failed(String),
    /// The caller went away first.
    Abandoned,
}

/// The map from datacenter to servers. Times are durations since any fixed point.
#[derive(Debug)]
pub struct Router {
    local: String,
    config: RouterConfig,
    datacenters: BTreeMap<String, Datacenter>,
}

impl Router {
    /// A router that knows its own datacenter only.
    pub fn new(local: &str, config: RouterConfig) -> Self {
        Self { local: local.to_owned(), config, datacenters: BTreeMap::new() }
    }

    /// A server joined or changed; it counts as alive.
    pub fn upsert(&mut self, info: ServerInfo) {
        let config = self.config.breaker;
        let datacenter = self.datacenters.entry(info.datacenter.clone()).or_insert_with(|| Datacenter {
            servers: Vec::new(),
            breaker: Breaker::new(config),
            in_flight: 0,
            last_failure: String::new(),
        });
        match datacenter.servers.iter_mut().find(|server| server.info.name == info.name) {
            Some(server) => {
                if server.failed || server.info.address != info.address {
                    // It came back: what was held against it and its datacenter is out of date.
                    server.penalty_until = None;
                    datacenter.breaker.succeeded();
                }
                server.failed = false;
                server.info = info;
            }
            None => {
                datacenter.breaker.succeeded();
                datacenter.servers.push(Server {
                    info,
                    failed: false,
                    penalty_until: None,
                    round_trip: None,
                });
            }
        }
    }

    /// WAN gossip holds the server for failed. It stays known, and is tried last.
    pub fn failed(&mut self, name: &str) {
        if let Some(server) = self.server_mut(name) {
            server.failed = true;
        }
    }

    /// The server left or was reaped. A datacenter without servers is forgotten.
    pub fn remove(&mut self, name: &str) {
        for datacenter in self.datacenters.values_mut() {
            datacenter.servers.retain(|server| server.info.name != name);
        }
        self.datacenters.retain(|_, datacenter| !datacenter.servers.is_empty());
    }

    /// The round-trip time that coordinates estimate; used until a call has been timed.
    pub fn estimate(&mut self, name: &str, round_trip: Duration) {
        if let Some(server) = self.server_mut(name) {
            server.round_trip.get_or_insert(round_trip);
        }
    }

    /// All known datacenters with servers, by name; the own one is always among them.
    pub fn datacenters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.datacenters.keys().map(String::as_str).collect();
        if !self.datacenters.contains_key(&self.local) {
            names.push(&self.local);
            names.sort_unstable();
        }
        names
    }

    /// The servers of a datacenter with whether gossip holds them for failed.
    pub fn servers(&self, datacenter: &str) -> impl Iterator<Item = (&ServerInfo, bool)> {
        self.datacenters
            .get(datacenter)
            .into_iter()
            .flat_map(|datacenter| datacenter.servers.iter().map(|server| (&server.info, server.failed)))
    }

    /// Asks for leave to call a datacenter.
    pub fn route(
        &mut self,
        datacenter: &str,
        now: Duration,
        rng: &mut impl rand::Rng,
    ) -> Result<Ticket, RouteError> {
        let max_in_flight = self.config.max_in_flight;
        let entry = self.datacenters.get_mut(datacenter).ok_or(RouteError::NoPath)?;
        if entry.in_flight >= max_in_flight {
            return Err(RouteError::Busy { datacenter: datacenter.to_owned(), in_flight: entry.in_flight });
        }
        let trial = match entry.breaker.admit(now) {
            Admission::Pass => false,
            Admission::Trial => true,
            Admission::Refused => return Err(RouteError::Open(entry.last_failure.clone())),
        };
        entry.in_flight += 1;
        Ok(Ticket { datacenter: datacenter.to_owned(), trial, servers: entry.order(now, rng) })
    }

    /// A server answered within `took`. `held` calls (blocking queries) say nothing of the distance.
    pub fn answered(&mut self, name: &str, took: Option<Duration>) {
        if let Some(server) = self.server_mut(name) {
            server.penalty_until = None;
            if let Some(took) = took {
                server.round_trip = Some(match server.round_trip {
                    Some(old) => (old * (SMOOTHING - 1) + took) / SMOOTHING,
                    None => took,
                });
            }
        }
    }

    /// A server could not be reached or did not answer in time.
    pub fn unanswered(&mut self, name: &str, now: Duration) {
        let until = now + self.config.penalty;
        if let Some(server) = self.server_mut(name) {
            server.penalty_until = Some(until);
        }
    }

    /// Gives the leave back.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) {
        let Some(datacenter) = self.datacenters.get_mut(&ticket.datacenter) else { return };
        datacenter.in_flight = datacenter.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Answered => datacenter.breaker.succeeded(),
            Outcome::Failed(reason) => {
                datacenter.last_failure = reason;
                datacenter.breaker.failed(now);
            }
            Outcome::Abandoned if ticket.trial => datacenter.breaker.abandoned(now),
            Outcome::Abandoned => {}
        }
    }

    fn server_mut(&mut self, name: &str) -> Option<&mut Server> {
        self.datacenters
            .values_mut()
            .flat_map(|datacenter| &mut datacenter.servers)
            .find(|server| server.info.name == name)
    }
}

impl Datacenter {
    /// Alive before penalised before failed; the nearest first, those about as near in random order.
    fn order(&self, now: Duration, rng: &mut impl rand::Rng) -> Vec<ServerInfo> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.shuffle(rng);
        let nearest = servers.iter().filter_map(|server| server.round_trip).min().unwrap_or_default();
        servers.sort_by_key(|server| {
            let penalised = server.penalty_until.is_some_and(|until| now < until);
            let distance = server.round_trip.unwrap_or(nearest);
            let near = distance <= nearest + NEAR_ENOUGH;
            (server.failed, penalised, if near { Duration::ZERO } else { distance })
        });
        servers.into_iter().map(|server| server.info.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const SECOND: Duration = Duration::from_secs(1);

    fn info(name: &str, datacenter: &str) -> ServerInfo {
        ServerInfo {
            name: format!("{name}.{datacenter}"),
            datacenter: datacenter.to_owned(),
            address: "127.0.2.1:8300".parse().unwrap(),
            use_tls: false,
        }
    }

    fn router() -> (Router, SmallRng) {
        let mut router = Router::new("dc1", RouterConfig::default());
        for name in ["s1", "s2", "s3"] {
            router.upsert(info(name, "dc2"));
        }
        (router, SmallRng::seed_from_u64(7))
    }

    fn names(router: &mut Router, now: Duration, rng: &mut SmallRng) -> Vec<String> {
        let ticket = router.route("dc2", now, rng).unwrap();
        let names = ticket.servers.iter().map(|server| server.name.clone()).collect();
        router.finish(ticket, Outcome::Abandoned, now);
        names
    }

    #[test]
    fn unknown_and_left_datacenters_have_no_path() {
        let (mut router, mut rng) = router();
        assert_eq!(router.route("dc3", SECOND, &mut rng), Err(RouteError::NoPath));
        for name in ["s1.dc2", "s2.dc2", "s3.dc2"] {
            router.remove(name);
        }
        assert_eq!(router.route("dc2", SECOND, &mut rng), Err(RouteError::NoPath));
        assert_eq!(router.datacenters(), ["dc1"]);
    }

    #[test]
    fn failed_and_penalised_servers_come_last() {
        let (mut router, mut rng) = router();
        router.failed("s1.dc2");
        router.unanswered("s2.dc2", SECOND);
        assert_eq!(names(&mut router, SECOND, &mut rng), ["s3.dc2", "s2.dc2", "s1.dc2"]);
        router.upsert(info("s1", "dc2"));
        assert_eq!(names(&mut router, SECOND, &mut rng).last().unwrap(), "s2.dc2");
    }

    #[test]
    fn load_is_spread_over_the_near_and_kept_from_the_far() {
        let (mut router, mut rng) = router();
        router.answered("s1.dc2", Some(Duration::from_millis(1)));
        router.answered("s2.dc2", Some(Duration::from_millis(2)));
        router.answered("s3.dc2", Some(Duration::from_millis(90)));
        let mut first = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..100 {
            let order = names(&mut router, SECOND, &mut rng);
            assert_eq!(order[2], "s3.dc2");
            *first.entry(order[0].clone()).or_default() += 1;
        }
        assert!(first["s1.dc2"] > 20 && first["s2.dc2"] > 20, "{first:?}");
    }

    #[test]
    fn failures_open_the_breaker_and_a_trial_closes_it() {
        let (mut router, mut rng) = router();
        for _ in 0..3 {
            let ticket = router.route("dc2", SECOND, &mut rng).unwrap();
            router.finish(ticket, Outcome::Failed("dial tcp: refused".into()), SECOND);
        }
        assert_eq!(router.route("dc2", SECOND, &mut rng), Err(RouteError::Open("dial tcp: refused".into())));
        let ticket = router.route("dc2", SECOND * 2, &mut rng).unwrap();
        router.finish(ticket, Outcome::Answered, SECOND * 2);
        let ticket = router.route("dc2", SECOND * 2, &mut rng).unwrap();
        router.finish(ticket, Outcome::Answered, SECOND * 2);
    }

    #[test]
    fn requests_in_flight_are_bounded_for_each_datacenter() {
        let config = RouterConfig { max_in_flight: 1, ..RouterConfig::default() };
        let mut router = Router::new("dc1", config);
        router.upsert(info("s1", "dc2"));
        router.upsert(info("s1", "dc3"));
        let mut rng = SmallRng::seed_from_u64(7);
        let ticket = router.route("dc2", SECOND, &mut rng).unwrap();
        assert!(matches!(router.route("dc2", SECOND, &mut rng), Err(RouteError::Busy { .. })));
        let other = router.route("dc3", SECOND, &mut rng).unwrap();
        router.finish(other, Outcome::Answered, SECOND);
        router.finish(ticket, Outcome::Answered, SECOND);
        let again = router.route("dc2", SECOND, &mut rng).unwrap();
        router.finish(again, Outcome::Answered, SECOND);
    }
}
