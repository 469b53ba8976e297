//! The session's state machine: bytes in, bytes out.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::task::Waker;

use super::frame::{ACK, FIN, HEADER_LEN, Header, Kind, RST, Reason, SYN};
use super::{Config, INITIAL_WINDOW, SessionError};

/// Largest data frame written. Smaller than the window, so that streams take turns.
const MAX_FRAME: usize = 64 * 1024;
/// Streams wait with new data while more than this is not yet taken by the connection.
const OUT_SOFT: usize = 1 << 20;
/// Nothing is read while more than this waits to be written: a peer that makes us answer without
/// reading the answers cannot fill the memory. Data alone stays below, so two honest sides never
/// wait for each other.
const OUT_HARD: usize = 4 << 20;
/// Buffers larger than this are given back when they run empty.
const KEEP_CAPACITY: usize = 16 * 1024;

#[derive(Debug)]
struct StreamState {
    received: Vec<u8>,
    /// Bytes of `received` already read.
    taken: usize,
    /// What the peer may still send.
    recv_window: u32,
    /// What we may still send.
    send_window: u32,
    /// Opened here, nothing sent yet: the first data carries the opening frame with it.
    fresh: bool,
    /// Opened here and not acknowledged.
    unacknowledged: bool,
    inbound: bool,
    fin_sent: bool,
    fin_received: bool,
    reset: bool,
    waits_for_room: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl StreamState {
    fn new(inbound: bool) -> Self {
        StreamState {
            received: Vec::new(),
            taken: 0,
            // A larger window is granted with the first frame.
            recv_window: INITIAL_WINDOW,
            send_window: INITIAL_WINDOW,
            fresh: !inbound,
            unacknowledged: !inbound,
            inbound,
            fin_sent: false,
            fin_received: false,
            reset: false,
            waits_for_room: false,
            reader: None,
            writer: None,
        }
    }

    fn unread(&self) -> usize {
        self.received.len() - self.taken
    }
}

/// A data frame whose payload is arriving.
#[derive(Debug, Clone, Copy)]
struct Incoming {
    stream: u32,
    left: u32,
    fin: bool,
}

/// Outcome of an attempt that may have to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt<T> {
    Done(T),
    /// The waker given was kept.
    Wait,
}

#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    next_id: u32,
    streams: HashMap<u32, StreamState>,
    inbound: usize,
    unacknowledged: usize,
    /// Received and not read, over all streams.
    buffered: usize,

    backlog: VecDeque<u32>,
    acceptor: Option<Waker>,
    openers: Vec<Waker>,
    waiting_for_room: Vec<u32>,

    header: [u8; HEADER_LEN],
    header_len: usize,
    incoming: Option<Incoming>,

    out: Vec<u8>,
    /// To be woken by whoever holds the lock, after releasing it.
    wakes: Vec<Waker>,
    /// The driver has been told that there is something to do.
    driver_told: bool,
    reading_paused: bool,

    next_ping: u32,
    open_ping: Option<u32>,
    remote_gone: bool,
    local_gone: bool,
    /// Close once everything is written.
    pub(super) closing: bool,
    pub(super) ended: Option<SessionError>,
    /// Sessions and streams that hold on to this.
    pub(super) handles: usize,
}

impl Core {
    pub(super) fn new(client: bool, config: Config) -> Self {
        Core {
            config,
            next_id: if client { 1 } else { 2 },
            streams: HashMap::new(),
            inbound: 0,
            unacknowledged: 0,
            buffered: 0,
            backlog: VecDeque::new(),
            acceptor: None,
            openers: Vec::new(),
            waiting_for_room: Vec::new(),
            header: [0; HEADER_LEN],
            header_len: 0,
            incoming: None,
            out: Vec::new(),
            wakes: Vec::new(),
            driver_told: false,
            reading_paused: false,
            next_ping: 0,
            open_ping: None,
            remote_gone: false,
            local_gone: false,
            closing: false,
            ended: None,
            handles: 0,
        }
    }

    // ---- for the driver ----

