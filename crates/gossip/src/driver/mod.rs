//! Sockets and timers around the gossip state machines.
