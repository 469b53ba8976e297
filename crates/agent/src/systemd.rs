//! Telling systemd how the agent is (`sd_notify`): a datagram to the socket that the environment
//! names. Without one nothing is told.

use std::os::unix::net::UnixDatagram;

/// The agent serves.
pub fn notify_ready() {
    notify("READY=1");
}

/// The agent leaves.
pub fn notify_stopping() {
    notify("STOPPING=1");
}

fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        if let Some(name) = bytes.strip_prefix(b"@") {
            let address =
                <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
                    name,
                )?;
            socket.send_to_addr(state.as_bytes(), &address)
        } else {
            socket.send_to(state.as_bytes(), &path)
        }
    });
    if let Err(error) = sent {
        tracing::debug!(target: "agent", error = %error, "could not notify systemd");
    }
}
