//! Health checks of this agent: what probes, when, and what becomes of the results.

mod alias;
mod docker;
mod grpc;
mod http;
mod output;
mod probe;
mod runner;
mod script;
mod tcp;
mod thresholds;
mod timers;

pub use runner::{Runner, RunnerConfig};

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `passing`, `warning` or `critical`.
    pub status: &'static str,
    /// What it says to people.
    pub output: String,
}

/// All is well.
pub const PASSING: &str = "passing";
/// Something is amiss, but it serves.
pub const WARNING: &str = "warning";
/// It does not serve.
pub const CRITICAL: &str = "critical";

impl Outcome {
    /// All is well.
    fn passing(output: impl Into<String>) -> Self {
        Self { status: PASSING, output: output.into() }
    }

    /// It serves, but.
    fn warning(output: impl Into<String>) -> Self {
        Self { status: WARNING, output: output.into() }
    }

    /// It does not serve.
    fn critical(output: impl Into<String>) -> Self {
        Self { status: CRITICAL, output: output.into() }
    }
}
