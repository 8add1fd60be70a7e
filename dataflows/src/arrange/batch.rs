//! Immutable batches of an arrangement, packed into a few vectors, and the merge of two batches.
//!
//! Keys and values are byte strings in ascending order; each key stores the end of its values, each value the
//! end of its updates. A value whose only update equals the update stored last (the same epoch and diff,
//! as most index entries have after compaction) stores none of its own: its end repeats the previous end.
//! Merging copies runs of keys present in only one input as blocks of bytes, and reads single updates
//! only to advance their epochs to the compaction frontier.

use std::ops::Range;

use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::{Batch, BatchReader, Cursor, Description, Merger, Navigable};
use schemas::memory::{HeapBytes, shrink, vector_bytes};
use schemas::{MemoryPart, MemoryShare};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::rows::{Diff, PackedRows, diffs_heap_bytes};

/// Immutable updates, ordered by key and value.
pub struct PackedBatch<R> {
    keys: PackedRows,
    /// End of the values of each key.
    key_ends: Vec<usize>,
    values: PackedRows,
    /// End of the updates of each value; equal to the previous end where the value shares the last update.
    value_ends: Vec<usize>,
    times: Vec<u64>,
    diffs: Vec<R>,
    description: Description<u64>,
    /// Number of updates, including those that share a stored one.
    updates: usize,
    /// Number of updates of the key with most of them; set in built batches, not in merged ones.
    hottest: usize,
    /// Number of updates before the key that is added next.
    before: usize,
    /// Memory of the batch.
    memory: MemoryShare,
}

impl<R: Diff> PackedBatch<R> {
    /// Creates an empty batch to be filled, with capacity for keys and values, each as count and bytes.
    pub fn with_capacity(
        description: Description<u64>,
        keys: (usize, usize),
        values: (usize, usize),
    ) -> Self {
        PackedBatch {
            keys: PackedRows::with_room(keys.0, keys.1),
            key_ends: Vec::with_capacity(keys.0),
            values: PackedRows::with_room(values.0, values.1),
            value_ends: Vec::with_capacity(values.0),
            times: Vec::new(),
            diffs: Vec::new(),
            description,
            updates: 0,
            hottest: 0,
            before: 0,
            memory: MemoryShare::default(),
        }
    }

    /// Adds an update of the value that is added next. Updates of one value come in ascending order of epoch.
    pub fn push_update(&mut self, time: u64, diff: R) {
        self.times.push(time);
        self.diffs.push(diff);
        self.updates += 1;
    }

    /// Adds the only update of the value that is added next.
    pub fn push_single(&mut self, time: u64, diff: R) {
        // The last stored update is shared: `push_value` then repeats the previous end.
        if self.times.last() == Some(&time) && self.diffs.last() == Some(&diff) {
            self.updates += 1;
        } else {
            self.push_update(time, diff);
        }
    }

    /// Adds a value of the key that is added next; its updates are those pushed since the last value.
    pub fn push_value(&mut self, value: &[u8]) {
        self.values.push_ref(value);
        self.value_ends.push(self.times.len());
    }

    /// Adds a key; its values are those pushed since the last key.
    pub fn push_key(&mut self, key: &[u8]) {
        self.keys.push_ref(key);
        self.key_ends.push(self.value_ends.len());
        self.hottest = self.hottest.max(self.updates - self.before);
        self.before = self.updates;
    }

    /// Completes the batch: releases spare capacity, which a long-lived batch would hold, and reports its
    /// memory.
    pub fn into_complete(mut self) -> PackedBatch<R> {
        self.keys.shrink_to_fit();
        shrink(&mut self.key_ends);
        self.values.shrink_to_fit();
        shrink(&mut self.value_ends);
        shrink(&mut self.times);
        shrink(&mut self.diffs);
        let rows = self.keys.heap_bytes() + self.values.heap_bytes();
        let ends = vector_bytes(&self.key_ends) + vector_bytes(&self.value_ends);
        let updates = vector_bytes(&self.times) + vector_bytes(&self.diffs) + diffs_heap_bytes(&self.diffs);
        self.memory.set(MemoryPart::Arrangements, rows + ends + updates);
        self
    }

    /// Reports the memory of a batch that is being filled: the part of its capacity that was written. Its
    /// diffs share their own allocations with those of the batches that are merged.
    fn report_written(&mut self) {
        let rows = self.keys.written_bytes() + self.values.written_bytes();
        let ends = size_of_val(&self.key_ends[..]) + size_of_val(&self.value_ends[..]);
        let updates = vector_bytes(&self.times) + vector_bytes(&self.diffs);
        self.memory.set(MemoryPart::Arrangements, rows + ends + updates);
    }

    /// Returns the number of updates of the key with most of them.
    pub fn hottest_key_updates(&self) -> usize {
        self.hottest
    }

