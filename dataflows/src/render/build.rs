//! How updates become a batch of an arrangement: kept by epoch, sorted once when epochs are sealed.
//!
//! Differential's merge batcher sorts small chunks and merges them again and again while updates
//! arrive. Here epochs are totally ordered and all of an epoch is sealed at once, so the batcher only
//! keeps what arrived, and the builder sorts all of it at the seal (see [`by_key`]) straight into the
//! batch's heaps.

use std::collections::BTreeMap;

use differential_dataflow::logging::Logger;
use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::{Batch, Batcher, Builder, Description};
use timely::container::{ContainerBuilder, PushInto};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::packed::{Diff, Layout};
use super::updates::{Entry, Updates, by_key};

/// Hands arriving messages on as they are.
pub struct Chunks<R> {
    waiting: Vec<Updates<R>>,
    given: Vec<Updates<R>>,
}

impl<R> Default for Chunks<R> {
    fn default() -> Self {
        Chunks { waiting: vec![], given: vec![] }
    }
}

impl<R: Diff> PushInto<&mut Vec<Updates<R>>> for Chunks<R> {
    fn push_into(&mut self, message: &mut Vec<Updates<R>>) {
        self.waiting.append(message);
    }
}

impl<R: Diff> ContainerBuilder for Chunks<R> {
    type Container = Vec<Updates<R>>;

    fn extract(&mut self) -> Option<&mut Vec<Updates<R>>> {
        if self.waiting.is_empty() {
            return None;
        }
        self.given = std::mem::take(&mut self.waiting);
        Some(&mut self.given)
    }

    fn finish(&mut self) -> Option<&mut Vec<Updates<R>>> {
        self.extract()
    }
}

/// Updates by epoch, until their epoch is sealed. Bounded by the epochs in flight.
pub struct EpochBatcher<R> {
    epochs: BTreeMap<u64, Vec<Updates<R>>>,
    sealed: Antichain<u64>,
    frontier: Antichain<u64>,
}

impl<R: Diff> PushInto<Vec<Updates<R>>> for EpochBatcher<R> {
    fn push_into(&mut self, message: Vec<Updates<R>>) {
        for updates in message {
            self.epochs.entry(updates.epoch).or_default().push(updates);
        }
    }
}

impl<R: Diff> Batcher for EpochBatcher<R> {
    type Output = Vec<Updates<R>>;
    type Time = u64;

    fn new(_: Option<Logger>, _: usize) -> Self {
        let epochs = BTreeMap::new();
        EpochBatcher { epochs, sealed: Antichain::from_elem(0), frontier: Antichain::new() }
    }

    fn seal(&mut self, upper: Antichain<u64>) -> (Vec<Self::Output>, Description<u64>) {
        let kept = match upper.elements().first() {
            Some(upper) => self.epochs.split_off(upper),
            None => BTreeMap::new(),
        };
        let ready = std::mem::replace(&mut self.epochs, kept);
        self.frontier = self.epochs.keys().next().map_or(Antichain::new(), |e| Antichain::from_elem(*e));
        let since = Antichain::from_elem(0);
        let lower = std::mem::replace(&mut self.sealed, upper.clone());
        (ready.into_values().collect(), Description::new(lower, upper, since))
    }

    fn frontier(&mut self) -> AntichainRef<'_, u64> {
        self.frontier.borrow()
    }
}

/// A batch in the making.
pub struct PackedBuilder<R: Diff> {
    parts: Vec<Updates<R>>,
}

impl<R: Diff> Builder for PackedBuilder<R> {
    type Input = Vec<Updates<R>>;
    type Time = u64;
    type Output = OrdValBatch<Layout<R>>;

    fn with_capacity(_: usize, _: usize, _: usize) -> Self {
        PackedBuilder { parts: vec![] }
    }

    fn push(&mut self, chunk: &mut Vec<Updates<R>>) {
        self.parts.append(chunk);
    }

    fn done(mut self, description: Description<u64>) -> OrdValBatch<Layout<R>> {
        let mut batch: OrdValBatch<Layout<R>> =
            OrdValBatch::empty(description.lower().clone(), description.upper().clone());
        batch.description = description;
        let (storage, held) = (&mut batch.storage, &mut batch.updates);
        by_key(&mut self.parts, |key, entries| {
            *held += entries.len();
            storage.keys.push_into(key);
            let mut entries = entries.drain(..).peekable();
            while let Some((value, epoch, diff)) = entries.next() {
                storage.vals.vals.push_into(value);
                let last = |next: Option<&Entry<'_, R>>| next.is_none_or(|next| next.0 != value);
                // Equal times and diffs of neighbours are stored once: an empty range stands for it.
                let repeated = last(entries.peek())
                    && Vec::last(&storage.upds.times) == Some(&epoch)
                    && Vec::last(&storage.upds.diffs) == Some(&diff);
                if !repeated {
                    storage.upds.times.push(epoch);
                    storage.upds.diffs.push(diff);
                    while !last(entries.peek()) {
                        if let Some((_, epoch, diff)) = entries.next() {
                            storage.upds.times.push(epoch);
                            storage.upds.diffs.push(diff);
                        }
                    }
                }
                storage.upds.offs.push_ref(storage.upds.times.len());
            }
            storage.vals.offs.push_ref(storage.vals.vals.len());
        });
        batch
    }

    fn seal(chain: &mut Vec<Vec<Updates<R>>>, description: Description<u64>) -> OrdValBatch<Layout<R>> {
        let mut builder = Self::with_capacity(0, 0, 0);
        chain.iter_mut().for_each(|chunk| builder.push(chunk));
        builder.done(description)
    }
}
