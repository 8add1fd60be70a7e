//! EMIT ON WINDOW CLOSE: rows are held until they are final, and then emitted once.
//!
//! Rows that are not final are held by their time at the worker their bytes hash to, and counted in
//! the state under the same epoch. When the horizon passes a time at the end of an epoch, its rows
//! are emitted in that epoch and leave the state with the same commit. Rows without a time are never
//! final and never emitted. A change of a final row breaks an invariant of the plan and stops the worker
//! before the commit.

use std::collections::BTreeMap;

use schemas::{RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, Concat, Input};

use super::watermark::{CurrentHorizon, WatermarkUpdates, time_in};
use crate::arrange::updates::{ExchangeBuffer, Updates, by_key};
use crate::collect::{Shared, stored_key};
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Horizon, RelId};
use crate::render::batch::{Data, DeltaBatch, RelationType};
use crate::render::linear::{Deltas, to_updates};
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
        let stream = self.cut_restored(true, self.streams[input].clone());
        let mut rows = key_by_row(stream, shape.clone(), self.collector.clone());
        if self.start.is_restored() {
            let (handle, restored) = self.scope.new_input();
            rows = rows.concat(restored);
            self.restores.push(Restore::Rows { table_id, key: shape.codec.clone(), handle });
        }
        let close = EmitOnClose {
            column: horizon.column,
            codec: shape.codec,
            table_id,
            after: self.start.epoch,
            name: self.counter_name(id, "waiting"),
            collector: self.collector.clone(),
        };
        Ok(build_operator(rows, self.watermark_updates()?, Waiting::new(horizon), close))
    }
}

/// Converts rows to updates keyed by the whole row.
fn key_by_row<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "CloseRows", collector, move |epoch, peers, mut batch| {
        let diffs = std::mem::take(&mut batch.diffs);
        let mut outgoing = ExchangeBuffer::new(epoch, peers);
        for (row, diff) in shape.pack_rows(batch)?.iter().zip(diffs) {
            outgoing.push_key(row);
            outgoing.push_value(&[], diff);
        }
        Ok(outgoing)
    })
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
    horizon: CurrentHorizon,
}

/// Input of an epoch.
struct ClosingInput {
    /// Capability to emit at the epoch.
    capability: Capability<u64>,
    rows: Vec<Updates<i64>>,
    watermarks: Vec<(usize, i64)>,
}

impl ClosingInput {
    fn new(capability: Capability<u64>) -> ClosingInput {
        ClosingInput { capability, rows: vec![], watermarks: vec![] }
    }
}

fn build_operator<'s>(
    rows: Stream<'s, u64, Vec<Updates<i64>>>,
    watermarks: WatermarkUpdates<'s>,
    mut waiting: Waiting,
    close: EmitOnClose,
) -> Deltas<'s> {
    let exchange = Exchange::new(|updates: &Updates<i64>| updates.owner);
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        watermarks,
        exchange,
        Pipeline,
        "Close",
        move |_, _| {
            let mut epochs: BTreeMap<u64, ClosingInput> = BTreeMap::new();
            move |(rows, rows_frontier), (watermarks, watermarks_frontier), output| {
                rows.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| ClosingInput::new(time.retain(0))).rows.append(updates);
                });
                watermarks.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| ClosingInput::new(time.retain(0))).watermarks.append(moved);
                });
                while let Some(entry) = epochs.first_entry() {
                    // Rows and watermarks of an epoch are applied together, once both are complete.
                    if rows_frontier.less_equal(entry.key()) || watermarks_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, arrived) = entry.remove_entry();
                    let ClosingInput { capability, rows, watermarks } = arrived;
                    match close.process_epoch(epoch, &mut waiting, (rows, watermarks)) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => output.session(&capability).give(batch),
                        Err(error) => close.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

impl Waiting {
    fn new(horizon: &Horizon) -> Waiting {
        Waiting { rows: BTreeMap::new(), held: 0, horizon: CurrentHorizon::new(horizon) }
    }

    /// Adds `diff` to the multiplicity of a row.
    fn add_row(&mut self, time: i64, row: &[u8], diff: i64) {
        let rows = self.rows.entry(time).or_default();
        let total = rows.get(row).copied().unwrap_or(0) + diff;
        if total == 0 {
            rows.remove(row);
            self.held -= 1;
        } else if rows.insert(row.to_vec(), total).is_none() {
            self.held += 1;
        }
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
        let rows: Vec<_> = done.into_values().flatten().collect();
        self.held -= rows.len() as u64;
        rows
    }
}

impl EmitOnClose {
    /// Processes one epoch; returns the rows that are final at its end.
    fn process_epoch(
        &self,
        epoch: u64,
        waiting: &mut Waiting,
        (mut rows, watermarks): (Vec<Updates<i64>>, Vec<(usize, i64)>),
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
        watermarks.into_iter().for_each(|update| waiting.horizon.raise_watermark(update));
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
        match failed {
            Some(error) => Err(error),
            None => Ok(DeltaBatch { data: Data::Packed(done), diffs }),
        }
    }
}
