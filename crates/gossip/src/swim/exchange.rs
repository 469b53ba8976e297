//! Conversations over streams: full exchanges of state, probes, user messages.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::core::Swim;
use super::rules::{address, with_octets};
use super::{ConnId, Delegate, ExchangeId, MAX_META, Node, NodeInfo, NodeState, Output, StreamFailure, Tick};
use crate::wire::{
    self, Accusation, Ack, Alive, ErrorReply, MessageType, Ping, PushNodeState, PushPullHeader, Raw,
    StreamError, UserHeader,
};

/// Pools up to this size do full exchanges at the configured interval.
const PUSH_PULL_SCALE_FROM: usize = 32;

/// What a stream of ours is for.
#[derive(Debug)]
pub(super) enum Exchange {
    /// Full exchange; `join`: asked for by the owner, and the pools are being merged.
    PushPull { to: SocketAddr, join: bool },
    /// Part of the probe with this sequence number.
    Ping { seq: u32 },
    /// Message of the layer above.
    User { to: SocketAddr },
}

/// A full exchange as read from a stream.
struct State<'a> {
    nodes: Vec<PushNodeState<'a>>,
    user_state: &'a [u8],
    join: bool,
}

impl Swim {
    // ---- our own streams ------------------------------------------------------------------

    /// Full exchanges become rarer as the pool grows, so that their cost stays bounded.
    pub(super) fn push_pull_interval(&self) -> Duration {
        self.cfg.push_pull_interval * push_pull_scale(self.table.len())
    }

    pub(super) fn push_pull_tick(&mut self, delegate: &mut dyn Delegate) {
        // Our own state would say that the owner of our name has left.
        if self.leaving && self.disowned {
            return;
        }
        if let Some(node) = self.random_members(1, &mut |_| true).first() {
            self.begin_exchange(node.addr(), false, delegate);
        }
    }

    pub(super) fn begin_exchange(
        &mut self,
        to: SocketAddr,
        join: bool,
        delegate: &mut dyn Delegate,
    ) -> ExchangeId {
        let request = self.state(join, delegate);
        let exchange = Exchange::PushPull { to, join };
        self.open_stream(exchange, to, &request, true, self.now + self.cfg.tcp_timeout)
    }

    pub(super) fn begin_user_stream(&mut self, to: SocketAddr, message: &[u8]) -> ExchangeId {
        let header = UserHeader { user_msg_len: message.len() as i64 };
        let mut request = wire::encode(MessageType::User, &header).unwrap_or_default();
        request.extend_from_slice(message);
        self.open_stream(Exchange::User { to }, to, &request, false, self.now + self.cfg.tcp_timeout)
    }

    pub(super) fn begin_stream_ping(
        &mut self,
        to: SocketAddr,
        seq: u32,
        ping: &[u8],
        deadline: Tick,
    ) -> Option<ExchangeId> {
        // A stretched probe waits for it no longer than this.
        (deadline > self.now).then(|| self.open_stream(Exchange::Ping { seq }, to, ping, true, deadline))
    }

    fn open_stream(
        &mut self,
        exchange: Exchange,
        to: SocketAddr,
        message: &[u8],
        answer: bool,
        deadline: Tick,
    ) -> ExchangeId {
        let id = self.next_exchange();
        match self.codec.seal_stream(message, true) {
            Ok(request) => {
                self.exchanges.insert(id, exchange);
                self.counters.streams_opened += 1;
                self.output(Output::OpenStream { id, to, request, answer, deadline });
            }
            Err(error) => {
                tracing::error!(%error, %to, "memberlist: cannot open stream");
                if let Exchange::PushPull { join: true, .. } = exchange {
                    self.output(Output::JoinDone { id, to, result: Err(error.to_string()) });
                }
            }
        }
        id
    }

    pub(super) fn stream_answered(&mut self, id: ExchangeId, bytes: &Bytes, delegate: &mut dyn Delegate) {
        match self.exchanges.remove(&id) {
            None | Some(Exchange::User { .. }) => {}
            Some(Exchange::Ping { seq }) => {
                let result = self.read_stream_ack(bytes, seq);
                let result = result.map_err(|text| StreamFailure { refused: false, text });
                self.stream_ping_done(id, result);
            }
            Some(Exchange::PushPull { to, join }) => {
                let result = self.read_push_pull_answer(to, bytes, join, delegate);
                self.push_pull_done(id, to, join, result);
            }
        }
    }

