//! What the face needs from the program around it: the agent's own affairs, the snapshot
//! streams and its settings. Everything else goes by [`model::road::Road`].

pub mod agent;
pub mod config;
pub mod error;
pub mod snapshot;
pub mod types;
