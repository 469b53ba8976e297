//! The agent: its configuration, its local services and checks, and their way
//! into the catalog.

pub mod config;
pub mod data_dir;
