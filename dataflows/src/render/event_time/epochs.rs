//! Operators that process an epoch once its rows and its watermarks are both complete.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::watermark::WatermarkUpdates;
use crate::arrange::updates::Updates;
use crate::collect::Shared;
use crate::error::RunError;
use crate::render::batch::DeltaBatch;
use crate::render::linear::Deltas;

/// Input of an epoch: changed rows, and the watermarks that moved by source.
pub(super) type EpochInput = (Vec<Updates<i64>>, Vec<(usize, i64)>);

/// Exchanges rows by owner and emits the result of `process` over each complete epoch, in order.
pub(super) fn process_epochs<'s>(
    rows: Stream<'s, u64, Vec<Updates<i64>>>,
    watermarks: WatermarkUpdates<'s>,
    (name, collector): (&str, Shared),
    mut process: impl FnMut(u64, EpochInput) -> Result<DeltaBatch, RunError> + 'static,
) -> Deltas<'s> {
    let exchange = Exchange::new(|updates: &Updates<i64>| updates.owner);
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        watermarks,
        exchange,
        Pipeline,
        name,
        move |_, _| {
            // Input of open epochs, each with the capability to emit at it.
            let mut epochs: BTreeMap<u64, (Capability<u64>, EpochInput)> = BTreeMap::new();
            move |(rows, rows_frontier), (watermarks, watermarks_frontier), output| {
                rows.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let entry = epochs.entry(*time.time());
                    let (_, input) = entry.or_insert_with(|| (time.retain(0), EpochInput::default()));
                    input.0.append(updates);
                });
                watermarks.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let entry = epochs.entry(*time.time());
                    let (_, input) = entry.or_insert_with(|| (time.retain(0), EpochInput::default()));
                    input.1.append(moved);
                });
                while let Some(entry) = epochs.first_entry() {
                    // Rows and watermarks of an epoch are applied together, once both are complete.
                    if rows_frontier.less_equal(entry.key()) || watermarks_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, (capability, input)) = entry.remove_entry();
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
