//! Queries: questions to the pool, their acks, answers and relays.

use super::clock::LamportTime;
use super::keys::{KeyOp, KeyReport};
use super::layer::{Effect, Layer};
use super::member::MemberStatus;
use super::message::{
    ConflictResponse, KeyRequest, Message, MessageError, QUERY_ACK, Query, QueryResponse, RESPONSE_ACK,
    RelayHeader, ip_to_bytes,
};
use super::output::{Event, Output, QueryId, QueryNotice, QueryUpdate, ReplyTo};
use super::recent::Seen;
use crate::swim::Tick;
use bytes::Bytes;
use rand::Rng;
use rand::seq::IndexedRandom;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Prefix of the names the application never sees.
const INTERNAL: &str = "_serf_";
const PING: &str = "_serf_ping";
const CONFLICT: &str = "_serf_conflict";
/// Most questions of our own at a time.
const RUNNING_MAX: usize = 1024;
/// Most bytes a filter's regular expression may take when compiled.
const REGEX_SIZE: usize = 64 * 1024;
const FILTER_NODES: u8 = 0;
const FILTER_TAG: u8 = 1;

/// Who is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Only these members.
    Nodes(Vec<String>),
    /// Only members whose tag contains a match of the regular expression; a missing tag is empty.
    Tag {
        /// Name of the tag.
        tag: String,
        /// Regular expression.
        expr: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TagFilter {
    expr: String,
    tag: String,
}

impl Filter {
    /// As it travels.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let (kind, body) = match self {
            Filter::Nodes(names) => (FILTER_NODES, msgpack::to_vec(names)),
            Filter::Tag { tag, expr } => {
                (FILTER_TAG, msgpack::to_vec(&TagFilter { expr: expr.clone(), tag: tag.clone() }))
            }
        };
        let body = body.map_err(|e| MessageError::Encode { kind: "filter", reason: e.to_string() })?;
        let mut out = vec![kind];
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// From its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let malformed = |reason: String| MessageError::Body { kind: "filter", reason };
        match bytes.split_first() {
            None => Err(MessageError::Empty),
            Some((&FILTER_NODES, body)) => {
                let (names, _) = msgpack::from_slice_prefix(body).map_err(|e| malformed(e.to_string()))?;
                Ok(Filter::Nodes(names))
            }
            Some((&FILTER_TAG, body)) => {
                let (filter, _) =
                    msgpack::from_slice_prefix::<TagFilter>(body).map_err(|e| malformed(e.to_string()))?;
                Ok(Filter::Tag { tag: filter.tag, expr: filter.expr })
            }
            Some((&other, _)) => Err(MessageError::Type(other)),
        }
    }
}

/// How a question is asked.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// All of them must match; none = everybody.
    pub filters: Vec<Filter>,
    /// Whether members are to confirm that they got it.
    pub want_ack: bool,
    /// Through how many other members each answer is sent once more.
    pub relay_factor: u8,
    /// How long answers are accepted; `None` = depends on the size of the pool.
    pub timeout: Option<Duration>,
}

/// Why a question was not asked or an answer not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The encoded question is too long.
    #[error("query exceeds limit of {0} bytes")]
    TooLong(usize),
    /// The encoded answer is too long.
    #[error("response exceeds limit of {0} bytes")]
    ResponseTooLong(usize),
    /// The time to answer is over.
    #[error("response is past the deadline")]
    Late,
    /// Too many of our own questions are running.
    #[error("too many running queries")]
    Busy,
    /// No bytes for it.
    #[error(transparent)]
    Encode(#[from] MessageError),
}

/// Why a question is running.
#[derive(Debug)]
pub(super) enum Purpose {
    App,
    Keys(KeyReport),
    Conflict { answers: usize, ours: usize },
}

/// A question of ours.
#[derive(Debug)]
pub(super) struct Running {
    pub id: QueryId,
    pub deadline: Tick,
    pub acked: HashSet<String>,
    pub answered: HashSet<String>,
    pub purpose: Purpose,
}

impl Layer {
    pub fn queue_query(&mut self, bytes: Bytes) {
        let keep = self.queue_depth();
        self.query_queue.push(bytes, None, None);
        self.query_queue.prune(keep);
        metrics::histogram!("serf.queue.Query").record(self.query_queue.len() as f64);
    }