    fn values_of(&self, key: usize) -> Range<usize> {
        let start = if key == 0 { 0 } else { self.key_ends[key - 1] };
        start..self.key_ends[key]
    }

    fn updates_of(&self, value: usize) -> Range<usize> {
        let (start, end) = (if value == 0 { 0 } else { self.value_ends[value - 1] }, self.value_ends[value]);
        // An empty range means that the value shares the last stored update.
        if start == end { end - 1..end } else { start..end }
    }
}

impl<R: Diff> BatchReader for PackedBatch<R> {
    type Time = u64;

    fn len(&self) -> usize {
        self.updates
    }
    fn description(&self) -> &Description<u64> {
        &self.description
    }
}

impl<R: Diff> Batch for PackedBatch<R> {
    type Merger = PackedMerger<R>;

    fn empty(lower: Antichain<u64>, upper: Antichain<u64>) -> Self {
        PackedBatch::with_capacity(Description::new(lower, upper, Antichain::from_elem(0)), (0, 0), (0, 0))
    }
}

impl<R: Diff> Navigable for PackedBatch<R> {
    type Cursor = PackedCursor<R>;

    fn cursor(&self) -> PackedCursor<R> {
        PackedCursor { key: 0, value: 0, diffs: std::marker::PhantomData }
    }
}

/// Position in a batch.
pub struct PackedCursor<R> {
    key: usize,
    value: usize,
    diffs: std::marker::PhantomData<R>,
}

impl<R: Diff> Cursor for PackedCursor<R> {
    type Storage = PackedBatch<R>;
    type Key<'a> = &'a [u8];
    type ValOwn = Vec<u8>;
    type Val<'a> = &'a [u8];
    type Time = u64;
    type TimeGat<'a> = &'a u64;
    type Diff = R;
    type DiffGat<'a> = &'a R;
    type KeyContainer = PackedRows;
    type ValContainer = PackedRows;
    type TimeContainer = Vec<u64>;
    type DiffContainer = Vec<R>;

    fn key_valid(&self, batch: &PackedBatch<R>) -> bool {
        self.key < batch.keys.len()
    }
    fn val_valid(&self, batch: &PackedBatch<R>) -> bool {
        self.key_valid(batch) && self.value < batch.key_ends[self.key]
    }
    fn key<'a>(&self, batch: &'a PackedBatch<R>) -> &'a [u8] {
        batch.keys.index(self.key)
    }
    fn val<'a>(&self, batch: &'a PackedBatch<R>) -> &'a [u8] {
        batch.values.index(self.value)
    }
    fn get_key<'a>(&self, batch: &'a PackedBatch<R>) -> Option<&'a [u8]> {
        self.key_valid(batch).then(|| self.key(batch))
    }
    fn get_val<'a>(&self, batch: &'a PackedBatch<R>) -> Option<&'a [u8]> {
        self.val_valid(batch).then(|| self.val(batch))
    }
    fn map_times<L: FnMut(&u64, &R)>(&mut self, batch: &PackedBatch<R>, mut logic: L) {
        for at in batch.updates_of(self.value) {
            logic(&batch.times[at], &batch.diffs[at]);
        }
    }
    fn step_key(&mut self, batch: &PackedBatch<R>) {
        self.key = (self.key + 1).min(batch.keys.len());
        self.rewind_vals(batch);
    }
    fn seek_key(&mut self, batch: &PackedBatch<R>, key: &[u8]) {
        self.key += batch.keys.advance(self.key, batch.keys.len(), |held| held < key);
        self.rewind_vals(batch);
    }
    fn step_val(&mut self, batch: &PackedBatch<R>) {
        if self.val_valid(batch) {
            self.value += 1;
        }
    }
    fn seek_val(&mut self, batch: &PackedBatch<R>, value: &[u8]) {
        if self.key_valid(batch) {
            self.value += batch.values.advance(self.value, batch.key_ends[self.key], |held| held < value);
        }
    }
    fn rewind_keys(&mut self, batch: &PackedBatch<R>) {
        self.key = 0;
        self.rewind_vals(batch);
    }
    fn rewind_vals(&mut self, batch: &PackedBatch<R>) {
        self.value =
            if self.key_valid(batch) { batch.values_of(self.key).start } else { batch.value_ends.len() };
    }
}

/// Merge in progress of two consecutive batches.
pub struct PackedMerger<R> {
    result: PackedBatch<R>,
    /// Compaction frontier: lower epochs are advanced to it.
    since: u64,
    /// Next key of each input.
    at: [usize; 2],
    /// Updates of one value, which may cancel.
    scratch: Vec<(u64, R)>,
}

/// Maximum number of keys merged between two checks of the fuel.
const KEYS_AT_ONCE: usize = 256;

