//! EMIT ON WINDOW CLOSE: rows are held until they are final, and then emitted once.
//!
//! Rows that are not final are held by their time at the worker their bytes hash to, and counted in
//! the state under the same epoch. When the horizon passes a time at the end of an epoch, its rows
//! are emitted in that epoch and leave the state with the same commit. Rows without a time are never
//! final and never emitted. A change of a final row breaks an invariant of the plan and stops the worker
//! before the commit.

use std::collections::BTreeMap;
use std::convert::identity;

use schemas::memory::{allocated_bytes, tree_bytes};
use schemas::{MemoryPart, MemoryShare, RowCodec, Rows, stored_key};
use timely::dataflow::operators::{Concat, Input};

use super::epochs::{EpochInput, process_epochs};
use super::time_index::rows_bytes;
use super::watermark::{CurrentHorizon, time_in};
use crate::arrange::updates::by_key;
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Horizon, RelId};
use crate::render::batch::DeltaBatch;
use crate::render::linear::{Deltas, key_whole_rows};
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// Renders the emission of the rows of `input` that are final by `horizon`.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(in crate::render) fn render_emit_on_close(
        &mut self,
        id: RelId,
        input: RelId,
        horizon: &Horizon,
    ) -> Result<Deltas<'s>, RunError> {
        let (shape, table_id) =
            (self.shapes[input].clone(), self.state_tables.table_of(id, StateRole::Waiting)?);
        let stream = self.new_input(id, input, true);
        let keyed = (shape.clone(), self.collector.clone());
        let mut rows = key_whole_rows(stream, "CloseRows", keyed, identity);
        if self.is_restored(id) {
            let (handle, restored) = self.scope.new_input();
            rows = rows.concat(restored);
            self.restores.push(Restore::Rows { table_id, key: shape.codec.clone(), handle });
        }
        let close = EmitOnClose {
            column: horizon.column,
            codec: shape.codec,
            table_id,
            after: self.held_until(id),
            name: self.counter_name(id, "waiting"),
            collector: self.collector.clone(),
        };
        let mut waiting = Waiting::new(horizon);
        let named = ("Close", self.collector.clone());
        Ok(process_epochs(rows, self.watermark_updates()?, named, move |epoch, input| {
            close.process_epoch(epoch, &mut waiting, input)
        }))
    }
}

/// Configuration of the operator.
struct EmitOnClose {
    column: usize,
    codec: RowCodec,
    table_id: u32,
    /// Last epoch whose rows are already in the state.
    after: u64,
    name: String,
    collector: Shared,
}

/// Rows that are not final, by time, with their multiplicity.
struct Waiting {
    rows: BTreeMap<i64, BTreeMap<Vec<u8>, i64>>,
    held: u64,
    /// Bytes of the maps of rows, and of the rows.
    bytes: usize,
    memory: MemoryShare,
    horizon: CurrentHorizon,
}

impl Waiting {
    fn new(horizon: &Horizon) -> Waiting {
        let (rows, memory, horizon) = (BTreeMap::new(), MemoryShare::default(), CurrentHorizon::new(horizon));
        Waiting { rows, held: 0, bytes: 0, memory, horizon }
    }

    /// Adds `diff` to the multiplicity of a row.
    fn add_row(&mut self, time: i64, row: &[u8], diff: i64) {
        let rows = self.rows.entry(time).or_default();
        let (before, of_row) = (rows_bytes(rows.len()), allocated_bytes(row.len()));
        let total = rows.get(row).copied().unwrap_or(0) + diff;
        if total == 0 {
            rows.remove(row);
            self.held -= 1;
            self.bytes -= of_row;
        } else if rows.insert(row.to_vec(), total).is_none() {
            self.held += 1;
            self.bytes += of_row;
        }
        self.bytes = self.bytes + rows_bytes(rows.len()) - before;
        if rows.is_empty() {
            self.rows.remove(&time);
        }
    }

    /// Removes and returns the rows below the horizon.
    fn final_rows(&mut self) -> Vec<(Vec<u8>, i64)> {
        let Some(horizon) = self.horizon.final_below() else { return vec![] };
        // Times below the horizon remain in `self.rows` after the split, and are taken.
        let later = self.rows.split_off(&horizon);
        let done = std::mem::replace(&mut self.rows, later);
        let mut rows: Vec<(Vec<u8>, i64)> = Vec::new();
        for held in done.into_values() {
            self.bytes -= rows_bytes(held.len());
            rows.extend(held);
        }
        self.bytes -= rows.iter().map(|(row, _)| allocated_bytes(row.len())).sum::<usize>();
        self.held -= rows.len() as u64;
        rows
    }

    fn report_memory(&mut self) {
        let times = tree_bytes(self.rows.len(), size_of::<(i64, BTreeMap<Vec<u8>, i64>)>());
        self.memory.set(MemoryPart::Waiting, times + self.bytes);
    }
}

impl EmitOnClose {
    /// Processes one epoch; returns the rows that are final at its end.
    fn process_epoch(
        &self,
        epoch: u64,
        waiting: &mut Waiting,
        (mut rows, watermarks): EpochInput,
    ) -> Result<DeltaBatch, RunError> {
        let mut collector = self.collector.borrow_mut();
        // Finality is decided by the horizon at the end of the previous epoch.
        let passed = waiting.horizon.final_below();
        let mut failed = None;
        by_key(&mut rows, |row, entries| match time_in(&self.codec, row, self.column) {
            // Rows without a time are never final: they are not even held.
            Ok(None) => {}
            Ok(Some(time)) if passed.is_some_and(|passed| time < passed) => {
                failed = Some(RunError::Broken(format!("{}: a row changed that was final", self.name)));
            }
            Ok(Some(time)) => {
                waiting.add_row(time, row, entries[0].2);
                // Restored rows are in the state already.
                if epoch > self.after {
                    collector.at(epoch).add_count(self.table_id, &stored_key(row), entries[0].2);
                }
            }
            Err(error) => failed = Some(error),
        });
        waiting.horizon.raise_watermarks(watermarks);
        let (mut done, mut diffs) = (Rows::new(), Vec::new());
        for (row, count) in waiting.final_rows() {
            // Retractions may precede insertions while a row waits, but not once it is final.
            if count < 0 {
                failed = Some(RunError::Broken(format!("{}: a row is final that never came", self.name)));
            }
            collector.at(epoch).add_count(self.table_id, &stored_key(&row), -count);
            done.push(&row);
            diffs.push(count);
        }
        collector.record_size(&self.name, waiting.held);
        waiting.report_memory();
        match failed {
            Some(error) => Err(error),
            None => Ok(DeltaBatch::from_packed(done, diffs)),
        }
    }
}
