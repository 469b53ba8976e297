//! `keygen`: a new key for gossip encryption.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::command::{Command, Failure, Outcome};
use crate::flags::Parsed;
use crate::ui;

/// `keygen`.
pub const COMMAND: Command = Command {
    name: "keygen",
    synopsis: "Makes a new gossip encryption key",
    usage: "",
    about: "Makes a new key of 32 random bytes, to be used for the encrypt setting or with keyring.",
    flags: &[],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(_parsed: Parsed) -> Outcome {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| Failure::new("Error reading random data"))?;
    ui::line(BASE64_STANDARD.encode(key));
    Ok(0)
}
