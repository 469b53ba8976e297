//! Log lines: where they go, who may watch them, and how much is said.

mod file;
mod format;
mod level;
mod syslog;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

pub use file::FileConfig;
pub use level::{InvalidLevel, Level};
pub use syslog::SyslogConfig;

use file::LogFile;
use format::Record;
use syslog::Syslog;

/// Lines that wait for one watcher; more are dropped and counted.
const WATCHER_LINES: usize = 512;
/// Who may watch at a time.
const MAX_WATCHERS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub level: Level,
    /// The agent is no server, so that shared parts are named as the client's.
    pub client: bool,
    /// Lines of JSON instead of text, everywhere but in the system log.
    pub json: bool,
    /// Whether lines go to standard output; each then starts with `indent`.
    pub stdout: bool,
    pub indent: String,
    pub file: Option<FileConfig>,
    pub syslog: Option<SyslogConfig>,
}

impl Default for Config {
    /// Informative lines on standard output, indented as under a heading.
    fn default() -> Self {
        Self {
            level: Level::Info,
            client: false,
            json: false,
            stdout: true,
            indent: "    ".to_owned(),
            file: None,
            syslog: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("Failed to setup logging: {0}")]
    File(io::Error),
    #[error("Syslog setup error: {0}")]
    Syslog(io::Error),
    #[error("logging was set up before")]
    Already,
    #[error("too many watchers of the log")]
    TooManyWatchers,
}

/// Sets up logging for the whole process; once.
pub fn init(config: Config) -> Result<LogHandle, LogError> {
    let (layer, handle) = layer(config)?;
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|_| LogError::Already)?;
    Ok(handle)
}

/// The same for those who build a subscriber of their own, as tests do.
pub fn layer(config: Config) -> Result<(LogLayer, LogHandle), LogError> {
    let now = SystemTime::now();
    let file = config.file.map(|c| LogFile::open(c, now)).transpose().map_err(LogError::File)?;
    let syslog = config.syslog.as_ref().map(Syslog::open).transpose().map_err(LogError::Syslog)?;
    let shared = Arc::new(Shared {
        level: AtomicU8::new(config.level.to_u8()),
        lowest: AtomicU8::new(config.level.to_u8()),
        client: config.client,
        json: config.json,
        stdout: config.stdout,
        indent: if config.json { String::new() } else { config.indent },
        file: Mutex::new(file),
        syslog,
        watchers: Mutex::new(Vec::new()),
        lost: AtomicU64::new(0),
    });
    Ok((LogLayer { shared: shared.clone() }, LogHandle { shared }))
}

struct Shared {
    /// What is written.
    level: AtomicU8,
    /// The lower of that and what any watcher wants: events below it cost nothing.
    lowest: AtomicU8,
    client: bool,
    json: bool,
    stdout: bool,
    indent: String,
    file: Mutex<Option<LogFile>>,
    syslog: Option<Syslog>,
    watchers: Mutex<Vec<Watcher>>,
    /// Lines that could not be written to standard output or the file.
    lost: AtomicU64,
}

struct Watcher {
    level: Level,
    json: bool,
    lines: mpsc::Sender<String>,
    dropped: u64,
}

/// To change the level and to watch the log.
#[derive(Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
}

impl LogHandle {
    pub fn level(&self) -> Level {
        Level::from_u8(self.shared.level.load(Ordering::Relaxed))
    }

