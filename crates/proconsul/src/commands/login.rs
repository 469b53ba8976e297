//! `login` and `logout`: a token for a proof of identity, and its end.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{no_arguments, pairs};
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::files;
use crate::flags::{Flag, Kind, Parsed};

const FLAGS: &[Flag] = &[
    Flag::new("bearer-token-file", Kind::Text, "File with the proof of identity. Required."),
    Flag::new("meta", Kind::List, "A key=value stored with the token. May be repeated."),
    Flag::new("method", Kind::Text, "Name of the auth method. Required."),
    Flag::new("token-sink-file", Kind::Text, "Where the secret of the new token is written. Required."),
    Flag::new("type", Kind::Text, "Type of the auth method, for those that need no file."),
];

/// `login`.
pub const LOGIN: Command = Command {
    name: "login",
    synopsis: "Trades a proof of identity for a token",
    usage: "[options]",
    about: "Shows a proof of identity to an auth method and writes the secret of the token that it is\nworth to a file.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(login(parsed))),
};

/// `logout`.
pub const LOGOUT: Command = Command {
    name: "logout",
    synopsis: "Destroys a token made by login",
    usage: "[options]",
    about: "Destroys the token it is given, which must have been made by login.",
    flags: &[CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(logout(parsed))),
};

async fn login(parsed: Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::new("Should have no non-flag arguments."));
    }
    for flag in ["method", "token-sink-file", "bearer-token-file"] {
        if parsed.text(flag).is_empty() {
            return Err(Failure::new(format!("Missing required '-{flag}' flag")));
        }
    }
    let proof = files::read_text(parsed.text("bearer-token-file")).or_fail("Error")?;
    let proof = proof.trim();
    if proof.is_empty() {
        return Err(Failure::new(format!("No bearer token found in {}", parsed.text("bearer-token-file"))));
    }
    let meta: Map<String, Value> =
        pairs(parsed.list("meta")).into_iter().map(|(key, value)| (key, json!(value))).collect();
    let request = json!({"AuthMethod": parsed.text("method"), "BearerToken": proof, "Meta": meta});
    let api = Api::from_flags(&parsed)?;
    let token: Value =
        api.post("/v1/acl/login").json_body(&request).json().await.or_fail("Error logging in")?;
    let secret = token["SecretID"].as_str().ok_or_else(|| Failure::new("Error logging in: no token came"))?;
    write_secret(parsed.text("token-sink-file"), secret).or_fail("Error writing token to file sink")?;
    Ok(0)
}

/// Written whole or not at all, for its owner's eyes.
fn write_secret(path: &str, secret: &str) -> std::io::Result<()> {
    let path = std::path::Path::new(path);
    let folder = path.parent().filter(|folder| *folder != std::path::Path::new(""));
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(std::path::Path::new(".")))?;
    file.write_all(secret.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

async fn logout(parsed: Parsed) -> Outcome {
    no_arguments(&parsed.args)?;
    let api = Api::from_flags(&parsed)?;
    api.post("/v1/acl/logout").ok().await.or_fail("Error destroying token")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        super::write_secret(path.to_str().unwrap(), "s").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "s");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
