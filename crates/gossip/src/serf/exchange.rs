//! The part of this layer in a full exchange.

use super::layer::Layer;
use super::member::MemberStatus;
use super::message::{Join, Leave, Message, PushPull, UserEvent};
use std::collections::HashSet;

impl Layer {
    /// What we send.
    pub fn exchange_state(&mut self) -> Vec<u8> {
        let state = PushPull {
            event_ltime: self.event_clock.time(),
            events: Some(self.recent_events.to_wire()),
            ltime: self.clock.time(),
            left_members: Some(
                self.members
                    .values()
                    .filter(|e| e.member.status == MemberStatus::Left)
                    .map(|e| e.member.name.to_string())
                    .collect(),
            ),
            query_ltime: self.query_clock.time(),
            status_ltimes: Some(
                self.members.iter().map(|(name, e)| (name.to_string(), e.status_ltime)).collect(),
            ),
        };
        match state.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "serf: Failed to encode local state");
                Vec::new()
            }
        }
    }

    /// What we make of the other side's.
    pub fn merge_exchange(&mut self, remote: PushPull, join: bool) {
        for (clock, time) in [
            (&mut self.clock, remote.ltime),
            (&mut self.event_clock, remote.event_ltime),
            (&mut self.query_clock, remote.query_ltime),
        ] {
            if time > 0 {
                clock.witness(time - 1);
            }
        }
        let times = remote.status_ltimes.unwrap_or_default();
        let left: HashSet<String> = remote.left_members.unwrap_or_default().into_iter().collect();
        for name in &left {
            let Some(&time) = times.get(name) else {
                continue;
            };
            match self.members.get_mut(name.as_str()) {
                // Known already. Raising the time here, as others do, would make all status times
                // creep upwards for as long as the member is remembered.
                Some(known) if known.member.status == MemberStatus::Left => {
                    known.status_ltime = known.status_ltime.max(time);
                }
                _ => {
                    // One more than its status time: it must win against the join of that time.
                    self.leave_intent(&Leave {
                        ltime: time.saturating_add(1),
                        node: name.clone(),
                        prune: false,
                    });
                }
            }
        }
        for (node, ltime) in times {
            if !left.contains(&node) {
                self.join_intent(&Join { ltime, node });
            }
        }
        if join && !self.ignore_old.is_empty() {
            self.recent_events.raise_min_time(remote.event_ltime);
        }
        for slot in remote.events.unwrap_or_default().into_iter().flatten() {
            for event in slot.events.unwrap_or_default() {
                self.user_event_seen(UserEvent {
                    cc: false,
                    ltime: slot.ltime,
                    name: event.name,
                    payload: event.payload,
                });
            }
        }
    }
}
