//! What is written down so that a restarted agent finds its pool again: who was there, and the
//! clocks. Lines of text are appended; now and then the file is written anew.

use super::clock::LamportTime;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Smallest size at which the file is written anew, bytes.
const COMPACT_MIN: u64 = 128 * 1024;
/// Bytes per member present from which on the file is written anew.
const COMPACT_PER_NODE: u64 = 256;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A member is there.
    Alive(String, SocketAddr),
    /// It is not.
    NotAlive(String),
    /// Last time on the member clock.
    Clock(LamportTime),
    /// Last time on the event clock.
    EventClock(LamportTime),
    /// Last time on the query clock.
    QueryClock(LamportTime),
    /// We left.
    Leave,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Alive(name, addr) => write!(f, "alive: {name} {addr}"),
            Record::NotAlive(name) => write!(f, "not-alive: {name}"),
            Record::Clock(t) => write!(f, "clock: {t}"),
            Record::EventClock(t) => write!(f, "event-clock: {t}"),
            Record::QueryClock(t) => write!(f, "query-clock: {t}"),
            Record::Leave => f.write_str("leave"),
        }
    }
}

impl Record {
    /// Reads a line; `None` for comments, old kinds of lines and garbage.
    pub fn parse(line: &str) -> Option<Self> {
        if line == "leave" {
            return Some(Record::Leave);
        }
        let (kind, rest) = line.split_once(": ")?;
        Some(match kind {
            "alive" => {
                let (name, addr) = rest.rsplit_once(' ')?;
                Record::Alive(name.to_owned(), addr.parse().ok()?)
            }
            "not-alive" => Record::NotAlive(rest.to_owned()),
            "clock" => Record::Clock(rest.parse().ok()?),
            "event-clock" => Record::EventClock(rest.parse().ok()?),
            "query-clock" => Record::QueryClock(rest.parse().ok()?),
            _ => return None,
        })
    }
}

/// What a snapshot says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Members present.
    pub alive: BTreeMap<String, SocketAddr>,
    /// Last time on the member clock.
    pub clock: LamportTime,
    /// Last time on the event clock.
    pub event_clock: LamportTime,
    /// Last time on the query clock.
    pub query_clock: LamportTime,
}

impl State {
    /// Follows a record.
    fn apply(&mut self, record: &Record, rejoin_after_leave: bool) {
        match record {
            Record::Alive(name, addr) => {
                self.alive.insert(name.clone(), *addr);
            }
            Record::NotAlive(name) => {
                self.alive.remove(name);
            }
            Record::Clock(t) => self.clock = *t,
            Record::EventClock(t) => self.event_clock = *t,
            Record::QueryClock(t) => self.query_clock = *t,
            Record::Leave if !rejoin_after_leave => *self = State::default(),
            Record::Leave => {}
        }
    }

    /// Reads the content of a file. Lines nobody understands are skipped, a cut last line too.
    pub fn replay(content: &[u8], rejoin_after_leave: bool) -> Self {
        let mut state = State::default();
        for line in content.split(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(line);
            if let Some(record) = Record::parse(&line) {
                state.apply(&record, rejoin_after_leave);
            }
        }
        state
    }
}

/// The snapshot file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {path}: {source}")]
pub struct SnapshotError {
    path: PathBuf,
    source: io::Error,
}

/// The open file. Blocking; belongs on a thread of its own.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    state: State,
    rejoin_after_leave: bool,
    /// Clock lines wait for the next flush: only the last of each kind matters.
    clocks: HashMap<&'static str, Record>,
    left: bool,
}

