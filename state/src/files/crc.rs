//! CRC-32C (Castagnoli), and RocksDB's two forms of checksums.

use xxhash_rust::xxh3::xxh3_64;

const TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Computes the CRC-32C of bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = RunningCrc::default();
    let mut sum = 0;
    for byte in bytes {
        sum = crc.add_byte(*byte);
    }
    sum
}

/// A CRC-32C computed byte by byte.
pub(super) struct RunningCrc(u32);

impl Default for RunningCrc {
    fn default() -> RunningCrc {
        RunningCrc(!0)
    }
}

impl RunningCrc {
    /// Adds a byte and returns the CRC of all bytes so far.
    #[inline]
    pub(super) fn add_byte(&mut self, byte: u8) -> u32 {
        self.0 = (self.0 >> 8) ^ TABLE[((self.0 ^ u32::from(byte)) & 0xFF) as usize];
        !self.0
    }
}

/// Returns a CRC in its stored form: rotated and offset, so that CRCs of bytes that contain CRCs stay
/// reliable.
pub(super) fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Computes the checksum of a block and its trailing compression byte; None for an unknown checksum type
/// `kind`.
pub(super) fn of_block(kind: u8, block_and_byte: &[u8]) -> Option<u32> {
    let (last, block) = block_and_byte.split_last()?;
    match kind {
        1 => Some(mask_crc(crc32c(block_and_byte))),
        4 => Some(xxh3_64(block) as u32 ^ u32::from(*last).wrapping_mul(0x6B90_83D9)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Of RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
