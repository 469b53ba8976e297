//! Addresses as users write them: `host:port`, `http://…`, `https://…`, `unix:///path`.

use crate::Error;

/// Plain or encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP in TLS.
    Https,
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or IP address (IPv6 without brackets) and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(std::path::PathBuf),
}

/// An address, and the path after it if it was a URL with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Where to connect.
    pub endpoint: Endpoint,
    /// Path and query, starting with `/`; `/` if none was given.
    pub path: String,
}

impl Target {
    /// Reads an address. `default_port` is used where none is written; without one it is the
    /// scheme's own (80 or 443).
    ///
    /// # Errors
    /// [`Error::Address`] for an unknown scheme, an empty host or an impossible port.
    pub fn parse(address: &str, default_port: Option<u16>) -> Result<Self, Error> {
        let bad = |why| Error::Address(address.to_owned(), why);
        let (scheme, rest) = match address.split_once("://") {
            Some(("http" | "tcp", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("unix", path)) if !path.is_empty() => {
                return Ok(Self {
                    scheme: Scheme::Http,
                    endpoint: Endpoint::Unix(path.into()),
                    path: "/".to_owned(),
                });
            }
            Some(("unix", _)) => return Err(bad("no path after unix://")),
            Some(_) => return Err(bad("unknown protocol scheme")),
            None => (Scheme::Http, address),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        // Credentials are never part of an address here; whatever stands before `@` is dropped.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = split_host_port(authority).ok_or_else(|| bad("bad port"))?;
        if host.is_empty() {
            return Err(bad("no host"));
        }
        let port = port.or(default_port).unwrap_or(match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        Ok(Self { scheme, endpoint: Endpoint::Tcp { host: host.to_owned(), port }, path })
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port } => format!("{host}:{port}"),
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }
}

fn split_host_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None if after.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match authority.split_once(':') {
        // More than one colon without brackets: a bare IPv6 address.
        Some((_, rest)) if rest.contains(':') => Some((authority, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> (Scheme, String, u16, String) {
        let target = Target::parse(address, None).unwrap();
        match target.endpoint {
            Endpoint::Tcp { host, port } => (target.scheme, host, port, target.path),
            Endpoint::Unix(_) => panic!("unix"),
        }
    }

    #[test]
    fn every_way_to_write_an_address() {
        let plain = |h: &str, p, path: &str| (Scheme::Http, h.to_owned(), p, path.to_owned());
        assert_eq!(tcp("127.0.0.1:8500"), plain("127.0.0.1", 8500, "/"));
        assert_eq!(tcp("http://web:81/a?b=c"), plain("web", 81, "/a?b=c"));
        assert_eq!(tcp("web?b=c"), plain("web", 80, "/?b=c"));
        assert_eq!(tcp("[::1]:8500"), plain("::1", 8500, "/"));
        assert_eq!(tcp("::1"), plain("::1", 80, "/"));
        let secure = tcp("https://web");
        assert_eq!((secure.0, secure.2), (Scheme::Https, 443));
        assert_eq!(
            Target::parse("unix:///run/a.sock", None).unwrap().endpoint,
            Endpoint::Unix("/run/a.sock".into())
        );
        assert_eq!(Target::parse("[::1]:1", None).unwrap().authority(), "[::1]:1");
    }

    #[test]
    fn impossible_addresses_are_refused() {
        for bad in ["", "http://", "ftp://x", "web:99999", "[::1", "unix://", "[::1]x"] {
            assert!(Target::parse(bad, None).is_err(), "{bad}");
        }
    }
}
