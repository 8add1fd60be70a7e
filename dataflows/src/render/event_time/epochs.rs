//! Operators that process an epoch once its rows and its watermarks are both complete.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::watermark::WatermarkUpdates;
use crate::arrange::updates::Updates;
use crate::collect::Shared;
use crate::error::RunError;
use crate::render::batch::DeltaBatch;
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, owner_of};

/// Input of an epoch: changed rows, and the watermarks that moved by source.
pub(super) type EpochInput = (Vec<Updates<i64>>, Vec<(usize, i64)>);

/// Exchanges rows by owner and emits the result of `process` over each complete epoch, in order.
pub(super) fn process_epochs<'s>(
    rows: Stream<'s, u64, Vec<Updates<i64>>>,
    watermarks: WatermarkUpdates<'s>,
    (name, collector): (&str, Shared),
    mut process: impl FnMut(u64, EpochInput) -> Result<DeltaBatch, RunError> + 'static,
) -> Deltas<'s> {
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        watermarks,
        Exchange::new(owner_of),
        Pipeline,
        name,
        move |_, _| {
            let mut epochs = OpenEpochs::<EpochInput>::new();
            move |(rows, rows_frontier), (watermarks, watermarks_frontier), output| {
                rows.for_each(|time, updates| epochs.input_at(&time).0.append(updates));
                watermarks.for_each(|time, moved| epochs.input_at(&time).1.append(moved));
                // Rows and watermarks of an epoch are applied together, once both are complete.
                let frontiers = [rows_frontier, watermarks_frontier];
                while let Some((epoch, capability, input)) = epochs.take_complete(&frontiers) {
                    match process(epoch, input) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => output.session(&capability).give(batch),
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}
