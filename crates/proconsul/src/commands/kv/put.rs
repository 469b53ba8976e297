//! `kv put`.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{check_key, data_argument};
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("acquire", Kind::Switch, "Take the lock on the key, with -session."),
    Flag::new("base64", Kind::Switch, "The value is given in base64."),
    Flag::new("cas", Kind::Switch, "Write only if the key's modify index is still that of -modify-index."),
    Flag::new("flags", Kind::Uint, "A number stored with the value, without meaning to the store.").or("0"),
    Flag::new("modify-index", Kind::Uint, "For -cas; 0 means that the key must not exist.").or("0"),
    Flag::new("release", Kind::Switch, "Give the lock on the key back, with -session."),
    Flag::new("session", Kind::Text, "The session that owns the lock."),
];

/// `kv put`.
pub const COMMAND: Command = Command {
    name: "kv put",
    synopsis: "Writes a key",
    usage: "[options] KEY [DATA]",
    about: "Writes a key. The value is DATA itself, the content of a file (@path), or standard input (-).",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let (key, data) = match parsed.args.as_slice() {
        [] => return Err(Failure::new("Error! Missing KEY argument")),
        [key] => (key, ""),
        [key, data] => (key, data.as_str()),
        more => {
            return Err(Failure::new(format!(
                "Error! Too many arguments (expected 1 or 2, got {})",
                more.len()
            )));
        }
    };
    let mut value = data_argument(data).map_err(|e| Failure::new(format!("Error! {e}")))?;
    if parsed.on("base64") {
        // Writing the text as it is, as the reference does, would store something else than meant.
        value = BASE64_STANDARD.decode(&value).or_fail("Error! Cannot base 64 decode data")?;
    }
    let (cas, acquire, release) = (parsed.on("cas"), parsed.on("acquire"), parsed.on("release"));
    let session = parsed.text("session");
    if (acquire || release) && session.is_empty() {
        return Err(Failure::new("Error! Missing -session flag (required with -acquire and -release)"));
    }
    check_key(key).or_fail("Error! Failed writing data")?;
    let index = parsed.uint("modify-index");
    let api = Api::from_flags(&parsed)?;
    let mut request = api.put(format!("/v1/kv/{key}")).body(value);
    if parsed.uint("flags") > 0 {
        request = request.param("flags", parsed.uint("flags"));
    }
    request = match (cas, acquire, release) {
        (true, ..) => request.param("cas", index),
        (_, true, _) => request.param("acquire", session),
        (_, _, true) => request.param("release", session),
        _ => request,
    };
    let written: bool = request.json().await.or_fail("Error! Failed writing data")?;
    if !written {
        return Err(Failure::new(match (cas, index, acquire, release) {
            (true, 0, ..) => {
                format!("Error! Did not write to {key}: CAS performed with index=0 and key already exists.")
            }
            (true, ..) => format!("Error! Did not write to {key}: CAS failed"),
            (_, _, true, _) => "Error! Did not acquire lock".to_owned(),
            (_, _, _, true) => "Error! Did not release lock".to_owned(),
            _ => format!("Error! Did not write to {key}"),
        }));
    }
    ui::line(match (acquire, release) {
        (true, _) => format!("Success! Lock acquired on: {key}"),
        (_, true) => format!("Success! Lock released on: {key}"),
        _ => format!("Success! Data written to: {key}"),
    });
    Ok(0)
}
