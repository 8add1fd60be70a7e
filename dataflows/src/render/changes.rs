//! The operator over an arrangement that emits what changed: which epochs, from when on, and what the
//! trace must keep for it.
//!
//! Epochs are totally ordered, so a key's output changes at exactly the epochs its input changes at.
//! For each, the caller reads the key's content just before and at the epoch from the trace and gives
//! the difference. No second arrangement holds the output. The trace is compacted up to one epoch below
//! what was processed, which is what reading "just before" needs.

use differential_dataflow::trace::{BatchReader, TraceReader};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;

use super::batch::DeltaBatch;
use super::collect::Shared;
use super::linear::Deltas;
use crate::arrange::trace::{Diff, PackedArranged, PackedBatch, PackedTrace, owner_of};
use crate::error::RunError;

/// Emits what `step` makes of new batches: batches of rows by their epochs. With `single`, there is one
/// group without keys, which has a row from `first` on although nothing came: at its owner the third
/// argument of `step` is true once.
pub fn changes<'s, R: Diff>(
    arranged: PackedArranged<'s, R>,
    name: &str,
    (first, single): (u64, bool),
    collector: Shared,
    mut step: impl FnMut(
        &mut PackedTrace<R>,
        Vec<PackedBatch<R>>,
        bool,
    ) -> Result<Vec<(u64, DeltaBatch)>, RunError>
    + 'static,
) -> Deltas<'s> {
    let mut trace: PackedTrace<R> = arranged.trace.clone();
    let scope = arranged.stream.scope();
    let (index, peers) = (scope.index() as u64, scope.peers());
    arranged.stream.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        Pipeline,
        name,
        move |capability, _| {
            let alone = single && owner_of(&[], peers) == index;
            let mut initial = alone.then(|| capability.delayed(&first));
            let mut upper = Antichain::from_elem(0u64);
            move |(input, frontier), output| {
                let (mut batches, mut held) = (Vec::new(), None);
                input.for_each(|capability, data| {
                    held.get_or_insert_with(|| capability.retain(0));
                    for batch in data.drain(..) {
                        upper.clone_from(batch.upper());
                        batches.push(batch);
                    }
                });
                // A batch may be here before the frontier says that the first epoch is complete.
                let complete = !frontier.less_equal(&first) || !upper.less_equal(&first);
                let start = initial.take_if(|_| complete);
                if !batches.is_empty() || start.is_some() {
                    let out = match step(&mut trace, batches, start.is_some()) {
                        Ok(out) => out,
                        Err(error) => return collector.borrow_mut().fail(error),
                    };
                    for (epoch, batch) in out {
                        let Some(capability) = held.as_ref().or(start.as_ref()) else { continue };
                        let capability = if *capability.time() <= epoch {
                            capability
                        } else {
                            start.as_ref().unwrap_or(capability)
                        };
                        if !batch.is_empty() {
                            output.session(&capability.delayed(&epoch)).give(batch);
                        }
                    }
                }
                trace.advance_upper(&mut upper);
                let below: Antichain<u64> = upper.iter().map(|t| t.saturating_sub(1)).collect();
                trace.set_logical_compaction(below.borrow());
                trace.set_physical_compaction(upper.borrow());
            }
        },
    )
}
