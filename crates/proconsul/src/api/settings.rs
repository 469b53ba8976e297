//! Where the agent is and with whose rights it is asked: flags first, then the environment.

use base64::prelude::{BASE64_STANDARD, Engine};
use http_client::TlsOptions;

use crate::flags::{Flag, Kind, Parsed, boolean};

/// Flags of every command that asks an agent.
pub const CLIENT_FLAGS: &[Flag] = &[
    Flag::new(
        "http-addr",
        Kind::Text,
        "The agent's HTTP API: host:port, http://…, https://… or unix:///path. Also CONSUL_HTTP_ADDR; \
         127.0.0.1:8500 if neither is set.",
    ),
    Flag::new("token", Kind::Text, "ACL token. Also CONSUL_HTTP_TOKEN."),
    Flag::new("token-file", Kind::Text, "File with the ACL token. Also CONSUL_HTTP_TOKEN_FILE."),
    Flag::new("ca-file", Kind::Text, "CA certificates to trust, PEM. Also CONSUL_CACERT."),
    Flag::new("ca-path", Kind::Text, "Folder of CA certificates. Also CONSUL_CAPATH."),
    Flag::new("client-cert", Kind::Text, "Certificate to show the agent. Also CONSUL_CLIENT_CERT."),
    Flag::new("client-key", Kind::Text, "Key of that certificate. Also CONSUL_CLIENT_KEY."),
    Flag::new(
        "tls-server-name",
        Kind::Text,
        "Name expected in the agent's certificate. Also CONSUL_TLS_SERVER_NAME.",
    ),
];

/// Flags of commands whose request reaches the servers.
pub const SERVER_FLAGS: &[Flag] = &[
    Flag::new("datacenter", Kind::Text, "Datacenter to ask; the agent's own if not set."),
    Flag::new("stale", Kind::Switch, "Let any server answer, not only the leader."),
];

/// How to talk to an agent.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// As users write it.
    pub address: String,
    /// TLS even if the address does not say so.
    pub tls_enabled: bool,
    /// Certificates.
    pub tls: TlsOptions,
    /// The name in the agent's certificate.
    pub server_name: Option<String>,
    /// ACL token.
    pub token: Option<String>,
    /// `Authorization` header for a proxy in front of the agent.
    pub authorization: Option<String>,
    /// Datacenter of all requests.
    pub datacenter: Option<String>,
    /// Accept stale answers.
    pub stale: bool,
    /// Sent along for servers that know namespaces.
    pub namespace: Option<String>,
}

/// The address without any setting.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

impl Settings {
    /// Settings for an address, all else default.
    pub fn for_address(address: impl Into<String>) -> Self {
        Self { address: address.into(), ..Self::default() }
    }

    /// Reads flags and environment.
    ///
    /// # Errors
    /// An unreadable token file, or a boolean that is none.
    pub fn read(flags: &Parsed, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let either = |flag: &str, name: &str| {
            flags.given(flag).filter(|v| !v.is_empty()).map(str::to_owned).or_else(|| env(name))
        };
        let switch = |name: &str| match env(name) {
            None => Ok(None),
            Some(text) => boolean(&text).map(Some).ok_or_else(|| format!("could not parse {name}: {text:?}")),
        };
        Ok(Self {
            address: either("http-addr", "CONSUL_HTTP_ADDR").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()),
            tls_enabled: switch("CONSUL_HTTP_SSL")?.unwrap_or(false),
            tls: TlsOptions {
                ca_file: either("ca-file", "CONSUL_CACERT").map(Into::into),
                ca_path: either("ca-path", "CONSUL_CAPATH").map(Into::into),
                client_cert: either("client-cert", "CONSUL_CLIENT_CERT").map(Into::into),
                client_key: either("client-key", "CONSUL_CLIENT_KEY").map(Into::into),
                skip_verify: !switch("CONSUL_HTTP_SSL_VERIFY")?.unwrap_or(true),
            },
            server_name: either("tls-server-name", "CONSUL_TLS_SERVER_NAME"),
            token: token(flags, &env)?,
            authorization: env("CONSUL_HTTP_AUTH").map(|auth| {
                format!(
                    "Basic {}",
                    BASE64_STANDARD.encode(if auth.contains(':') { auth } else { auth + ":" })
                )
            }),
            datacenter: flags.given("datacenter").filter(|v| !v.is_empty()).map(str::to_owned),
            stale: flags.on("stale"),
            namespace: env("CONSUL_NAMESPACE"),
        })
    }
}

/// A flag beats the environment; on the same level a file beats the token itself.
fn token(flags: &Parsed, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let from_file = |path: &str| {
        crate::files::read_text(path)
            .map(|text| Some(text.trim().to_owned()))
            .map_err(|e| format!("Error loading token file: {e}"))
    };
    if let Some(path) = flags.given("token-file").filter(|p| !p.is_empty()) {
        return from_file(path);
    }
    if let Some(token) = flags.given("token").filter(|t| !t.is_empty()) {
        return Ok(Some(token.to_owned()));
    }
    match env("CONSUL_HTTP_TOKEN_FILE") {
        Some(path) => from_file(&path),
        None => Ok(env("CONSUL_HTTP_TOKEN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let parsed = crate::flags::parse(&[CLIENT_FLAGS, SERVER_FLAGS], &args).unwrap();
        Settings::read(&parsed, &|name| {
            env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_beat_the_environment() {
        let env = [
            ("CONSUL_HTTP_ADDR", "1.1.1.1:1"),
            ("CONSUL_HTTP_TOKEN", "env"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_SSL_VERIFY", "false"),
            ("CONSUL_HTTP_AUTH", "user:pass"),
        ];
        let s = read(&["-http-addr=2.2.2.2:2", "-token=flag", "-datacenter=dc2", "-stale"], &env).unwrap();
        assert_eq!((s.address.as_str(), s.token.as_deref()), ("2.2.2.2:2", Some("flag")));
        assert_eq!((s.datacenter.as_deref(), s.stale, s.tls_enabled), (Some("dc2"), true, true));
        assert!(s.tls.skip_verify);
        assert_eq!(s.authorization.as_deref(), Some("Basic dXNlcjpwYXNz"));
        let s = read(&[], &env).unwrap();
        assert_eq!((s.address.as_str(), s.token.as_deref()), ("1.1.1.1:1", Some("env")));
        let s = read(&[], &[]).unwrap();
        assert_eq!((s.address.as_str(), s.token), (DEFAULT_ADDRESS, None));
    }

    #[test]
    fn token_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let path = file.path().to_str().unwrap();
        let s = read(&["-token=flag", "-token-file", path], &[]).unwrap();
        assert_eq!(s.token.as_deref(), Some("secret"));
        let s = read(&["-token=flag"], &[("CONSUL_HTTP_TOKEN_FILE", path)]).unwrap();
        assert_eq!(s.token.as_deref(), Some("flag"));
        assert!(read(&["-token-file=/no/such"], &[]).unwrap_err().contains("/no/such"));
        assert!(read(&[], &[("CONSUL_HTTP_SSL", "maybe")]).is_err());
    }
}
