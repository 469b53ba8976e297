//! From what the catalog says to records.

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::base::iana::{Rcode, Rtype};
use hashbrown::HashSet;
use model::catalog::{Node, NodeService};
use model::health::{CheckServiceNode, HealthCheck};

use crate::config::{Config, seconds};
use crate::encode::{Answer, Chase, Data, Owner, Record, Response};
use crate::name::{DnsName, join, parse_name};

/// Most name servers that are told.
const MAX_NAME_SERVERS: usize = 3;
/// Metadata with this key prefix is told without its key.
const PLAIN_META: &str = "rfc1035-";
/// Weight of an instance that says nothing, by its state.
const DEFAULT_WEIGHT: i64 = 1;

const PASSING: &str = "passing";
const WARNING: &str = "warning";
const CRITICAL: &str = "critical";

/// What an answer depends on besides the catalog.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The name, to notice what points to itself.
    pub name: &'a DnsName,
    /// The type.
    pub qtype: Rtype,
    /// Where the things are from.
    pub dc: &'a str,
    /// Seconds the answer may be kept.
    pub ttl: u32,
}

/// The zone's own record.
pub fn soa(config: &Config, serial: u32) -> Record {
    let of_zone = |label| join(&[label], Some(&config.domain)).unwrap_or_else(|| config.domain.clone());
    Record {
        owner: Owner::Name(config.domain.clone()),
        ttl: config.soa.min_ttl,
        data: Data::Soa { mname: of_zone("ns"), rname: of_zone("hostmaster"), serial, timers: config.soa },
    }
}

/// There is no such name.
pub fn no_such_name(config: &Config, serial: u32) -> Response {
    Response { authority: vec![soa(config, serial)], ..Response::new(Rcode::NXDOMAIN) }
}

/// The zone's name servers with their addresses: at most three of the servers given.
pub fn name_servers(config: &Config, servers: &[CheckServiceNode]) -> Vec<Answer> {
    let ttl = seconds(config.node_ttl);
    let mut answers = Vec::new();
    let mut seen = HashSet::new();
    for entry in servers {
        if answers.len() == MAX_NAME_SERVERS || !seen.insert(&entry.node.node) {
            continue;
        }
        let node = entry.node.node.to_ascii_lowercase();
        // A name server's name must be a host name (RFC 1123 section 2.1).
        if !node.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            tracing::warn!(target: "agent.dns", node = %node, "not a host name; this server is not told as a name server");
            continue;
        }
        let Some(name) = node_name(config, &node, &config.datacenter) else { continue };
        let extras = entry.node.address.parse().ok().map(|ip| address(Owner::Name(name.clone()), ttl, ip));
        let record = Record { owner: Owner::Name(config.domain.clone()), ttl, data: Data::Ns(name) };
        answers.push(Answer { record, extras: extras.into_iter().collect(), chase: None });
    }
    answers
}

/// An address written as a name. It has its type whatever type is asked, and a name below the main zone
/// whatever zone was asked.
pub fn addr(config: &Config, ip: Option<IpAddr>, name: &str) -> Response {
    let owner = join(&[name], Some(&config.domain)).map_or(Owner::Question, Owner::Name);
    let answers = ip.map(|ip| address(owner, seconds(config.node_ttl), ip).into());
    Response { answers: answers.into_iter().collect(), ..Response::new(Rcode::NOERROR) }
}

/// Whether a node is looked at for the type at all.
pub fn is_node_type(qtype: Rtype) -> bool {
    matches!(qtype, Rtype::A | Rtype::AAAA | Rtype::TXT | Rtype::ANY)
}

/// A node's addresses and metadata.
pub fn node(config: &Config, asked: &Asked<'_>, node: &Node) -> Response {
    let mut response = Response::new(Rcode::NOERROR);
    if asked.qtype != Rtype::TXT {
        let text = translated(config, asked, &node.address, wan_text(node), &node.tagged_addresses, |a| a);
        response.answers.extend(match text.parse::<IpAddr>() {
            Ok(ip) => fits(asked.qtype, ip).then(|| address(Owner::Question, asked.ttl, ip).into()),
            Err(_) => cname(&node.address, asked.ttl, Chase::KeepTtl),
        });
    }
    let meta = meta(&Owner::Question, asked.ttl, node);
    if matches!(asked.qtype, Rtype::TXT | Rtype::ANY) {
        response.answers.extend(meta.map(Answer::from));
    } else if config.node_meta_txt {
        response.additional.extend(meta);
    }
    response
}

/// Leaves out what is critical, and with `only_passing` everything that does not pass.
pub fn retain_healthy(entries: &mut Vec<CheckServiceNode>, only_passing: bool) {
    entries.retain(|entry| {
        entry.checks.iter().all(
            |check| {
                if only_passing { check.status == PASSING } else { check.status != CRITICAL }
            },
        )
    });
}

