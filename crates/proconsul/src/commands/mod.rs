//! The commands, and the table that makes them known.

mod acl;
mod agent;
mod catalog;
mod completion;
mod config;
mod debug;
mod dev;
mod event;
mod exec;
mod force_leave;
mod info;
mod intention;
mod join;
mod keygen;
mod keyring;
mod kv;
mod leave;
mod lock;
mod login;
mod maint;
mod members;
mod monitor;
mod operator;
mod reload;
mod rtt;
mod services;
mod snapshot;
mod tls;
mod validate;
pub mod version;
mod watch;

use crate::command::{Command, Failure};

/// Every command.
pub fn all() -> Vec<Command> {
    let mut all = vec![agent::command()];
    all.extend(acl::COMMANDS);
    all.extend(catalog::COMMANDS);
    all.extend(config::COMMANDS);
    all.extend(intention::COMMANDS);
    all.extend([login::LOGIN, login::LOGOUT]);
    all.extend([completion::COMMAND, debug::COMMAND, dev::COMMAND, event::COMMAND, exec::COMMAND]);
    all.extend([force_leave::COMMAND, info::COMMAND, join::COMMAND, keygen::COMMAND, keyring::COMMAND]);
    all.extend(kv::COMMANDS);
    all.extend([leave::COMMAND, lock::COMMAND, maint::COMMAND, members::COMMAND, monitor::COMMAND]);
    all.extend(operator::COMMANDS);
    all.extend([reload::COMMAND, rtt::COMMAND]);
    all.extend(services::COMMANDS);
    all.extend(snapshot::COMMANDS);
    all.extend(tls::COMMANDS);
    all.extend([validate::COMMAND, version::COMMAND, watch::COMMAND]);
    all
}

/// The complaint about the number of arguments.
fn too_many(expected: usize, actual: usize) -> Failure {
    Failure::new(format!("Too many arguments (expected {expected}, got {actual})"))
}

/// For commands that take flags only.
fn no_arguments(args: &[String]) -> Result<(), Failure> {
    if args.is_empty() { Ok(()) } else { Err(too_many(0, args.len())) }
}

/// The only argument of a command that works on one file.
fn file_argument(args: &[String]) -> Result<&str, Failure> {
    match args {
        [] => Err(Failure::new("Missing FILE argument")),
        [file] => Ok(file),
        more => Err(too_many(1, more.len())),
    }
}

/// `key=value` pairs from repeated flags.
fn pairs(values: &[String]) -> Vec<(String, String)> {
    values
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}