    pub(super) fn stream_failed(&mut self, id: ExchangeId, failure: StreamFailure) {
        match self.exchanges.remove(&id) {
            None => {}
            Some(Exchange::User { to }) => {
                tracing::warn!("memberlist: Failed to send user message to {to}: {}", failure.text);
            }
            Some(Exchange::Ping { .. }) => self.stream_ping_done(id, Err(failure)),
            Some(Exchange::PushPull { to, join }) => self.push_pull_done(id, to, join, Err(failure.text)),
        }
    }

    fn push_pull_done(&mut self, id: ExchangeId, to: SocketAddr, join: bool, result: Result<(), String>) {
        if join {
            self.output(Output::JoinDone { id, to, result });
        } else if let Err(error) = result {
            tracing::error!("memberlist: Push/Pull with {to} failed: {error}");
        }
    }

    fn read_stream_ack(&self, bytes: &[u8], seq: u32) -> Result<(), String> {
        let message = self.codec.open_stream(bytes, true).map_err(|e| e.to_string())?;
        match split(&message)? {
            (MessageType::Ack, body) => {
                let ack: Ack = msgpack::from_slice(body).map_err(|e| e.to_string())?;
                if ack.seq_no == seq {
                    Ok(())
                } else {
                    Err(format!("Sequence number from ack ({}) doesn't match ping ({seq})", ack.seq_no))
                }
            }
            (MessageType::Error, body) => Err(remote_error(body)),
            (other, _) => Err(format!("Unexpected msgType ({}) from ping", other as u8)),
        }
    }

    fn read_push_pull_answer(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        join: bool,
        delegate: &mut dyn Delegate,
    ) -> Result<(), String> {
        let message = self.codec.open_stream(bytes, true).map_err(|e| e.to_string())?.into_owned();
        match split(&message)? {
            (MessageType::PushPull, body) => {
                let state = read_state(body).map_err(|e| e.to_string())?;
                self.merge(&state, from, join, delegate)
            }
            (MessageType::Error, body) => Err(remote_error(body)),
            (other, _) => {
                Err(format!("received invalid msgType ({}), expected pushPullMsg (6)", other as u8))
            }
        }
    }

    // ---- streams of others ----------------------------------------------------------------

    pub(super) fn stream_request(
        &mut self,
        id: ConnId,
        from: SocketAddr,
        bytes: &Bytes,
        delegate: &mut dyn Delegate,
    ) {
        self.counters.streams_received += 1;
        let message = match self.codec.open_stream(bytes, false) {
            Ok(message) => message.into_owned(),
            Err(error) => return self.stream_rejected(id, from, &error),
        };
        if let Err(error) = self.serve(id, from, &message, delegate) {
            self.stream_rejected(id, from, &error);
        }
    }

    /// Answers a request; on error nothing was answered yet.
    fn serve(
        &mut self,
        id: ConnId,
        from: SocketAddr,
        message: &[u8],
        delegate: &mut dyn Delegate,
    ) -> Result<(), StreamError> {
        let malformed = |e: msgpack::Error| StreamError::Malformed(e.to_string());
        let Some((&kind, body)) = message.split_first() else { return Err(StreamError::Truncated) };
        match MessageType::from_byte(kind) {
            Some(MessageType::PushPull) => {
                let state = read_state(body)?;
                // Ours goes out first, so that a refusal by us is decided by the other side alike.
                let answer = self.state(state.join, delegate);
                self.reply(id, Some(&answer));
                if let Err(error) = self.merge(&state, from, state.join, delegate) {
                    tracing::error!("memberlist: Failed push/pull merge: {error} from={from}");
                    self.counters.dropped += 1;
                }
            }
            Some(MessageType::Ping) => {
                let ping: Ping = msgpack::from_slice(body).map_err(malformed)?;
                if !ping.node.is_empty() && *ping.node != **self.local().name() {
                    tracing::warn!("memberlist: Got ping for unexpected node {} from={from}", ping.node);
                    self.counters.dropped += 1;
                    self.reply(id, None);
                } else {
                    let ack = Ack { seq_no: ping.seq_no, payload: None };
                    let ack = wire::encode(MessageType::Ack, &ack).map_err(malformed)?;
                    self.reply(id, Some(&ack));
                }
            }
            Some(MessageType::User) => {
                let (header, used): (UserHeader, usize) =
                    msgpack::from_slice_prefix(body).map_err(malformed)?;
                let user = usize::try_from(header.user_msg_len)
                    .ok()
                    .and_then(|len| body[used..].get(..len))
                    .ok_or(StreamError::Truncated)?;
                delegate.user_message(user);
                self.reply(id, None);
            }
            _ => return Err(StreamError::Type(kind)),
        }
        Ok(())
    }

