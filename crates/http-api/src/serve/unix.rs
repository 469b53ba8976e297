//! Unix sockets: owner, mode, and the file's end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use tokio::net::UnixListener;

/// Who may use the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixOptions {
    /// Permission bits, such as `0o700`; `None` leaves them to the umask.
    pub mode: Option<u32>,
    /// The owner: a name or a number; empty for ours.
    pub user: String,
    /// The group: a name or a number; empty for ours.
    pub group: String,
}

/// Removes the socket's file when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "cannot remove the socket");
        }
    }
}

/// Listens on a path. A socket that an earlier process left there is replaced; another file is not.
pub fn bind(path: &Path, options: &UnixOptions) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    if let Some(mode) = options.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    if !options.user.is_empty() || !options.group.is_empty() {
        let user = id_of(&options.user, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))?;
        let group =
            id_of(&options.group, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))?;
        std::os::unix::fs::chown(path, user, group)?;
    }
    Ok((listener, file))
}

fn id_of(name: &str, look_up: impl Fn(&str) -> nix::Result<Option<u32>>) -> io::Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    match look_up(name).map_err(io::Error::from)? {
        Some(id) => Ok(Some(id)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no user or group {name:?}"))),
    }
}
