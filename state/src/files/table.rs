//! The parts of a table file that no scan reads, against their checksums: footer, list of parts, and what that
//! lists (filters, properties), and the index.
//!
//! A block is followed by a byte that says how it is compressed and by the checksum of both. The footer, which
//! has no checksum in the format that Herald writes, is checked by what it must be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::crc;

const FOOTER: usize = 53;
const TRAILER: usize = 5;
const MAGIC: u64 = 0x88E2_41B7_85F4_CFF7;
/// The format version that Herald writes.
const VERSION: u32 = 5;

/// Where a block is and how long, without what follows it.
#[derive(Clone, Copy, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

/// The first damage of a table file.
pub(super) fn check(file: &File) -> io::Result<Option<String>> {
    let len = file.metadata()?.len();
    let Some(start) = len.checked_sub(FOOTER as u64) else { return damage("it is too short for a table") };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, start)?;
    let (parts, end) = footer.split_at(FOOTER - 12);
    let version = end.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let magic = end.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if magic != MAGIC || version != VERSION {
        return damage("its footer is not that of a table");
    }
    let (kind, mut rest) = (parts[0], &parts[1..]);
    let (Some(list), Some(index)) = (handle(&mut rest), handle(&mut rest)) else {
        return damage("its footer is not readable");
    };
    if rest.iter().any(|byte| *byte != 0) {
        return damage("its footer is not that of a table");
    }
    let Some(parts) = block(file, kind, (list, start))? else {
        return damage("its list of parts does not fit its checksum");
    };
    let Some(parts) = entries(&parts) else { return damage("its list of parts is not readable") };
    let parts = parts.into_iter().chain([("the index".to_owned(), index)]);
    for (name, handle) in parts {
        if block(file, kind, (handle, start))?.is_none() {
            return damage(&format!("{name} does not fit its checksum"));
        }
    }
    Ok(None)
}

fn damage(what: &str) -> io::Result<Option<String>> {
    Ok(Some(what.to_owned()))
}

/// A block that fits its checksum and lies before the footer.
fn block(file: &File, kind: u8, (handle, end): (Handle, u64)) -> io::Result<Option<Vec<u8>>> {
    let stop = handle.offset.checked_add(handle.size).and_then(|stop| stop.checked_add(TRAILER as u64));
    if stop.is_none_or(|stop| stop > end) {
        return Ok(None);
    }
    let mut bytes = vec![0; handle.size as usize + TRAILER];
    file.read_exact_at(&mut bytes, handle.offset)?;
    let stored = bytes.split_off(bytes.len() - 4);
    let stored = stored.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if crc::of_block(kind, &bytes) != stored {
        return Ok(None);
    }
    bytes.pop();
    Ok(Some(bytes))
}

/// Names and places in the list of parts, which is not compressed.
fn entries(block: &[u8]) -> Option<Vec<(String, Handle)>> {
    let (rest, restarts) = block.split_last_chunk::<4>()?;
    let restarts = u32::from_le_bytes(*restarts) as usize;
    let mut rest = &rest[..rest.len().checked_sub(restarts.checked_mul(4)?)?];
    let (mut found, mut key) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (shared, fresh, len) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        key.truncate(usize::try_from(shared).ok()?);
        let (name, after) = rest.split_at_checked(usize::try_from(fresh).ok()?)?;
        key.extend_from_slice(name);
        let (mut value, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
        found.push((String::from_utf8_lossy(&key).into_owned(), handle(&mut value)?));
        rest = after;
    }
    Some(found)
}

fn handle(bytes: &mut &[u8]) -> Option<Handle> {
    Some(Handle { offset: varint(bytes)?, size: varint(bytes)? })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
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
