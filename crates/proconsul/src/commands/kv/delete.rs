//! `kv delete`.

use super::key_argument;
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("cas", Kind::Switch, "Delete only if the key's modify index is still that of -modify-index."),
    Flag::new("modify-index", Kind::Uint, "For -cas.").or("0"),
    Flag::new("recurse", Kind::Switch, "Delete all keys with this prefix."),
];

/// `kv delete`.
pub const COMMAND: Command = Command {
    name: "kv delete",
    synopsis: "Deletes keys",
    usage: "[options] KEY_OR_PREFIX",
    about: "Deletes a key, or all keys with a prefix. Deleting what is not there is no mistake.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let (cas, recurse, index) = (parsed.on("cas"), parsed.on("recurse"), parsed.uint("modify-index"));
    let key = key_argument(&parsed.args, recurse)?;
    if !cas && index > 0 {
        return Err(Failure::new("Cannot specify -modify-index without -cas!"));
    }
    if cas && recurse {
        return Err(Failure::new("Cannot specify both -cas and -recurse!"));
    }
    if cas && index == 0 {
        return Err(Failure::new(
            "Cannot delete a key that does not exist. Provide a -modify-index greater than than 0.",
        ));
    }
    let api = Api::from_flags(&parsed)?;
    let mut request = api.delete(format!("/v1/kv/{key}"));
    let mut doing = format!("Error! Did not delete key {key}");
    if recurse {
        request = request.param("recurse", "");
        doing = format!("Error! Did not delete prefix {key}");
    } else if cas {
        request = request.param("cas", index);
    }
    let deleted: bool = request.json().await.or_fail(&doing)?;
    if !deleted {
        return Err(Failure::new(format!("Error! Did not delete key {key}: CAS failed")));
    }
    ui::line(match recurse {
        true => format!("Success! Deleted keys with prefix: {key}"),
        false => format!("Success! Deleted key: {key}"),
    });
    Ok(0)
}
