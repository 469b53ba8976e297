//! From a query message to its answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use cache::Cache;
use domain::base::iana::{Rcode, Rtype};
use futures::future::{BoxFuture, join_all};
use metrics::Histogram;
use model::duration::parse_go;
use model::road::Road;
use rand::seq::SliceRandom;

use crate::config::{Config, seconds};
use crate::encode::{Answer, Chase, Data, Owner, Record, Response, encode};
use crate::fetch::{Failure, Fetch};
use crate::lookup::{Lookup, Reach, lookup};
use crate::name::DnsName;
use crate::query::{Query, Reject};
use crate::records::{self, Asked};
use crate::recursor;

/// How far an alias leads to another one.
const MAX_CHASE: usize = 3;
/// Most names that one answer has looked up.
const MAX_CHASED: usize = 8;
/// Most records of another name in a service's answer without EDNS.
const MAX_CHASED_RECORDS: usize = 5;
/// The service that the servers are.
const SERVERS: &str = "consul";

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The token of queries, which have none of their own.
pub type TokenSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What answers queries.
#[derive(Clone)]
pub struct Face {
    settings: Arc<ArcSwap<Config>>,
    road: Road,
    cache: Arc<Cache>,
    token: TokenSource,
    /// Milliseconds of queries for names, and for addresses.
    domain_query: Histogram,
    ptr_query: Histogram,
}

/// One query on its way.
struct Pass<'a> {
    config: &'a Config,
    fetch: Fetch<'a>,
    transport: Transport,
    client: IpAddr,
    serial: u32,
}

impl Face {
    /// A face that asks the road, or the cache over it. The settings may be replaced at any time.
    pub fn new(settings: Arc<ArcSwap<Config>>, road: Road, cache: Arc<Cache>, token: TokenSource) -> Self {
        let node = settings.load().node_name.clone();
        Self {
            settings,
            road,
            cache,
            token,
            domain_query: metrics::histogram!("dns.domain_query", "node" => node.clone()),
            ptr_query: metrics::histogram!("dns.ptr_query", "node" => node),
        }
    }

    /// The answer to a message; `None` if it deserves none.
    pub async fn answer(&self, message: &[u8], client: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Reject::Drop) => return None,
            Err(Reject::Answer(answer)) => return Some(answer),
        };
        let started = Instant::now();
        let config = self.settings.load_full();
        let serial = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as u32);
        let pass = Pass {
            config: &config,
            fetch: Fetch { road: &self.road, cache: &self.cache, config: &config, token: (self.token)() },
            transport,
            client: client.ip().to_canonical(),
            serial,
        };
        let asked = lookup(&config, &query.name, query.qtype);
        let metric = match asked {
            Lookup::Foreign => None,
            Lookup::Ptr(_) => Some(&self.ptr_query),
            _ => Some(&self.domain_query),
        };
        let response = match asked {
            Lookup::Foreign => None,
            asked => pass.respond(&query, asked, 0).await,
        };
        if let Some(metric) = metric {
            metric.record(started.elapsed().as_secs_f64() * 1e3);
        }
        match response {
            Some(response) => Some(encode(&config, &query, &response, transport)),
            None => pass.foreign(message, &query).await,
        }
    }
}