    /// How long answers are accepted unless told otherwise.
    pub fn default_query_timeout(&self) -> Duration {
        let digits = ((self.count_alive() + 1) as f64).log10().ceil() as u32;
        self.gossip_interval * 16 * digits.max(1)
    }

    /// Asks the pool, ourselves included.
    pub fn ask(
        &mut self,
        name: &str,
        payload: Option<&[u8]>,
        options: &QueryOptions,
        purpose: Purpose,
    ) -> Result<QueryId, QueryError> {
        if self.running.len() >= RUNNING_MAX {
            return Err(QueryError::Busy);
        }
        let timeout =
            options.timeout.filter(|t| !t.is_zero()).unwrap_or_else(|| self.default_query_timeout());
        let filters =
            options.filters.iter().map(|f| f.encode().map(ByteBuf::from)).collect::<Result<Vec<_>, _>>()?;
        let query = Query {
            addr: Some(ip_to_bytes(self.addr.ip())),
            filters: (!filters.is_empty()).then_some(filters),
            flags: if options.want_ack { QUERY_ACK } else { 0 },
            id: self.rng.random_range(0..1 << 31),
            ltime: self.query_clock.time(),
            name: name.to_owned(),
            payload: payload.map(ByteBuf::from),
            port: self.addr.port(),
            relay_factor: options.relay_factor,
            source_node: self.name.to_string(),
            timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        };
        let bytes = query.encode()?;
        if bytes.len() > self.cfg.query_size_limit {
            return Err(QueryError::TooLong(self.cfg.query_size_limit));
        }
        self.query_clock.take();
        let id = QueryId(self.next_query);
        self.next_query += 1;
        self.running.insert(
            (query.ltime, query.id),
            Running {
                id,
                deadline: self.now + timeout,
                acked: HashSet::new(),
                answered: HashSet::new(),
                purpose,
            },
        );
        self.query_seen(query);
        self.queue_query(bytes.into());
        Ok(id)
    }

    /// Takes in a question; true when it is to be passed on.
    pub fn query_seen(&mut self, query: Query) -> bool {
        self.query_clock.witness(query.ltime);
        let seen = self.recent_queries.note(self.query_clock.time(), query.ltime, query.id);
        match seen {
            Seen::New => {}
            Seen::TooOld => {
                tracing::warn!(
                    "serf: received old query {} from time {} (current: {})",
                    query.name,
                    query.ltime,
                    self.query_clock.time()
                );
                return false;
            }
            Seen::Again | Seen::Unwanted | Seen::Flood => return false,
        }
        metrics::counter!("serf.queries").increment(1);
        let pass_on = !query.no_broadcast();
        if self.is_meant(query.filters.as_deref().unwrap_or_default()) {
            self.process_query(query);
        }
        pass_on
    }