    /// Takes effect at once.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level.to_u8(), Ordering::Relaxed);
        let watchers = self.shared.watchers.lock();
        self.shared.recompute(&watchers);
    }

    /// Lines of `level` and above from now on, each with its line end,
    /// whatever the level of the log itself is. A watcher that does not keep up misses lines
    /// and is told how many. Dropping the receiver ends it.
    pub fn subscribe(&self, level: Level, json: bool) -> Result<mpsc::Receiver<String>, LogError> {
        let (lines, receiver) = mpsc::channel(WATCHER_LINES);
        let mut watchers = self.shared.watchers.lock();
        watchers.retain(|w| !w.lines.is_closed());
        if watchers.len() >= MAX_WATCHERS {
            return Err(LogError::TooManyWatchers);
        }
        watchers.push(Watcher { level, json, lines, dropped: 0 });
        self.shared.recompute(&watchers);
        Ok(receiver)
    }

    /// How many lines could not be written so far.
    pub fn lost_lines(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn recompute(&self, watchers: &[Watcher]) {
        let own = Level::from_u8(self.level.load(Ordering::Relaxed));
        let lowest = watchers.iter().map(|w| w.level).min().map_or(own, |w| w.min(own));
        if self.lowest.swap(lowest.to_u8(), Ordering::Relaxed) != lowest.to_u8() {
            // `tracing` remembers per call site who is interested.
            tracing::callsite::rebuild_interest_cache();
        }
    }

    fn write(&self, record: &Record) {
        if record.level >= Level::from_u8(self.level.load(Ordering::Relaxed)) {
            let line = if self.json { record.json() } else { record.text() };
            if self.stdout
                && io::stdout().lock().write_all(format!("{}{line}", self.indent).as_bytes()).is_err()
            {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(file) = self.file.lock().as_mut()
                && file.write(&line, record.time).is_err()
            {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(syslog) = &self.syslog {
                syslog.write(record.level, &record.body(), record.time);
            }
        }
        self.tell(record);
    }

    fn tell(&self, record: &Record) {
        let mut watchers = self.watchers.lock();
        let mut gone = false;
        for watcher in watchers.iter_mut() {
            gone |= watcher.lines.is_closed();
            if record.level < watcher.level {
                continue;
            }
            let mut line = if watcher.json { record.json() } else { record.text() };
            if watcher.dropped > 0 {
                line =
                    format!("[WARN] Monitor dropped {} logs during monitor request\n{line}", watcher.dropped);
            }
            match watcher.lines.try_send(line) {
                Ok(()) => watcher.dropped = 0,
                Err(_) => watcher.dropped += 1,
            }
        }
        if gone {
            watchers.retain(|w| !w.lines.is_closed());
            self.recompute(&watchers);
        }
    }
}

/// Writes every event of the process.
pub struct LogLayer {
    shared: Arc<Shared>,
}

impl LogLayer {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = Level::of(metadata.level());
        level >= Level::from_u8(self.shared.lowest.load(Ordering::Relaxed))
            && (level >= Level::Warn || format::is_own(metadata.target()))
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Sound because every change of level rebuilds what is remembered.
        if metadata.is_span() || !self.wants(metadata) { Interest::never() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Level::from_u8(self.shared.lowest.load(Ordering::Relaxed)).filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.shared.write(&Record::of(event, SystemTime::now(), self.shared.client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(level: Level) -> Config {
        Config { level, stdout: false, ..Config::default() }
    }

    #[test]
    fn watchers_choose_their_level_and_form() {
        let (layer, handle) = layer(quiet(Level::Warn)).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let mut info = handle.subscribe(Level::Info, false).unwrap();
            let mut error = handle.subscribe(Level::Error, true).unwrap();
            tracing::debug!(target: "agent", "too quiet");
            tracing::info!(target: "agent", node = "n1", "hello");
            tracing::error!(target: "agent", "broken");
            tracing::info!(target: "hyper::client", "a library's chatter");
            let first = info.try_recv().unwrap();
            assert!(first.ends_with("Z [INFO]  agent: hello: node=n1\n"), "{first}");
            assert!(info.try_recv().unwrap().ends_with("[ERROR] agent: broken\n"));
            assert!(info.try_recv().is_err());
            let line: serde_json::Value = serde_json::from_str(&error.try_recv().unwrap()).unwrap();
            assert_eq!(line["@message"], "broken");
            assert!(error.try_recv().is_err());
        });
    }

    #[test]
    fn a_slow_watcher_is_told_what_it_missed() {
        let (layer, handle) = layer(quiet(Level::Info)).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let mut lines = handle.subscribe(Level::Info, false).unwrap();
            for _ in 0..WATCHER_LINES + 3 {
                tracing::info!(target: "agent", "line");
            }
            for _ in 0..WATCHER_LINES {
                lines.try_recv().unwrap();
            }
            assert!(lines.try_recv().is_err());
            tracing::info!(target: "agent", "after");
            let line = lines.try_recv().unwrap();
            assert!(line.starts_with("[WARN] Monitor dropped 3 logs"), "{line}");
            assert!(line.ends_with("agent: after\n"));
        });
    }

    #[test]
    fn the_file_follows_the_level() {
        let temp = tempfile::tempdir().unwrap();
        let file = FileConfig {
            path: temp.path().join("x.log"),
            rotate_bytes: 0,
            rotate_after: std::time::Duration::ZERO,
            max_files: 0,
        };
        let (layer, handle) = layer(Config { file: Some(file), ..quiet(Level::Info) }).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let say = |n: u32| tracing::debug!(target: "agent", n, "said");
        tracing::subscriber::with_default(subscriber, || {
            say(1);
            handle.set_level(Level::Debug);
            say(2);
            handle.set_level(Level::Error);
            say(3);
        });
        let path = std::fs::read_dir(temp.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with("[DEBUG] agent: said: n=2\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(handle.level(), Level::Error);
        assert_eq!(handle.lost_lines(), 0);
    }

    #[test]
    fn levels_by_name() {
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert_eq!("err".parse(), Ok(Level::Error));
        assert_eq!(
            "loud".parse::<Level>().unwrap_err().to_string(),
            "Invalid log level: loud. Valid log levels are: [TRACE DEBUG INFO WARN ERR]"
        );
    }
}
