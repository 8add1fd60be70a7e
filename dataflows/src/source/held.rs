//! The held row of a key of a TABLE, stored in the state as `key -> Held`.
//!
//! Stored form, stable: flags (bit 0: deleted, bit 1: erased), partition i32, offset i64, event time i64 (`i64::MIN`
//! without one), length of the version u32, version, length of the declared columns u32, packed row;
//! integers big-endian. The packed row begins with the declared columns, so that comparing that part
//! finds duplicates whatever the INCLUDEd columns hold.
//!
//! A key whose latest row was an erased person's is deleted and erased: it has all but the row, and is the latest of its
//! key as the row was.
//!
//! A deleted key (a tombstone) has the version and the event time of the row it had, the partition and the
//! offset of the record that deleted it, and no row.

use schemas::memory::HeapBytes;
use serde::{Deserialize, Serialize};

/// Trace that a record leaves of its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    /// Its row: nobody of it is erased.
    #[default]
    Row,
    /// Key and version: the row is an erased person's.
    Version,
    /// Nothing: the key names an erased person.
    Nothing,
}

/// The last accepted record of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Set on a tombstone: only key, version and event time are kept.
    pub deleted: bool,
    /// Set, with `deleted`, where the row was an erased person's.
    pub erased: bool,
    /// Partition of the record that wrote it.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Event time, microseconds; `i64::MIN` without one.
    pub event_us: i64,
    /// Packed version column; empty without one.
    pub version: Vec<u8>,
    /// Bytes of `row` that the declared columns take.
    pub declared: u32,
    /// Packed row.
    pub row: Vec<u8>,
}

impl Held {
    /// Appends the stored form to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.deleted as u8 | (self.erased as u8) << 1);
        out.extend_from_slice(&self.partition.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.event_us.to_be_bytes());
        out.extend_from_slice(&(self.version.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.version);
        out.extend_from_slice(&self.declared.to_be_bytes());
        out.extend_from_slice(&self.row);
    }

    /// Reads the stored form; None when the bytes do not fit.
    pub fn read(bytes: &[u8]) -> Option<Held> {
        let (flags, bytes) = bytes.split_first()?;
        let (partition, bytes) = bytes.split_first_chunk::<4>()?;
        let (offset, bytes) = bytes.split_first_chunk::<8>()?;
        let (event, bytes) = bytes.split_first_chunk::<8>()?;
        let (len, bytes) = bytes.split_first_chunk::<4>()?;
        let (version, bytes) = bytes.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let (declared, row) = bytes.split_first_chunk::<4>()?;
        let declared = u32::from_be_bytes(*declared);
        (matches!(flags, 0 | 1 | 3) && declared as usize <= row.len()).then(|| Held {
            deleted: *flags & 1 == 1,
            erased: *flags & 2 == 2,
            partition: i32::from_be_bytes(*partition),
            offset: i64::from_be_bytes(*offset),
            event_us: i64::from_be_bytes(*event),
            version: version.to_vec(),
            declared,
            row: row.to_vec(),
        })
    }

    /// Returns true if it has an event time and that is below `horizon`.
    pub fn is_before(&self, horizon: i64) -> bool {
        self.event_us != i64::MIN && self.event_us < horizon
    }

    /// The packed row within a stored form, without reading the rest.
    pub fn row_of(bytes: &[u8]) -> Option<&[u8]> {
        // Flags, partition, offset and event time take 21 bytes; the version follows its length.
        let len = bytes.get(21..25)?;
        let version = u32::from_be_bytes(len.try_into().ok()?) as usize;
        if bytes.first() == Some(&0) { bytes.get(29 + version..) } else { None }
    }
}

impl HeapBytes for Held {
    fn heap_bytes(&self) -> usize {
        self.version.heap_bytes() + self.row.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_is_fixed() {
        let held = Held {
            deleted: false,
            erased: false,
            partition: 3,
            offset: 258,
            event_us: -1,
            version: vec![1, 9],
            declared: 1,
            row: vec![7, 8],
        };
        let mut bytes = vec![];
        held.write(&mut bytes);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "00000000030000000000000102ffffffffffffffff000000020109000000010708");
        assert_eq!(Held::read(&bytes), Some(held.clone()));
        assert_eq!(Held::row_of(&bytes), Some(&[7u8, 8][..]));
        assert_eq!(Held::read(&bytes[..20]), None);
        let tombstone = Held { deleted: true, declared: 0, row: vec![], ..held };
        bytes.clear();
        tombstone.write(&mut bytes);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "01000000030000000000000102ffffffffffffffff00000002010900000000");
        assert_eq!(Held::row_of(&bytes), None);
        assert_eq!(Held::read(&bytes), Some(tombstone.clone()));
        let erased = Held { erased: true, ..tombstone };
        bytes.clear();
        erased.write(&mut bytes);
        assert_eq!((bytes[0], Held::row_of(&bytes)), (3, None));
        assert_eq!(Held::read(&bytes), Some(erased));
        bytes[0] = 2;
        assert_eq!(Held::read(&bytes), None);
    }
}
