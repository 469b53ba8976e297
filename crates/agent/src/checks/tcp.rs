//! TCP: whether a port takes connections.

use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

/// Connects, and hangs up.
pub async fn probe(address: &str, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Outcome::passing(format!("TCP connect {address}: Success")),
        Ok(Err(error)) => Outcome::critical(dial_failed(address, &error)),
        Err(_) => Outcome::critical(format!("dial tcp {address}: i/o timeout")),
    }
}

/// The words operators know for why a connection failed.
pub fn dial_failed(address: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{CRITICAL, PASSING};

    #[tokio::test]
    async fn a_port_that_listens_passes() {
        let listener = tokio::net::TcpListener::bind("127.28.1.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let second = Duration::from_secs(1);
        let outcome = probe(&address, second).await;
        assert_eq!((outcome.status, outcome.output), (PASSING, format!("TCP connect {address}: Success")));
        drop(listener);
        let outcome = probe(&address, second).await;
        assert_eq!(outcome.status, CRITICAL);
        assert_eq!(outcome.output, format!("dial tcp {address}: connect: connection refused"));
        assert_eq!(probe("no port", second).await.status, CRITICAL);
    }
}