    fn is_meant(&self, filters: &[ByteBuf]) -> bool {
        filters.iter().all(|bytes| match Filter::decode(bytes) {
            Ok(Filter::Nodes(names)) => names.iter().any(|n| **n == *self.name),
            Ok(Filter::Tag { tag, expr }) => {
                let value = self.cfg.tags.get(&tag).map_or("", String::as_str);
                match compile(&expr) {
                    Ok(regex) => regex.is_match(value),
                    Err(error) => {
                        tracing::warn!(%error, "serf: failed to compile filter regex");
                        false
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "serf: failed to decode filter");
                false
            }
        })
    }

    fn process_query(&mut self, query: Query) {
        let Some(to) = query.reply_to() else {
            tracing::warn!("serf: query {} without an address to answer to", query.name);
            return;
        };
        let reply = ReplyTo {
            ltime: query.ltime,
            id: query.id,
            to,
            source: query.source_node.clone(),
            relay_factor: query.relay_factor,
            deadline: self.now + Duration::from_nanos(u64::try_from(query.timeout).unwrap_or(0)),
        };
        if query.wants_ack()
            && let Err(error) = self.reply(&reply, RESPONSE_ACK, None)
        {
            tracing::error!(%error, "serf: failed to ack query");
        }
        let payload = query.payload.as_deref().map_or(&[][..], |p| p);
        if query.name.starts_with(INTERNAL) {
            self.internal_query(&query.name, payload, reply);
        } else if self.cfg.deliver_queries {
            let payload = Bytes::copy_from_slice(payload);
            self.emit(Event::Query(QueryNotice {
                name: query.name,
                payload,
                source: query.source_node,
                reply,
            }));
        }
    }

    fn internal_query(&mut self, name: &str, payload: &[u8], reply: ReplyTo) {
        if let Some(op) = KeyOp::from_query_name(name) {
            match KeyRequest::decode(payload) {
                Ok(request) => {
                    let key = request.key.map(ByteBuf::into_vec).unwrap_or_default();
                    self.effects.push(Effect::Key { reply, op, key });
                }
                Err(error) => tracing::error!(%error, "serf: Failed to decode key request"),
            }
        } else if name == CONFLICT {
            let disputed = String::from_utf8_lossy(payload);
            // The named one is a party, not a witness.
            if *disputed == *self.name {
                return;
            }
            let known = self.members.get(&*disputed).map(|e| e.member.to_record());
            match ConflictResponse(known).encode() {
                Ok(answer) => self.answer(&reply, answer),
                Err(error) => tracing::error!(%error, "serf: Failed to encode conflict response"),
            }
        } else if name != PING {
            tracing::warn!("serf: Unhandled internal query '{name}'");
        }
    }

    /// Sends an answer, logging when that is not possible.
    pub fn answer(&mut self, reply: &ReplyTo, payload: Vec<u8>) {
        if let Err(error) = self.reply(reply, 0, Some(payload)) {
            tracing::error!(%error, "serf: Failed to respond to a query");
        }
    }

    /// Sends an ack or an answer.
    pub fn reply(&mut self, reply: &ReplyTo, flags: u32, payload: Option<Vec<u8>>) -> Result<(), QueryError> {
        if self.now > reply.deadline {
            return Err(QueryError::Late);
        }
        let response = QueryResponse {
            flags,
            from: self.name.to_string(),
            id: reply.id,
            ltime: reply.ltime,
            payload: payload.map(ByteBuf::from),
        };
        let bytes = response.encode()?;
        let limit = self.cfg.response_size_limit;
        if bytes.len() > limit {
            return Err(QueryError::ResponseTooLong(limit));
        }
        if reply.source == *self.name {
            self.query_response(response);
            return Ok(());
        }
        self.relay_copies(reply, &bytes)?;
        self.effects.push(Effect::Send { to: reply.to, bytes: bytes.into() });
        Ok(())
    }

    /// Bytes that a response to this question may use for its payload.
    pub fn response_room(&self, reply: &ReplyTo) -> usize {
        // 64 covers the fixed parts of a response and its own header in a relay message.
        let relay = if reply.relay_factor > 0 { reply.source.len() + 64 } else { 0 };
        self.cfg.response_size_limit.saturating_sub(self.name.len() + 64 + relay)
    }

    fn relay_copies(&mut self, reply: &ReplyTo, bytes: &[u8]) -> Result<(), QueryError> {
        let factor = usize::from(reply.relay_factor);
        if factor == 0 || self.members.len() < factor + 1 {
            return Ok(());
        }
        let wrapped = RelayHeader::wrap(reply.to, &reply.source, bytes)?;
        if wrapped.len() > self.cfg.response_size_limit {
            return Err(QueryError::ResponseTooLong(self.cfg.response_size_limit));
        }
        let candidates: Vec<SocketAddr> = self
            .members
            .values()
            .map(|e| &e.member)
            .filter(|m| m.status == MemberStatus::Alive && m.vsn[1] >= 5 && m.name != self.name)
            .map(|m| m.socket_addr())
            .collect();
        let wrapped = Bytes::from(wrapped);
        let chosen: Vec<SocketAddr> = candidates.choose_multiple(&mut self.rng, factor).copied().collect();
        for to in chosen {
            self.effects.push(Effect::Send { to, bytes: wrapped.clone() });
        }
        Ok(())
    }

    /// Passes on what another member wants to be relayed, to members only.
    pub fn relay(&mut self, body: &[u8]) -> Result<(), MessageError> {
        let (header, inner) = RelayHeader::unwrap(body)?;
        let known =
            header.dest().filter(|dest| self.members.values().any(|e| e.member.socket_addr() == *dest));
        match known {
            Some(to) if to == self.addr => {
                // Nobody sends a relay of a relay.
                if let Ok(response) = QueryResponse::decode(inner) {
                    self.query_response(response);
                }
            }
            Some(to) => self.effects.push(Effect::Send { to, bytes: Bytes::copy_from_slice(inner) }),
            None => tracing::warn!("serf: Not relaying to {}: not a member", header.dest_name),
        }
        Ok(())
    }

    /// Takes in an ack or an answer to one of our questions.
    pub fn query_response(&mut self, response: QueryResponse) {
        let key = (response.ltime, response.id);
        // A forger could invent names without end.
        let most = 2 * self.members.len() + 64;
        let ours = self.addr;
        let Some(running) = self.running.get_mut(&key) else {
            tracing::debug!(
                "serf: reply for non-running query (LTime: {}, ID: {}) From: {}",
                response.ltime,
                response.id,
                response.from
            );
            return;
        };
        let ack = response.is_ack();
        let from = response.from;
        let heard = if ack { &mut running.acked } else { &mut running.answered };
        if heard.len() >= most || !heard.insert(from.clone()) {
            return;
        }
        metrics::counter!(if ack { "serf.query_acks" } else { "serf.query_responses" }).increment(1);
        let payload = response.payload.map(ByteBuf::into_vec).unwrap_or_default();
        let id = running.id;
        match &mut running.purpose {
            Purpose::App => {
                let update = if ack {
                    QueryUpdate::Ack { from }
                } else {
                    QueryUpdate::Response { from, payload: payload.into() }
                };
                self.out.push_back(Output::Query(id, update));
            }
            Purpose::Keys(report) if !ack => {
                report.add(&from, &payload);
                if report.is_complete() {
                    self.finish_query(key);
                }
            }
            Purpose::Conflict { answers, ours: mine } if !ack => {
                if let Ok(ConflictResponse(Some(record))) = ConflictResponse::decode(&payload) {
                    *answers += 1;
                    let same =
                        record.port == ours.port() && record.addr.as_ref() == Some(&ip_to_bytes(ours.ip()));
                    *mine += usize::from(same);
                }
            }
            Purpose::Keys(_) | Purpose::Conflict { .. } => {}
        }
    }

    fn finish_query(&mut self, key: (LamportTime, u32)) {
        let Some(running) = self.running.remove(&key) else {
            return;
        };
        match running.purpose {
            Purpose::App => {
                self.out.push_back(Output::Query(running.id, QueryUpdate::Done));
            }
            Purpose::Keys(report) => self.out.push_back(Output::Keys(running.id, report)),
            Purpose::Conflict { answers, ours } => {
                let majority = answers / 2 + 1;
                if ours >= majority {
                    tracing::info!("serf: majority in name conflict resolution [{ours} / {answers}]");
                } else {
                    tracing::warn!(
                        "serf: minority in name conflict resolution, quiting [{ours} / {answers}]"
                    );
                    self.out.push_back(Output::ConflictLost);
                }
            }
        }
    }

    /// Ends the questions whose time is over.
    pub fn queries_due(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.running.iter().filter(|(_, r)| r.deadline <= now).map(|(k, _)| *k).collect();
        for key in due {
            self.finish_query(key);
        }
    }

    /// Earliest end of a question.
    pub fn next_query_end(&self) -> Option<Tick> {
        self.running.values().map(|r| r.deadline).min()
    }

    /// Asks the pool which address it holds for our name.
    pub fn resolve_conflict(&mut self) {
        let running = self.running.values().any(|r| matches!(r.purpose, Purpose::Conflict { .. }));
        if running {
            return;
        }
        let name = self.name.clone();
        let purpose = Purpose::Conflict { answers: 0, ours: 0 };
        let asked = self.ask(CONFLICT, Some(name.as_bytes()), &QueryOptions::default(), purpose);
        if let Err(error) = asked {
            tracing::error!(%error, "serf: Failed to start name resolution query");
        }
    }
}

fn compile(expr: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(expr).size_limit(REGEX_SIZE).build()
}