/// The epoch to which a compaction frontier permits advancing epochs.
fn first_epoch(frontier: &[u64]) -> u64 {
    // An empty frontier permits advancing every epoch: no epoch is read again.
    frontier.first().copied().unwrap_or(u64::MAX)
}

impl<R: Diff> Merger<PackedBatch<R>> for PackedMerger<R> {
    fn new(first: &PackedBatch<R>, second: &PackedBatch<R>, frontier: AntichainRef<'_, u64>) -> Self {
        let of_inputs = first_epoch(first.description.since()).max(first_epoch(second.description.since()));
        let since = of_inputs.max(first_epoch(&frontier));
        let since_frontier = if since == u64::MAX { Antichain::new() } else { Antichain::from_elem(since) };
        let description = Description::new(first.lower().clone(), second.upper().clone(), since_frontier);
        let keys = PackedRows::room_of(&first.keys, &second.keys);
        let values = PackedRows::room_of(&first.values, &second.values);
        let result = PackedBatch::with_capacity(description, keys, values);
        PackedMerger { result, since, at: [0, 0], scratch: Vec::new() }
    }

    fn work(&mut self, first: &PackedBatch<R>, second: &PackedBatch<R>, fuel: &mut isize) {
        let begun = self.result.updates;
        // Fuel is spent in updates of the result; a step may overrun it by one run of keys.
        let mut effort = 0isize;
        while effort < *fuel {
            let [a, b] = self.at;
            let left = [first.keys.len() - a, second.keys.len() - b];
            match left {
                [0, 0] => break,
                [n, 0] => self.copy_keys(first, 0, n.min(KEYS_AT_ONCE)),
                [0, n] => self.copy_keys(second, 1, n.min(KEYS_AT_ONCE)),
                _ => self.merge_least_key(first, second),
            }
            effort = (self.result.updates - begun) as isize;
        }
        *fuel -= effort;
        self.result.report_written();
    }

    fn done(self) -> PackedBatch<R> {
        // Keys of both inputs and cancelled updates leave spare capacity.
        self.result.into_complete()
    }
}

impl<R: Diff> PackedMerger<R> {
    /// Merges the least key: a run of keys of one input, or one key that both have.
    fn merge_least_key(&mut self, first: &PackedBatch<R>, second: &PackedBatch<R>) {
        let [a, b] = self.at;
        let (x, y) = (first.keys.index(a), second.keys.index(b));
        match x.cmp(y) {
            std::cmp::Ordering::Less => {
                let end = first.keys.len().min(a + KEYS_AT_ONCE);
                let run = first.keys.advance(a, end, |key| key < y);
                self.copy_keys(first, 0, run);
            }
            std::cmp::Ordering::Greater => {
                let end = second.keys.len().min(b + KEYS_AT_ONCE);
                let run = second.keys.advance(b, end, |key| key < x);
                self.copy_keys(second, 1, run);
            }
            std::cmp::Ordering::Equal => {
                let before = self.result.value_ends.len();
                // A key whose values all cancel is not added.
                self.merge_values((first, first.values_of(a)), (second, second.values_of(b)));
                if self.result.value_ends.len() > before {
                    self.result.push_key(x);
                }
                self.at = [a + 1, b + 1];
            }
        }
    }

    /// Copies the next `count` keys of one input, in blocks of keys whose values have one update each.
    ///
    /// Only values with several updates can cancel when epochs are advanced; their keys are merged singly.
    fn copy_keys(&mut self, source: &PackedBatch<R>, side: usize, count: usize) {
        let keys = self.at[side]..self.at[side] + count;
        self.at[side] = keys.end;
        // Keys from `block` on have their ends and updates in the result, but not yet their bytes.
        let mut block = keys.start;
        for key in keys.clone() {
            let values = source.values_of(key);
            let intact = values.clone().all(|value| source.updates_of(value).len() == 1);
            if intact {
                // Ends and updates are added now; the bytes follow in one copy by `flush_block`.
                for value in values {
                    let at = source.updates_of(value).start;
                    self.result.push_single(source.times[at].max(self.since), source.diffs[at].clone());
                    self.result.value_ends.push(self.result.times.len());
                }
            } else {
                // Bytes of earlier keys must be in the result before this key's.
                self.flush_block(source, block..key);
                block = key + 1;
                let before = self.result.value_ends.len();
                for value in values {
                    self.merge_value(&[(source, value)]);
                }
                if self.result.value_ends.len() > before {
                    self.result.push_key(source.keys.index(key));
                }
            }
        }
        self.flush_block(source, block..keys.end);
    }

    /// Copies the bytes of a range of keys and their values, whose updates are already in the result.
    fn flush_block(&mut self, source: &PackedBatch<R>, keys: Range<usize>) {
        if keys.is_empty() {
            return;
        }
        let values = source.values_of(keys.start).start..source.values_of(keys.end - 1).end;
        let shift = self.result.values.len();
        // Key ends count values: moved from the source's positions to those of the result.
        let ends = &source.key_ends[keys.clone()];
        self.result.key_ends.extend(ends.iter().map(|end| end - values.start + shift));
        self.result.keys.push_range(&source.keys, keys);
        self.result.values.push_range(&source.values, values);
    }