    pub(super) fn stream_rejected(&mut self, id: ConnId, from: SocketAddr, error: &StreamError) {
        self.counters.dropped += 1;
        tracing::warn!("memberlist: failed to receive: {error} from={from}");
        let text = error.to_string();
        if error.is_told()
            && let Ok(reply) = wire::encode(MessageType::Error, &ErrorReply { error: &text })
        {
            return self.reply(id, Some(&reply));
        }
        self.reply(id, None);
    }

    fn reply(&mut self, id: ConnId, message: Option<&[u8]>) {
        let bytes = message.and_then(|m| {
            let sealed = self.codec.seal_stream(m, false);
            sealed.inspect_err(|error| tracing::error!(%error, "memberlist: cannot answer stream")).ok()
        });
        self.output(Output::StreamReply { id, bytes });
    }

    // ---- state ----------------------------------------------------------------------------

    /// Everything we know, as a stream message.
    fn state(&mut self, join: bool, delegate: &mut dyn Delegate) -> Vec<u8> {
        let user_state = delegate.local_state(join);
        let header =
            PushPullHeader { nodes: self.table.len() as i64, user_state_len: user_state.len() as i64, join };
        let mut out = Vec::with_capacity(256 * self.table.len() + user_state.len());
        out.push(MessageType::PushPull as u8);
        let written = (|| {
            msgpack::to_writer_vec(&mut out, &header)?;
            for node in self.table.iter() {
                let info = &node.info;
                with_octets(info.ip, |addr| {
                    let state = PushNodeState {
                        name: &info.name,
                        addr: Raw(addr),
                        port: info.port,
                        meta: Raw(&info.meta),
                        incarnation: node.incarnation,
                        state: node.state as i64,
                        vsn: Raw(&info.vsn),
                    };
                    msgpack::to_writer_vec(&mut out, &state)
                })?;
            }
            Ok::<(), msgpack::Error>(())
        })();
        if let Err(error) = written {
            tracing::error!(%error, "memberlist: cannot encode state");
        }
        out.extend_from_slice(&user_state);
        out
    }

    /// Takes in what the other side knows. The first objection drops all of it.
    fn merge(
        &mut self,
        remote: &State<'_>,
        from: SocketAddr,
        join: bool,
        delegate: &mut dyn Delegate,
    ) -> Result<(), String> {
        self.check_versions(&remote.nodes)?;
        if join {
            let nodes: Vec<Node> = remote.nodes.iter().filter_map(|n| self.candidate(n)).collect();
            delegate.check_merge(&nodes)?;
        }
        let me = self.local().name().clone();
        self.note_namesake(remote, from);
        for node in &remote.nodes {
            let (incarnation, name) = (node.incarnation, node.name);
            match NodeState::from_wire(node.state) {
                Some(NodeState::Alive) => {
                    let alive = Alive {
                        incarnation,
                        node: name,
                        addr: node.addr,
                        port: node.port,
                        meta: node.meta,
                        vsn: node.vsn,
                    };
                    self.alive(&alive, 0, delegate);
                }
                Some(NodeState::Left) => {
                    self.dead(&Accusation { incarnation, node: name, from: name }, 0, delegate);
                }
                // A death is never believed outright: the member gets the time to refute.
                Some(NodeState::Suspect | NodeState::Dead) => {
                    self.suspect(&Accusation { incarnation, node: name, from: &me }, 0);
                }
                None => self.counters.dropped += 1,
            }
        }
        if !remote.user_state.is_empty() {
            delegate.merge_remote_state(remote.user_state, join);
        }
        Ok(())
    }

    /// Learns who is held for the member of our name. A namesake's own word does not count.
    fn note_namesake(&mut self, remote: &State<'_>, from: SocketAddr) {
        let me = &self.local().info;
        let held = remote.nodes.iter().find(|n| *n.name == *me.name);
        let Some(addr) = held.and_then(|n| Some(SocketAddr::new(address(n.addr)?, n.port))) else { return };
        let alive = held.and_then(|n| NodeState::from_wire(n.state)).is_some_and(|s| !s.is_gone());
        let ours = addr == SocketAddr::new(me.ip, me.port);
        if ours || (alive && addr.ip() != from.ip()) {
            self.disowned = !ours;
        }
    }

