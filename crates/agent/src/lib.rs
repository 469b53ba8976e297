//! The agent: its configuration, its local services and checks, and their way into the catalog; the
//! pools, the server or the road to servers, and the faces that it runs.

mod agent;
mod api;
mod checks;
mod client;
pub mod config;
mod coordinates;
pub mod data_dir;
mod delegate;
mod dns_face;
mod events;
mod host;
mod join;
mod limit;
mod local;
mod pools;
mod remote_exec;
mod run;
pub mod services;
mod systemd;
mod vitals;
mod watches;

pub use run::{RunError, run};
