//! Answers, and how they become messages within the limits.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Rcode};
use domain::base::message_builder::{MessageBuilder, PushError, RecordSectionBuilder};
use domain::base::opt::ClientSubnet;
use domain::base::wire::Composer;
use domain::base::{Serial, Ttl};
use domain::rdata;

use crate::compress::Compressor;
use crate::config::{Config, Soa};
use crate::face::Transport;
use crate::name::DnsName;
use crate::query::{NO_EXTENDED_ERROR, Query};

/// Most answer records over UDP without EDNS, whatever is configured.
pub const MAX_UDP_ANSWERS: usize = 8;
/// Largest datagram without EDNS, RFC 1035 section 2.3.4.
pub const MIN_UDP: usize = 512;
/// Largest datagram whatever the sender takes: a query with a forged sender shall not move more.
pub const MAX_UDP: usize = 8192;
/// Largest message over TCP, RFC 1035 section 4.2.2.
pub const MAX_TCP: usize = u16::MAX as usize;

/// Whose record it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The name asked.
    Question,
    /// Another name.
    Name(DnsName),
}

/// A record; all are of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub owner: Owner,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says, named like the types of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(DnsName),
    Ptr(DnsName),
    Ns(DnsName),
    Srv { weight: u16, port: u16, target: DnsName },
    Txt(String),
    Soa { mname: DnsName, rname: DnsName, serial: u32, timers: Soa },
}

/// A record of the answer section with the records that only make sense beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The record.
    pub record: Record,
    /// They stand in the additional section.
    pub extras: Vec<Record>,
    /// The record names a name of somebody else, whose addresses are still to be found.
    pub chase: Option<Chase>,
}

/// What becomes of the TTLs of records found for another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chase {
    /// They stay.
    KeepTtl,
    /// They get this one.
    Ttl(u32),
}

impl From<Record> for Answer {
    fn from(record: Record) -> Self {
        Self { record, extras: Vec::new(), chase: None }
    }
}

/// An answer before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its code.
    pub rcode: Rcode,
    /// It comes from who has to know.
    pub authoritative: bool,
    /// Others would be asked, too.
    pub recursion_available: bool,
    /// The answers.
    pub answers: Vec<Answer>,
    /// The zone, or its servers.
    pub authority: Vec<Record>,
    /// What goes without saying.
    pub additional: Vec<Record>,
    /// The client subnet had an influence, so the answer is good for it only.
    pub by_subnet: bool,
}

impl Response {
    /// An authoritative answer with nothing in it yet.
    pub fn new(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: true,
            recursion_available: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            by_subnet: false,
        }
    }
}

/// How much of a response is written.
#[derive(Clone, Copy)]
struct Extent {
    answers: usize,
    extras: bool,
    truncated: bool,
}

/// Writes a response. Answers that do not fit are left out from the end, with their extras; if not
/// even one fits, the answer is empty and marked as truncated.
pub fn encode(config: &Config, query: &Query, response: &Response, transport: Transport) -> Vec<u8> {
    let all = response.answers.len();
    // Who takes few answers may be behind something that writes names in full.
    let mut in_full = false;
    let (limit, most) = match transport {
        Transport::Tcp => (MAX_TCP, all),
        Transport::Udp => {
            let asked = query.edns.map_or(0, |edns| usize::from(edns.payload));
            let limit = asked.clamp(MIN_UDP, MAX_UDP);
            let few = config.udp_answer_limit.min(MAX_UDP_ANSWERS);
            in_full = limit == MIN_UDP && all > few;
            (limit, if in_full { few } else { all })
        }
    };
    let write = |answers: usize, extras: bool| {
        let truncated = config.enable_truncate && answers < all;
        let extent = Extent { answers, extras, truncated };
        if in_full && !config.disable_compression {
            fill(Vec::new(), query, response, extent, limit).ok()?;
        }
        compose(config, query, response, extent, limit)
    };
    if let Some(whole) = write(most, true) {
        return whole;
    }
    // The largest number that fits, by halving: `low` fits, `high` does not.
    let (mut low, mut high, mut best) = (0, most, None);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match write(middle, true) {
            Some(bytes) => (low, best) = (middle, Some(bytes)),
            None => high = middle,
        }
    }
    best.or_else(|| write(most.min(1), false))
        .or_else(|| {
            compose(config, query, response, Extent { answers: 0, extras: false, truncated: true }, limit)
        })
        .unwrap_or_default()
}

fn compose(
    config: &Config,
    query: &Query,
    response: &Response,
    extent: Extent,
    limit: usize,
) -> Option<Vec<u8>> {
    // A record has at most a few dozen bytes, mostly.
    let target = Vec::with_capacity(limit.min(128 + 64 * extent.answers));
    if config.disable_compression {
        fill(target, query, response, extent, limit).ok()
    } else {
        fill(Compressor::new(target), query, response, extent, limit).map(Compressor::into_message).ok()
    }
}

