//! Operator over an arrangement that emits output changes for the epochs at which keys changed.
//!
//! Epochs are totally ordered, so a key's output changes only at epochs at which its input changes.
//! For each, the caller reads the key's content just before and at the epoch from the trace and returns
//! the difference. No second arrangement holds the output. The trace is compacted up to one epoch below
//! the processed ones, because the content just before an epoch must stay readable.

use differential_dataflow::trace::{BatchReader, TraceReader};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;

use super::batch::DeltaBatch;
use super::linear::Deltas;
use crate::arrange::rows::Diff;
use crate::arrange::trace::{PackedArranged, PackedTrace, SharedBatch};
use crate::collect::Shared;
use crate::error::RunError;

/// Epochs for which an operator emits.
#[derive(Clone, Copy)]
pub struct Emission {
    /// First epoch whose output counts.
    pub first: u64,
    /// True for one group without keys, which has a row from `first` on even without input.
    pub single: bool,
    /// Epoch of the restored state, where nobody reads its output: views and sinks have it.
    pub unread: Option<u64>,
}

impl Emission {
    /// Tells whether some change of a batch is read.
    fn reads<R: Diff>(&self, batch: &SharedBatch<R>) -> bool {
        self.unread
            .is_none_or(|epoch| batch.upper().elements().first().is_none_or(|upper| *upper > epoch + 1))
    }
}

/// Emits the output of `step` for new batches: batches of rows by their epochs.
///
/// At the owner of a single group the third argument of `step` is true once.
pub fn emit_changes<'s, R: Diff>(
    arranged: PackedArranged<'s, R>,
    name: &str,
    emission: Emission,
    collector: Shared,
    mut step: impl FnMut(
        &mut PackedTrace<R>,
        Vec<SharedBatch<R>>,
        bool,
    ) -> Result<Vec<(u64, DeltaBatch)>, RunError>
    + 'static,
) -> Deltas<'s> {
    let Emission { first, single, .. } = emission;
    let mut trace: PackedTrace<R> = arranged.trace.clone();
    let scope = arranged.stream.scope();
    // The owner of the empty key shows the one row of an aggregate without groups.
    let owns_single = collector.borrow().ownership().owner_of(&[]) == scope.index();
    arranged.stream.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        Pipeline,
        name,
        move |capability, _| {
            let alone = single && owns_single;
            let mut initial = if alone { Some(capability.delayed(&first)) } else { None };
            // Upper bound of the batches processed so far.
            let mut upper = Antichain::from_elem(0u64);
            move |(input, frontier), output| {
                let (mut batches, mut held) = (Vec::new(), None);
                // The capability of the first message covers all epochs of the batches read here.
                input.for_each(|capability, data| {
                    if held.is_none() {
                        held = Some(capability.retain(0));
                    }
                    for batch in data.drain(..) {
                        upper.clone_from(batch.upper());
                        if emission.reads(&batch) {
                            batches.push(batch);
                        }
                    }
                });
                // A batch may arrive before the frontier shows that the first epoch is complete.
                let complete = !frontier.less_equal(&first) || !upper.less_equal(&first);
                let start = if complete { initial.take() } else { None };
                if !batches.is_empty() || start.is_some() {
                    let out = match step(&mut trace, batches, start.is_some()) {
                        Ok(out) => out,
                        Err(error) => return collector.borrow_mut().fail(error),
                    };
                    for (epoch, batch) in out {
                        let Some(capability) = held.as_ref().or(start.as_ref()) else { continue };
                        // The initial row may be of an earlier epoch than the batches' capability.
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
                // One epoch below `upper` stays distinguishable, for reads "just before" the next epoch.
                trace.advance_upper(&mut upper);
                let below: Antichain<u64> = upper.iter().map(|t| t.saturating_sub(1)).collect();
                trace.set_logical_compaction(below.borrow());
                trace.set_physical_compaction(upper.borrow());
            }
        },
    )
}
