//! The HTTP face of an agent: requests become typed calls on the road or on the agent itself,
//! replies become the JSON that clients of the API know.

pub mod api;
mod decode;
mod endpoints;
pub mod face;
mod json;
pub mod serve;
mod translate;
pub mod validate;

pub use api::agent::AgentApi;
pub use api::config::FaceConfig;
pub use api::error::ApiError;
pub use api::snapshot::SnapshotPort;
pub use face::{Face, Peer};
pub use serve::{Bind, Server, TlsAcceptor, UnixOptions};
