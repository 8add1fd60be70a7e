//! Rows that each left row found when it came, for joins as of PROCTIME() whose left side changes.
//!
//! A left row is looked up in the epoch it comes in, and what it found is remembered, durably, for as long as
//! the row is there: when it is taken back, just that is. Of copies of one row that came in different epochs the
//! oldest goes first. In the state each stands with the epoch of its lookup: how many copies there are, and under
//! it each row found.

use std::collections::BTreeMap;

use crate::error::RunError;
use crate::render::collect::{EpochOut, stored_key};

/// Copies of a left row that were looked up together, and what each of them found.
#[derive(Default)]
struct Looked {
    copies: i64,
    found: Vec<(Vec<u8>, i64)>,
}

/// The left rows of a key, with their lookups by epoch.
#[derive(Default)]
pub(in crate::render) struct Remembered(BTreeMap<Vec<u8>, BTreeMap<u64, Looked>>);

/// Where lookups of a key are kept in the state.
pub(in crate::render) struct Place<'a> {
    /// The state's changes of the epoch.
    pub out: &'a mut EpochOut,
    /// The space.
    pub space: u32,
    /// The key.
    pub key: &'a [u8],
}

impl Place<'_> {
    /// Changes the copies of a lookup.
    fn count(&mut self, row: &[u8], epoch: u64, (found, copies): (&[(Vec<u8>, i64)], i64)) {
        let mut stored = stored_key(self.key);
        stored.extend_from_slice(row);
        stored.extend_from_slice(&epoch.to_be_bytes());
        self.out.count(self.space, &stored, copies);
        for (right, count) in found {
            // No packed row is empty: a byte in front tells it from the lookup itself.
            let stored = [&stored[..], &[1], right].concat();
            self.out.count(self.space, &stored, copies * count);
        }
    }
}

impl Remembered {
    /// Tells whether no row is there.
    pub(in crate::render) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers what `copies` of a row found in `epoch`. Gives how many more lookups are held.
    pub(in crate::render) fn put(
        &mut self,
        row: &[u8],
        (epoch, copies): (u64, i64),
        found: Vec<(Vec<u8>, i64)>,
        place: &mut Place<'_>,
    ) -> i64 {
        place.count(row, epoch, (&found, copies));
        let looked = self.0.entry(row.to_vec()).or_default();
        looked.insert(epoch, Looked { copies, found });
        1
    }

    /// Takes back `copies` of a row, and gives to `show` what each batch of them found. Gives how many more
    /// lookups are held.
    ///
    /// # Errors
    /// When there are not so many.
    pub(in crate::render) fn take(
        &mut self,
        row: &[u8],
        mut copies: i64,
        place: &mut Place<'_>,
        mut show: impl FnMut(&[(Vec<u8>, i64)], i64),
    ) -> Result<i64, RunError> {
        let mut more = 0;
        while copies > 0 {
            let Some(mut oldest) = self.0.get_mut(row).and_then(BTreeMap::first_entry) else {
                return Err(RunError::Broken("a row is taken back that was not looked up".into()));
            };
            let taken = copies.min(oldest.get().copies);
            copies -= taken;
            show(&oldest.get().found, taken);
            place.count(row, *oldest.key(), (&oldest.get().found, -taken));
            oldest.get_mut().copies -= taken;
            if oldest.get().copies == 0 {
                oldest.remove();
                more -= 1;
            }
            if self.0.get(row).is_some_and(BTreeMap::is_empty) {
                self.0.remove(row);
            }
        }
        Ok(more)
    }

    /// Takes in an entry of the state behind its left row, of which the copies come before what they found. Gives
    /// how many more lookups are held.
    ///
    /// # Errors
    /// When the bytes are no entry.
    pub(in crate::render) fn restore(
        &mut self,
        row: &[u8],
        rest: &[u8],
        count: i64,
    ) -> Result<i64, RunError> {
        let broken = || RunError::Broken("a lookup in the state is not readable".into());
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let looked = self.0.entry(row.to_vec()).or_default().entry(u64::from_be_bytes(*epoch)).or_default();
        match rest.split_first() {
            None => looked.copies = count,
            Some((1, right)) if looked.copies > 0 => {
                looked.found.push((right.to_vec(), count / looked.copies));
                return Ok(0);
            }
            Some(_) => return Err(broken()),
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_taken_back_oldest_first_and_survives_the_state() {
        let mut out = EpochOut::default();
        let mut place = Place { out: &mut out, space: 3, key: b"k" };
        let mut all = Remembered::default();
        assert_eq!(all.put(b"r", (1, 2), vec![(b"a".to_vec(), 1), (b"b".to_vec(), 2)], &mut place), 1);
        assert_eq!(all.put(b"r", (5, 1), vec![], &mut place), 1);
        let mut shown = vec![];
        assert_eq!(all.take(b"r", 1, &mut place, |found, n| shown.push((found.len(), n))).unwrap(), 0);
        // What the state holds gives the same again.
        let (rows, diffs) = &place.out.counts[&3];
        let mut held: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        rows.iter().zip(diffs).for_each(|(row, diff)| *held.entry(row.to_vec()).or_default() += diff);
        let mut again = Remembered::default();
        for (stored, count) in held.iter().filter(|(_, count)| **count != 0) {
            again.restore(b"r", &stored[3..], *count).unwrap();
        }
        for all in [&mut all, &mut again] {
            let mut shown = vec![];
            let mut out = EpochOut::default();
            let mut place = Place { out: &mut out, space: 3, key: b"k" };
            let show = |found: &[(Vec<u8>, i64)], n| shown.push((found.to_vec(), n));
            assert_eq!(all.take(b"r", 2, &mut place, show).unwrap(), -2);
            assert_eq!(shown, [(vec![(b"a".to_vec(), 1), (b"b".to_vec(), 2)], 1), (vec![], 1)]);
            assert!(all.is_empty());
            assert!(all.take(b"r", 1, &mut place, |_, _| ()).is_err());
        }
        assert_eq!(shown, [(2, 1)]);
    }
}
