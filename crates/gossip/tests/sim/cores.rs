//! What is simulated: the membership layer alone, or with the serf layer on top.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip::serf::{Event, MemberEventKind, Output as SerfOutput, Serf, SerfConfig, Tags};
use gossip::swim::queue::Spread;
use gossip::swim::{Delegate, Input, LocalNode, Node, NodeState, Output, Swim, SwimConfig, Tick, VSN_CONSUL};

/// A member's state machine.
pub trait Core {
    fn start(name: &str, addr: SocketAddr, cfg: SwimConfig, seed: u64, now: Tick) -> Self;
    fn handle(&mut self, input: Input, now: Tick);
    fn timeout(&self) -> Option<Tick>;
    fn output(&mut self) -> Option<Output>;
    fn join(&mut self, to: SocketAddr, now: Tick);
    fn leave(&mut self, now: Tick);
    fn num_alive(&self) -> usize;
    /// How many times a member was reported gone.
    fn losses(&self) -> usize;
}

/// The membership layer alone.
pub struct Alone {
    pub swim: Swim,
    pub notes: Notes,
}

impl Core for Alone {
    fn start(name: &str, addr: SocketAddr, cfg: SwimConfig, seed: u64, now: Tick) -> Self {
        // About as long as the tags of a client agent.
        let meta = format!("{:<186}", format!("tags of {name}")).into_bytes();
        let local =
            LocalNode { name: name.into(), addr: addr.ip(), port: addr.port(), meta, vsn: VSN_CONSUL };
        Alone { swim: Swim::new(cfg, local, seed, now).unwrap(), notes: Notes::default() }
    }
    fn handle(&mut self, input: Input, now: Tick) {
        self.swim.handle(input, &mut self.notes, now);
    }
    fn timeout(&self) -> Option<Tick> {
        self.swim.poll_timeout(&self.notes)
    }
    fn output(&mut self) -> Option<Output> {
        self.swim.poll_output()
    }
    fn join(&mut self, to: SocketAddr, now: Tick) {
        self.swim.begin_join(to, &mut self.notes, now);
    }
    fn leave(&mut self, now: Tick) {
        self.swim.leave(now);
    }
    fn num_alive(&self) -> usize {
        self.swim.num_alive() + self.swim.num_suspect()
    }
    fn losses(&self) -> usize {
        self.notes.left.len()
    }
}

/// With the serf layer, set up as in an agent.
pub struct WithSerf {
    pub serf: Serf,
    pub events: Vec<Event>,
    alive: usize,
    losses: usize,
}

impl Core for WithSerf {
    fn start(name: &str, addr: SocketAddr, cfg: SwimConfig, seed: u64, now: Tick) -> Self {
        let mut tags = Tags::new();
        for (key, value) in [("role", "node"), ("dc", "dc1"), ("id", name), ("vsn", "2"), ("build", "1.9.8:")]
        {
            tags.insert(key.into(), value.into());
        }
        let serf_cfg = SerfConfig { tags, ..SerfConfig::consul() };
        let serf = Serf::new(serf_cfg, cfg, name, addr, seed, None, now).unwrap();
        WithSerf { serf, events: Vec::new(), alive: 0, losses: 0 }
    }
    fn handle(&mut self, input: Input, now: Tick) {
        self.serf.handle(input, now);
    }
    fn timeout(&self) -> Option<Tick> {
        self.serf.poll_timeout()
    }
    fn output(&mut self) -> Option<Output> {
        loop {
            match self.serf.poll_output()? {
                SerfOutput::Io(output) => return Some(output),
                SerfOutput::Event(event) => {
                    match &event {
                        Event::Member(MemberEventKind::Join, _) => self.alive += 1,
                        Event::Member(MemberEventKind::Leave | MemberEventKind::Failed, _) => {
                            self.alive -= 1;
                            self.losses += 1;
                        }
                        _ => {}
                    }
                    self.events.push(event);
                }
                SerfOutput::LeaveDone => return Some(Output::LeaveDone { timed_out: false }),
                _ => {}
            }
        }
    }
    fn join(&mut self, to: SocketAddr, now: Tick) {
        self.serf.begin_join(to, true, now);
    }
    fn leave(&mut self, now: Tick) {
        self.serf.leave(now);
    }
    fn num_alive(&self) -> usize {
        self.alive
    }
    fn losses(&self) -> usize {
        self.losses
    }
}

/// The layer above in tests of this layer alone: notes what it is told.
#[derive(Default)]
pub struct Notes {
    pub joined: Vec<Arc<str>>,
    pub left: Vec<(Arc<str>, NodeState)>,
    pub updated: Vec<Arc<str>>,
    pub conflicts: usize,
    pub messages: Vec<Vec<u8>>,
}

impl Delegate for Notes {
    fn has_broadcasts(&self) -> bool {
        false
    }

    fn broadcasts(&mut self, _: &Spread, _: usize, _: usize) -> Vec<Bytes> {
        Vec::new()
    }
    fn user_message(&mut self, message: &[u8]) {
        self.messages.push(message.to_vec());
    }
    fn local_state(&mut self, _: bool) -> Vec<u8> {
        // As long as a serf state is after compression.
        vec![2; 64]
    }
    fn merge_remote_state(&mut self, _: &[u8], _: bool) {}
    fn ack_payload(&mut self) -> Vec<u8> {
        // As long as a coordinate.
        vec![1; 117]
    }
    fn ping_complete(&mut self, _: &Node, _: Duration, _: &[u8]) {}
    fn member_joined(&mut self, node: &Node) {
        self.joined.push(node.name().clone());
    }
    fn member_left(&mut self, node: &Node) {
        self.left.push((node.name().clone(), node.state()));
    }
    fn member_updated(&mut self, node: &Node) {
        self.updated.push(node.name().clone());
    }
    fn conflict(&mut self, _: &Node, _: &Node) {
        self.conflicts += 1;
    }
    fn check_alive(&mut self, _: &Node) -> Result<(), String> {
        Ok(())
    }
    fn check_merge(&mut self, _: &[Node]) -> Result<(), String> {
        Ok(())
    }
}
