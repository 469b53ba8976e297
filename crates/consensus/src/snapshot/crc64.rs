//! CRC-64/XZ (ECMA-182 polynomial, reflected), the checksum of `meta.json`.

const POLY: u64 = 0xC96C_5795_D787_0F42;

/// `TABLES[k][b]` advances byte `b` by `k` further zero bytes ("slicing by 8").
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut t = [[0u64; 256]; 8];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLY } else { crc >> 1 };
            bit += 1;
        }
        t[0][b] = crc;
        b += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut b = 0;
        while b < 256 {
            let previous = t[k - 1][b];
            t[k][b] = t[0][(previous & 0xff) as usize] ^ (previous >> 8);
            b += 1;
        }
        k += 1;
    }
    t
}

/// A running checksum.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(u64);

impl Default for Crc64 {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc64 {
    pub fn update(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            let x = crc ^ u64::from_le_bytes(*chunk);
            crc = TABLES[7][(x & 0xff) as usize]
                ^ TABLES[6][(x >> 8 & 0xff) as usize]
                ^ TABLES[5][(x >> 16 & 0xff) as usize]
                ^ TABLES[4][(x >> 24 & 0xff) as usize]
                ^ TABLES[3][(x >> 32 & 0xff) as usize]
                ^ TABLES[2][(x >> 40 & 0xff) as usize]
                ^ TABLES[1][(x >> 48 & 0xff) as usize]
                ^ TABLES[0][(x >> 56) as usize];
        }
        for &byte in rest {
            crc = TABLES[0][((crc ^ u64::from(byte)) & 0xff) as usize] ^ (crc >> 8);
        }
        self.0 = crc;
    }

    pub fn value(self) -> u64 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check value of the CRC catalogue for CRC-64/XZ.
    #[test]
    fn check_value() {
        let mut crc = Crc64::default();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0x995D_C9BB_DF19_39FA);
    }

    #[test]
    fn split_updates_agree() {
        let data: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        let mut whole = Crc64::default();
        whole.update(&data);
        for cut in [0, 1, 7, 8, 9, 500, 999] {
            let mut parts = Crc64::default();
            parts.update(&data[..cut]);
            parts.update(&data[cut..]);
            assert_eq!(parts.value(), whole.value());
        }
    }
}
