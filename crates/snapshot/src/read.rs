//! Reading and verifying an archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::write::hex;
use crate::{META, Meta, STATE, SUMS};

/// Descriptions and digests are small; more is no archive of ours.
const SMALL: u64 = 1 << 20;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream ends early, is no gzip or tar, or its checksum is wrong.
    #[error("failed to read the archive: {0}")]
    Io(#[from] io::Error),
    /// The state could not be stored.
    #[error("failed to store the state: {0}")]
    Store(io::Error),
    /// A file that does not belong there, or one twice.
    #[error("unexpected file {0:?} in the archive")]
    Unexpected(String),
    /// A file is not there.
    #[error("the archive has no {0}")]
    Missing(&'static str),
    /// A description or a list of digests of more than a megabyte.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The description cannot be read.
    #[error("meta.json: {0}")]
    Meta(#[from] serde_json::Error),
    /// A format that is not known here.
    #[error("unknown archive version {0}")]
    Version(u64),
    /// The list of digests cannot be read.
    #[error("SHA256SUMS cannot be read")]
    Sums,
    /// Content and digest differ.
    #[error("the digest of {0} does not match")]
    Digest(&'static str),
    /// The state has another length than its description says.
    #[error("state.bin has {actual} bytes, its description says {expected}")]
    Size {
        /// `meta.size`.
        expected: u64,
        /// What the archive holds.
        actual: u64,
    },
}

/// A verified archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its description.
    pub meta: Meta,
}

/// Reads an archive to its end and copies its state to `state_out` on the way. Only when this
/// returns `Ok` may the copied bytes be trusted.
///
/// # Errors
/// Anything that is not exactly a complete, undamaged archive of a known version.
pub fn read(archive: impl Read, state_out: &mut impl Write) -> Result<Verified, ReadError> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let mut meta_json: Option<Vec<u8>> = None;
    let mut sums: Option<Vec<u8>> = None;
    let mut state: Option<(u64, String)> = None;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(ReadError::Unexpected(name));
        }
        match name.as_str() {
            META if meta_json.is_none() => meta_json = Some(small(&mut entry, META)?),
            SUMS if sums.is_none() => sums = Some(small(&mut entry, SUMS)?),
            STATE if state.is_none() => state = Some(copy(&mut entry, state_out)?),
            _ => return Err(ReadError::Unexpected(name)),
        }
    }
    // The gzip trailer holds a checksum: it counts only once everything before it has been read.
    let mut rest = tar.into_inner();
    let mut buffer = [0; 4096];
    loop {
        let n = rest.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        if buffer[..n].iter().any(|&b| b != 0) {
            return Err(ReadError::Unexpected("data after the end".to_owned()));
        }
    }

    let meta_json = meta_json.ok_or(ReadError::Missing(META))?;
    let (size, state_digest) = state.ok_or(ReadError::Missing(STATE))?;
    let sums = parse_sums(&sums.ok_or(ReadError::Missing(SUMS))?)?;
    let check = |name: &'static str, actual: &str| match sums.get(name) {
        Some(expected) if expected == actual => Ok(()),
        _ => Err(ReadError::Digest(name)),
    };
    check(META, &hex(&Sha256::digest(&meta_json)))?;
    check(STATE, &state_digest)?;
    if let Some(other) = sums.keys().find(|name| *name != META && *name != STATE) {
        return Err(ReadError::Unexpected(other.clone()));
    }
    let meta: Meta = serde_json::from_slice(&meta_json)?;
    if meta.version != 1 {
        return Err(ReadError::Version(meta.version));
    }
    if meta.size != size {
        return Err(ReadError::Size { expected: meta.size, actual: size });
    }
    Ok(Verified { meta })
}

/// Checks an archive without keeping its state.
///
/// # Errors
/// As [`read`].
pub fn verify(archive: impl Read) -> Result<Verified, ReadError> {
    read(archive, &mut io::sink())
}

fn small(entry: &mut impl Read, name: &'static str) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    entry.take(SMALL + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SMALL {
        return Err(ReadError::TooLarge(name));
    }
    Ok(content)
}

fn copy(entry: &mut impl Read, out: &mut impl Write) -> Result<(u64, String), ReadError> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let n = entry.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, hex(&digest.finalize())));
        }
        digest.update(&buffer[..n]);
        out.write_all(&buffer[..n]).map_err(ReadError::Store)?;
        size += n as u64;
    }
}

fn parse_sums(text: &[u8]) -> Result<BTreeMap<String, String>, ReadError> {
    let text = std::str::from_utf8(text).map_err(|_| ReadError::Sums)?;
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let (digest, name) = line.split_once("  ").ok_or(ReadError::Sums)?;
        if digest.len() != 64 || sums.insert(name.to_owned(), digest.to_ascii_lowercase()).is_some() {
            return Err(ReadError::Sums);
        }
    }
    Ok(sums)
}
