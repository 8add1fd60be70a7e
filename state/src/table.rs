//! The key layout of the state, and the sorting of keys.
//!
//! | column family | key | value |
//! | --- | --- | --- |
//! | `meta` | `format`, `state_id`, `topology`, `catalogue`, `committed`, `dead_letter`, `errors`, `histories`, `published/CLUSTER`, `epoch/SLOT`, `erasure/DIGEST`, `erasure_salt`, `erase_paths` | see their modules |
//! | `table`, `arrangement`, `view`, `sink` | state table id u32 + packed key or row | packed row; or an i64 multiplicity |
//! | `sink` | id u32 of a view + epoch u64 + part u32 | a piece of the view's history |
//! | the same four | `ff ff ff ff` | u64: the last epoch, so that a family left behind is noticed |
//! | `outbox` | cluster u16 + epoch u64 + part u32 | a chunk of serialised output |
//! | `dead_letter` | sequence u64 | a serialised dead letter |
//!
//! All numbers are big-endian, so that bytes sort as numbers do. Packed keys begin with their key group
//! (`schemas::stored_key`), except those of sinks and of indexes, which lie in the family `view`. This layout is
//! format version 2: changing it means another version.

use std::io;
use std::path::Path;

use rocksdb::{ColumnFamily, DB};

use crate::catalogue::StateTableKind;

pub(crate) const META: &str = "meta";
pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const DEAD_LETTER: &str = "dead_letter";

/// The families that hold state tables.
pub(crate) const TABLE_FAMILIES: [&str; 4] = ["table", "arrangement", "view", "sink"];

/// The reserved table id: its one key holds the last epoch in each of these families.
pub(crate) const STAMP: u32 = u32::MAX;

/// All families but RocksDB's mandatory default one.
pub(crate) const FAMILIES: [&str; 7] = ["table", "arrangement", "view", "sink", META, OUTBOX, DEAD_LETTER];

impl StateTableKind {
    /// Returns the column family of state tables of this kind.
    pub(crate) fn family(self) -> &'static str {
        match self {
            StateTableKind::Table => "table",
            StateTableKind::Arrangement => "arrangement",
            StateTableKind::View | StateTableKind::Index => "view",
            StateTableKind::Sink => "sink",
        }
    }
}

/// Returns the handle of a family. All of them are opened with the database, so a missing one is a damaged
/// state.
pub(crate) fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, crate::StateError> {
    db.cf_handle(name)
        .ok_or_else(|| crate::StateError::corrupt(db.path(), format!("column family {name} is missing")))
}

/// Serialises the value of a key of the `meta` family as JSON.
pub(crate) fn encode_json<T: serde::Serialize>(
    dir: &Path,
    key: &str,
    value: &T,
) -> Result<Vec<u8>, crate::StateError> {
    let text = serde_json::to_vec(value).map_err(io::Error::from);
    text.map_err(crate::StateError::io_at(dir, "encode", Path::new(key)))
}

/// Puts `table_id ++ key` into a buffer that is reused from key to key.
pub(crate) fn key_into(buffer: &mut Vec<u8>, table_id: u32, key: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(&table_id.to_be_bytes());
    buffer.extend_from_slice(key);
}

/// Builds the key of a chunk in the outbox.
pub(crate) fn outbox_key(cluster: u16, epoch: u64, part: u32) -> [u8; 14] {
    let mut key = [0; 14];
    key[..2].copy_from_slice(&cluster.to_be_bytes());
    key[2..10].copy_from_slice(&epoch.to_be_bytes());
    key[10..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Splits an outbox key into cluster, epoch and part; None for bytes of another length.
pub(crate) fn outbox_key_parts(key: &[u8]) -> Option<(u16, u64, u32)> {
    let (cluster, rest) = key.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let part = rest.try_into().ok()?;
    Some((u16::from_be_bytes(*cluster), u64::from_be_bytes(*epoch), u32::from_be_bytes(part)))
}

/// Returns the order that sorts `len` keys; equal keys keep their given order.
///
/// Packed keys share long prefixes, so the prefix common to all of them is skipped, and the eight bytes that
/// follow it decide most comparisons without reading the keys.
pub(crate) fn sorted_order<'a>(len: usize, key: impl Fn(usize) -> &'a [u8]) -> Vec<u32> {
    // Keys that are sorted already are the common case.
    if (1..len).all(|index| key(index - 1) <= key(index)) {
        return (0..len as u32).collect();
    }
    let first = key(0);
    let mut shared = first.len();
    for index in 1..len {
        shared = first[..shared].iter().zip(key(index)).take_while(|(left, right)| left == right).count();
    }
    let mut order: Vec<(u64, u32)> = Vec::with_capacity(len);
    for index in 0..len {
        let rest = &key(index)[shared..];
        let mut head = [0; 8];
        let taken = rest.len().min(8);
        head[..taken].copy_from_slice(&rest[..taken]);
        order.push((u64::from_be_bytes(head), index as u32));
    }
    order.sort_unstable_by(|left, right| {
        if left.0 != right.0 {
            return left.0.cmp(&right.0);
        }
        let rest = key(left.1 as usize)[shared..].cmp(&key(right.1 as usize)[shared..]);
        rest.then(left.1.cmp(&right.1))
    });
    order.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn order_sorts_and_is_stable() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for _ in 0..200 {
            let prefix: Vec<u8> = (0..random.random_range(0..4)).map(|_| 7).collect();
            let keys: Vec<Vec<u8>> = (0..random.random_range(0..60))
                .map(|_| {
                    let tail = (0..random.random_range(0..12)).map(|_| random.random_range(0..3u8));
                    prefix.iter().copied().chain(tail).collect()
                })
                .collect();
            let mut expected: Vec<u32> = (0..keys.len() as u32).collect();
            expected.sort_by(|left, right| keys[*left as usize].cmp(&keys[*right as usize]));
            assert_eq!(sorted_order(keys.len(), |index| keys[index].as_slice()), expected);
        }
    }

    /// Format version 2, byte by byte: this test fails the day the layout changes.
    #[test]
    fn layout_is_frozen() {
        let mut key = Vec::new();
        key_into(&mut key, 258, b"k");
        assert_eq!(key, [0, 0, 1, 2, b'k']);
        assert_eq!(outbox_key(1, 2, 3), [0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(outbox_key_parts(&outbox_key(65535, u64::MAX, 9)), Some((65535, u64::MAX, 9)));
        assert_eq!(outbox_key_parts(b"short"), None);
        let names =
            [StateTableKind::Table, StateTableKind::Arrangement, StateTableKind::View, StateTableKind::Sink]
                .map(StateTableKind::family);
        assert_eq!(names, TABLE_FAMILIES);
        assert_eq!(StateTableKind::Index.family(), "view");
        assert_eq!(crate::FORMAT_VERSION, 2);
    }
}
