//! CRC-32C (Castagnoli), and the two ways in which RocksDB writes checksums.

use xxhash_rust::xxh3::xxh3_64;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
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

/// CRC-32C of bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Running::default();
    bytes.iter().fold(0, |_, byte| crc.add(*byte))
}

/// A CRC that grows byte by byte.
pub(super) struct Running(u32);

impl Default for Running {
    fn default() -> Running {
        Running(!0)
    }
}

impl Running {
    /// The CRC with one byte more.
    #[inline]
    pub(super) fn add(&mut self, byte: u8) -> u32 {
        self.0 = (self.0 >> 8) ^ TABLE[((self.0 ^ u32::from(byte)) & 0xFF) as usize];
        !self.0
    }
}

/// A CRC as it is stored: turned, so that a CRC of bytes that hold CRCs is still good.
pub(super) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The checksum of a block and the byte behind it, of a table whose checksums are of this type; None for a type
/// that is not known.
pub(super) fn of_block(kind: u8, block_and_byte: &[u8]) -> Option<u32> {
    let (last, block) = block_and_byte.split_last()?;
    match kind {
        1 => Some(masked(crc32c(block_and_byte))),
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
