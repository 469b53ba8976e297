//! Log files that are changed for a new one by size and age.
//!
//! The configured path is a prefix: `/var/log/consul.log` gives
//! `/var/log/consul-<nanoseconds>.log`, one that ends in a slash `consul-<nanoseconds>.log` there.
//! The folder has to be there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where to and when to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    pub path: PathBuf,
    /// Zero: size does not matter.
    pub rotate_bytes: u64,
    /// Zero: age does not matter.
    pub rotate_after: Duration,
    /// How many older files stay. Zero: all of them. Negative: none.
    pub max_files: i64,
}

#[derive(Debug)]
pub(crate) struct LogFile {
    config: FileConfig,
    folder: PathBuf,
    /// `consul` and `.log` of `consul-123.log`.
    stem: String,
    extension: String,
    file: File,
    written: u64,
    opened: SystemTime,
}

impl LogFile {
    pub(crate) fn open(config: FileConfig, now: SystemTime) -> io::Result<Self> {
        let (folder, stem, extension) = split(&config.path);
        let file = create(&folder, &stem, &extension, now)?;
        Ok(Self { config, folder, stem, extension, file, written: 0, opened: now })
    }

    /// Writes a line, into a new file if the present one is full or old.
    pub(crate) fn write(&mut self, line: &str, now: SystemTime) -> io::Result<()> {
        let full = self.config.rotate_bytes > 0 && self.written >= self.config.rotate_bytes;
        let age = now.duration_since(self.opened).unwrap_or_default();
        let old = !self.config.rotate_after.is_zero() && age >= self.config.rotate_after;
        if full || old {
            self.file = create(&self.folder, &self.stem, &self.extension, now)?;
            self.written = 0;
            self.opened = now;
            self.prune()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.written = self.written.saturating_add(line.len() as u64);
        Ok(())
    }

    /// Removes the oldest files above the number that may stay.
    fn prune(&self) -> io::Result<()> {
        let keep = match self.config.max_files {
            0 => return Ok(()),
            n if n < 0 => 0,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        let mut files: Vec<(u128, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(stamp) = self.stamp_of(&path) else { continue };
            files.push((stamp, path));
        }
        files.sort();
        // The present file is the newest and not counted.
        files.pop();
        let surplus = files.len().saturating_sub(keep);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn stamp_of(&self, path: &Path) -> Option<u128> {
        path.file_name()?
            .to_str()?
            .strip_prefix(&self.stem)?
            .strip_prefix('-')?
            .strip_suffix(&self.extension)?
            .parse()
            .ok()
    }
}

fn split(path: &Path) -> (PathBuf, String, String) {
    if path.as_os_str().to_string_lossy().ends_with('/') {
        return (path.to_owned(), "consul".to_owned(), ".log".to_owned());
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let extension = path.extension().map_or(".log".to_owned(), |e| format!(".{}", e.to_string_lossy()));
    (folder, stem, extension)
}

fn create(folder: &Path, stem: &str, extension: &str, now: SystemTime) -> io::Result<File> {
    let mut stamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    loop {
        let path = folder.join(format!("{stem}-{stamp}{extension}"));
        // For their group to read, too.
        match OpenOptions::new().append(true).create_new(true).mode(0o640).open(&path) {
            // Two changes within one tick of the clock.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => stamp += 1,
            other => return other.map_err(|e| named(&path, &e)),
        }
    }
}

/// The error with the file's name: `open x: no such file or directory`.
fn named(path: &Path, error: &io::Error) -> io::Error {
    let text = error.to_string();
    // The system's text stands before its number.
    let why = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    io::Error::new(error.kind(), format!("open {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn config(path: PathBuf) -> FileConfig {
        FileConfig { path, rotate_bytes: 0, rotate_after: Duration::ZERO, max_files: 0 }
    }

    #[test]
    fn names_of_files() {
        let temp = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_nanos(5);
        LogFile::open(config(temp.path().join("a.txt")), now).unwrap();
        LogFile::open(config(temp.path().join("b")), now).unwrap();
        let folder = format!("{}/sub", temp.path().display());
        let error = LogFile::open(config(format!("{folder}/").into()), now).unwrap_err().to_string();
        assert_eq!(error, format!("open {folder}/consul-5.log: no such file or directory"));
        fs::create_dir(&folder).unwrap();
        LogFile::open(config(format!("{folder}/").into()), now).unwrap();
        LogFile::open(config(folder.into()), now).unwrap();
        assert_eq!(names(temp.path()), ["a-5.txt", "b-5.log", "sub", "sub-5.log"]);
        let mode = fs::metadata(temp.path().join("a-5.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o037, 0, "nothing for others, nothing but reading for the group");
        assert_eq!(names(&temp.path().join("sub")), ["consul-5.log"]);
    }

    #[test]
    fn files_change_by_size_and_the_oldest_go() {
        let temp = tempfile::tempdir().unwrap();
        let at = |n| UNIX_EPOCH + Duration::from_nanos(n);
        let settings = FileConfig { rotate_bytes: 4, max_files: 1, ..config(temp.path().join("x.log")) };
        let mut log = LogFile::open(settings, at(1)).unwrap();
        for n in 2..6 {
            log.write("line\n", at(n)).unwrap();
        }
        // Written: 1 (at 2), 3, 4, 5.
        assert_eq!(names(temp.path()), ["x-4.log", "x-5.log"]);
        assert_eq!(fs::read_to_string(temp.path().join("x-5.log")).unwrap(), "line\n");
    }

    #[test]
    fn files_change_by_age_and_none_stay() {
        let temp = tempfile::tempdir().unwrap();
        let at = |n| UNIX_EPOCH + Duration::from_secs(n);
        let settings = FileConfig {
            rotate_after: Duration::from_secs(10),
            max_files: -1,
            ..config(temp.path().join("x.log"))
        };
        let mut log = LogFile::open(settings, at(1)).unwrap();
        log.write("a\n", at(10)).unwrap();
        assert_eq!(names(temp.path()), ["x-1000000000.log"]);
        log.write("b\n", at(11)).unwrap();
        assert_eq!(names(temp.path()), ["x-11000000000.log"]);
    }
}
