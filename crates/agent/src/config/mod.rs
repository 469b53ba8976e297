//! The agent's configuration: defaults, files, flags -> one checked value.
//!
//! Sources lie on each other in this order, later ones winning: defaults,
//! development defaults (`-dev`), lists given as flags, files and folders in
//! the order given, all other flags, `-hcl` fragments, fixed values. Scalars
//! replace, lists append, maps join by key.
//!
//! Every key of the reference is known ([`schema`]); a key that has no effect
//! here gives a warning that names it, an unknown key is an error that names it.

mod addresses;
mod build;
mod debug;
mod defaults;
mod definitions;
mod flags;
pub mod interfaces;
mod reload;
mod runtime;
mod schema;
mod source;
mod template;
mod tree;
mod validate;
mod view;

use std::path::PathBuf;

pub use flags::AgentFlags;
pub use reload::ReloadDiff;
pub use runtime::*;
pub use source::Format;
pub use validate::{node_meta as validate_node_meta, service_meta as validate_service_meta};

use interfaces::InterfaceAddr;
use source::Source;

/// Why there is no configuration; the text names the file and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    text: String,
}

impl ConfigError {
    pub(crate) fn one(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

/// Where the configuration comes from. The default asks the system for host
/// name and interfaces; tests say them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub flags: AgentFlags,
    /// Files and folders beside those of the flags, after them (`validate` has no flags).
    pub paths: Vec<PathBuf>,
    pub hostname: Option<String>,
    pub interfaces: Option<Vec<InterfaceAddr>>,
}

impl Sources {
    pub fn from_flags(flags: AgentFlags) -> Self {
        Self { flags, ..Self::default() }
    }
}

/// A configuration, and what its user should be told about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: RuntimeConfig,
    pub warnings: Vec<String>,
}

/// Reads, merges and checks everything.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let flags = &sources.flags;
    let dev_mode = flags.dev == Some(true);
    let mut warnings = Vec::new();
    let format = Format::from_flag(flags.config_format.as_deref().unwrap_or_default())?;

    let mut paths = flags.config_files.clone();
    paths.extend(sources.paths.iter().cloned());
    let files = source::from_paths(&paths, format, &mut warnings)?;

    let mut merged = own_text("defaults", defaults::DEFAULT)?;
    if dev_mode {
        tree::merge(&mut merged, own_text("development", defaults::DEVELOPMENT)?);
    }
    tree::merge(&mut merged, flags.lists());
    for file in &files {
        tree::merge(&mut merged, source::read(file, &mut warnings)?);
    }
    tree::merge(&mut merged, flags.values());
    for (i, text) in flags.hcl.iter().enumerate() {
        let fragment = Source { name: format!("flag-{i}.hcl"), format: Format::Hcl, text: text.clone() };
        tree::merge(&mut merged, source::read(&fragment, &mut warnings)?);
    }
    tree::merge(&mut merged, own_text("fixed", defaults::FIXED)?);
    if dev_mode {
        tree::merge(&mut merged, own_text("fixed development", defaults::FIXED_DEVELOPMENT)?);
    }
    warnings.extend(flags.warnings());

    let hostname = match &sources.hostname {
        Some(name) => name.clone(),
        // An unknown host name is an empty node name, which the checks refuse.
        None => nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default(),
    };
    let interfaces = match &sources.interfaces {
        Some(list) => list.clone(),
        None => interfaces::of_system()
            .map_err(|e| ConfigError::one(format!("Error detecting network interfaces: {e}")))?,
    };
    let around = build::Surroundings { dev_mode, hostname: &hostname, interfaces: &interfaces };
    let config = build::build(&merged, &around, &mut warnings)?;
    Ok(Loaded { config, warnings })
}

/// Our own texts go the same way as a user's; what they say of themselves is nobody's concern.
fn own_text(name: &str, text: &str) -> Result<tree::Tree, ConfigError> {
    let source = Source { name: name.to_owned(), format: Format::Hcl, text: text.to_owned() };
    source::read(&source, &mut Vec::new())
}
