//! A table without the persons that an epoch erases: its held rows, and the epoch's own candidates.
//!
//! All held rows of the worker's key groups are read once in such an epoch, whatever the number of persons. Those with
//! one of them change as by a correction or a delete: the old row is retracted and the new one, if there is one, inserted.
//! They are in memory until the epoch is committed, twice, as are the changes that follow from them. A row that is
//! forgotten (below the horizon of the epoch before) is dropped and not retracted: the results that it is part of have no
//! state any more.

use arrow::array::ArrayRef;
use schemas::{ErasedSet, Rows, contains_any, without_group};

use super::{Chunk, Decided, Overlay, Table, read_held};
use crate::error::RunError;
use crate::render::batch::{Data, DeltaBatch};
use crate::runtime::restore::scan_groups;
use crate::source::erasure::filter::{Filtered, RowHit, is_erased};
use crate::source::held::{Held, Trace};

/// Held rows that are decoded at once.
const ROWS_AT_ONCE: usize = 1024;
/// Most persons by whose bytes held rows are picked before they are decoded.
const MOST_PATTERNS: usize = 16;

/// Held rows by key, to be looked at.
type HeldRows = Vec<(Vec<u8>, Held)>;

impl Table {
    /// Takes the persons that the epoch erases out of the held rows.
    pub(super) fn erase_held(
        &self,
        epoch: u64,
        overlay: &mut Overlay,
        decided: &mut Decided,
    ) -> Result<(), RunError> {
        let Some((_, erasing)) = &self.filter else { return Ok(()) };
        let Some(erased) = erasing.borrow().to_erase_in(self.source) else { return Ok(()) };
        let patterns = self.patterns();
        let may_hold = |key: &[u8], held: &[u8]| {
            patterns.is_empty() || contains_any(held, &patterns) || contains_any(key, &patterns)
        };
        // Those of epochs that are not committed come first, and hide those of the state with the same keys.
        let mut rows = HeldRows::new();
        for (key, (_, held)) in &overlay.rows {
            if let Some(held) = held.as_ref().filter(|held| may_hold(key, &held.row)) {
                rows.push((key.to_vec(), held.clone()));
            }
        }
        rows.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for rows in rows.chunks(ROWS_AT_ONCE) {
            self.erase_rows((epoch, &erased), rows.to_vec(), overlay, decided)?;
        }
        let mut rows = HeldRows::new();
        scan_groups(&self.store, self.table_id, &self.groups, |stored, value| {
            let key = without_group(stored);
            if may_hold(key, value) && !overlay.rows.contains_key(key) {
                rows.push((key.to_vec(), read_held(value)?));
                if rows.len() >= ROWS_AT_ONCE {
                    self.erase_rows((epoch, &erased), std::mem::take(&mut rows), overlay, decided)?;
                }
            }
            Ok(())
        })?;
        self.erase_rows((epoch, &erased), rows, overlay, decided)
    }

    /// The bytes of the epoch's persons, where packed rows that hold them can be told by these; else none.
    fn patterns(&self) -> Vec<Vec<u8>> {
        let Some((_, erasing)) = &self.filter else { return Vec::new() };
        let erasing = erasing.borrow();
        // A packed row has another form of a zero byte.
        let packed = erasing.identities.iter().all(|identity| !identity.contains(&0));
        if erasing.anew.contains(&self.source) || erasing.identities.len() > MOST_PATTERNS || !packed {
            return Vec::new();
        }
        erasing.identities.clone()
    }

    /// Takes erased persons out of some held rows.
    fn erase_rows(
        &self,
        (epoch, erased): (u64, &ErasedSet),
        mut rows: HeldRows,
        overlay: &mut Overlay,
        decided: &mut Decided,
    ) -> Result<(), RunError> {
        let Some((filter, _)) = &self.filter else { return Ok(()) };
        self.erase_tombstones((epoch, erased), &mut rows, overlay)?;
        let columns = self.shape.codec.decode(rows.iter().map(|(_, held)| held.row.as_slice()))?;
        let batch = self.shape.assemble(columns, rows.len())?;
        let Some(Filtered { batch, hits }) = filter.apply(&batch, erased)? else { return Ok(()) };
        let packed = self.shape.codec.encode(batch.columns())?;
        let (mut retracts, mut inserts) = (Rows::new(), Rows::new());
        for (row, hit) in hits {
            let Some((key, held)) = rows.get_mut(row as usize).map(std::mem::take) else { continue };
            self.count_taken(epoch, &hit);
            // By the watermark of the epoch before, on all workers the same: state above may be dropped below it.
            let forgotten = held.is_before(self.horizon());
            let after = self.without_persons(&held, &hit, packed.get(row as usize), forgotten)?;
            if !forgotten {
                retracts.push(&held.row);
                if let Some(after) = after.as_ref().filter(|after| !after.deleted) {
                    inserts.push(&after.row);
                }
            }
            overlay.set_row(&key, epoch, after);
        }
        for (rows, diff) in [(retracts, -1), (inserts, 1)] {
            if !rows.is_empty() {
                let diffs = vec![diff; rows.len()];
                decided.out.push(DeltaBatch { data: Data::Packed(rows), diffs });
            }
        }
        Ok(())
    }

