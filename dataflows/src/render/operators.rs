//! Shapes of timely operators: those that convert each message by itself, and those that wait until an epoch
//! is complete.

use std::collections::BTreeMap;

use timely::Container;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::Timestamp;
use timely::progress::frontier::MutableAntichain;

use crate::arrange::updates::Updates;

/// Output of an operator that sends items of type `D`.
pub(crate) type Output<'a, T, D> = OutputBuilderSession<'a, T, CapacityContainerBuilder<Vec<D>>>;

/// Passes each message of a stream to `step`, with the capability of its time and the output.
pub(crate) fn each_message<'s, T, C, D, P>(
    stream: Stream<'s, T, C>,
    pact: P,
    name: &str,
    mut step: impl FnMut(InputCapability<T>, &mut C, &mut Output<'_, T, D>) + 'static,
) -> Stream<'s, T, Vec<D>>
where
    T: Timestamp,
    C: Container,
    D: 'static,
    P: ParallelizationContract<T, C>,
{
    stream.unary::<CapacityContainerBuilder<Vec<D>>, _, _, _>(pact, name, move |_, _| {
        move |input, output| input.for_each(|time, message| step(time, message, output))
    })
}

/// Returns the worker that owns the keys of a message, to exchange it by.
pub(crate) fn owner_of(updates: &Updates<i64>) -> u64 {
    updates.owner
}

/// Input of the open epochs of an operator, each with the capability to emit at the epoch.
pub(super) struct OpenEpochs<M> {
    epochs: BTreeMap<u64, (Capability<u64>, M)>,
}

impl<M: Default> OpenEpochs<M> {
    /// Creates the input without any epoch.
    pub(super) fn new() -> OpenEpochs<M> {
        OpenEpochs { epochs: BTreeMap::new() }
    }

    /// Returns the input of a message's epoch.
    pub(super) fn input_at(&mut self, time: &InputCapability<u64>) -> &mut M {
        self.delayed_input(time, *time.time())
    }

    /// Returns the input of an epoch that is not before the message's.
    pub(super) fn delayed_input(&mut self, time: &InputCapability<u64>, epoch: u64) -> &mut M {
        let held = self.epochs.entry(epoch).or_insert_with(|| (time.delayed(&epoch, 0), M::default()));
        &mut held.1
    }

    /// Returns the first open epoch.
    pub(super) fn first_epoch(&self) -> Option<u64> {
        self.epochs.keys().next().copied()
    }

    /// Removes and returns the first open epoch.
    pub(super) fn take_first(&mut self) -> Option<(u64, Capability<u64>, M)> {
        let (epoch, (capability, input)) = self.epochs.pop_first()?;
        Some((epoch, capability, input))
    }

    /// Removes and returns the first open epoch if all `frontiers` are beyond it.
    pub(super) fn take_complete(
        &mut self,
        frontiers: &[&MutableAntichain<u64>],
    ) -> Option<(u64, Capability<u64>, M)> {
        let epoch = self.first_epoch()?;
        if frontiers.iter().any(|frontier| frontier.less_equal(&epoch)) { None } else { self.take_first() }
    }
}

/// Returns true if a frontier is beyond the epoch before `epoch`.
pub(super) fn is_beyond_previous(frontier: &MutableAntichain<u64>, epoch: u64) -> bool {
    epoch.checked_sub(1).is_none_or(|previous| !frontier.less_equal(&previous))
}
