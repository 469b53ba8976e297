//! Holding events back for a moment, so that a burst is told as its outcome.

use super::clock::LamportTime;
use super::config::Coalesce;
use super::member::Member;
use super::output::{Event, MemberEventKind, UserEventNotice};
use crate::swim::Tick;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events being held back.
#[derive(Debug)]
pub(super) struct Coalescer {
    times: Coalesce,
    /// The last thing that happened to each member.
    members: BTreeMap<Arc<str>, (MemberEventKind, Arc<Member>)>,
    /// What each member was last said to have done.
    told: BTreeMap<Arc<str>, MemberEventKind>,
    /// The events of the newest time by name.
    users: BTreeMap<String, (LamportTime, Vec<UserEventNotice>)>,
    /// Start of the burst and its last event.
    burst: Option<(Tick, Tick)>,
}

impl Coalescer {
    pub fn new(times: Coalesce) -> Self {
        Coalescer {
            times,
            members: BTreeMap::new(),
            told: BTreeMap::new(),
            users: BTreeMap::new(),
            burst: None,
        }
    }

    /// Takes an event in, or gives it back when it must not wait.
    pub fn hold(&mut self, event: Event, now: Tick) -> Option<Event> {
        match event {
            Event::Member(kind, member) => {
                self.members.insert(member.name.clone(), (kind, member));
            }
            Event::User(user) if user.cc => {
                let (time, events) = self.users.entry(user.name.clone()).or_default();
                if user.ltime > *time {
                    events.clear();
                    *time = user.ltime;
                }
                if user.ltime == *time {
                    events.push(user);
                }
            }
            other => return Some(other),
        }
        self.burst = Some((self.burst.map_or(now, |(start, _)| start), now));
        None
    }

    /// When [`release`](Self::release) is wanted.
    pub fn due(&self) -> Option<Tick> {
        let (start, last) = self.burst?;
        Some((start + self.times.window).min(last + self.times.quiet))
    }

    /// The outcome of the burst, when it is over.
    pub fn release(&mut self, now: Tick) -> Vec<Event> {
        if self.due().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.burst = None;
        let mut released = Vec::new();
        for (name, (kind, member)) in std::mem::take(&mut self.members) {
            // Back where it was: nothing to tell. Updates always are news.
            let same = self.told.get(&name) == Some(&kind) && kind != MemberEventKind::Update;
            if kind == MemberEventKind::Reap {
                self.told.remove(&name);
            } else {
                self.told.insert(name, kind);
            }
            if !same {
                released.push(Event::Member(kind, member));
            }
        }
        for (_, (_, events)) in std::mem::take(&mut self.users) {
            released.extend(events.into_iter().map(Event::User));
        }
        released
    }
}
