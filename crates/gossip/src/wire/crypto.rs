//! Encryption of packets and streams: AES-GCM (NIST SP 800-38D) under an ordered ring of keys.
//!
//! ```text
//! version(1) nonce(12) ciphertext tag(16)
//! ```
//! Version 1 seals the plaintext as it is, version 0 pads it to a multiple of 16 first (PKCS #7).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

const NONCE: usize = 12;
const TAG: usize = 16;
const BLOCK: usize = 16;

/// Bytes that sealing adds in version 1; version 0 adds 1 to 16 more.
pub const SEAL_OVERHEAD: usize = 1 + NONCE + TAG;

/// Which of the two sealing formats to write. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealVersion {
    /// Padded; written by members that speak version 1 of the membership protocol.
    V0,
    /// Not padded; everyone else.
    V1,
}

impl SealVersion {
    /// Most bytes that sealing adds.
    pub fn overhead(self) -> usize {
        match self {
            SealVersion::V0 => SEAL_OVERHEAD + BLOCK,
            SealVersion::V1 => SEAL_OVERHEAD,
        }
    }
}

/// Why a key operation was refused. The texts reach operators and are those of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not an AES key.
    #[error("key size must be 16, 24 or 32 bytes")]
    Size,
    /// `use` of a key that is not there.
    #[error("Requested key is not in the keyring")]
    Unknown,
    /// The primary key cannot be removed.
    #[error("Removing the primary key is not allowed")]
    Primary,
}

/// Why sealed bytes could not be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Nothing to open.
    #[error("Cannot decrypt empty payload")]
    Empty,
    /// A version from the future.
    #[error("Unsupported encryption version {0}")]
    Version(u8),
    /// Shorter than the envelope.
    #[error("Payload is too small to decrypt: {0}")]
    Short(usize),
    /// Wrong key, wrong additional data, or altered bytes.
    #[error("No installed keys could decrypt the message")]
    NoKey,
    /// The system's random generator or the cipher failed.
    #[error("sealing failed")]
    Seal,
}

struct Key {
    bytes: Vec<u8>,
    cipher: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyError::Size),
        };
        let key = UnboundKey::new(algorithm, bytes).map_err(|_| KeyError::Size)?;
        Ok(Key { bytes: bytes.to_vec(), cipher: LessSafeKey::new(key) })
    }
}

/// Keys in order; the first is the primary. Only the primary seals, every key may open.
/// Never empty.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<Arc<Key>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys stay out of logs.
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

impl Keyring {
    /// A ring of one key of 16, 24 or 32 bytes.
    pub fn new(primary: &[u8]) -> Result<Self, KeyError> {
        Ok(Keyring { keys: vec![Arc::new(Key::new(primary)?)] })
    }

    /// A ring of these keys, primary first, repeated ones once; `None` if there are none.
    pub fn from_keys<K: AsRef<[u8]>>(keys: &[K]) -> Result<Option<Self>, KeyError> {
        let Some((first, rest)) = keys.split_first() else { return Ok(None) };
        let mut ring = Self::new(first.as_ref())?;
        for key in rest {
            ring.install(key.as_ref())?;
        }
        Ok(Some(ring))
    }