fn fill<T: Composer>(
    target: T,
    query: &Query,
    response: &Response,
    extent: Extent,
    limit: usize,
) -> Result<T, PushError> {
    let mut builder = MessageBuilder::from_target(target).map_err(|_| PushError::ShortBuf)?;
    builder.set_push_limit(limit);
    let header = builder.header_mut();
    header.set_id(query.id);
    header.set_qr(true);
    header.set_rd(query.rd);
    header.set_cd(query.cd);
    header.set_aa(response.authoritative);
    header.set_ra(response.recursion_available);
    header.set_tc(extent.truncated);
    header.set_rcode(response.rcode);
    let mut section = builder.question();
    section.push((query.name.for_ref(), query.qtype, query.qclass))?;
    let mut section = section.answer();
    let answers = &response.answers[..extent.answers];
    for answer in answers {
        push(&mut section, query, &answer.record)?;
    }
    let mut section = section.authority();
    for record in &response.authority {
        push(&mut section, query, record)?;
    }
    let mut section = section.additional();
    if extent.extras && extent.answers == response.answers.len() {
        for record in answers.iter().flat_map(|answer| &answer.extras).chain(&response.additional) {
            push(&mut section, query, record)?;
        }
    } else if extent.extras {
        for record in answers.iter().flat_map(needed) {
            push(&mut section, query, record)?;
        }
    }
    if let Some(edns) = &query.edns {
        section.opt(|opt| {
            opt.set_udp_payload_size(edns.payload);
            opt.set_rcode(NO_EXTENDED_ERROR);
            match edns.subnet {
                Some(subnet) => {
                    let scope = if response.by_subnet { subnet.source_prefix_len() } else { 0 };
                    opt.push(&ClientSubnet::new(subnet.source_prefix_len(), scope, subnet.addr()))
                }
                None => Ok(()),
            }
        })?;
        // Writing the extended code set the header's lower bits, too.
        section.header_mut().set_rcode(response.rcode);
    }
    Ok(section.finish())
}

/// Of an answer's extras those without which it cannot be used: the first record of the name it points to,
/// and of those that this one is an alias of. The rest makes room when something had to be left out.
fn needed(answer: &Answer) -> Vec<&Record> {
    let mut wanted = match &answer.record.data {
        Data::Srv { target, .. } => Some(target),
        _ => None,
    };
    let mut needed: Vec<&Record> = Vec::new();
    while let Some(name) = wanted.take() {
        let found =
            answer.extras.iter().find(|record| matches!(&record.owner, Owner::Name(owner) if owner == name));
        let Some(record) = found.filter(|record| !needed.contains(record)) else { break };
        needed.push(record);
        if let Data::Cname(next) = &record.data {
            wanted = Some(next);
        }
    }
    needed
}

fn push<T: Composer>(
    section: &mut impl RecordSectionBuilder<T>,
    query: &Query,
    record: &Record,
) -> Result<(), PushError> {
    let owner = match &record.owner {
        Owner::Question => &query.name,
        Owner::Name(name) => name,
    };
    // References to names do not show their bytes, references inside of names do.
    let owner = owner.for_ref();
    let (class, ttl) = (Class::IN, Ttl::from_secs(record.ttl));
    match &record.data {
        Data::A(ip) => section.push((owner, class, ttl, rdata::A::new(*ip))),
        Data::Aaaa(ip) => section.push((owner, class, ttl, rdata::Aaaa::new(*ip))),
        Data::Cname(name) => section.push((owner, class, ttl, rdata::Cname::new(name.for_ref()))),
        Data::Ptr(name) => section.push((owner, class, ttl, rdata::Ptr::new(name.for_ref()))),
        Data::Ns(name) => section.push((owner, class, ttl, rdata::Ns::new(name.for_ref()))),
        Data::Srv { weight, port, target } => {
            section.push((owner, class, ttl, rdata::Srv::new(1, *weight, *port, target.for_ref())))
        }
        Data::Txt(text) => {
            let text =
                rdata::Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).map_err(|_| PushError::ShortBuf)?;
            section.push((owner, class, ttl, text))
        }
        Data::Soa { mname, rname, serial, timers } => {
            let secs = Ttl::from_secs;
            let soa = rdata::Soa::new(
                mname.for_ref(),
                rname.for_ref(),
                Serial(*serial),
                secs(timers.refresh),
                secs(timers.retry),
                secs(timers.expire),
                secs(timers.min_ttl),
            );
            section.push((owner, class, ttl, soa))
        }
    }
}
