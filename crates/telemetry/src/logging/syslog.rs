//! The system log, over its datagram socket.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::level::Level;
use crate::civil::Civil;

const SOCKETS: &[&str] = &["/dev/log", "/var/run/syslog", "/var/run/log"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Which facility to log as, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// `LOCAL0` and the like; case does not matter.
    pub facility: String,
    pub tag: String,
    /// The socket; the usual places if absent.
    pub socket: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    facility: u8,
    tag: String,
}

impl Syslog {
    pub(crate) fn open(config: &SyslogConfig) -> io::Result<Self> {
        let facility = facility(&config.facility).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("invalid syslog facility: {}", config.facility),
            )
        })?;
        let usual: Vec<&Path> = match &config.socket {
            Some(path) => vec![path],
            None => SOCKETS.iter().map(Path::new).collect(),
        };
        let socket = UnixDatagram::unbound()?;
        // The log must never hold up the program: what does not fit is lost.
        socket.set_nonblocking(true)?;
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for path in usual {
            match socket.connect(path) {
                Ok(()) => {
                    return Ok(Self { socket, path: path.to_owned(), facility, tag: config.tag.clone() });
                }
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    pub(crate) fn write(&self, level: Level, body: &str, now: SystemTime) {
        let t = Civil::of(now);
        let month = MONTHS.get(t.month as usize - 1).copied().unwrap_or_default();
        let priority = u32::from(self.facility) * 8 + severity(level);
        let pid = std::process::id();
        let line = format!(
            "<{priority}>{month} {:>2} {:02}:{:02}:{:02} {}[{pid}]: {body}",
            t.day, t.hour, t.minute, t.second, self.tag
        );
        if self.socket.send(line.as_bytes()).is_err() && self.socket.connect(&self.path).is_ok() {
            // The system log was started anew; a second failure is a lost line.
            let _ = self.socket.send(line.as_bytes());
        }
    }
}

fn severity(level: Level) -> u32 {
    match level {
        Level::Trace | Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
    }
}

fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
    ];
    let name = name.to_ascii_uppercase();
    if let Some(digit) = name.strip_prefix("LOCAL") {
        return digit.parse::<u8>().ok().filter(|n| *n < 8).map(|n| 16 + n);
    }
    NAMES.iter().position(|n| *n == name).and_then(|n| u8::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn lines_reach_the_socket() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        let config = SyslogConfig {
            facility: "local0".to_owned(),
            tag: "consul".to_owned(),
            socket: Some(path.clone()),
        };
        let syslog = Syslog::open(&config).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_625_142_645);
        syslog.write(Level::Warn, "agent: hello", now);
        let mut buffer = [0; 256];
        let mut next = |from: &UnixDatagram| {
            let n = from.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        let pid = std::process::id();
        assert_eq!(next(&listener), format!("<132>Jul  1 12:30:45 consul[{pid}]: agent: hello"));

        // A new socket in the old one's place is found.
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixDatagram::bind(&path).unwrap();
        syslog.write(Level::Error, "agent: again", now);
        assert!(next(&listener).ends_with("agent: again"));
    }

    #[test]
    fn wrong_facilities_are_refused() {
        for name in ["LOCAL8", "nonsense", ""] {
            let config = SyslogConfig { facility: name.to_owned(), tag: String::new(), socket: None };
            assert!(Syslog::open(&config).is_err(), "{name}");
        }
        assert_eq!(facility("LOCAL7"), Some(23));
        assert_eq!(facility("daemon"), Some(3));
    }
}