    /// A remote member as the layer above is asked about it.
    fn candidate(&self, node: &PushNodeState<'_>) -> Option<Node> {
        if node.meta.0.len() > MAX_META {
            return None;
        }
        let info = NodeInfo {
            name: node.name.into(),
            ip: address(node.addr)?,
            port: if node.port == 0 { self.local().info.port } else { node.port },
            meta: node.meta.0.into(),
            vsn: <[u8; 6]>::try_from(node.vsn.0).unwrap_or([0; 6]),
        };
        Some(Node {
            info: self.share(info),
            changed: self.now,
            incarnation: node.incarnation,
            state: NodeState::from_wire(node.state)?,
        })
    }

    /// Could all members of both sides talk to each other?
    fn check_versions(&self, remote: &[PushNodeState<'_>]) -> Result<(), String> {
        let local = self.table.iter().map(|n| (&**n.name(), n.state as i64, n.info.vsn));
        let theirs =
            remote.iter().filter_map(|n| Some((n.name, n.state, <[u8; 6]>::try_from(n.vsn.0).ok()?)));
        let all = || local.clone().chain(theirs.clone());
        let (mut low, mut high) = ([0; 2], [u8::MAX; 2]);
        for (_, _, vsn) in all().filter(|(_, state, _)| *state == NodeState::Alive as i64) {
            for i in 0..2 {
                low[i] = low[i].max(vsn[3 * i]);
                high[i] = high[i].min(vsn[3 * i + 1]);
            }
        }
        for (name, _, vsn) in all() {
            for (i, what) in ["protocol", "delegate protocol"].into_iter().enumerate() {
                let (current, low, high) = (vsn[3 * i + 2], low[i], high[i]);
                if current < low || current > high {
                    return Err(format!(
                        "Node '{name}' {what} version ({current}) is incompatible: [{low}, {high}]"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn read_state(body: &[u8]) -> Result<State<'_>, StreamError> {
    let malformed = |e: msgpack::Error| StreamError::Malformed(e.to_string());
    let (header, mut at): (PushPullHeader, usize) = msgpack::from_slice_prefix(body).map_err(malformed)?;
    if !(0..=wire::MAX_EXCHANGE_NODES).contains(&header.nodes) {
        return Err(StreamError::Malformed("bad number of nodes".into()));
    }
    let mut nodes = Vec::with_capacity(header.nodes.min(4096) as usize);
    for _ in 0..header.nodes {
        let (node, used) = msgpack::from_slice_prefix(&body[at..]).map_err(malformed)?;
        nodes.push(node);
        at += used;
    }
    let user_state = usize::try_from(header.user_state_len)
        .ok()
        .and_then(|len| body[at..].get(..len))
        .ok_or(StreamError::Truncated)?;
    Ok(State { nodes, user_state, join: header.join })
}

fn split(message: &[u8]) -> Result<(MessageType, &[u8]), String> {
    let (&kind, body) = message.split_first().ok_or("empty answer")?;
    match MessageType::from_byte(kind) {
        Some(kind) => Ok((kind, body)),
        None => Err(format!("received invalid msgType ({kind})")),
    }
}

fn remote_error(body: &[u8]) -> String {
    match msgpack::from_slice::<ErrorReply>(body) {
        Ok(reply) => format!("remote error: {}", reply.error),
        Err(e) => format!("remote error that cannot be read: {e}"),
    }
}

/// 1 up to 32 members, then one more for each doubling.
fn push_pull_scale(nodes: usize) -> u32 {
    if nodes <= PUSH_PULL_SCALE_FROM {
        return 1;
    }
    let doublings = (nodes as f64).log2() - (PUSH_PULL_SCALE_FROM as f64).log2();
    doublings.ceil() as u32 + 1
}

#[cfg(test)]
mod tests {
    use super::push_pull_scale;

    #[test]
    fn full_exchanges_scale_with_the_pool() {
        for (nodes, scale) in [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (1000, 6)] {
            assert_eq!(push_pull_scale(nodes), scale, "{nodes}");
        }
    }
}
