//! `agent`: the daemon. Its flags are those of the configuration's own table; what it does is in
//! the `agent` crate.

use std::sync::LazyLock;

use agent::config::AgentFlags;
use clap::{Args, FromArgMatches};

use crate::command::{Command, Failure, Outcome};
use crate::flags::{Flag, Kind, Parsed};

static TABLE: LazyLock<clap::Command> =
    LazyLock::new(|| AgentFlags::augment_args(clap::Command::new("agent")).args_override_self(true));

/// The same table in the form of the other commands.
static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let table: &'static clap::Command = &TABLE;
    let flags = table.get_arguments().flat_map(|arg| {
        let kind = match arg.is_require_equals_set() || !arg.get_action().takes_values() {
            true => Kind::Switch,
            false => Kind::List,
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let help: &'static str = Box::leak(format!("{}.", help.replace('\n', " ")).into_boxed_str());
        let names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
        names.map(move |name| Flag::new(name, kind, help)).collect::<Vec<_>>()
    });
    flags.collect()
});

static TABLES: LazyLock<Vec<&'static [Flag]>> = LazyLock::new(|| vec![FLAGS.as_slice()]);

/// `agent`.
pub fn command() -> Command {
    Command {
        name: "agent",
        synopsis: "Runs an agent",
        usage: "[options]",
        about: "Runs an agent until it is told to stop: a server or a client of a datacenter.",
        flags: &TABLES,
        wraps: false,
        parallel: true,
        run: Some(|parsed| Box::pin(run(parsed))),
    }
}

async fn run(parsed: Parsed) -> Outcome {
    if let Some(argument) = parsed.args.first() {
        return Err(Failure::new(format!("Unexpected extra argument: {argument:?}")));
    }
    let code = agent::run(flags(&parsed)?).await.map_err(|error| Failure::new(format!("==> {error}")))?;
    Ok(u8::try_from(code).unwrap_or(1))
}

/// The flags as the configuration takes them.
fn flags(parsed: &Parsed) -> Result<AgentFlags, Failure> {
    let args = parsed.ordered.iter().map(|(name, value)| format!("--{name}={value}"));
    let matches = TABLE
        .clone()
        .no_binary_name(true)
        .try_get_matches_from(args)
        .map_err(|error| Failure::new(error.render().to_string().trim_end()))?;
    AgentFlags::from_arg_matches(&matches).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<AgentFlags, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let parsed = crate::flags::parse(&TABLES, &args).map_err(|e| e.to_string())?;
        flags(&parsed).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn flags_in_the_style_of_the_reference() {
        let flags = read(&[
            "-config-dir",
            "/a",
            "-config-file=/b",
            "-config-dir=/c",
            "-dev",
            "-bootstrap=false",
            "-bind",
            "::1",
        ])
        .unwrap();
        let files: Vec<_> = flags.config_files.iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(files, ["/a", "/b", "/c"]);
        assert_eq!((flags.dev, flags.bootstrap), (Some(true), Some(false)));
        assert_eq!(flags.bind.as_deref(), Some("::1"));
    }

    #[test]
    fn mistakes() {
        assert_eq!(read(&["-nonsense"]).unwrap_err(), "flag provided but not defined: -nonsense");
        assert!(read(&["-bootstrap-expect=x"]).unwrap_err().contains("bootstrap-expect"));
    }
}
