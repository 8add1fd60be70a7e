//! The construction of an epoch's batch from its rows.
//!
//! The changes of all workers are gathered by state table, sorted once, and put in key order through one
//! reused key buffer. Changes of multiplicities are consolidated and added to the held ones; a total below
//! zero is refused.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;
use schemas::{MemoryPart, MemoryShare};

use crate::commit::{Commit, Counts, Writes};
use crate::error::{StateError, hex};
use crate::store::Store;
use crate::table;

/// A batch under construction.
pub(crate) struct Draft<'a> {
    store: &'a Store,
    epoch: u64,
    pub(crate) batch: WriteBatch,
    /// The buffer for keys with their table id.
    key: Vec<u8>,
    /// Memory of the changes, and of the batch, which holds them again.
    _memory: MemoryShare,
}

/// New values by table id and key; None deletes.
pub(crate) type Puts<'c> = BTreeMap<u32, Vec<(&'c [u8], Option<&'c [u8]>)>>;
/// Changes of multiplicities by table id and row.
pub(crate) type Diffs<'c> = BTreeMap<u32, Vec<(&'c [u8], i64)>>;

impl<'a> Draft<'a> {
    pub(crate) fn new(store: &'a Store, commit: &Commit) -> Draft<'a> {
        let bytes = estimate_bytes(commit);
        let (batch, memory) =
            (WriteBatch::with_capacity_bytes(bytes), MemoryShare::of(MemoryPart::Epochs, 2 * bytes));
        Draft { store, epoch: commit.epoch, batch, key: Vec::new(), _memory: memory }
    }

    /// Gathers the writes of all workers by table id.
    pub(crate) fn gather_writes<'c>(&self, all: &'c [Writes]) -> Result<Puts<'c>, StateError> {
        let mut puts = Puts::new();
        for writes in all {
            if !writes.keys.is_empty() {
                let puts = puts.entry(writes.table_id).or_default();
                puts.extend(writes.keys.iter().zip(writes.values.iter()));
            }
        }
        Ok(puts)
    }

    /// Gathers the changes of multiplicities of all workers by table id.
    pub(crate) fn gather_counts<'c>(&self, all: &'c [Counts]) -> Result<Diffs<'c>, StateError> {
        let mut diffs = Diffs::new();
        for counts in all {
            if !counts.rows.is_empty() {
                let diffs = diffs.entry(counts.table_id).or_default();
                diffs.extend(counts.rows.iter().zip(counts.diffs.iter().copied()));
            }
        }
        Ok(diffs)
    }

    /// Puts all new values in key order; of equal keys the last one given counts.
    pub(crate) fn put_all(&mut self, puts: Puts<'_>) -> Result<(), StateError> {
        for (table_id, puts) in puts {
            let family = self.store.family_of_table(table_id)?;
            let order = table::sorted_order(puts.len(), |index| puts[index].0);
            for (place, &index) in order.iter().enumerate() {
                let (key, value) = puts[index as usize];
                // The order is stable, so the last of equal keys is the one given last.
                let given_again = order.get(place + 1).is_some_and(|&next| puts[next as usize].0 == key);
                if given_again {
                    continue;
                }
                table::key_into(&mut self.key, table_id, key);
                match value {
                    Some(value) => self.batch.put_cf(family, &self.key, value),
                    None => self.batch.delete_cf(family, &self.key),
                }
            }
        }
        Ok(())
    }

    /// Writes the epoch into every family that holds state tables.
    pub(crate) fn put_stamps(&mut self) -> Result<(), StateError> {
        for name in table::TABLE_FAMILIES {
            let family = table::family(&self.store.db, name)?;
            self.batch.put_cf(family, table::STAMP.to_be_bytes(), self.epoch.to_be_bytes());
        }
        Ok(())
    }

    /// Adds changes to the held multiplicities: a row at zero is deleted, a row below zero is refused.
    pub(crate) fn add_counts(&mut self, diffs: Diffs<'_>) -> Result<(), StateError> {
        for (table_id, diffs) in diffs {
            let family = self.store.family_of_table(table_id)?;
            let changes = self.consolidate(table_id, &diffs)?;
            let held = self.store.multi_get(table_id, changes.iter().map(|change| change.0))?;
            for ((row, diff), held) in changes.into_iter().zip(held) {
                let before = self.store.held_count(table_id, row, held.as_deref())?;
                let total = before.checked_add(diff).ok_or_else(|| self.count_overflow(table_id, row))?;
                table::key_into(&mut self.key, table_id, row);
                match total {
                    ..0 => {
                        return Err(StateError::Negative { table_id, row: hex(row), total });
                    }
                    0 => self.batch.delete_cf(family, &self.key),
                    1.. => self.batch.put_cf(family, &self.key, total.to_be_bytes()),
                }
            }
        }
        Ok(())
    }

    /// Sums the changes of each row and sorts by row; rows whose changes cancel out are left out.
    fn consolidate<'c>(
        &self,
        table_id: u32,
        diffs: &[(&'c [u8], i64)],
    ) -> Result<Vec<(&'c [u8], i64)>, StateError> {
        let order = table::sorted_order(diffs.len(), |index| diffs[index].0);
        let mut changes: Vec<(&[u8], i64)> = Vec::with_capacity(order.len());
        for &index in &order {
            let (row, diff) = diffs[index as usize];
            match changes.last_mut() {
                Some(last) if last.0 == row => {
                    last.1 = last.1.checked_add(diff).ok_or_else(|| self.count_overflow(table_id, row))?;
                }
                _ => changes.push((row, diff)),
            }
        }
        changes.retain(|change| change.1 != 0);
        Ok(changes)
    }

    fn count_overflow(&self, table_id: u32, row: &[u8]) -> StateError {
        self.malformed_error(format!("the copies of row 0x{} of space {table_id} exceed 64 bits", hex(row)))
    }

    pub(crate) fn malformed_error(&self, what: String) -> StateError {
        StateError::Malformed { epoch: self.epoch, what }
    }
}

/// Estimates the bytes of the batch, so that it need not grow by copying.
fn estimate_bytes(commit: &Commit) -> usize {
    const ENTRY_BYTES: usize = 16;
    let mut bytes = 4096;
    for writes in &commit.writes {
        bytes += writes.keys.bytes_len() + writes.values.bytes_len() + ENTRY_BYTES * writes.keys.len();
    }
    for counts in &commit.counts {
        bytes += counts.rows.bytes_len() + (ENTRY_BYTES + 8) * counts.rows.len();
    }
    for made in &commit.changes {
        bytes += made.changes.bytes_len() + 2 * ENTRY_BYTES;
    }
    for chunk in &commit.outbox {
        bytes += chunk.bytes.len() + 2 * ENTRY_BYTES;
    }
    for dead_letter in &commit.dead_letters {
        bytes += dead_letter.len() + 2 * ENTRY_BYTES;
    }
    bytes
}
