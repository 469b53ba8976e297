//! The keyring on disk: a JSON list of base64 keys, the primary first.

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{TryRngCore, rngs::OsRng};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a keyring file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringFileError {
    /// Reading or writing failed.
    #[error("keyring file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a JSON list of strings.
    #[error("keyring file {path} is not a JSON list of keys: {reason}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// One of the keys is not base64.
    #[error("keyring file {path}: {source}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

/// Why text is not a gossip key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64.
    #[error("invalid base64 in gossip key: {0}")]
    Base64(String),
    /// Neither AES-128, nor -192, nor -256.
    #[error("key size must be 16, 24 or 32 bytes")]
    Size,
}

/// The random source of the system failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading random data: {0}")]
pub struct RandomError(String);

/// A new gossip key: 32 random bytes in base64.
pub fn generate_key() -> Result<String, RandomError> {
    let mut key = [0u8; 32];
    OsRng.try_fill_bytes(&mut key).map_err(|e| RandomError(e.to_string()))?;
    Ok(STANDARD.encode(key))
}

/// A key in base64.
pub fn key_to_text(key: &[u8]) -> String {
    STANDARD.encode(key)
}

/// The bytes of a key in base64.
pub fn key_from_text(text: &str) -> Result<Vec<u8>, KeyError> {
    let key = STANDARD.decode(text).map_err(|e| KeyError::Base64(e.to_string()))?;
    match key.len() {
        16 | 24 | 32 => Ok(key),
        _ => Err(KeyError::Size),
    }
}

/// Reads a keyring file, the primary key first.
pub fn load(path: &Path) -> Result<Vec<Vec<u8>>, KeyringFileError> {
    let text = fs::read(path).map_err(|source| KeyringFileError::Io { path: path.to_owned(), source })?;
    let keys: Vec<String> = serde_json::from_slice(&text)
        .map_err(|e| KeyringFileError::Json { path: path.to_owned(), reason: e.to_string() })?;
    keys.iter()
        .map(|k| key_from_text(k))
        .collect::<Result<_, _>>()
        .map_err(|source| KeyringFileError::Key { path: path.to_owned(), source })
}

/// The keys an agent starts with. A file that is there wins over the configured key (base64), for
/// keys may have been rotated since; a configured key alone founds the file.
pub fn load_or_init(path: &Path, configured: Option<&str>) -> Result<Vec<Vec<u8>>, KeyringFileError> {
    let there = path.try_exists().map_err(|source| KeyringFileError::Io { path: path.to_owned(), source })?;
    if there {
        let keys = load(path)?;
        if let Some(key) = configured.map(key_from_text).and_then(Result::ok)
            && !keys.contains(&key)
        {
            tracing::warn!(path = %path.display(), "keyring exists but the configured key is not in it, using keyring");
        }
        return Ok(keys);
    }
    let Some(text) = configured else {
        return Ok(Vec::new());
    };
    let key =
        key_from_text(text).map_err(|source| KeyringFileError::Key { path: path.to_owned(), source })?;
    let keys = vec![key];
    save(path, &keys)?;
    Ok(keys)
}

/// Writes a keyring file readable by its owner only. Either the old or the new content is there
/// after a crash.
pub fn save(path: &Path, keys: &[Vec<u8>]) -> Result<(), KeyringFileError> {
    let io = |source| KeyringFileError::Io { path: path.to_owned(), source };
    let texts: Vec<String> = keys.iter().map(|k| key_to_text(k)).collect();
    let json = serde_json::to_vec_pretty(&texts).map_err(|e| io(e.into()))?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(io)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    // A leftover of a crash may have other permissions.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
    file.write_all(&json).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn written_keys_are_read_back_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serf/local.keyring");
        let keys = vec![vec![7u8; 32], vec![9u8; 16]];
        save(&path, &keys).unwrap();
        save(&path, &keys).unwrap();
        assert_eq!(load(&path).unwrap(), keys);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[\n  \"BwcHBw"), "{text}");
    }

    #[test]
    fn generated_keys_are_good_and_differ() {
        let (a, b) = (generate_key().unwrap(), generate_key().unwrap());
        assert_ne!(a, b);
        assert_eq!(key_from_text(&a).unwrap().len(), 32);
        assert_eq!(key_from_text("AAAA"), Err(KeyError::Size));
        assert!(matches!(key_from_text("!"), Err(KeyError::Base64(_))));
    }

    #[test]
    fn a_configured_key_founds_the_file_and_gives_way_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serf/local.keyring");
        assert_eq!(load_or_init(&path, None).unwrap(), Vec::<Vec<u8>>::new());
        let (first, second) = (key_to_text(&[1; 16]), key_to_text(&[2; 32]));
        assert_eq!(load_or_init(&path, Some(&first)).unwrap(), [[1; 16]]);
        assert_eq!(load_or_init(&path, Some(&second)).unwrap(), [[1; 16]]);
        assert_eq!(load_or_init(&path, None).unwrap(), [[1; 16]]);
        let other = dir.path().join("other");
        assert!(matches!(load_or_init(&other, Some("AAAA")), Err(KeyringFileError::Key { .. })));
    }

    #[test]
    fn broken_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring");
        assert!(matches!(load(&path), Err(KeyringFileError::Io { .. })));
        fs::write(&path, "{}").unwrap();
        assert!(matches!(load(&path), Err(KeyringFileError::Json { .. })));
        fs::write(&path, "[\"AAAA\"]").unwrap();
        assert!(matches!(load(&path), Err(KeyringFileError::Key { .. })));
    }
}
