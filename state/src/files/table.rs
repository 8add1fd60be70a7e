//! Checks of the parts of a table file that no scan reads: footer, list of parts, the listed parts (filters,
//! properties), and the index.
//!
//! A block is followed by a byte with its compression type and by the checksum of both. The footer has no
//! checksum in the format that Herald writes; its fixed fields are compared instead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::crc;

/// The bytes of a footer.
const FOOTER_BYTES: usize = 53;
/// The bytes after a block: compression type (1) and checksum (4).
const TRAILER_BYTES: usize = 5;
const MAGIC: u64 = 0x88E2_41B7_85F4_CFF7;
/// The format version that Herald writes.
const VERSION: u32 = 5;

/// The position and length of a block, without its trailer.
#[derive(Clone, Copy, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

impl Handle {
    /// Returns the position behind the block and its trailer.
    fn block_end(self) -> Option<u64> {
        self.offset.checked_add(self.size)?.checked_add(TRAILER_BYTES as u64)
    }
}

/// Checks a table file and returns its first damage.
pub(super) fn check(file: &File) -> io::Result<Option<String>> {
    let len = file.metadata()?.len();
    let Some(start) = len.checked_sub(FOOTER_BYTES as u64) else {
        return report_damage("it is too short for a table");
    };
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, start)?;
    // Checksum type (1), handles with padding (40), format version (4), magic number (8).
    let (parts, end) = footer.split_at(FOOTER_BYTES - 12);
    let version = end.first_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
    let magic = end.last_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    if magic != MAGIC || version != VERSION {
        return report_damage("its footer is not that of a table");
    }
    let (kind, mut rest) = (parts[0], &parts[1..]);
    let (Some(list), Some(index)) = (read_handle(&mut rest), read_handle(&mut rest)) else {
        return report_damage("its footer is not readable");
    };
    if rest.iter().any(|byte| *byte != 0) {
        return report_damage("its footer is not that of a table");
    }
    let Some(parts) = read_block(file, kind, (list, start))? else {
        return report_damage("its list of parts does not fit its checksum");
    };
    let Some(parts) = parse_entries(&parts) else {
        return report_damage("its list of parts is not readable");
    };
    let parts = parts.into_iter().chain([("the index".to_owned(), index)]);
    for (name, handle) in parts {
        if read_block(file, kind, (handle, start))?.is_none() {
            return report_damage(&format!("{name} does not fit its checksum"));
        }
    }
    Ok(None)
}

fn report_damage(what: &str) -> io::Result<Option<String>> {
    Ok(Some(what.to_owned()))
}

/// Reads a block; None if it reaches beyond `end`, the start of the footer, or does not fit its checksum.
fn read_block(file: &File, kind: u8, (handle, end): (Handle, u64)) -> io::Result<Option<Vec<u8>>> {
    if handle.block_end().is_none_or(|stop| stop > end) {
        return Ok(None);
    }
    let mut bytes = vec![0; handle.size as usize + TRAILER_BYTES];
    file.read_exact_at(&mut bytes, handle.offset)?;
    let stored = bytes.split_off(bytes.len() - 4);
    let stored = stored.first_chunk::<4>().copied().map(u32::from_le_bytes);
    if crc::of_block(kind, &bytes) != stored {
        return Ok(None);
    }
    bytes.pop();
    Ok(Some(bytes))
}

/// Parses names and handles of the list of parts, which is not compressed.
fn parse_entries(block: &[u8]) -> Option<Vec<(String, Handle)>> {
    let (rest, restarts) = block.split_last_chunk::<4>()?;
    let restarts = u32::from_le_bytes(*restarts) as usize;
    let mut rest = &rest[..rest.len().checked_sub(restarts.checked_mul(4)?)?];
    let (mut found, mut key) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        // A key is stored as the length it shares with the key before it, and the rest.
        let (shared, fresh, len) =
            (read_varint(&mut rest)?, read_varint(&mut rest)?, read_varint(&mut rest)?);
        key.truncate(usize::try_from(shared).ok()?);
        let (name, after) = rest.split_at_checked(usize::try_from(fresh).ok()?)?;
        key.extend_from_slice(name);
        let (mut value, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
        found.push((String::from_utf8_lossy(&key).into_owned(), read_handle(&mut value)?));
        rest = after;
    }
    Some(found)
}

fn read_handle(bytes: &mut &[u8]) -> Option<Handle> {
    Some(Handle { offset: read_varint(bytes)?, size: read_varint(bytes)? })
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
