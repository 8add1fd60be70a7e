//! Recorded lookups, for joins as of PROCTIME() whose left side changes.
//!
//! A left row is looked up in the epoch of its insertion, and the rows found are recorded durably for as long
//! as the row is present: its retraction retracts exactly these. Of copies of one row inserted in different
//! epochs the oldest is retracted first. The state holds, by row and epoch of the lookup, the number of
//! copies, and under it each row found.

use std::collections::BTreeMap;

use schemas::memory::{HeapBytes, allocated_bytes, tree_bytes, vector_bytes};
use schemas::stored_key;

use crate::collect::EpochOut;
use crate::error::RunError;

/// Copies of a left row that were looked up together, with the rows each of them found.
#[derive(Default)]
struct RecordedLookup {
    copies: i64,
    found: Vec<(Vec<u8>, i64)>,
}

impl HeapBytes for RecordedLookup {
    fn heap_bytes(&self) -> usize {
        let rows: usize = self.found.iter().map(|(row, _)| row.heap_bytes()).sum();
        vector_bytes(&self.found) + rows
    }
}

/// Left rows of a key, with their lookups by epoch.
#[derive(Default)]
pub(in crate::render) struct RememberedLookups {
    rows: BTreeMap<Vec<u8>, BTreeMap<u64, RecordedLookup>>,
    /// Bytes of the left rows, of the maps of their lookups, and of the rows found.
    bytes: usize,
}

/// State of the lookups of one key.
pub(in crate::render) struct LookupState<'a> {
    /// State changes of the epoch.
    pub out: &'a mut EpochOut,
    /// The state table.
    pub table_id: u32,
    /// The key.
    pub key: &'a [u8],
}

impl LookupState<'_> {
    /// Adds `copies` to the copies of a lookup.
    fn count_lookup(&mut self, row: &[u8], epoch: u64, (found, copies): (&[(Vec<u8>, i64)], i64)) {
        let mut stored = stored_key(self.key);
        stored.extend_from_slice(row);
        stored.extend_from_slice(&epoch.to_be_bytes());
        self.out.add_count(self.table_id, &stored, copies);
        for (right, count) in found {
            // The byte 1 starts the entry of a row found; the lookup's own entry ends here and sorts first.
            let stored = [&stored[..], &[1], right].concat();
            self.out.add_count(self.table_id, &stored, copies * count);
        }
    }
}

impl RememberedLookups {
    /// Returns true if no lookup is recorded.
    pub(in crate::render) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the bytes that the lookups have allocated.
    pub(in crate::render) fn held_bytes(&self) -> usize {
        self.bytes + tree_bytes(self.rows.len(), size_of::<(Vec<u8>, BTreeMap<u64, RecordedLookup>)>())
    }

    /// Records the rows that `copies` of a row found in `epoch`; returns the increase in held lookups.
    pub(in crate::render) fn remember_lookup(
        &mut self,
        row: &[u8],
        (epoch, copies): (u64, i64),
        found: Vec<(Vec<u8>, i64)>,
        place: &mut LookupState<'_>,
    ) -> i64 {
        place.count_lookup(row, epoch, (&found, copies));
        let looked = self.rows.entry(row.to_vec()).or_default();
        let (before, lookup) = (row_bytes(row, looked), RecordedLookup { copies, found });
        self.bytes += lookup.heap_bytes();
        let replaced = looked.insert(epoch, lookup);
        self.bytes += row_bytes(row, looked);
        self.bytes -= before + replaced.as_ref().map_or(0, HeapBytes::heap_bytes);
        1
    }

    /// Retracts `copies` of a row, and passes to `show` the rows found by each lookup with its number of
    /// retracted copies. Returns the increase in held lookups, which is not positive.
    ///
    /// # Errors
    /// When there are fewer copies.
    pub(in crate::render) fn take_back(
        &mut self,
        row: &[u8],
        mut copies: i64,
        place: &mut LookupState<'_>,
        mut show: impl FnMut(&[(Vec<u8>, i64)], i64),
    ) -> Result<i64, RunError> {
        let mut more = 0;
        while copies > 0 {
            let looked = self.rows.get_mut(row).ok_or_else(missing_lookup)?;
            let before = row_bytes(row, looked);
            let mut oldest = looked.first_entry().ok_or_else(missing_lookup)?;
            let taken = copies.min(oldest.get().copies);
            copies -= taken;
            show(&oldest.get().found, taken);
            place.count_lookup(row, *oldest.key(), (&oldest.get().found, -taken));
            oldest.get_mut().copies -= taken;
            if oldest.get().copies == 0 {
                let lookup = oldest.remove();
                self.bytes = self.bytes + row_bytes(row, looked) - before - lookup.heap_bytes();
                more -= 1;
            }
            // Empty entries are removed, so that `is_empty` tells whether the key can be forgotten.
            if self.rows.get(row).is_some_and(BTreeMap::is_empty) {
                self.rows.remove(row);
            }
        }
        Ok(more)
    }

