//! RocksDB's log format, in which its logs and its list of tables are written: blocks of 32 KiB, filled with
//! records, each with its checksum, length and type.
//!
//! A record that the file's end cuts off is what a crash of the machine leaves of a write that had not returned.
//! Anything else that does not fit is damage.

use std::io::Read;

use super::crc::{Running, crc32c, masked};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// What was found of one log.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) records: u64,
    pub(super) damaged: Option<String>,
    pub(super) torn: Option<String>,
}

/// Reads a log to its end, or to the first damage.
pub(super) fn check(log: &mut impl Read) -> std::io::Result<Checked> {
    let mut checked = Checked::default();
    let (mut block, mut at) = (Vec::with_capacity(BLOCK), 0u64);
    loop {
        block.clear();
        log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(checked);
        }
        if !records(&block, at, &mut checked) {
            return Ok(checked);
        }
        at += block.len() as u64;
    }
}

/// The records of one block, which is shorter than others only at the end; false ends the log.
fn records(block: &[u8], start: u64, checked: &mut Checked) -> bool {
    let last = block.len() < BLOCK;
    let mut rest = block;
    while !rest.is_empty() {
        let place = start + (block.len() - rest.len()) as u64;
        if rest.len() < HEADER {
            if rest.iter().any(|byte| *byte != 0) {
                return ends(checked, last, format!("a record's header is cut off at byte {place}"));
            }
            return true;
        }
        let (stored, len) = (word(rest), usize::from(rest[4]) | usize::from(rest[5]) << 8);
        let kind = rest[6];
        if kind == 0 && len == 0 && stored == 0 {
            // Room that was never written.
            if rest.iter().any(|byte| *byte != 0) {
                return ends(checked, false, format!("there are bytes behind the end, from byte {place} on"));
            }
            return true;
        }
        let Some(body) = rest.get(6..HEADER + len) else {
            // A length that is wrong hides a record that is whole.
            let cut = last && !any_prefix(&rest[6..], stored);
            return ends(checked, cut, format!("the record at byte {place} is longer than what is left"));
        };
        if masked(crc32c(body)) != stored {
            return ends(checked, false, format!("the record at byte {place} does not fit its checksum"));
        }
        checked.records += 1;
        rest = &rest[HEADER + len..];
    }
    true
}

fn ends(checked: &mut Checked, torn: bool, what: String) -> bool {
    *(if torn { &mut checked.torn } else { &mut checked.damaged }) = Some(what);
    false
}

/// Tells whether the first so many bytes, however many, fit a checksum.
fn any_prefix(bytes: &[u8], stored: u32) -> bool {
    let mut crc = Running::default();
    bytes.iter().any(|byte| masked(crc.add(*byte)) == stored)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let body = [&[1], payload].concat();
        let len = payload.len() as u16;
        [&masked(crc32c(&body)).to_le_bytes()[..], &len.to_le_bytes(), &body].concat()
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
        let mut log = record(&vec![3; BLOCK - HEADER - HEADER - 3 - 4]);
        log.extend(record(b"x"));
        log.resize(BLOCK, 0);
        log.extend(record(b"next"));
        let read = check(&mut &log[..]).unwrap();
        assert_eq!((read.records, read.damaged), (3, None));
        log[BLOCK - 1] = 1;
        assert!(check(&mut &log[..]).unwrap().damaged.is_some());
    }
}
