//! The HTTP face of an agent: requests become typed calls on the road or on the agent itself,
//! replies become the JSON that clients of the API know.

pub mod api;

pub use api::agent::AgentApi;
pub use api::config::FaceConfig;
pub use api::error::ApiError;
pub use api::snapshot::SnapshotPort;
