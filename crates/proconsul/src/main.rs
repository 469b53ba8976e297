//! The `proconsul` executable: one file per command under `commands`.

mod api;
mod columns;
mod command;
mod commands;
mod files;
mod flags;
mod ui;

use std::process::ExitCode;

use command::{Command, Failure};
use flags::FlagError;

// Built without huge pages: an idle agent touches a little of many arenas, and a huge page makes two
// megabytes of each little.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of an unknown command, as shells use it.
const UNKNOWN_COMMAND: u8 = 127;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    ExitCode::from(dispatch(&commands::all(), &args))
}

fn dispatch(all: &[Command], args: &[String]) -> u8 {
    let Some((command, words)) = command::find(all, args) else {
        return no_command(all, args);
    };
    let rest = &args[words..];
    let ours = || rest.iter().take_while(|arg| *arg != "--");
    if !command.wraps && ours().any(|arg| matches!(arg.as_str(), "-v" | "--version")) {
        ui::line(commands::version::text());
        return 0;
    }
    let Some(run) = command.run else {
        let help = command::help(command, all);
        if rest.first().is_some_and(|arg| is_help(arg)) {
            ui::line(help);
            return 0;
        }
        ui::error(help);
        return 1;
    };
    if !command.wraps && ours().any(|arg| is_help(arg)) {
        ui::line(command::help(command, all));
        return 0;
    }
    let parsed = match flags::parse(command.flags, rest) {
        Ok(parsed) => parsed,
        Err(FlagError::Help) => {
            ui::line(command::help(command, all));
            return 0;
        }
        Err(error) => {
            ui::error(error);
            ui::error(command::help(command, all));
            return 1;
        }
    };
    let mut builder = match command.parallel {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui::error(format_args!("Error starting: {error}"));
            return 1;
        }
    };
    let outcome = runtime.block_on(run(parsed));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(Failure::Message(message)) => {
            ui::error(message);
            1
        }
        Err(Failure::Usage(message)) => {
            if let Some(message) = message {
                ui::error(message);
                ui::error("");
            }
            ui::error(command::help(command, all));
            1
        }
    }
}

fn no_command(all: &[Command], args: &[String]) -> u8 {
    let flags = args.iter().take_while(|arg| arg.starts_with('-') && *arg != "--").count();
    if let Some((command, _)) = command::find(all, &args[flags..]) {
        let help = command::help(command, all);
        if args[..flags].iter().any(|arg| is_help(arg)) {
            ui::line(help);
            return 0;
        }
        if !args[..flags].iter().any(|arg| is_version(arg)) {
            ui::error(
                "Invalid flags before the subcommand. If these flags are for\nthe subcommand, please put them \
                 after the subcommand.\n\n",
            );
            ui::error(help);
            return 1;
        }
    }
    match args.first() {
        Some(arg) if is_help(arg) => {
            ui::line(command::overview(all));
            0
        }
        Some(arg) if is_version(arg) => {
            ui::line(commands::version::text());
            0
        }
        _ => {
            ui::error(command::overview(all));
            UNKNOWN_COMMAND
        }
    }
}

fn is_version(arg: &str) -> bool {
    matches!(arg, "-v" | "-version" | "--version")
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "-h" | "-help" | "--help")
}
