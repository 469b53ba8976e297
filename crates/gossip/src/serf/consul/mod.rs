//! What a Consul agent makes of a pool: the meaning of tags, who is refused, and the payload of
//! user events.

mod event;
mod merge;
mod parts;

pub use event::NEW_LEADER_EVENT;
pub use merge::{LanPolicy, WanPolicy};
pub use parts::{AclMode, AgentTags, MemberParts, PROTOCOL_VERSION, ServerParts, ServerTags, build_version};
