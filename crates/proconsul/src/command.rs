//! What a command is, how it is found and how it ends.

use std::fmt::{Display, Write as _};
use std::future::Future;
use std::pin::Pin;

use crate::flags::{Flag, Kind, Parsed};

/// A command's future; commands run on one thread.
pub type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// The exit code, or why there was none.
pub type Outcome = Result<u8, Failure>;

/// A command, or (without `run`) the common parent of some.
pub struct Command {
    /// Its words, e.g. `kv get`.
    pub name: &'static str,
    /// One line for the list of commands.
    pub synopsis: &'static str,
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// A few sentences for the help text.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [&'static [Flag]],
    /// Whether everything after the first argument belongs to another program, so that `-h` there
    /// is not ours.
    pub wraps: bool,
    /// Whether it has work for all processors; one thread starts faster.
    pub parallel: bool,
    /// Runs it; `None` for a parent.
    pub run: Option<fn(Parsed) -> Running>,
}

impl Command {
    /// A parent of other commands.
    pub const fn group(name: &'static str, synopsis: &'static str, about: &'static str) -> Self {
        Self {
            name,
            synopsis,
            usage: "<subcommand> [options] [args]",
            about,
            flags: &[],
            wraps: false,
            parallel: false,
            run: None,
        }
    }
}

/// How a command fails.
#[derive(Debug)]
pub enum Failure {
    /// A message on standard error, exit code 1.
    Message(String),
    /// A message and the help text, exit code 1.
    Usage(Option<String>),
}

impl Failure {
    /// A message.
    pub fn new(text: impl Display) -> Self {
        Self::Message(text.to_string())
    }

    /// A message followed by the help text.
    pub fn usage(text: impl Display) -> Self {
        Self::Usage(Some(text.to_string()))
    }
}

/// Puts what was being done before an error's text.
pub trait OrFail<T> {
    /// `doing: error`.
    fn or_fail(self, doing: &str) -> Result<T, Failure>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{doing}: {error}")))
    }
}

/// Finds the command with the most words at the start of the arguments; returns it and the number
/// of words.
pub fn find<'a>(commands: &'a [Command], args: &[String]) -> Option<(&'a Command, usize)> {
    commands
        .iter()
        .filter_map(|command| {
            let words: Vec<&str> = command.name.split(' ').collect();
            let matches = words.len() <= args.len() && words.iter().zip(args).all(|(w, a)| w == a);
            matches.then_some((command, words.len()))
        })
        .max_by_key(|(_, words)| *words)
}

/// The help text of a command.
pub fn help(command: &Command, all: &[Command]) -> String {
    let mut text = format!("Usage: proconsul {} {}\n\n", command.name, command.usage);
    for line in command.about.trim().lines() {
        let _infallible = writeln!(text, "  {}", line.trim_end());
    }
    let children: Vec<&Command> = all.iter().filter(|c| parent(c.name) == Some(command.name)).collect();
    if !children.is_empty() {
        text.push_str("\nSubcommands:\n\n");
        text.push_str(&list(&children));
    }
    for table in command.flags.iter().filter(|table| !table.is_empty()) {
        text.push_str("\nOptions:\n");
        for flag in table.iter() {
            let value = match flag.kind {
                Kind::Switch => "",
                Kind::Text | Kind::List => "=<value>",
                Kind::Int | Kind::Uint => "=<number>",
                Kind::Duration => "=<duration>",
            };
            let default = match flag.default {
                "" => String::new(),
                value => format!(" Default: {value}."),
            };
            let _infallible = write!(text, "\n  -{}{value}\n     {}{default}\n", flag.name, flag.help);
        }
    }
    text.trim_end().to_owned()
}

/// The overview of all commands.
pub fn overview(all: &[Command]) -> String {
    let top: Vec<&Command> = all.iter().filter(|c| parent(c.name).is_none()).collect();
    format!(
        "Usage: proconsul [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n{}",
        list(&top)
    )
}

fn list(commands: &[&Command]) -> String {
    let last_word = |c: &Command| c.name.rsplit(' ').next().unwrap_or("").to_owned();
    let width = commands.iter().map(|c| last_word(c).len()).max().unwrap_or(0);
    let mut rows: Vec<String> =
        commands.iter().map(|c| format!("    {:width$}    {}", last_word(c), c.synopsis)).collect();
    rows.sort();
    rows.join("\n") + "\n"
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once(' ').map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_longest_name_wins() {
        let all =
            [Command::group("kv", "", ""), Command::group("kv get", "", ""), Command::group("leave", "", "")];
        let found = |text| find(&all, &args(text)).map(|(c, n)| (c.name, n));
        assert_eq!(found("kv get a"), Some(("kv get", 2)));
        assert_eq!(found("kv frob"), Some(("kv", 1)));
        assert_eq!(found("frob"), None);
    }

    #[test]
    fn help_lists_subcommands_and_flags() {
        const FLAGS: &[Flag] = &[Flag::new("name", Kind::Text, "A name.").or("x")];
        let all = [
            Command { flags: &[FLAGS], ..Command::group("kv", "", "About keys.") },
            Command::group("kv get", "Reads.", ""),
        ];
        let text = help(&all[0], &all);
        assert!(text.starts_with("Usage: proconsul kv "));
        assert!(text.contains("    get    Reads."));
        assert!(text.contains("  -name=<value>\n     A name. Default: x."));
    }
}
