//! A counted space that keeps no more than so many bytes of rows: the error table `herald.errors`.
//!
//! Rows that would exceed the bound are counted and not kept, so that nothing that fails for ever can fill the
//! disk. Retraction stays exact. A row is kept from its first copy on or not at all; when copies of it go, those
//! that are kept go first, and what is more can only be of copies that were not kept. So of every row there are
//! never more copies kept than there are, the sum of copies that are not kept never falls below zero, and copies
//! that nobody ever added are still found once nothing is left out. Rows that were not kept are not fetched when
//! there is room again: those that come from then on are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::read::count_of;
use crate::commit::Counts;
use crate::error::{StateError, hex};
use crate::store::Store;

/// What an entry takes beside its row.
const ENTRY_BYTES: u64 = 32;

/// How much of the error table is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundedTotals {
    /// Bytes of the rows that are kept.
    pub bytes: u64,
    /// Copies of rows that are there and not kept.
    pub not_kept: u64,
}

/// Changes of a bounded space as they are to be committed.
#[derive(Clone, Debug, Default)]
pub struct Bounded {
    /// One change a row, of rows that are kept.
    pub counts: Counts,
    /// How often each of them is there once it is committed; 0 deletes it.
    pub after: Vec<i64>,
    /// The totals that hold then.
    pub totals: BoundedTotals,
}

impl Store {
    /// The totals of a bounded space, as committed; counted once where an earlier release left none.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn bounded_totals(&self, space: u32) -> Result<BoundedTotals, StateError> {
        if let Some(totals) = self.reads().meta_json(BOUNDED)? {
            return Ok(totals);
        }
        let mut totals = BoundedTotals::default();
        self.scan(space, &[], |row, _| -> Result<(), StateError> {
            totals.bytes += size(row);
            Ok(())
        })?;
        Ok(totals)
    }

    /// What of an epoch's changes of a bounded space is kept. Nothing is written: the changes and the totals are
    /// for the epoch's commit, which must be the next.
    ///
    /// # Errors
    /// When the state cannot be read, or more copies would go than are there.
    pub fn bound(&self, space: u32, counts: &[Counts]) -> Result<Bounded, StateError> {
        let mut changes: BTreeMap<&[u8], i64> = BTreeMap::new();
        for counts in counts.iter().filter(|counts| counts.space == space) {
            for (row, diff) in counts.rows.iter().zip(&counts.diffs) {
                *changes.entry(row).or_default() += diff;
            }
        }
        changes.retain(|_, diff| *diff != 0);
        let mut totals = self.bounded_totals(space)?;
        let mut out = Bounded { counts: Counts { space, ..Counts::default() }, ..Bounded::default() };
        let held = self.multi_get(space, changes.keys().copied())?;
        let mut fresh = Vec::new();
        for ((row, diff), held) in changes.into_iter().zip(held) {
            let unreadable = || {
                StateError::corrupt(&self.dir, format!("row 0x{} of space {space} has no count", hex(row)))
            };
            let before = held.map_or(Some(0), |value| count_of(&value)).ok_or_else(unreadable)?;
            if before == 0 && diff > 0 {
                fresh.push((row, diff));
                continue;
            }
            let after = before.saturating_add(diff);
            let missing = after.min(0).unsigned_abs();
            if missing > totals.not_kept {
                let total = -i64::try_from(missing - totals.not_kept).unwrap_or(i64::MAX);
                return Err(StateError::Negative { space, row: hex(row), total });
            }
            totals.not_kept -= missing;
            if before > 0 {
                out.push(row, after.max(0) - before, after.max(0));
                if after <= 0 {
                    totals.bytes = totals.bytes.saturating_sub(size(row));
                }
            }
        }
        for (row, diff) in fresh {
            if totals.bytes + size(row) <= self.error_bytes {
                totals.bytes += size(row);
                out.push(row, diff, diff);
            } else {
                totals.not_kept = totals.not_kept.saturating_add(diff.unsigned_abs());
            }
        }
        out.totals = totals;
        Ok(out)
    }
}

impl Bounded {
    fn push(&mut self, row: &[u8], diff: i64, after: i64) {
        self.counts.rows.push(row);
        self.counts.diffs.push(diff);
        self.after.push(after);
    }
}

/// What a row takes of the bound.
pub(crate) fn size(row: &[u8]) -> u64 {
    row.len() as u64 + ENTRY_BYTES
}

/// The key of the totals in `meta`.
pub(crate) const BOUNDED: &str = "errors";