    pub(super) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }

    /// Whether the driver has to be told about new work; says so once until it took the work.
    pub(super) fn tell_driver(&mut self) -> bool {
        let work = !self.out.is_empty() || self.closing || (self.reading_paused && self.may_read());
        if work && !self.driver_told {
            self.driver_told = true;
            return true;
        }
        false
    }

    /// Bytes that are to be written.
    pub(super) fn pending(&self) -> usize {
        self.out.len()
    }

    /// Moves what is to be written into `buffer`, which is empty.
    pub(super) fn take_output(&mut self, buffer: &mut Vec<u8>) {
        self.driver_told = false;
        if buffer.capacity() > KEEP_CAPACITY && self.out.is_empty() {
            *buffer = Vec::new();
        }
        std::mem::swap(&mut self.out, buffer);
        for id in std::mem::take(&mut self.waiting_for_room) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.waits_for_room = false;
                self.wakes.extend(stream.writer.take());
            }
        }
    }

    /// Whether more input is welcome. If not, the driver will be told when it is.
    pub(super) fn may_read_or_pause(&mut self) -> bool {
        self.reading_paused = !self.may_read();
        !self.reading_paused
    }

    fn may_read(&self) -> bool {
        self.out.len() < OUT_HARD && self.buffered < self.config.max_buffered
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self) {
        let value = self.next_ping;
        self.next_ping = self.next_ping.wrapping_add(1);
        self.open_ping = Some(value);
        self.push(Kind::Ping, SYN, 0, value);
    }

    pub(super) fn ping_unanswered(&self) -> bool {
        self.open_ping.is_some()
    }

    /// No more streams from the peer.
    pub(super) fn go_away(&mut self, reason: Reason) {
        if !self.local_gone {
            self.local_gone = true;
            self.push(Kind::GoAway, 0, 0, reason as u32);
        }
    }

    /// The session is over: everybody who waits learns why.
    pub(super) fn end(&mut self, error: SessionError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error);
        self.wakes.append(&mut self.openers);
        self.wakes.extend(self.acceptor.take());
        for stream in self.streams.values_mut() {
            self.wakes.extend(stream.reader.take());
            self.wakes.extend(stream.writer.take());
        }
    }

    /// Takes bytes from the connection.
    pub(super) fn receive(&mut self, mut input: &[u8]) -> Result<(), SessionError> {
        while !input.is_empty() {
            if let Some(incoming) = self.incoming {
                let n = input.len().min(incoming.left as usize);
                let (payload, rest) = input.split_at(n);
                self.payload(incoming, payload);
                input = rest;
                continue;
            }
            let n = input.len().min(HEADER_LEN - self.header_len);
            let (part, rest) = input.split_at(n);
            self.header[self.header_len..self.header_len + n].copy_from_slice(part);
            self.header_len += n;
            input = rest;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                let header =
                    Header::decode(&self.header).map_err(|_| SessionError::Protocol("not a frame header"))?;
                self.frame(header)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, header: Header) -> Result<(), SessionError> {
        match header.kind {
            Kind::Data | Kind::WindowUpdate => self.stream_frame(header),
            Kind::Ping if header.flags & SYN != 0 => {
                self.push(Kind::Ping, ACK, 0, header.length);
                Ok(())
            }
            Kind::Ping => {
                if self.open_ping == Some(header.length) {
                    self.open_ping = None;
                }
                Ok(())
            }
            Kind::GoAway => match header.length {
                0 => {
                    self.remote_gone = true;
                    self.wakes.append(&mut self.openers);
                    Ok(())
                }
                1 => Err(SessionError::Protocol("reported by the peer")),
                2 => Err(SessionError::Protocol("internal error of the peer")),
                _ => Err(SessionError::Protocol("unknown reason to go away")),
            },
        }
    }

    fn stream_frame(&mut self, header: Header) -> Result<(), SessionError> {
        let id = header.stream;
        if header.flags & SYN != 0 {
            self.incoming_stream(id)?;
        }
        let data = header.kind == Kind::Data;
        let Some(stream) = self.streams.get_mut(&id) else {
            if data && header.length > 0 {
                self.incoming = Some(Incoming { stream: id, left: header.length, fin: false });
                // Whoever sends it may wait for credit that nobody will give.
                if header.flags & RST == 0 {
                    self.push(Kind::WindowUpdate, RST, id, 0);
                }
            }
            return Ok(());
        };
        if header.flags & ACK != 0 && stream.unacknowledged {
            stream.unacknowledged = false;
            self.unacknowledged -= 1;
            self.wakes.append(&mut self.openers);
        }
        if header.flags & RST != 0 {
            stream.reset = true;
            self.wakes.extend(stream.reader.take());
            self.wakes.extend(stream.writer.take());
        }
        let fin = header.flags & FIN != 0;
        if data && header.length > 0 {
            let Some(left) = stream.recv_window.checked_sub(header.length) else {
                return Err(SessionError::Protocol("receive window exceeded"));
            };
            stream.recv_window = left;
            self.incoming = Some(Incoming { stream: id, left: header.length, fin });
            return Ok(());
        }
        if !data && header.length > 0 {
            stream.send_window = stream.send_window.saturating_add(header.length);
            self.wakes.extend(stream.writer.take());
        }
        if fin {
            stream.fin_received = true;
            self.wakes.extend(stream.reader.take());
        }
        Ok(())
    }

    fn incoming_stream(&mut self, id: u32) -> Result<(), SessionError> {
        if id == 0 {
            return Err(SessionError::Protocol("stream 0 cannot be opened"));
        }
        if self.streams.contains_key(&id) {
            return Err(SessionError::Protocol("stream opened twice"));
        }
        let full =
            self.backlog.len() >= self.config.accept_backlog || self.inbound >= self.config.max_inbound;
        if full || self.local_gone {
            self.push(Kind::WindowUpdate, RST, id, 0);
            return Ok(());
        }
        self.streams.insert(id, StreamState::new(true));
        self.inbound += 1;
        self.backlog.push_back(id);
        self.wakes.extend(self.acceptor.take());
        Ok(())
    }

    fn payload(&mut self, mut incoming: Incoming, bytes: &[u8]) {
        incoming.left -= bytes.len() as u32;
        let last = incoming.left == 0;
        if let Some(stream) = self.streams.get_mut(&incoming.stream)
            && !stream.reset
        {
            stream.received.extend_from_slice(bytes);
            self.buffered += bytes.len();
            stream.fin_received |= last && incoming.fin;
            self.wakes.extend(stream.reader.take());
        }
        self.incoming = (!last).then_some(incoming);
    }

    fn push(&mut self, kind: Kind, flags: u16, stream: u32, length: u32) {
        let header = Header { kind, flags, stream, length };
        self.out.extend_from_slice(&header.encode());
    }

    // ---- for sessions and streams ----

    /// A new stream's id. Nothing is sent before its first data.
    pub(super) fn open(&mut self, waker: &Waker) -> Result<Attempt<u32>, SessionError> {
        self.may_open()?;
        if self.unacknowledged >= self.config.max_unacknowledged {
            if !self.openers.iter().any(|w| w.will_wake(waker)) {
                self.openers.push(waker.clone());
            }
            return Ok(Attempt::Wait);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(2).ok_or(SessionError::Exhausted)?;
        self.streams.insert(id, StreamState::new(false));
        self.unacknowledged += 1;
        self.handles += 1;
        Ok(Attempt::Done(id))
    }

    /// Whether a stream can be opened now or after waiting.
    pub(super) fn may_open(&self) -> Result<(), SessionError> {
        match &self.ended {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(SessionError::Closed),
            None if self.remote_gone => Err(SessionError::RemoteGoAway),
            None if self.next_id > u32::MAX - 2 => Err(SessionError::Exhausted),
            None => Ok(()),
        }
    }

    pub(super) fn accept(&mut self, waker: &Waker) -> Result<Attempt<u32>, SessionError> {
        // Streams do not leave before they are accepted, so what stands here exists.
        if let Some(id) = self.backlog.pop_front() {
            self.handles += 1;
            let grant = self.config.window.saturating_sub(INITIAL_WINDOW);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.recv_window += grant;
            }
            if self.ended.is_none() {
                self.push(Kind::WindowUpdate, ACK, id, grant);
            }
            return Ok(Attempt::Done(id));
        }
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.closing {
            return Err(SessionError::Closed);
        }
        self.acceptor = Some(waker.clone());
        Ok(Attempt::Wait)
    }

    /// Bytes that were received, through `take`, which says how many it took. 0: end of stream.
    pub(super) fn read(
        &mut self,
        id: u32,
        waker: &Waker,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> std::io::Result<Attempt<usize>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Err(stream_closed());
        };
        let unread = stream.unread();
        if unread == 0 {
            if stream.reset {
                return Err(stream_reset());
            }
            if stream.fin_received {
                return Ok(Attempt::Done(0));
            }
            if let Some(error) = &self.ended {
                return Err(error.clone().into());
            }
            keep(&mut stream.reader, waker);
            return Ok(Attempt::Wait);
        }
        let n = take(&stream.received[stream.taken..]).min(unread);
        stream.taken += n;
        self.buffered -= n;
        if stream.taken == stream.received.len() {
            stream.taken = 0;
            if stream.received.capacity() > KEEP_CAPACITY {
                stream.received = Vec::new();
            } else {
                stream.received.clear();
            }
        } else if stream.taken >= INITIAL_WINDOW as usize {
            stream.received.drain(..stream.taken);
            stream.taken = 0;
        }
        // Credit is given back in large pieces.
        let window = self.config.window.max(INITIAL_WINDOW);
        let credit = window.saturating_sub(stream.recv_window).saturating_sub(stream.unread() as u32);
        if credit >= window / 2 && !stream.fin_received && !stream.reset && self.ended.is_none() {
            stream.recv_window += credit;
            self.push(Kind::WindowUpdate, 0, id, credit);
        }
        Ok(Attempt::Done(n))
    }

    /// Writes the start of `parts` as one frame, as much as window and buffers allow.
    pub(super) fn write(
        &mut self,
        id: u32,
        waker: &Waker,
        parts: &[IoSlice<'_>],
    ) -> std::io::Result<Attempt<usize>> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Err(stream_closed());
        };
        if stream.reset {
            return Err(stream_reset());
        }
        if stream.fin_sent {
            return Err(stream_closed());
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total == 0 {
            return Ok(Attempt::Done(0));
        }
        if stream.send_window == 0 || self.out.len() >= OUT_SOFT {
            keep(&mut stream.writer, waker);
            if stream.send_window > 0 && !stream.waits_for_room {
                stream.waits_for_room = true;
                self.waiting_for_room.push(id);
            }
            return Ok(Attempt::Wait);
        }
        let n = total.min(stream.send_window as usize).min(MAX_FRAME);
        stream.send_window -= n as u32;
        if std::mem::take(&mut stream.fresh) {
            let grant = self.config.window.saturating_sub(INITIAL_WINDOW);
            stream.recv_window += grant;
            self.push(Kind::WindowUpdate, SYN, id, grant);
        }
        self.out.reserve(HEADER_LEN + n);
        self.push(Kind::Data, 0, id, n as u32);
        let mut left = n;
        for part in parts {
            let take = part.len().min(left);
            self.out.extend_from_slice(&part[..take]);
            left -= take;
        }
        Ok(Attempt::Done(n))
    }

    /// No more data from here.
    pub(super) fn finish(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.fin_sent || stream.reset {
            return;
        }
        stream.fin_sent = true;
        // A stream that never said anything does not exist for the peer.
        if !stream.fresh && self.ended.is_none() {
            self.push(Kind::WindowUpdate, FIN, id, 0);
        }
    }

    /// The stream's owner is gone.
    pub(super) fn release(&mut self, id: u32) {
        self.finish(id);
        if let Some(stream) = self.streams.remove(&id) {
            self.buffered -= stream.unread();
            if stream.inbound {
                self.inbound -= 1;
            }
            if stream.unacknowledged {
                self.unacknowledged -= 1;
                self.wakes.append(&mut self.openers);
            }
        }
        self.release_handle();
    }

    pub(super) fn release_handle(&mut self) {
        self.handles -= 1;
        if self.handles == 0 {
            self.close();
        }
    }

    /// Says good-bye and closes once that is written.
    pub(super) fn close(&mut self) {
        if !self.closing && self.ended.is_none() {
            self.go_away(Reason::Normal);
            self.closing = true;
            self.wakes.append(&mut self.openers);
            self.wakes.extend(self.acceptor.take());
        }
    }

    /// Ready when the peer closed or reset the stream, or the session ended.
    pub(super) fn peer_closed(&mut self, id: u32, waker: &Waker) -> bool {
        let ended = self.ended.is_some();
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        if ended || stream.reset || stream.fin_received {
            return true;
        }
        keep(&mut stream.reader, waker);
        false
    }

    /// Whether a stream that answered its last call can take another.
    pub(super) fn reusable(&self, id: u32) -> bool {
        self.ended.is_none()
            && !self.closing
            && self.streams.get(&id).is_some_and(|stream| {
                !stream.reset && !stream.fin_received && !stream.fin_sent && stream.unread() == 0
            })
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(old) if old.will_wake(waker) => {}
        _ => *slot = Some(waker.clone()),
    }
}

fn stream_closed() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::BrokenPipe, "stream closed")
}

fn stream_reset() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "stream closed: reset by peer")
}