impl Pass<'_> {
    /// The answer to what is asked; `None` where others know better.
    fn respond<'a>(
        &'a self,
        query: &'a Query,
        asked: Lookup,
        depth: usize,
    ) -> BoxFuture<'a, Option<Response>> {
        Box::pin(async move {
            let mut response = match self.look_up(query, asked).await {
                Ok(response) => response?,
                Err(Failure::NoSuchName) => records::no_such_name(self.config, self.serial),
                Err(Failure::Broken(error)) => {
                    tracing::error!(target: "agent.dns", name = %query.name, error = %error, "rpc error");
                    Response::new(Rcode::SERVFAIL)
                }
            };
            if depth < MAX_CHASE {
                self.chase(&mut response, depth, query.edns.is_some()).await;
            }
            response.recursion_available = !self.config.recursors.is_empty();
            Some(response)
        })
    }

    async fn look_up(&self, query: &Query, asked: Lookup) -> Result<Option<Response>, Failure> {
        let config = self.config;
        let about = |dc, ttl| Asked { name: &query.name, qtype: query.qtype, dc, ttl };
        Ok(Some(match &asked {
            Lookup::Soa | Lookup::Ns => self.zone(&asked).await,
            Lookup::Transfer => Response::new(Rcode::NOTIMP),
            Lookup::Addr { ip, name } => records::addr(config, *ip, name),
            Lookup::Ptr(ip) => return Ok(self.reverse(query, *ip).await),
            Lookup::Node { .. } if !records::is_node_type(query.qtype) => Response::new(Rcode::NOERROR),
            Lookup::Node { name, dc } => {
                let node = self.fetch.node(name, dc).await?;
                records::node(config, &about(dc, seconds(config.node_ttl)), &node)
            }
            Lookup::Service { name, tag, dc, reach } => {
                let mut entries = self.fetch.service(name, tag, dc, *reach).await?;
                records::retain_healthy(&mut entries, config.only_passing);
                if entries.is_empty() {
                    return Err(Failure::NoSuchName);
                }
                entries.shuffle(&mut rand::rng());
                self.or_nothing(records::service(config, &about(dc, config.service_ttl.of(name)), &entries))
            }
            Lookup::Query { name, dc } => {
                let subnet = query.edns.and_then(|edns| edns.subnet);
                let client = subnet.map_or(self.client, |subnet| subnet.addr());
                let found = self.fetch.query(name, dc, client.to_string()).await?;
                if found.nodes.is_empty() {
                    return Err(Failure::NoSuchName);
                }
                let ttl = match found.dns.ttl.as_str() {
                    "" => config.service_ttl.of(&found.service),
                    text => parse_go(text).map_or(0, |ttl| seconds(ttl.to_std())),
                };
                // The order is the query's.
                let response = records::service(config, &about(&found.datacenter, ttl), &found.nodes);
                Response { by_subnet: true, ..self.or_nothing(response) }
            }
            Lookup::Unknown | Lookup::Foreign => return Err(Failure::NoSuchName),
        }))
    }

    /// A service that is there but not of that type: the zone's record says so.
    fn or_nothing(&self, mut response: Response) -> Response {
        if response.answers.is_empty() {
            response.authority.push(records::soa(self.config, self.serial));
        }
        response
    }

    async fn zone(&self, asked: &Lookup) -> Response {
        let mut response = Response::new(Rcode::NOERROR);
        let found = self.fetch.service(SERVERS, "", &self.config.datacenter, Reach::Direct).await;
        let mut servers = match found {
            Ok(mut servers) => {
                records::retain_healthy(&mut servers, self.config.only_passing);
                servers.shuffle(&mut rand::rng());
                records::name_servers(self.config, &servers)
            }
            Err(error) => {
                tracing::warn!(target: "agent.dns", error = ?error, "unable to get list of servers");
                Vec::new()
            }
        };
        if *asked == Lookup::Ns {
            response.answers = servers;
            return response;
        }
        response.answers.push(records::soa(self.config, self.serial).into());
        for server in &mut servers {
            response.additional.append(&mut server.extras);
        }
        response.authority.extend(servers.into_iter().map(|server| server.record));
        response
    }

    async fn reverse(&self, query: &Query, ip: Option<IpAddr>) -> Option<Response> {
        let ip = ip?;
        let text = ip.to_string();
        let same = |address: &str| address == text || address.parse() == Ok(ip);
        let mut answers: Vec<Answer> = Vec::new();
        match self.fetch.nodes().await {
            Ok(found) => {
                let node = found.nodes.iter().find(|node| same(&node.address));
                answers.extend(node.and_then(|node| records::ptr_node(self.config, node)));
            }
            Err(error) => {
                tracing::error!(target: "agent.dns", error = ?error, "reverse lookup of nodes failed")
            }
        }
        if answers.is_empty() {
            match self.fetch.at_address(text).await {
                Ok(found) => {
                    for service in &found.service_nodes {
                        let answer = records::ptr_service(self.config, &service.service_name);
                        answers.extend(answer.filter(|answer| !answers.contains(answer)));
                    }
                }
                Err(error) => {
                    tracing::error!(target: "agent.dns", error = ?error, "reverse lookup of services failed");
                }
            }
        }
        if answers.is_empty() {
            return None;
        }
        // The name is the answer, whatever type is asked; the zone's record is added for those who ask for it.
        let authority =
            if query.qtype == Rtype::SOA { vec![records::soa(self.config, self.serial)] } else { Vec::new() };
        Some(Response { answers, authority, ..Response::new(Rcode::NOERROR) })
    }

    /// What is not ours: asked of the recursors, if there are any.
    async fn foreign(&self, message: &[u8], query: &Query) -> Option<Vec<u8>> {
        let failure = |rcode, available| {
            let mut response = Response::new(rcode);
            response.authoritative = false;
            response.recursion_available = available;
            response
        };
        if !self.config.recursors.is_empty() {
            let found = recursor::forward(
                &self.config.recursors,
                self.config.recursor_timeout,
                message,
                self.transport,
            );
            if let Some(answer) = found.await {
                return Some(answer);
            }
            tracing::error!(target: "agent.dns", name = %query.name, "all resolvers failed");
            return Some(encode(self.config, query, &failure(Rcode::SERVFAIL, true), self.transport));
        }
        // As the reference: reverse names are taken for resolvable even when nobody can be asked.
        if matches!(lookup(self.config, &query.name, query.qtype), Lookup::Ptr(_)) {
            return Some(encode(self.config, query, &failure(Rcode::SERVFAIL, true), self.transport));
        }
        let plain = Query { edns: None, ..query.clone() };
        Some(encode(self.config, &plain, &failure(Rcode::REFUSED, false), self.transport))
    }

    /// Finds the addresses of the names that answers point to.
    async fn chase(&self, response: &mut Response, depth: usize, edns: bool) {
        let wanted: Vec<(usize, Chase, DnsName)> = response
            .answers
            .iter()
            .enumerate()
            .filter_map(|(at, answer)| match (&answer.record.data, answer.chase) {
                (Data::Cname(name) | Data::Srv { target: name, .. }, Some(chase)) => {
                    Some((at, chase, name.clone()))
                }
                _ => None,
            })
            .take(MAX_CHASED)
            .collect();
        if wanted.is_empty() {
            return;
        }
        let found = join_all(wanted.iter().map(|(_, _, name)| self.resolve(name, depth + 1))).await;
        // From the end, so that the places of the others stay right.
        for ((at, chase, _), mut records) in wanted.into_iter().zip(found).rev() {
            if let Chase::Ttl(ttl) = chase {
                records.retain(|record| matches!(record.data, Data::A(_) | Data::Aaaa(_) | Data::Cname(_)));
                records.truncate(if edns { usize::MAX } else { MAX_CHASED_RECORDS });
                records.iter_mut().for_each(|record| record.ttl = ttl);
            }
            match &mut response.answers[at] {
                Answer { record: Record { data: Data::Srv { .. }, .. }, extras, .. } => {
                    extras.extend(records)
                }
                _ => {
                    response.answers.splice(at + 1..at + 1, records.into_iter().map(Answer::from));
                }
            }
        }
    }

    /// What is known of a name: addresses, the aliases on the way to them, and of our own nodes the metadata.
    async fn resolve(&self, name: &DnsName, depth: usize) -> Vec<Record> {
        let asked = lookup(self.config, name, Rtype::ANY);
        if asked == Lookup::Foreign {
            let timeout: Duration = self.config.recursor_timeout;
            return recursor::addresses(&self.config.recursors, timeout, name).await;
        }
        let query = Query {
            id: 0,
            rd: true,
            cd: false,
            name: name.clone(),
            qtype: Rtype::ANY,
            qclass: domain::base::iana::Class::IN,
            edns: None,
        };
        let found = self.respond(&query, asked, depth).await;
        found
            .into_iter()
            .flat_map(|response| response.answers)
            .map(|answer| answer.record)
            .map(|mut record| {
                if record.owner == Owner::Question {
                    record.owner = Owner::Name(name.clone());
                }
                record
            })
            .collect()
    }
}
