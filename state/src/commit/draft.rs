//! The rows of an epoch on their way into its batch.
//!
//! Contributions of all workers are gathered by space, sorted once, and put in key order through one reused
//! key buffer. Multiplicities are consolidated, added to what is held, and refused below zero.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;

use crate::catalogue::Spaces;
use crate::commit::{Commit, Counts, Writes};
use crate::error::{StateError, hex};
use crate::space;
use crate::store::Store;
use crate::store::read::count_of;

/// A batch under construction.
pub(crate) struct Draft<'a> {
    store: &'a Store,
    spaces: &'a Spaces,
    epoch: u64,
    pub(crate) batch: WriteBatch,
    key: Vec<u8>,
    pub(crate) read: Duration,
}

pub(crate) type Puts<'c> = BTreeMap<u32, Vec<(&'c [u8], Option<&'c [u8]>)>>;
pub(crate) type Diffs<'c> = BTreeMap<u32, Vec<(&'c [u8], i64)>>;

impl<'a> Draft<'a> {
    pub(crate) fn new(store: &'a Store, spaces: &'a Spaces, commit: &Commit) -> Draft<'a> {
        let batch = WriteBatch::with_capacity_bytes(estimate_bytes(commit));
        Draft { store, spaces, epoch: commit.epoch, batch, key: Vec::new(), read: Duration::ZERO }
    }

    pub(crate) fn gather_writes<'c>(&self, all: &'c [Writes]) -> Result<Puts<'c>, StateError> {
        let mut puts = Puts::new();
        for writes in all.iter().filter(|writes| !writes.keys.is_empty()) {
            let puts = puts.entry(writes.space).or_default();
            puts.extend(writes.keys.iter().zip(writes.values.iter()));
        }
        Ok(puts)
    }

    pub(crate) fn gather_counts<'c>(&self, all: &'c [Counts]) -> Result<Diffs<'c>, StateError> {
        let mut diffs = Diffs::new();
        for counts in all.iter().filter(|counts| !counts.rows.is_empty()) {
            let diffs = diffs.entry(counts.space).or_default();
            diffs.extend(counts.rows.iter().zip(counts.diffs.iter().copied()));
        }
        Ok(diffs)
    }

    pub(crate) fn put_all(&mut self, puts: Puts<'_>) -> Result<(), StateError> {
        for (space, puts) in puts {
            let family = self.store.reads().space(self.spaces, space)?;
            let order = space::sorted_order(puts.len(), |index| puts[index].0);
            for (place, &index) in order.iter().enumerate() {
                let (key, value) = puts[index as usize];
                let given_again = order.get(place + 1).is_some_and(|&next| puts[next as usize].0 == key);
                if given_again {
                    continue;
                }
                space::key_into(&mut self.key, space, key);
                match value {
                    Some(value) => self.batch.put_cf(family, &self.key, value),
                    None => self.batch.delete_cf(family, &self.key),
                }
            }
        }
        Ok(())
    }

    /// Marks every family that holds spaces with the epoch.
    pub(crate) fn put_stamps(&mut self) -> Result<(), StateError> {
        for name in space::SPACES {
            let family = space::family(&self.store.db, name)?;
            self.batch.put_cf(family, space::STAMP.to_be_bytes(), self.epoch.to_be_bytes());
        }
        Ok(())
    }

    pub(crate) fn add_counts(&mut self, diffs: Diffs<'_>) -> Result<(), StateError> {
        for (space, diffs) in diffs {
            let family = self.store.reads().space(self.spaces, space)?;
            let changes = self.consolidate(space, &diffs)?;
            let rows: Vec<&[u8]> = changes.iter().map(|change| change.0).collect();
            let begun = Instant::now();
            let held = self.store.reads().multi_get(family, space, &rows)?;
            self.read += begun.elapsed();
            for ((row, diff), held) in changes.into_iter().zip(held) {
                let before = match held.as_deref() {
                    None => 0,
                    Some(value) => count_of(value).ok_or_else(|| {
                        StateError::corrupt(
                            &self.store.dir,
                            format!("row 0x{} of space {space} has no count", hex(row)),
                        )
                    })?,
                };
                let total = before.checked_add(diff).ok_or_else(|| self.overflow(space, row))?;
                space::key_into(&mut self.key, space, row);
                match total {
                    ..0 => {
                        return Err(StateError::Negative { space, row: hex(row), total });
                    }
                    0 => self.batch.delete_cf(family, &self.key),
                    1.. => self.batch.put_cf(family, &self.key, total.to_be_bytes()),
                }
            }
        }
        Ok(())
    }

    /// One change a row, sorted; what cancels out is left out.
    fn consolidate<'c>(
        &self,
        space: u32,
        diffs: &[(&'c [u8], i64)],
    ) -> Result<Vec<(&'c [u8], i64)>, StateError> {
        let order = space::sorted_order(diffs.len(), |index| diffs[index].0);
        let mut changes: Vec<(&[u8], i64)> = Vec::with_capacity(order.len());
        for &index in &order {
            let (row, diff) = diffs[index as usize];
            match changes.last_mut() {
                Some(last) if last.0 == row => {
                    last.1 = last.1.checked_add(diff).ok_or_else(|| self.overflow(space, row))?;
                }
                _ => changes.push((row, diff)),
            }
        }
        changes.retain(|change| change.1 != 0);
        Ok(changes)
    }

    fn overflow(&self, space: u32, row: &[u8]) -> StateError {
        self.malformed(format!("the copies of row 0x{} of space {space} exceed 64 bits", hex(row)))
    }

    pub(crate) fn malformed(&self, what: String) -> StateError {
        StateError::Malformed { epoch: self.epoch, what }
    }
}

/// Room for the batch, so that it does not grow by copying.
fn estimate_bytes(commit: &Commit) -> usize {
    const ENTRY: usize = 16;
    let writes: usize =
        commit.writes.iter().map(|w| w.keys.bytes_len() + w.values.bytes_len() + ENTRY * w.keys.len()).sum();
    let counts: usize = commit.counts.iter().map(|c| c.rows.bytes_len() + (ENTRY + 8) * c.rows.len()).sum();
    let outbox: usize = commit.outbox.iter().map(|chunk| chunk.bytes.len() + 2 * ENTRY).sum();
    let dead: usize = commit.dead_letters.iter().map(|letter| letter.len() + 2 * ENTRY).sum();
    writes + counts + outbox + dead + 4096
}
