//! A counted state table with a bound on the bytes of its rows: the error table `herald.errors`.
//!
//! Rows beyond the bound are counted but not kept, so that an expression that always fails cannot fill the
//! disk. Retraction stays exact. A row is kept from its first copy on or not at all. A retraction first
//! removes kept copies; any remainder must be of copies that were not kept. Therefore a row never has more
//! kept copies than copies, the count of copies not kept never falls below zero, and a retraction of copies
//! that were never added is detected as long as all copies are kept. When the table has room again, rows not
//! kept before stay absent; only rows added from then on are kept.

use std::collections::BTreeMap;

use schemas::contains_any;
use serde::{Deserialize, Serialize};

use crate::commit::Counts;
use crate::error::{StateError, hex};
use crate::store::Store;

/// Bytes charged for an entry in addition to its row.
const ENTRY_BYTES: u64 = 32;

/// Totals of the error table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundedTotals {
    /// Bytes of the rows that are kept.
    pub bytes: u64,
    /// Copies of rows that are kept; None where an earlier release wrote the totals.
    pub kept: Option<u64>,
    /// Copies of rows that exist but are not kept.
    pub not_kept: u64,
}

impl BoundedTotals {
    /// All copies of rows that exist.
    pub fn copies(&self) -> u64 {
        self.kept.unwrap_or(0).saturating_add(self.not_kept)
    }
}

/// Changes of a bounded state table, ready to be committed.
#[derive(Clone, Debug, Default)]
pub struct Bounded {
    /// The changes of kept rows, one per row.
    pub counts: Counts,
    /// The multiplicity of each of these rows after the commit; 0 deletes the row.
    pub after: Vec<i64>,
    /// The totals after the commit.
    pub totals: BoundedTotals,
}

impl Store {
    /// Reads the committed totals of a bounded state table; computes by a scan those that an earlier release
    /// did not write.
    ///
    /// # Errors
    /// Fails if the state cannot be read.
    pub fn bounded_totals(&self, table_id: u32) -> Result<BoundedTotals, StateError> {
        let committed: BoundedTotals = self.meta_json(BOUNDED_KEY)?.unwrap_or_default();
        if committed.kept.is_some() {
            return Ok(committed);
        }
        let (mut bytes, mut kept) = (0, 0);
        self.scan(table_id, &[], |row, held| -> Result<(), StateError> {
            bytes += row_size(row);
            kept += self.held_count(table_id, row, Some(held))?.unsigned_abs();
            Ok(())
        })?;
        Ok(BoundedTotals { bytes, kept: Some(kept), ..committed })
    }

    /// Selects the changes of a bounded state table that are kept in this epoch. Nothing is written: the
    /// returned changes and totals belong into the epoch's commit, which must be the next commit.
    ///
    /// # Errors
    /// Fails if the state cannot be read, or if more copies would be removed than exist.
    pub fn bound_counts(&self, table_id: u32, counts: &[Counts]) -> Result<Bounded, StateError> {
        let mut changes: BTreeMap<&[u8], i64> = BTreeMap::new();
        for counts in counts.iter().filter(|counts| counts.table_id == table_id) {
            for (row, diff) in counts.rows.iter().zip(&counts.diffs) {
                *changes.entry(row).or_default() += diff;
            }
        }
        changes.retain(|_, diff| *diff != 0);
        let mut totals = self.bounded_totals(table_id)?;
        let mut out = Bounded { counts: Counts { table_id, ..Counts::default() }, ..Bounded::default() };
        let held = self.multi_get(table_id, changes.keys().copied())?;
        let mut fresh = Vec::new();
        for ((row, diff), held) in changes.into_iter().zip(held) {
            let before = self.held_count(table_id, row, held.as_deref())?;
            // New rows are decided last, when the removals of this epoch have made room.
            if before == 0 && diff > 0 {
                fresh.push((row, diff));
                continue;
            }
            let after = before.saturating_add(diff);
            // Removals beyond the kept copies must be of copies that were not kept.
            let missing = after.min(0).unsigned_abs();
            if missing > totals.not_kept {
                let total = -i64::try_from(missing - totals.not_kept).unwrap_or(i64::MAX);
                return Err(StateError::Negative { table_id, row: hex(row), total });
            }
            totals.not_kept -= missing;
            if before > 0 {
                out.push(row, after.max(0) - before, after.max(0));
                if after <= 0 {
                    totals.bytes = totals.bytes.saturating_sub(row_size(row));
                }
            }
        }
        for (row, diff) in fresh {
            if totals.bytes + row_size(row) <= self.error_bytes {
                totals.bytes += row_size(row);
                out.push(row, diff, diff);
            } else {
                totals.not_kept = totals.not_kept.saturating_add(diff.unsigned_abs());
            }
        }
        let more = out.counts.diffs.iter().copied().fold(0, i64::saturating_add);
        totals.kept = totals.kept.map(|kept| kept.saturating_add_signed(more));
        out.totals = totals;
        Ok(out)
    }
}

impl Store {
    /// Removes rows with any of some patterns from a bounded state table, beside the changes of a commit, as if they had
    /// never had room: whoever retracts one later finds it not kept. Returns their number.
    ///
    /// # Errors
    /// Fails if the state cannot be read.
    pub fn forget_bounded_rows(
        &self,
        (table_id, bounded): (u32, &mut Bounded),
        patterns: &[Vec<u8>],
    ) -> Result<u64, StateError> {
        let mut after: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        self.scan(table_id, &[], |row, held| -> Result<(), StateError> {
            if contains_any(row, patterns) {
                after.insert(row.to_vec(), self.held_count(table_id, row, Some(held))?);
            }
            Ok(())
        })?;
        let changed = std::mem::take(&mut bounded.counts.rows);
        let diffs = std::mem::take(&mut bounded.counts.diffs);
        let left = std::mem::take(&mut bounded.after);
        for ((row, diff), left) in changed.iter().zip(diffs).zip(left) {
            if contains_any(row, patterns) {
                after.insert(row.to_vec(), left);
                // A row that was to come with this commit alone was never there.
                if left != diff {
                    bounded.push(row, diff - left, 0);
                }
                continue;
            }
            bounded.push(row, diff, left);
        }
        let mut forgotten = 0;
        for (row, copies) in after.into_iter().filter(|(_, copies)| *copies > 0) {
            forgotten += 1;
            let comes = changed.iter().any(|other| other == row);
            if !comes {
                bounded.push(&row, -copies, 0);
            }
            let copies = copies.unsigned_abs();
            bounded.totals.bytes = bounded.totals.bytes.saturating_sub(row_size(&row));
            bounded.totals.kept = bounded.totals.kept.map(|kept| kept.saturating_sub(copies));
            bounded.totals.not_kept += copies;
        }
        Ok(forgotten)
    }
}

impl Bounded {
    fn push(&mut self, row: &[u8], diff: i64, after: i64) {
        self.counts.rows.push(row);
        self.counts.diffs.push(diff);
        self.after.push(after);
    }
}

/// Returns the bytes that a row is charged against the bound.
pub(crate) fn row_size(row: &[u8]) -> u64 {
    row.len() as u64 + ENTRY_BYTES
}

/// The key of the totals in `meta`.
pub(crate) const BOUNDED_KEY: &str = "errors";
