//! Changes below a final time: those that result from expiry are dropped from an operator's output.
//!
//! By the plan's invariants nothing else can change a row that was final before, so what is dropped was removed by
//! [`super::expire`] alone.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::TimestampMicrosecondType;
use schemas::Rows;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::watermark::{CurrentHorizon, WatermarkUpdates, time_in};
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::{Horizon, RelId};
use crate::render::Renderer;
use crate::render::batch::{Data, DeltaBatch, RelationType, select_rows};
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, is_beyond_previous};

impl<'s> Renderer<'s, '_> {
    /// Drops the changes of an operator's output that result from expiry.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn hold_back_expired(
        &self,
        id: RelId,
        stream: Deltas<'s>,
        shape: RelationType,
    ) -> Result<Deltas<'s>, RunError> {
        let Some(horizons) = self.plan.settled.get(&id).cloned() else { return Ok(stream) };
        Ok(hold_back_final(stream, self.watermark_updates()?, shape, (horizons, self.collector.clone())))
    }
}

/// Horizons of an operator's output, with their history at the end of each epoch that is still needed.
struct FinalRowFilter {
    horizons: Vec<(usize, CurrentHorizon, BTreeMap<u64, i64>)>,
    shape: RelationType,
}

/// Drops rows that were final before their epoch.
fn hold_back_final<'s>(
    stream: Deltas<'s>,
    watermarks: WatermarkUpdates<'s>,
    shape: RelationType,
    (horizons, collector): (Vec<Horizon>, Shared),
) -> Deltas<'s> {
    let horizons = horizons.iter().map(|h| (h.column, CurrentHorizon::new(h), BTreeMap::new())).collect();
    let mut filter = FinalRowFilter { horizons, shape };
    stream.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        watermarks,
        Pipeline,
        Pipeline,
        "Freeze",
        move |_, _| {
            let mut epochs = OpenEpochs::<Vec<DeltaBatch>>::new();
            move |(rows, rows_frontier), (watermarks, watermarks_frontier), output| {
                rows.for_each(|time, batches| epochs.input_at(&time).append(batches));
                watermarks.for_each(|time, moved| filter.record_horizons(*time.time(), moved));
                while let Some(epoch) = epochs.first_epoch() {
                    // Rows of an epoch are compared with the horizon at the end of the previous one.
                    if !is_beyond_previous(watermarks_frontier, epoch) {
                        break;
                    }
                    let Some((_, capability, batches)) = epochs.take_first() else { break };
                    let mut session = output.session(&capability);
                    for batch in batches {
                        match filter.retain_open(epoch, batch) {
                            Ok(batch) if batch.is_empty() => {}
                            Ok(batch) => session.give(batch),
                            Err(error) => collector.borrow_mut().fail(error),
                        }
                    }
                }
                // The history is needed from the first epoch that is buffered or may still arrive.
                let next = epochs.first_epoch().or(rows_frontier.frontier().first().copied());
                filter.forget_before(next.unwrap_or(u64::MAX));
            }
        },
    )
}

impl FinalRowFilter {
    /// Records the horizons at the end of `epoch`.
    fn record_horizons(&mut self, epoch: u64, moved: &[(usize, i64)]) {
        for (_, horizon, history) in &mut self.horizons {
            horizon.raise_watermarks(moved.iter().copied());
            if let Some(final_below) = horizon.final_below() {
                history.insert(epoch, final_below);
            }
        }
    }

    /// Removes horizons that no epoch from `next` on needs: all before the latest one below `next`.
    fn forget_before(&mut self, next: u64) {
        for (_, _, history) in &mut self.horizons {
            let Some((&needed, _)) = history.range(..next).next_back() else { continue };
            *history = history.split_off(&needed);
        }
    }

    /// Returns the rows of a batch that were not final before `epoch`.
    fn retain_open(&self, epoch: u64, batch: DeltaBatch) -> Result<DeltaBatch, RunError> {
        let mut keep = vec![true; batch.len()];
        for (column, _, history) in &self.horizons {
            let Some((_, horizon)) = history.range(..epoch).next_back() else { continue };
            match &batch.data {
                Data::Arrow(columns) => {
                    let times = columns.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
                    let Some(times) = times else {
                        return Err(RunError::Broken("a horizon of what is no time".into()));
                    };
                    for (row, keep) in keep.iter_mut().enumerate() {
                        *keep &= times.is_null(row) || times.value(row) >= *horizon;
                    }
                }
                Data::Packed(rows) => {
                    for (row, keep) in rows.iter().zip(&mut keep) {
                        let time = time_in(&self.shape.codec, row, *column)?;
                        *keep &= time.is_none_or(|time| time >= *horizon);
                    }
                }
            }
        }
        // Usual case: the batch is passed on without copying.
        if !keep.contains(&false) {
            return Ok(batch);
        }
        match batch.data {
            Data::Arrow(columns) => {
                let (columns, diffs) = select_rows(&columns, &batch.diffs, &BooleanArray::from(keep))?;
                Ok(DeltaBatch::from_columns(columns, diffs))
            }
            Data::Packed(rows) => {
                let (mut kept, mut diffs) = (Rows::new(), Vec::new());
                for ((row, diff), keep) in rows.iter().zip(batch.diffs).zip(keep) {
                    if keep {
                        kept.push(row);
                        diffs.push(diff);
                    }
                }
                Ok(DeltaBatch::from_packed(kept, diffs))
            }
        }
    }
}
