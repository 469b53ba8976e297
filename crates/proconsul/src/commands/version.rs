//! `version`: what this is, and what it is compatible with.

use serde_json::json;

use crate::command::{Command, Failure, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[Flag::new("format", Kind::Text, "pretty or json.").or("pretty")];

/// `version`.
pub const COMMAND: Command = Command {
    name: "version",
    synopsis: "Prints the version",
    usage: "[options]",
    about: "Prints the version of this program and the versions of the protocols it speaks.",
    flags: &[FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// What `version` prints. A program installed under the name `consul` says first what level it
/// speaks, since scripts read the number from the first line.
pub fn text() -> String {
    let own = format!("Proconsul v{}", env!("CARGO_PKG_VERSION"));
    let protocol = "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol >2 \
                    when speaking to compatible agents)";
    let spoken = model::VERSION_SPOKEN;
    if called_consul() {
        format!("Consul v{spoken}\n{own}\n{protocol}\n")
    } else {
        format!("{own}\nCompatible with Consul v{spoken}\n{protocol}\n")
    }
}

fn called_consul() -> bool {
    std::env::args_os()
        .next()
        .is_some_and(|name| std::path::Path::new(&name).file_stem().is_some_and(|stem| stem == "consul"))
}

async fn run(parsed: Parsed) -> Outcome {
    match parsed.text("format") {
        "pretty" => ui::line(text()),
        "json" => ui::line(format_args!(
            "{:#}",
            json!({"Version": model::VERSION_SPOKEN, "Revision": "", "Prerelease": "",
                   "RPC": {"Default": 2, "Min": 2, "Max": 3},
                   "Name": "Proconsul", "OwnVersion": env!("CARGO_PKG_VERSION")})
        )),
        other => return Err(Failure::new(format!("Unknown format: {other}"))),
    }
    Ok(0)
}
