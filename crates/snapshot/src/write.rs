//! Writing an archive.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::{META, Meta, STATE, SUMS};

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The destination or the state failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The description cannot be expressed.
    #[error("meta.json: {0}")]
    Meta(#[from] serde_json::Error),
    /// The state did not have the length its description says.
    #[error("the state has {actual} bytes, its description says {expected}")]
    Size {
        /// `meta.size`.
        expected: u64,
        /// What the state had.
        actual: u64,
    },
}

/// Writes a complete archive; `state` must yield exactly `meta.size` bytes.
///
/// # Errors
/// Failures of either side, or a state of another length. What was written by then is no archive.
pub fn write<W: Write>(out: W, meta: &Meta, state: impl Read) -> Result<W, WriteError> {
    let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));

    let mut meta_json = serde_json::to_vec(meta)?;
    meta_json.push(b'\n');
    append(&mut tar, META, meta_json.len() as u64, &meta_json[..])?;

    let mut hashed = Hashing { inner: state.take(meta.size), digest: Sha256::new(), read: 0 };
    let short = append(&mut tar, STATE, meta.size, &mut hashed);
    if hashed.read != meta.size {
        return Err(WriteError::Size { expected: meta.size, actual: hashed.read });
    }
    short?;
    // One byte more would mean that the description is wrong.
    let mut rest = hashed.inner.into_inner();
    if rest.read(&mut [0; 1])? != 0 {
        return Err(WriteError::Size { expected: meta.size, actual: meta.size + 1 });
    }

    let sums = format!(
        "{}  {META}\n{}  {STATE}\n",
        hex(&Sha256::digest(&meta_json)),
        hex(&hashed.digest.finalize())
    );
    append(&mut tar, SUMS, sums.len() as u64, sums.as_bytes())?;
    // The end of the tar is two blocks of zeros and no padding after them: other readers refuse
    // an archive with more.
    Ok(tar.into_inner()?.finish()?)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o600);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    header.set_mtime(now);
    header.set_cksum();
    tar.append(&header, content)
}

pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

struct Hashing<R> {
    inner: R,
    digest: Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.digest.update(&buf[..n]);
        self.read += n as u64;
        Ok(n)
    }
}