    /// The rest of a held row, whose packed form without the persons is given.
    fn without_persons(
        &self,
        held: &Held,
        hit: &RowHit,
        packed: &[u8],
        forgotten: bool,
    ) -> Result<Option<Held>, RunError> {
        if forgotten || hit.in_key {
            return Ok(None);
        }
        if hit.removed {
            let nothing = Held { deleted: true, erased: true, declared: 0, row: Vec::new(), ..held.clone() };
            return Ok(Some(nothing));
        }
        // The rest is that of the record which brought the row: later ones are compared with it as before.
        let declared = self.shape.codec.prefix_len(packed, self.declared)? as u32;
        Ok(Some(Held { row: packed.to_vec(), declared, ..held.clone() }))
    }

    /// Takes rows that are gone out of `rows`, and drops those whose keys name erased persons.
    fn erase_tombstones(
        &self,
        (epoch, erased): (u64, &ErasedSet),
        rows: &mut HeldRows,
        overlay: &mut Overlay,
    ) -> Result<(), RunError> {
        let (gone, left): (HeldRows, HeldRows) =
            std::mem::take(rows).into_iter().partition(|(_, held)| held.deleted);
        *rows = left;
        let places = self.filter.as_ref().map(|(filter, _)| filter.names_in_key()).unwrap_or_default();
        if gone.is_empty() || places.is_empty() {
            return Ok(());
        }
        // A deleted row has no columns any more, and its key may be a name.
        let keys = self.key.decode_columns(gone.iter().map(|(key, _)| key.as_slice()), &places)?;
        for (row, (key, _)) in gone.into_iter().enumerate() {
            let names = |column: &ArrayRef| is_erased(column, row, erased);
            if keys.iter().any(names) {
                overlay.set_row(&key, epoch, None);
            }
        }
        Ok(())
    }

    /// The time below which held rows are forgotten, as of the end of the epoch before.
    fn horizon(&self) -> i64 {
        let Some((_, erasing)) = &self.filter else { return i64::MIN };
        let watermark = erasing.borrow().watermarks.get(&self.source).copied();
        match (watermark, self.retention_us) {
            (Some(watermark), Some(retention)) => watermark.saturating_sub(retention),
            _ => i64::MIN,
        }
    }

    /// Counts a row for the receipts of its persons.
    fn count_taken(&self, epoch: u64, hit: &RowHit) {
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(epoch);
        for digest in &hit.digests {
            let rows = out.rows_taken.entry((*digest, self.source)).or_default();
            if hit.removed {
                rows.removed += 1;
            } else {
                rows.rewritten += 1;
            }
        }
    }

    /// Takes the persons that the epoch erases out of its own candidates; those of earlier epochs are out already.
    pub(super) fn filter_chunk(&self, chunk: &mut Chunk) -> Result<(), RunError> {
        let Some((filter, erasing)) = &self.filter else { return Ok(()) };
        let erasing = erasing.borrow();
        if erasing.fresh.is_empty() || chunk.keys.is_empty() {
            return Ok(());
        }
        let is_row = |row: &usize| !chunk.deletes[*row] && chunk.trace_of(*row) == Trace::Row;
        let places: Vec<usize> = (0..chunk.keys.len()).filter(is_row).collect();
        let columns = self.shape.codec.decode(places.iter().map(|row| chunk.rows.get(*row)))?;
        let batch = self.shape.assemble(columns, places.len())?;
        let Some(Filtered { batch, hits }) = filter.apply(&batch, &erasing.fresh)? else { return Ok(()) };
        let packed = self.shape.codec.encode(batch.columns())?;
        // Until here the chunk may have been one in which nobody was known to be erased.
        chunk.erased.resize(chunk.keys.len(), Trace::Row);
        let mut others: Vec<Option<&[u8]>> = vec![None; chunk.keys.len()];
        for (at, hit) in &hits {
            let row = places[*at as usize];
            if hit.removed {
                chunk.erased[row] = if hit.in_key { Trace::Nothing } else { Trace::Version };
                others[row] = Some(&[]);
                chunk.declared[row] = 0;
            } else {
                let bytes = packed.get(*at as usize);
                chunk.declared[row] = self.shape.codec.prefix_len(bytes, self.declared)? as u32;
                others[row] = Some(bytes);
            }
        }
        let mut rows = Rows::new();
        for (row, other) in others.into_iter().enumerate() {
            rows.push(other.unwrap_or_else(|| chunk.rows.get(row)));
        }
        // The columns that the rows came in have the persons.
        (chunk.rows, chunk.batch) = (rows, None);
        Ok(())
    }
}
