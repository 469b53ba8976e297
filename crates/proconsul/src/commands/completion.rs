//! `completion`: a script that lets a shell complete commands and flags.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::command::{Command, Failure, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `completion`.
pub const COMMAND: Command = Command {
    name: "completion",
    synopsis: "Prints a completion script for bash, zsh or fish",
    usage: "bash|zsh|fish",
    about: "Prints a script that makes a shell complete commands and flags, e.g.\n\n    source <(proconsul completion bash)",
    flags: &[],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let words = words(&super::all());
    let script = match parsed.args.first().map(String::as_str) {
        Some("bash") => bash(&words),
        Some("zsh") => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(&words)),
        Some("fish") => fish(&words),
        _ => return Err(Failure::usage("Name a shell: bash, zsh or fish")),
    };
    ui::raw(script.as_bytes());
    Ok(0)
}

/// After which words (joined by blanks) which words may follow.
fn words(all: &[Command]) -> BTreeMap<String, Vec<String>> {
    let mut words: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for command in all {
        let (parent, last) = command.name.rsplit_once(' ').unwrap_or(("", command.name));
        words.entry(parent.to_owned()).or_default().push(last.to_owned());
        let flags = command.flags.iter().flat_map(|table| table.iter()).map(|f| format!("-{}", f.name));
        words.entry(command.name.to_owned()).or_default().extend(flags);
    }
    for list in words.values_mut() {
        list.sort();
    }
    words
}

fn bash(words: &BTreeMap<String, Vec<String>>) -> String {
    let mut script = String::from(
        "_proconsul() {\n    local path=\"\" word i\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        \
         word=\"${COMP_WORDS[i]}\"\n        case \"$word\" in -*) continue ;; esac\n        \
         path=\"${path:+$path }$word\"\n    done\n    local options=\"\"\n    case \"$path\" in\n",
    );
    for (path, next) in words {
        let _infallible = writeln!(script, "        \"{path}\") options=\"{}\" ;;", next.join(" "));
    }
    script.push_str(
        "    esac\n    COMPREPLY=($(compgen -W \"$options\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n\
         complete -o default -F _proconsul proconsul\n",
    );
    script
}

fn fish(words: &BTreeMap<String, Vec<String>>) -> String {
    let mut script = String::from(
        "function __proconsul_path\n    string join ' ' (commandline -opc)[2..] | string replace -ra ' ?-\\S+' ''\nend\n",
    );
    for (path, next) in words {
        let _infallible = writeln!(
            script,
            "complete -c proconsul -n 'test (__proconsul_path) = \"{path}\"' -a '{}'",
            next.join(" ")
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_commands_and_flags() {
        let words = words(&crate::commands::all());
        assert!(words[""].contains(&"members".to_owned()));
        assert!(words["kv"].contains(&"get".to_owned()));
        assert!(words["members"].contains(&"-wan".to_owned()));
        let bash = bash(&words);
        assert!(bash.contains("\"operator raft\") options=\"list-peers remove-peer\" ;;"));
        assert!(fish(&words).lines().count() > words.len());
    }
}
