//! RocksDB's log format, used by its logs and its list of tables: blocks of 32 KiB filled with records, each
//! with checksum, length and type.
//!
//! A record cut off by the end of the file is the trace of a write that a crash of the machine interrupted.
//! Any other deviation is damage.

use std::io::Read;

use super::crc::{RunningCrc, crc32c, mask_crc};

/// The bytes of a block.
const BLOCK_BYTES: usize = 32 << 10;
/// The bytes of a record's header: checksum (4), length (2), type (1).
const HEADER_BYTES: usize = 7;

/// The result of checking one log.
#[derive(Debug, Default)]
pub(super) struct LogChecked {
    pub(super) records: u64,
    pub(super) damaged: Option<String>,
    pub(super) torn: Option<String>,
}

/// Reads a log to its end, or to the first damage.
pub(super) fn check(log: &mut impl Read) -> std::io::Result<LogChecked> {
    let mut checked = LogChecked::default();
    let (mut block, mut at) = (Vec::with_capacity(BLOCK_BYTES), 0u64);
    loop {
        block.clear();
        log.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(checked);
        }
        if !check_block(&block, at, &mut checked) {
            return Ok(checked);
        }
        at += block.len() as u64;
    }
}

/// Checks the records of one block; only the last block is shorter than others. Returns false to end the log.
fn check_block(block: &[u8], start: u64, checked: &mut LogChecked) -> bool {
    let last = block.len() < BLOCK_BYTES;
    let mut rest = block;
    while !rest.is_empty() {
        let place = start + (block.len() - rest.len()) as u64;
        if rest.len() < HEADER_BYTES {
            if rest.iter().any(|byte| *byte != 0) {
                return end_log(checked, last, format!("a record's header is cut off at byte {place}"));
            }
            return true;
        }
        let (stored, len) = (read_u32(rest), usize::from(rest[4]) | usize::from(rest[5]) << 8);
        let kind = rest[6];
        if kind == 0 && len == 0 && stored == 0 {
            // Preallocated bytes that were never written.
            if rest.iter().any(|byte| *byte != 0) {
                return end_log(
                    checked,
                    false,
                    format!("there are bytes behind the end, from byte {place} on"),
                );
            }
            return true;
        }
        let Some(body) = rest.get(6..HEADER_BYTES + len) else {
            // A complete record with a damaged length is damage: then some shorter prefix fits its checksum.
            let cut = last && !any_prefix(&rest[6..], stored);
            return end_log(checked, cut, format!("the record at byte {place} is longer than what is left"));
        };
        if mask_crc(crc32c(body)) != stored {
            return end_log(checked, false, format!("the record at byte {place} does not fit its checksum"));
        }
        checked.records += 1;
        rest = &rest[HEADER_BYTES + len..];
    }
    true
}

/// Records the finding that ends a log and returns false.
fn end_log(checked: &mut LogChecked, torn: bool, what: String) -> bool {
    *(if torn { &mut checked.torn } else { &mut checked.damaged }) = Some(what);
    false
}

/// Tells whether any prefix of the bytes fits a checksum.
fn any_prefix(bytes: &[u8], stored: u32) -> bool {
    let mut crc = RunningCrc::default();
    bytes.iter().any(|byte| mask_crc(crc.add_byte(*byte)) == stored)
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().copied().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let body = [&[1], payload].concat();
        let len = payload.len() as u16;
        [&mask_crc(crc32c(&body)).to_le_bytes()[..], &len.to_le_bytes(), &body].concat()
    }

    #[test]
    fn a_cut_is_no_damage_and_everything_else_is() {
        let log = [record(b"one"), record(b""), record(&[7; 300])].concat();
        let read = |mut bytes: &[u8]| check(&mut bytes).unwrap();
        let whole = read(&log);
        assert_eq!((whole.records, whole.damaged, whole.torn), (3, None, None));
        for end in 18..log.len() {
            let cut = read(&log[..end]);
            assert_eq!((cut.records, &cut.damaged), (2, &None), "cut at {end}");
            assert_eq!(cut.torn.is_some(), end > 17, "cut at {end}");
        }
        for at in 0..log.len() {
            for bit in 0..8 {
                let mut flipped = log.clone();
                flipped[at] ^= 1 << bit;
                let found = read(&flipped);
                assert!(found.damaged.is_some(), "byte {at}, bit {bit}: {found:?}");
            }
        }
    }

    #[test]
    fn blocks_end_in_zeros() {
        let mut log = record(&vec![3; BLOCK_BYTES - HEADER_BYTES - HEADER_BYTES - 3 - 4]);
        log.extend(record(b"x"));
        log.resize(BLOCK_BYTES, 0);
        log.extend(record(b"next"));
        let read = check(&mut &log[..]).unwrap();
        assert_eq!((read.records, read.damaged), (3, None));
        log[BLOCK_BYTES - 1] = 1;
        assert!(check(&mut &log[..]).unwrap().damaged.is_some());
    }
}
