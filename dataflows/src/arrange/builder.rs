//! Construction of an arrangement's batches: updates are kept by epoch and sorted once, at the seal.
//!
//! Differential's merge batcher sorts small chunks and merges them again and again while updates
//! arrive. Here epochs are totally ordered and an epoch is sealed as a whole, so the batcher only
//! stores the arriving updates, and the builder sorts them at the seal (see [`by_key`]) directly into the
//! batch's vectors.

use std::collections::BTreeMap;

use differential_dataflow::logging::Logger;
use differential_dataflow::trace::{Batcher, Builder, Description};
use timely::container::{ContainerBuilder, PushInto};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::batch::PackedBatch;
use super::rows::Diff;
use super::updates::{Updates, ValueUpdate, by_key};

/// Chunker that passes arriving messages on unchanged.
pub struct PassThrough<R> {
    waiting: Vec<Updates<R>>,
    given: Vec<Updates<R>>,
}

impl<R> Default for PassThrough<R> {
    fn default() -> Self {
        PassThrough { waiting: vec![], given: vec![] }
    }
}

impl<R: Diff> PushInto<&mut Vec<Updates<R>>> for PassThrough<R> {
    fn push_into(&mut self, message: &mut Vec<Updates<R>>) {
        self.waiting.append(message);
    }
}

impl<R: Diff> ContainerBuilder for PassThrough<R> {
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

/// Updates by epoch until their epoch is sealed. The number of epochs is bounded by those in flight.
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
        // `ready` holds the epochs below `upper`; later ones stay.
        let kept = match upper.elements().first() {
            Some(upper) => self.epochs.split_off(upper),
            None => BTreeMap::new(),
        };
        let ready = std::mem::replace(&mut self.epochs, kept);
        // The frontier is a lower bound of the updates still held.
        self.frontier = self.epochs.keys().next().map_or(Antichain::new(), |e| Antichain::from_elem(*e));
        let since = Antichain::from_elem(0);
        let lower = std::mem::replace(&mut self.sealed, upper.clone());
        (ready.into_values().collect(), Description::new(lower, upper, since))
    }

    fn frontier(&mut self) -> AntichainRef<'_, u64> {
        self.frontier.borrow()
    }
}

/// Batch under construction.
pub struct PackedBuilder<R: Diff> {
    parts: Vec<Updates<R>>,
}

impl<R: Diff> Builder for PackedBuilder<R> {
    type Input = Vec<Updates<R>>;
    type Time = u64;
    type Output = PackedBatch<R>;

    fn with_capacity(_: usize, _: usize, _: usize) -> Self {
        PackedBuilder { parts: vec![] }
    }

    fn push(&mut self, chunk: &mut Vec<Updates<R>>) {
        self.parts.append(chunk);
    }

    fn done(mut self, description: Description<u64>) -> PackedBatch<R> {
        // Capacity for the whole input, an upper bound: `by_key` adds up equal updates.
        let keys = add_rooms(self.parts.iter().map(Updates::keys_room));
        let values = add_rooms(self.parts.iter().map(Updates::values_room));
        let mut batch = PackedBatch::with_capacity(description, keys, values);
        by_key(&mut self.parts, |key, entries| {
            push_values(&mut batch, entries);
            batch.push_key(key);
        });
        batch.into_complete()
    }

    fn seal(chain: &mut Vec<Vec<Updates<R>>>, description: Description<u64>) -> PackedBatch<R> {
        let mut builder = Self::with_capacity(0, 0, 0);
        for chunk in chain {
            builder.push(chunk);
        }
        builder.done(description)
    }
}

/// Adds up numbers of items and of their bytes.
fn add_rooms(rooms: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    let mut sum = (0, 0);
    for (items, bytes) in rooms {
        sum = (sum.0 + items, sum.1 + bytes);
    }
    sum
}

/// Adds the values of a key, with their updates, to a batch.
fn push_values<R: Diff>(batch: &mut PackedBatch<R>, entries: &mut Vec<ValueUpdate<'_, R>>) {
    let mut entries = entries.drain(..).peekable();
    while let Some((value, epoch, diff)) = entries.next() {
        // Only a value with a single update may share the update stored before it.
        if entries.peek().is_none_or(|next| next.0 != value) {
            batch.push_single(epoch, diff);
        } else {
            batch.push_update(epoch, diff);
            while let Some((_, epoch, diff)) = entries.next_if(|next| next.0 == value) {
                batch.push_update(epoch, diff);
            }
        }
        batch.push_value(value);
    }
}