/// The instances of a service, in the order given.
pub fn service(config: &Config, asked: &Asked<'_>, entries: &[CheckServiceNode]) -> Response {
    let answers = if asked.qtype == Rtype::SRV {
        srv(config, asked, entries)
    } else {
        addresses(config, asked, entries)
    };
    Response { answers, ..Response::new(Rcode::NOERROR) }
}

/// The name of somebody's node.
pub fn ptr_node(config: &Config, node: &Node) -> Option<Answer> {
    node_name(config, &node.node, &config.datacenter).map(ptr)
}

/// The name of somebody's service.
pub fn ptr_service(config: &Config, service: &str) -> Option<Answer> {
    join(&[service, "service", &config.datacenter], Some(&config.domain)).map(ptr)
}

fn ptr(name: DnsName) -> Answer {
    Record { owner: Owner::Question, ttl: 0, data: Data::Ptr(name) }.into()
}

/// Where an instance is reached.
enum Place<'a> {
    /// At its node's own address.
    Node(IpAddr),
    /// At an address of its own.
    Ip(IpAddr),
    /// At a name.
    Name(&'a str),
}

fn place<'a>(config: &Config, asked: &Asked<'_>, entry: &'a CheckServiceNode) -> Option<Place<'a>> {
    let (node, service) = (&entry.node, &entry.service);
    let of_service = translated(
        config,
        asked,
        &service.address,
        service.tagged_addresses.get("wan").map(|wan| wan.address.as_str()),
        &service.tagged_addresses,
        |tagged| &tagged.address,
    );
    let of_node = || translated(config, asked, &node.address, wan_text(node), &node.tagged_addresses, |a| a);
    if of_service.is_empty() {
        let of_node = of_node();
        return match of_node.parse() {
            // A node's name stands for its LAN address, so another one needs a name of its own.
            Ok(ip) if foreign(config, asked) && of_node != node.address => Some(Place::Ip(ip)),
            Ok(ip) => Some(Place::Node(ip)),
            Err(_) if of_node.is_empty() => None,
            Err(_) => Some(Place::Name(of_node)),
        };
    }
    match of_service.parse() {
        Ok(ip) => Some(Place::Ip(ip)),
        // What points to itself is at its node.
        Err(_) if parse_name(of_service).is_ok_and(|name| name == *asked.name) => {
            of_node().parse().ok().map(Place::Node)
        }
        Err(_) => Some(Place::Name(of_service)),
    }
}

/// The port, which may be another one from outside.
fn port(config: &Config, asked: &Asked<'_>, service: &NodeService) -> u16 {
    let wan = service.tagged_addresses.get("wan").filter(|wan| foreign(config, asked) && wan.port != 0);
    u16::try_from(wan.map_or(service.port, |wan| wan.port)).unwrap_or(0)
}

fn addresses(config: &Config, asked: &Asked<'_>, entries: &[CheckServiceNode]) -> Vec<Answer> {
    let limit = if config.a_record_limit == 0 { usize::MAX } else { config.a_record_limit };
    let mut answers = Vec::with_capacity(entries.len().min(limit));
    let mut seen = HashSet::with_capacity(entries.len());
    let mut alias = None;
    for entry in entries {
        if answers.len() == limit {
            break;
        }
        match place(config, asked, entry) {
            Some(Place::Node(ip) | Place::Ip(ip)) => {
                if seen.insert(ip) && fits_service(asked.qtype, ip) {
                    answers.push(address(Owner::Question, asked.ttl, ip).into());
                }
            }
            // A name can have one alias only, and nothing beside it (RFC 1034 section 3.6.2).
            Some(Place::Name(name)) if alias.is_none() => {
                alias = cname(name, asked.ttl, Chase::Ttl(asked.ttl));
            }
            Some(Place::Name(_)) | None => {}
        }
    }
    if answers.is_empty() {
        answers.extend(alias);
    }
    answers
}

fn srv(config: &Config, asked: &Asked<'_>, entries: &[CheckServiceNode]) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(entries.len());
    let mut seen = HashSet::with_capacity(entries.len());
    // Extras stand beside the first answer that needs them.
    let mut with_extras = HashSet::with_capacity(entries.len());
    let mut described = HashSet::new();
    for entry in entries {
        let (node, service) = (&entry.node, &entry.service);
        let port = port(config, asked, service);
        if !seen.insert((&node.node, &service.address, port)) {
            continue;
        }
        let mut chase = None;
        let mut extras = Vec::new();
        let Some(place) = place(config, asked, entry) else { continue };
        // What the target's name is made of.
        let made_of = match place {
            Place::Node(_) => (Some(node.node.as_str()), None, None),
            Place::Ip(ip) => (None, Some(ip), None),
            Place::Name(name) => (None, None, Some(name)),
        };
        let target = match place {
            Place::Node(ip) => node_name(config, &node.node, asked.dc)
                .inspect(|target| extras.push(address(Owner::Name(target.clone()), asked.ttl, ip))),
            Place::Ip(ip) => join(&[&hex(ip), "addr", asked.dc], Some(&config.domain))
                .inspect(|target| extras.push(address(Owner::Name(target.clone()), asked.ttl, ip))),
            Place::Name(name) => {
                chase = Some(Chase::Ttl(asked.ttl));
                parse_name(name).ok()
            }
        };
        let Some(target) = target else { continue };
        if entries.len() > 1 && !with_extras.insert(made_of) {
            extras.clear();
            chase = None;
        }
        // A node is told about also where the answer points to an address or a name instead of it.
        if config.node_meta_txt
            && !node.meta.is_empty()
            && described.insert(&node.node)
            && let Some(owner) = node_name(config, &node.node, asked.dc)
        {
            extras.extend(meta(&Owner::Name(owner), asked.ttl, node));
        }
        let data = Data::Srv { weight: weight(service, &entry.checks), port, target };
        let record = Record { owner: Owner::Question, ttl: asked.ttl, data };
        answers.push(Answer { record, extras, chase });
    }
    answers
}

