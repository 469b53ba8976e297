//! The folder an agent keeps its state in: made, locked against a second
//! agent, and marked with who owns it. And the pid file, which lives elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha512};
use uuid::Uuid;

const LOCK_FILE: &str = "agent.lock";
const NODE_ID_FILE: &str = "node-id";
const DATACENTER_FILE: &str = "datacenter";
/// More than any of our small files may have.
const SMALL_FILE_BYTES: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data_dir {}: {what}: {source}", dir.display())]
    Io { dir: PathBuf, what: &'static str, source: io::Error },
    #[error("data_dir {} is in use by another agent{holder}", dir.display())]
    InUse { dir: PathBuf, holder: String },
    #[error("data_dir {} belongs to a server of datacenter {owner:?}, not {wanted:?}", dir.display())]
    OtherDatacenter { dir: PathBuf, owner: String, wanted: String },
    #[error("specified NodeID is invalid: {0:?} is not a UUID")]
    InvalidNodeId(String),
    #[error("node ID on disk is invalid: {}: {text:?} is not a UUID", path.display())]
    InvalidNodeIdFile { path: PathBuf, text: String },
    #[error("pid_file {}: {source}", path.display())]
    PidFile { path: PathBuf, source: io::Error },
}

/// The folder, locked as long as this lives. The lock is the system's, so it
/// ends with the process however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the folder if there is none, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |what| move |source| DataDirError::Io { dir: path.to_owned(), what, source };
        fs::create_dir_all(path).map_err(failed("cannot be created"))?;
        let lock_path = path.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("not writable"))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let holder = read_small(&lock_path).ok().filter(|pid| !pid.is_empty());
                return Err(DataDirError::InUse {
                    dir: path.to_owned(),
                    holder: holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
                });
            }
            Err((_, e)) => return Err(failed("cannot be locked")(e.into())),
        };
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed("not writable"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For servers, whose data is of one datacenter only: notes the datacenter
    /// at first, and refuses another one later.
    pub fn claim_datacenter(&self, datacenter: &str) -> Result<(), DataDirError> {
        let path = self.path.join(DATACENTER_FILE);
        match read_small(&path) {
            Ok(owner) if owner == datacenter => Ok(()),
            Ok(owner) if owner.is_empty() => self.write(&path, datacenter),
            Ok(owner) => Err(DataDirError::OtherDatacenter {
                dir: self.path.clone(),
                owner,
                wanted: datacenter.to_owned(),
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.write(&path, datacenter),
            Err(e) => Err(self.failed("datacenter cannot be read", e)),
        }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> DataDirError {
        DataDirError::Io { dir: self.path.clone(), what, source }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), DataDirError> {
        write_whole(path, text).map_err(|e| self.failed("not writable", e))
    }
}

/// The node's id: the configured one; else the one in the data folder; else,
/// if wanted, one derived from the host; else a random one. It is kept in the
/// data folder (mode 0600), of which there is none in development mode.
pub fn node_id(
    data_dir: Option<&DataDir>,
    configured: Option<&str>,
    disable_host_node_id: bool,
) -> Result<String, DataDirError> {
    if let Some(text) = configured {
        let id = parse_id(text).ok_or_else(|| DataDirError::InvalidNodeId(text.to_owned()))?;
        return keep(data_dir, id);
    }
    if let Some(dir) = data_dir {
        let path = dir.path.join(NODE_ID_FILE);
        match read_small(&path) {
            Ok(text) => {
                return parse_id(&text).ok_or(DataDirError::InvalidNodeIdFile { path, text });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(dir.failed("node-id cannot be read", e)),
        }
    }
    let of_host = if disable_host_node_id { None } else { host_id() };
    let id = of_host.unwrap_or_else(|| Uuid::new_v4().to_string());
    keep(data_dir, id)
}

fn keep(data_dir: Option<&DataDir>, id: String) -> Result<String, DataDirError> {
    if let Some(dir) = data_dir {
        dir.write(&dir.path.join(NODE_ID_FILE), &id)?;
    }
    Ok(id)
}

/// A UUID in its usual form, in lower case.
fn parse_id(text: &str) -> Option<String> {
    let id = text.trim().to_lowercase();
    (id.len() == 36 && Uuid::try_parse(&id).is_ok()).then_some(id)
}

/// An id that stays the same on this machine without telling which machine it
/// is: the digest of the system's own id.
fn host_id() -> Option<String> {
    ["/sys/class/dmi/id/product_uuid", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"].iter().find_map(
        |path| {
            let text = read_small(Path::new(path)).ok()?.to_lowercase();
            let system = Uuid::try_parse(&text).ok()?.to_string();
            let digest = Sha512::digest(system.as_bytes());
            let bytes: [u8; 16] = digest.get(..16)?.try_into().ok()?;
            Some(Uuid::from_bytes(bytes).to_string())
        },
    )
}

/// The trimmed text of a file that must be small.
fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SMALL_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// Replaces a file so that a crash leaves the old or the new text.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// The process id in a file, as long as this lives.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// The folder has to be there: a misspelt path is an error.
    pub fn create(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::PidFile { path: path.to_owned(), source };
        fs::write(path, format!("{}\n", std::process::id())).map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(target: "agent", path = %self.path.display(), error = %e, "could not remove the pid file");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_agent_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("new/data");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "data_dir {} is in use by another agent (process {})",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDir::open(&path.join("below")).unwrap_err().to_string();
        assert!(error.contains("file/below"), "{error}");
    }

    #[test]
    fn the_node_id_stays() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let first = node_id(Some(&dir), None, true).unwrap();
        assert_eq!(node_id(Some(&dir), None, true).unwrap(), first);
        let mode = fs::metadata(temp.path().join("node-id")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let given = "0A0B0C0D-0000-4000-8000-0000000000FF";
        let lower = given.to_lowercase();
        assert_eq!(node_id(Some(&dir), Some(given), true).unwrap(), lower);
        assert_eq!(node_id(Some(&dir), None, true).unwrap(), lower);
        assert!(matches!(node_id(None, Some("not-a-uuid"), true), Err(DataDirError::InvalidNodeId(_))));

        fs::write(temp.path().join("node-id"), "garbage").unwrap();
        assert!(matches!(node_id(Some(&dir), None, true), Err(DataDirError::InvalidNodeIdFile { .. })));
    }

    #[test]
    fn random_ids_differ_and_host_ids_do_not() {
        assert_ne!(node_id(None, None, true).unwrap(), node_id(None, None, true).unwrap());
        if host_id().is_some() {
            assert_eq!(node_id(None, None, false).unwrap(), node_id(None, None, false).unwrap());
        }
    }

    #[test]
    fn a_servers_data_is_of_one_datacenter() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        dir.claim_datacenter("dc1").unwrap();
        dir.claim_datacenter("dc1").unwrap();
        let error = dir.claim_datacenter("dc2").unwrap_err().to_string();
        assert!(error.contains("\"dc1\", not \"dc2\""), "{error}");
    }

    #[test]
    fn the_pid_file_goes_with_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run/agent.pid");
        let error = PidFile::create(&path).unwrap_err().to_string();
        assert!(error.contains("run/agent.pid: No such file"), "{error}");
        fs::create_dir(temp.path().join("run")).unwrap();
        let pid = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
        drop(pid);
        assert!(!path.exists());
    }
}
