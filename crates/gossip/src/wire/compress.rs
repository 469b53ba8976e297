//! LZW as these peers use it: least significant bit first, 8-bit literals, codes of 9 to 12 bits.

use weezl::{BitOrder, LzwStatus, decode, encode};

/// Most bytes that one compressed message may grow to.
pub const MAX_DECOMPRESSED: usize = 40 << 20;

/// Why compressed bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// Not LZW.
    #[error("malformed compressed data")]
    Malformed,
    /// Would grow beyond [`MAX_DECOMPRESSED`].
    #[error("decompressed data is larger than limit ({0})")]
    TooLarge(usize),
    /// An algorithm other than LZW (number 0).
    #[error("Cannot decompress unknown algorithm {0}")]
    Algorithm(u8),
}

/// Compresses. `None` only if the library fails, which it does not on memory.
pub fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    encode::Encoder::new(BitOrder::Lsb, 8).encode(plain).ok()
}

/// Decompresses, with or without a clear code at the start, up to `limit` bytes.
pub fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressError> {
    let mut decoder = decode::Decoder::new(BitOrder::Lsb, 8);
    let mut out = Vec::with_capacity(packed.len().saturating_mul(3).min(limit).min(1 << 20));
    let mut chunk = [0; 4096];
    let mut rest = packed;
    loop {
        let step = decoder.decode_bytes(rest, &mut chunk);
        out.extend_from_slice(&chunk[..step.consumed_out]);
        rest = &rest[step.consumed_in..];
        if out.len() > limit {
            return Err(CompressError::TooLarge(limit));
        }
        match step.status {
            Ok(LzwStatus::Ok) => {}
            Ok(LzwStatus::Done) => return Ok(out),
            Ok(LzwStatus::NoProgress) | Err(_) => return Err(CompressError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_across_table_resets() {
        let mut x = 1u32;
        let mut plain = Vec::new();
        for _ in 0..200_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            plain.push((x >> 28) as u8);
        }
        for len in [0, 1, 2, 300, 10_000, plain.len()] {
            let packed = compress(&plain[..len]).unwrap();
            assert_eq!(decompress(&packed, MAX_DECOMPRESSED).unwrap(), &plain[..len]);
        }
    }

    #[test]
    fn bounded() {
        let packed = compress(&vec![0; 1 << 20]).unwrap();
        assert!(packed.len() < 4096);
        assert_eq!(decompress(&packed, 1000), Err(CompressError::TooLarge(1000)));
        assert_eq!(decompress(&packed[..100], 1 << 20), Err(CompressError::Malformed));
        assert_eq!(decompress(&[], 1000), Err(CompressError::Malformed));
    }
}