/// The weight for the worst state of an instance's checks.
fn weight(service: &NodeService, checks: &[std::sync::Arc<HealthCheck>]) -> u16 {
    let warns = checks.iter().any(|check| check.status == WARNING);
    let weight = match &service.weights {
        Some(weights) if warns => weights.warning,
        Some(weights) => weights.passing,
        None => DEFAULT_WEIGHT,
    };
    u16::try_from(weight.max(0)).unwrap_or(u16::MAX)
}

fn address(owner: Owner, ttl: u32, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => Data::A(ip),
        IpAddr::V6(ip) => Data::Aaaa(ip),
    };
    Record { owner, ttl, data }
}

fn cname(target: &str, ttl: u32, chase: Chase) -> Option<Answer> {
    let name = parse_name(target).ok().filter(|name| !name.is_root())?;
    let record = Record { owner: Owner::Question, ttl, data: Data::Cname(name) };
    Some(Answer { record, extras: Vec::new(), chase: Some(chase) })
}

fn fits(qtype: Rtype, ip: IpAddr) -> bool {
    qtype == Rtype::ANY || qtype == if ip.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

/// Addresses of a service also answer TXT, as the reference has it.
fn fits_service(qtype: Rtype, ip: IpAddr) -> bool {
    qtype == Rtype::TXT || fits(qtype, ip)
}

fn node_name(config: &Config, node: &str, dc: &str) -> Option<DnsName> {
    join(&[node, "node", dc], Some(&config.domain))
}

fn hex(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:08x}", u32::from(ip)),
        IpAddr::V6(ip) => format!("{:032x}", u128::from(ip)),
    }
}

/// Whether things are shown as seen from outside.
fn foreign(config: &Config, asked: &Asked<'_>) -> bool {
    config.translate_wan_addrs && asked.dc != config.datacenter
}

fn wan_text(node: &Node) -> Option<&str> {
    node.tagged_addresses.get("wan").map(String::as_str)
}

/// The address to show: the WAN one from outside, and where A or AAAA is asked, the tagged one of that
/// family if the usual one is of the other.
fn translated<'a, T>(
    config: &Config,
    asked: &Asked<'_>,
    own: &'a str,
    wan: Option<&'a str>,
    tagged: &'a BTreeMap<String, T>,
    text: impl Fn(&'a T) -> &'a str,
) -> &'a str {
    let foreign = foreign(config, asked);
    let usual = wan.filter(|wan| foreign && !wan.is_empty()).unwrap_or(own);
    let (want_v4, tag) = match (asked.qtype, foreign) {
        (Rtype::A, false) => (true, "lan_ipv4"),
        (Rtype::A, true) => (true, "wan_ipv4"),
        (Rtype::AAAA, false) => (false, "lan_ipv6"),
        (Rtype::AAAA, true) => (false, "wan_ipv6"),
        _ => return usual,
    };
    match (tagged.get(tag).map(text), usual.parse::<IpAddr>()) {
        (Some(other), Ok(ip)) if ip.is_ipv4() != want_v4 && !other.is_empty() => other,
        _ => usual,
    }
}

/// A node's metadata as texts: `key=value` as RFC 1464 writes it, or the value alone.
fn meta<'a>(owner: &'a Owner, ttl: u32, node: &'a Node) -> impl Iterator<Item = Record> + 'a {
    node.meta.iter().map(move |(key, value)| {
        let text = match key.get(..PLAIN_META.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PLAIN_META) => value.clone(),
            _ => rfc1464(key, value),
        };
        Record { owner: owner.clone(), ttl, data: Data::Txt(text) }
    })
}

/// `key=value`, the key's special characters quoted by a backquote: `=`, the backquote itself, and
/// white space at either end.
fn rfc1464(key: &str, value: &str) -> String {
    let white = [' ', '\t'];
    let start = key.len() - key.trim_start_matches(white).len();
    let end = key.trim_end_matches(white).len();
    let mut text = String::with_capacity(key.len() + value.len() + 1);
    for (at, c) in key.char_indices() {
        if matches!(c, '=' | '`') || (white.contains(&c) && (at < start || at >= end)) {
            text.push('`');
        }
        text.push(c);
    }
    text.push('=');
    text.push_str(value);
    text
}