    fn merge_values(
        &mut self,
        (first, mut left): (&PackedBatch<R>, Range<usize>),
        (second, mut right): (&PackedBatch<R>, Range<usize>),
    ) {
        // Values of both inputs are in ascending order.
        while !left.is_empty() && !right.is_empty() {
            let order = first.values.index(left.start).cmp(second.values.index(right.start));
            match order {
                std::cmp::Ordering::Less => self.merge_value(&[(first, left.start)]),
                std::cmp::Ordering::Greater => self.merge_value(&[(second, right.start)]),
                std::cmp::Ordering::Equal => self.merge_value(&[(first, left.start), (second, right.start)]),
            }
            left.start += usize::from(order.is_le());
            right.start += usize::from(order.is_ge());
        }
        for value in left {
            self.merge_value(&[(first, value)]);
        }
        for value in right {
            self.merge_value(&[(second, value)]);
        }
    }

    /// Adds one value with the sum of its updates in all `sources`, unless they cancel.
    fn merge_value(&mut self, sources: &[(&PackedBatch<R>, usize)]) {
        self.scratch.clear();
        for (source, value) in sources {
            for at in source.updates_of(*value) {
                let (time, diff) = (source.times[at].max(self.since), &source.diffs[at]);
                match self.scratch.iter_mut().find(|held| held.0 == time) {
                    Some(held) => held.1.plus_equals(diff),
                    None => self.scratch.push((time, diff.clone())),
                }
            }
        }
        self.scratch.retain(|update| !update.1.is_zero());
        self.scratch.sort_unstable_by_key(|update| update.0);
        // Epochs that compaction made equal are one update now.
        let single = self.scratch.len() == 1;
        for (time, diff) in self.scratch.drain(..) {
            if single {
                self.result.push_single(time, diff);
            } else {
                self.result.push_update(time, diff);
            }
        }
        // Without updates of its own and not `single`, all of them cancelled.
        let (source, value) = sources[0];
        if single || self.result.times.len() > self.result.value_ends.last().copied().unwrap_or(0) {
            self.result.push_value(source.values.index(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::Builder;
    use schemas::Ownership;

    use super::*;
    use crate::arrange::builder::PackedBuilder;
    use crate::arrange::updates::{ExchangeBuffer, Updates};

    fn build_batch(epoch: u64, keys: Range<u64>) -> PackedBatch<i64> {
        let mut outgoing = ExchangeBuffer::new(epoch, &Ownership::default());
        for key in keys {
            outgoing.push_key(&key.to_be_bytes());
            outgoing.push_value(&[7; 100], 1);
        }
        let mut updates: Vec<Updates<i64>> = outgoing.into_updates().collect();
        let mut builder: PackedBuilder<i64> = PackedBuilder::with_capacity(0, 0, 0);
        builder.push(&mut updates);
        let frontier = |epoch| Antichain::from_elem(epoch);
        builder.done(Description::new(frontier(epoch), frontier(epoch + 1), frontier(0)))
    }

    /// No other test of this crate's library fills an arrangement.
    #[test]
    fn memory_is_reported_from_the_build_to_the_end_of_the_last_merge() {
        let held = || MemoryPart::Arrangements.held_bytes();
        let before = held();
        // Key, value and the ends of both; all updates share one.
        let least = |keys: usize| keys * (8 + 100 + 4 * 8);
        let (first, second) = (build_batch(1, 0..1000), build_batch(2, 500..1500));
        for batch in [&first, &second] {
            let bytes = batch.memory.bytes();
            assert!(bytes >= least(1000) && bytes < least(1000) * 5 / 4, "{bytes}");
        }
        let inputs = first.memory.bytes() + second.memory.bytes();
        assert_eq!(held() - before, inputs);

        let since = Antichain::from_elem(2);
        let mut merger = first.begin_merge(&second, since.borrow());
        merger.work(&first, &second, &mut 300);
        let written = held() - before - inputs;
        assert!(written >= least(300) && written < least(1000), "{written}");
        let mut fuel = isize::MAX;
        merger.work(&first, &second, &mut fuel);
        assert!(fuel > 0);
        let merged = merger.done();
        assert_eq!(merged.len(), 1500);
        // The room of five hundred keys that both inputs have is given back.
        let bytes = merged.memory.bytes();
        assert!(bytes >= least(1500) && bytes < least(1500) * 5 / 4, "{bytes}");
        drop((first, second));
        assert_eq!(held() - before, bytes);
        drop(merged);
        assert_eq!(held(), before);
    }
}
