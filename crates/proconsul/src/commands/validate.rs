//! `validate`: checks configuration files without starting anything.

use agent::config::{AgentFlags, Sources, load};

use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("config-format", Kind::Text, "Format of all files, hcl or json, whatever their names."),
    Flag::new("quiet", Kind::Switch, "Say nothing if all is well."),
];

/// `validate`.
pub const COMMAND: Command = Command {
    name: "validate",
    synopsis: "Checks configuration files",
    usage: "[options] FILE_OR_DIRECTORY...",
    about: "Checks configuration files, as the agent would on start. Everything an agent needs must be\nthere, so give all files together.",
    flags: &[FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    if parsed.args.is_empty() {
        return Err(Failure::new("Must specify at least one config file or directory"));
    }
    let sources = Sources {
        flags: AgentFlags {
            config_format: parsed.given("config-format").map(str::to_owned),
            ..AgentFlags::default()
        },
        paths: parsed.args.iter().map(Into::into).collect(),
        ..Sources::default()
    };
    let loaded = load(&sources).or_fail("Config validation failed")?;
    if !parsed.on("quiet") {
        for warning in &loaded.warnings {
            ui::error(warning);
        }
        ui::line("Configuration is valid!");
    }
    Ok(0)
}