impl SnapshotFile {
    /// Opens or creates the file and reads it.
    pub fn open(path: &Path, rejoin_after_leave: bool) -> Result<(Self, State), SnapshotError> {
        let fail = |source| SnapshotError { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(fail)?;
        }
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(fail(e)),
        };
        let state = State::replay(&content, rejoin_after_leave);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        let mut snapshot = SnapshotFile {
            path: path.to_owned(),
            file: BufWriter::new(file),
            size: content.len() as u64,
            state: state.clone(),
            rejoin_after_leave,
            clocks: HashMap::new(),
            left: false,
        };
        if content.last().is_some_and(|b| *b != b'\n') {
            snapshot.write(b"\n")?;
        }
        Ok((snapshot, state))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| SnapshotError { path: self.path.clone(), source })
    }

    /// Takes in a record. It reaches the file with the next [`flush`](Self::flush), a leave at once.
    pub fn append(&mut self, record: Record) -> Result<(), SnapshotError> {
        self.state.apply(&record, self.rejoin_after_leave);
        match record {
            Record::Clock(_) => self.clocks.insert("member", record),
            Record::EventClock(_) => self.clocks.insert("event", record),
            Record::QueryClock(_) => self.clocks.insert("query", record),
            // Members fading out after we left say nothing about the pool.
            Record::Alive(..) | Record::NotAlive(_) if self.left => return Ok(()),
            _ => {
                let is_leave = record == Record::Leave;
                if is_leave {
                    self.clocks.clear();
                    self.left = true;
                }
                self.write(format!("{record}\n").as_bytes())?;
                metrics::counter!("serf.snapshot.appendLine").increment(1);
                if is_leave {
                    return self.flush();
                }
                None
            }
        };
        Ok(())
    }

    /// Writes out what waits; writes the file anew when it has grown too long.
    pub fn flush(&mut self) -> Result<(), SnapshotError> {
        let clocks: Vec<Record> = self.clocks.drain().map(|(_, r)| r).collect();
        for record in clocks {
            self.write(format!("{record}\n").as_bytes())?;
        }
        self.file.flush().map_err(|source| SnapshotError { path: self.path.clone(), source })?;
        let bound = COMPACT_MIN.max(COMPACT_PER_NODE * self.state.alive.len() as u64);
        if self.size > bound && !self.left {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), SnapshotError> {
        let mut text = String::new();
        for (name, addr) in &self.state.alive {
            text.push_str(&format!("{}\n", Record::Alive(name.clone(), *addr)));
        }
        for record in [
            Record::Clock(self.state.clock),
            Record::EventClock(self.state.event_clock),
            Record::QueryClock(self.state.query_clock),
        ] {
            text.push_str(&format!("{record}\n"));
        }
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(".compact");
        let result = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        })();
        let file = result.map_err(|source| SnapshotError { path: self.path.clone(), source })?;
        self.file = BufWriter::new(file);
        self.size = text.len() as u64;
        metrics::counter!("serf.snapshot.compact").increment(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn lines_are_read_back() {
        for record in [
            Record::Alive("a name with spaces".into(), addr(1)),
            Record::Alive("v6".into(), "[::1]:8301".parse().unwrap()),
            Record::NotAlive("gone".into()),
            Record::Clock(7),
            Record::EventClock(8),
            Record::QueryClock(9),
            Record::Leave,
        ] {
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
        for line in ["# comment", "coordinate: {}", "alive: x", "clock: -1", ""] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_file_is_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serf/local.snapshot");
        let (mut file, state) = SnapshotFile::open(&path, false).unwrap();
        assert_eq!(state, State::default());
        for record in [
            Record::Alive("a".into(), addr(1)),
            Record::Alive("b".into(), addr(2)),
            Record::Clock(3),
            Record::Clock(4),
            Record::NotAlive("b".into()),
            Record::EventClock(5),
        ] {
            file.append(record).unwrap();
        }
        file.flush().unwrap();
        drop(file);
        // A crash may cut the last line.
        let mut text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\nclock: ").count(), 1, "{text}");
        text.push_str("alive: c 127.0");
        fs::write(&path, &text).unwrap();
        let (mut file, state) = SnapshotFile::open(&path, false).unwrap();
        assert_eq!(state.alive, BTreeMap::from([("a".into(), addr(1))]));
        assert_eq!((state.clock, state.event_clock), (4, 5));
        file.append(Record::Alive("d".into(), addr(4))).unwrap();
        file.flush().unwrap();
        let (_, state) = SnapshotFile::open(&path, false).unwrap();
        assert_eq!(state.alive.len(), 2);
    }

    #[test]
    fn a_leave_forgets_unless_told_otherwise() {
        let content = b"alive: a 127.0.0.1:1\nclock: 4\nleave\n";
        assert_eq!(State::replay(content, false), State::default());
        assert_eq!(State::replay(content, true).alive.len(), 1);
    }

    #[test]
    fn a_long_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        let (mut file, _) = SnapshotFile::open(&path, false).unwrap();
        file.append(Record::Alive("keep".into(), addr(9))).unwrap();
        for i in 0..5000u16 {
            let name = format!("member-{i:08}");
            file.append(Record::Alive(name.clone(), addr(i))).unwrap();
            file.append(Record::NotAlive(name)).unwrap();
        }
        file.append(Record::Clock(12)).unwrap();
        file.flush().unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 200);
        file.append(Record::Alive("more".into(), addr(1))).unwrap();
        file.flush().unwrap();
        let (_, state) = SnapshotFile::open(&path, false).unwrap();
        assert_eq!(state.alive.len(), 2);
        assert_eq!(state.clock, 12);
    }
}
