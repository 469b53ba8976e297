//! Names of the user events that a datacenter's agents send each other.

/// Sent by each new leader; the payload is its node name.
pub const NEW_LEADER_EVENT: &str = "consul:new-leader";