    /// The keys' bytes, primary first.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|k| k.bytes.as_slice())
    }

    /// The key that seals.
    pub fn primary(&self) -> &[u8] {
        &self.keys[0].bytes
    }

    fn position(&self, key: &[u8]) -> Option<usize> {
        self.keys.iter().position(|k| k.bytes == key)
    }

    /// Adds a key at the end; one that is there already changes nothing.
    pub fn install(&mut self, key: &[u8]) -> Result<(), KeyError> {
        let new = Key::new(key)?;
        if self.position(key).is_none() {
            self.keys.push(Arc::new(new));
        }
        Ok(())
    }

    /// Makes a key of the ring the primary.
    pub fn use_key(&mut self, key: &[u8]) -> Result<(), KeyError> {
        let at = self.position(key).ok_or(KeyError::Unknown)?;
        let key = self.keys.remove(at);
        self.keys.insert(0, key);
        Ok(())
    }

    /// Removes a key; one that is not there is no error.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), KeyError> {
        match self.position(key) {
            Some(0) => Err(KeyError::Primary),
            Some(at) => {
                self.keys.remove(at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Appends the sealed `plain` to `out`, under the primary key and a random nonce.
    pub fn seal(
        &self,
        version: SealVersion,
        plain: &[u8],
        additional: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| CryptoError::Seal)?;
        out.push(match version {
            SealVersion::V0 => 0,
            SealVersion::V1 => 1,
        });
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        if version == SealVersion::V0 {
            let pad = BLOCK - plain.len() % BLOCK;
            out.resize(out.len() + pad, pad as u8);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.keys[0]
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(additional), &mut out[start..])
            .map_err(|_| CryptoError::Seal)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens sealed bytes with the first key that fits.
    pub fn open(&self, sealed: &[u8], additional: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let version = match sealed.first() {
            None => return Err(CryptoError::Empty),
            Some(0) => SealVersion::V0,
            Some(1) => SealVersion::V1,
            Some(v) => return Err(CryptoError::Version(*v)),
        };
        if sealed.len() < version.overhead() {
            return Err(CryptoError::Short(sealed.len()));
        }
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&sealed[1..1 + NONCE]);
        for key in &self.keys {
            let mut plain = sealed[1 + NONCE..].to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let Ok(opened) = key.cipher.open_in_place(nonce, Aad::from(additional), &mut plain) else {
                continue;
            };
            let mut len = opened.len();
            if version == SealVersion::V0 {
                let pad = usize::from(opened.last().copied().unwrap_or(0));
                if pad == 0 || pad > BLOCK || pad > len {
                    return Err(CryptoError::NoKey);
                }
                len -= pad;
            }
            plain.truncate(len);
            return Ok(plain);
        }
        Err(CryptoError::NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_and_opens_in_both_versions_and_all_key_sizes() {
        for size in [16, 24, 32] {
            let ring = Keyring::new(&vec![7; size]).unwrap();
            for version in [SealVersion::V0, SealVersion::V1] {
                for len in [0, 1, 15, 16, 17, 1000] {
                    let plain = vec![3; len];
                    let mut sealed = Vec::new();
                    ring.seal(version, &plain, b"aad", &mut sealed).unwrap();
                    assert!(sealed.len() <= len + version.overhead());
                    assert_eq!(ring.open(&sealed, b"aad").unwrap(), plain);
                    assert_eq!(ring.open(&sealed, b"other"), Err(CryptoError::NoKey));
                    let last = sealed.len() - 1;
                    sealed[last] ^= 1;
                    assert_eq!(ring.open(&sealed, b"aad"), Err(CryptoError::NoKey));
                }
            }
        }
    }

    #[test]
    fn rotation() {
        let (old, new) = ([1; 16], [2; 32]);
        let mut a = Keyring::new(&old).unwrap();
        let mut b = Keyring::new(&old).unwrap();
        b.install(&new).unwrap();
        b.install(&new).unwrap();
        assert_eq!(b.keys().count(), 2);
        a.install(&new).unwrap();
        a.use_key(&new).unwrap();
        let mut sealed = Vec::new();
        a.seal(SealVersion::V1, b"x", b"", &mut sealed).unwrap();
        assert_eq!(b.open(&sealed, b"").unwrap(), b"x");
        assert_eq!(b.remove(&old), Err(KeyError::Primary));
        b.use_key(&new).unwrap();
        b.remove(&old).unwrap();
        b.remove(&old).unwrap();
        assert_eq!(b.use_key(&old), Err(KeyError::Unknown));
        assert_eq!(b.install(&[0; 5]), Err(KeyError::Size));
        assert_eq!(b.primary(), new);
    }
}
