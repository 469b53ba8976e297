//! Addresses as operators write them.

use std::net::{IpAddr, SocketAddr};

/// Turns `[name/]host[:port]` into addresses. Names are looked up at every call.
pub async fn resolve(text: &str, default_port: u16) -> Result<Vec<SocketAddr>, String> {
    let text = text.trim();
    let host = text.split_once('/').map_or(text, |(_, host)| host);
    if let Ok(addr) = host.parse::<SocketAddr>() {
        return Ok(vec![addr]);
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, default_port)]);
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => {
            let port = port.parse().map_err(|_| format!("Failed to resolve {text}: invalid port"))?;
            (name, port)
        }
        None => (host, default_port),
    };
    if name.is_empty() {
        return Err(format!("Failed to resolve {text}: no host"));
    }
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((name, port))
        .await
        .map_err(|e| format!("Failed to resolve {text}: {e}"))?
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(format!("Failed to resolve {text}: no addresses"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_is_understood() {
        for (text, addr) in [
            ("127.0.0.1", "127.0.0.1:8301"),
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("node.dc1/127.0.0.1:99", "127.0.0.1:99"),
            ("::1", "[::1]:8301"),
            ("[::1]", "[::1]:8301"),
            ("[::1]:99", "[::1]:99"),
        ] {
            let found = resolve(text, 8301).await.unwrap();
            assert_eq!(found, [addr.parse().unwrap()], "{text}");
        }
        for text in ["", ":99", "host:notaport", "name/"] {
            let error = resolve(text, 8301).await.unwrap_err();
            assert!(error.starts_with("Failed to resolve"), "{error}");
        }
        let found = resolve("localhost:77", 8301).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 77));
    }
}