    /// Restores an entry of the state, given as left row and the rest. The entry with the number of copies
    /// comes before those of the rows found. Returns the increase in held lookups.
    ///
    /// # Errors
    /// When the bytes are no entry.
    pub(in crate::render) fn restore_entry(
        &mut self,
        row: &[u8],
        rest: &[u8],
        count: i64,
    ) -> Result<i64, RunError> {
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged_lookup)?;
        let epochs = self.rows.entry(row.to_vec()).or_default();
        let before = row_bytes(row, epochs);
        let looked = epochs.entry(u64::from_be_bytes(*epoch)).or_default();
        let places = vector_bytes(&looked.found);
        let more = match rest.split_first() {
            None => {
                looked.copies = count;
                1
            }
            // The stored count is that of all copies together; `found` holds the count of one copy.
            Some((1, right)) if looked.copies > 0 => {
                looked.found.push((right.to_vec(), count / looked.copies));
                self.bytes += allocated_bytes(right.len());
                0
            }
            Some(_) => return Err(damaged_lookup()),
        };
        self.bytes = self.bytes + vector_bytes(&looked.found) - places;
        self.bytes = self.bytes + row_bytes(row, epochs) - before;
        Ok(more)
    }
}

fn missing_lookup() -> RunError {
    RunError::Broken("a row is taken back that was not looked up".into())
}

fn damaged_lookup() -> RunError {
    RunError::Damaged("a remembered lookup is not readable".into())
}

/// Returns the bytes of a left row and of the map of its lookups, without the lookups themselves.
fn row_bytes(row: &[u8], looked: &BTreeMap<u64, RecordedLookup>) -> usize {
    match looked.len() {
        0 => 0,
        lookups => allocated_bytes(row.len()) + tree_bytes(lookups, size_of::<(u64, RecordedLookup)>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_taken_back_oldest_first_and_survives_the_state() {
        let mut out = EpochOut::default();
        let mut place = LookupState { out: &mut out, table_id: 3, key: b"k" };
        let mut all = RememberedLookups::default();
        assert_eq!(
            all.remember_lookup(b"r", (1, 2), vec![(b"a".to_vec(), 1), (b"b".to_vec(), 2)], &mut place),
            1
        );
        assert_eq!(all.remember_lookup(b"r", (5, 1), vec![], &mut place), 1);
        let mut shown = vec![];
        assert_eq!(all.take_back(b"r", 1, &mut place, |found, n| shown.push((found.len(), n))).unwrap(), 0);
        // A restart from the state behaves the same.
        let (rows, diffs) = &place.out.counts[&3];
        let mut held: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        rows.iter().zip(diffs).for_each(|(row, diff)| *held.entry(row.to_vec()).or_default() += diff);
        let mut again = RememberedLookups::default();
        for (stored, count) in held.iter().filter(|(_, count)| **count != 0) {
            again.restore_entry(b"r", &stored[schemas::GROUP_BYTES + 2..], *count).unwrap();
        }
        for all in [&mut all, &mut again] {
            let mut shown = vec![];
            let mut out = EpochOut::default();
            let mut place = LookupState { out: &mut out, table_id: 3, key: b"k" };
            let show = |found: &[(Vec<u8>, i64)], n| shown.push((found.to_vec(), n));
            assert!(all.held_bytes() > 0);
            assert_eq!(all.take_back(b"r", 2, &mut place, show).unwrap(), -2);
            assert_eq!(shown, [(vec![(b"a".to_vec(), 1), (b"b".to_vec(), 2)], 1), (vec![], 1)]);
            assert!(all.is_empty());
            assert_eq!(all.held_bytes(), 0, "all that was counted is taken off");
            assert!(all.take_back(b"r", 1, &mut place, |_, _| ()).is_err());
        }
        assert_eq!(shown, [(2, 1)]);
    }
}
