//! One immutable batch of an arrangement: four heaps, and how two batches become one.
//!
//! Keys and values are byte strings in order; each key says where its values end, each value where its
//! updates end. A value whose only update equals the update stored last (the same epoch and diff,
//! which after compaction most index entries have) stores none of its own: its end repeats the end
//! before it. Merging copies runs of keys that one side has alone as blocks of bytes, and looks at
//! single updates only to move their epochs up to the compaction frontier.

use std::ops::Range;

use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::{Batch, BatchReader, Cursor, Description, Merger, Navigable};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::trace::{Diff, PackedRows};

/// Updates by key and value, immutable.
pub struct Heap<R> {
    keys: PackedRows,
    /// For each key, where its values end.
    key_ends: Vec<usize>,
    values: PackedRows,
    /// For each value, where its updates end.
    value_ends: Vec<usize>,
    times: Vec<u64>,
    diffs: Vec<R>,
    description: Description<u64>,
    /// Updates, those that share a stored one counted as well.
    updates: usize,
    /// Updates of the key with most of them; known of a batch that was built, not of one that was merged.
    busiest: usize,
    /// Updates before the key that is added next.
    before: usize,
}

impl<R: Diff> Heap<R> {
    /// An empty batch that is about to be filled, with room for keys and values of as many bytes.
    pub fn with_capacity(
        description: Description<u64>,
        keys: (usize, usize),
        values: (usize, usize),
    ) -> Self {
        Heap {
            keys: PackedRows::with_room(keys.0, keys.1),
            key_ends: Vec::with_capacity(keys.0),
            values: PackedRows::with_room(values.0, values.1),
            value_ends: Vec::with_capacity(values.0),
            times: Vec::new(),
            diffs: Vec::new(),
            description,
            updates: 0,
            busiest: 0,
            before: 0,
        }
    }

    /// Adds an update of the value that is added next. Updates of a value ascend by epoch.
    pub fn push_update(&mut self, time: u64, diff: R) {
        self.times.push(time);
        self.diffs.push(diff);
        self.updates += 1;
    }

    /// Adds the only update of the value that is added next.
    pub fn push_single(&mut self, time: u64, diff: R) {
        if self.times.last() == Some(&time) && self.diffs.last() == Some(&diff) {
            self.updates += 1;
        } else {
            self.push_update(time, diff);
        }
    }

    /// Adds a value of the key that is added next, with the updates since the last one.
    pub fn push_value(&mut self, value: &[u8]) {
        self.values.push_ref(value);
        self.value_ends.push(self.times.len());
    }

    /// Adds a key with the values since the last one.
    pub fn push_key(&mut self, key: &[u8]) {
        self.keys.push_ref(key);
        self.key_ends.push(self.value_ends.len());
        self.busiest = self.busiest.max(self.updates - self.before);
        self.before = self.updates;
    }

    /// Updates of the key with most of them.
    pub fn busiest(&self) -> usize {
        self.busiest
    }

    fn values_of(&self, key: usize) -> Range<usize> {
        let start = if key == 0 { 0 } else { self.key_ends[key - 1] };
        start..self.key_ends[key]
    }

    fn updates_of(&self, value: usize) -> Range<usize> {
        let (start, end) = (if value == 0 { 0 } else { self.value_ends[value - 1] }, self.value_ends[value]);
        if start == end { end - 1..end } else { start..end }
    }
}

impl<R: Diff> BatchReader for Heap<R> {
    type Time = u64;

    fn len(&self) -> usize {
        self.updates
    }
    fn description(&self) -> &Description<u64> {
        &self.description
    }
}

impl<R: Diff> Batch for Heap<R> {
    type Merger = HeapMerger<R>;

    fn empty(lower: Antichain<u64>, upper: Antichain<u64>) -> Self {
        Heap::with_capacity(Description::new(lower, upper, Antichain::from_elem(0)), (0, 0), (0, 0))
    }
}

impl<R: Diff> Navigable for Heap<R> {
    type Cursor = HeapCursor<R>;

    fn cursor(&self) -> HeapCursor<R> {
        HeapCursor { key: 0, value: 0, diffs: std::marker::PhantomData }
    }
}

/// A position in a batch.
pub struct HeapCursor<R> {
    key: usize,
    value: usize,
    diffs: std::marker::PhantomData<R>,
}

impl<R: Diff> Cursor for HeapCursor<R> {
    type Storage = Heap<R>;
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

    fn key_valid(&self, heap: &Heap<R>) -> bool {
        self.key < heap.keys.len()
    }
    fn val_valid(&self, heap: &Heap<R>) -> bool {
        self.key_valid(heap) && self.value < heap.key_ends[self.key]
    }
    fn key<'a>(&self, heap: &'a Heap<R>) -> &'a [u8] {
        heap.keys.index(self.key)
    }
    fn val<'a>(&self, heap: &'a Heap<R>) -> &'a [u8] {
        heap.values.index(self.value)
    }
    fn get_key<'a>(&self, heap: &'a Heap<R>) -> Option<&'a [u8]> {
        self.key_valid(heap).then(|| self.key(heap))
    }
    fn get_val<'a>(&self, heap: &'a Heap<R>) -> Option<&'a [u8]> {
        self.val_valid(heap).then(|| self.val(heap))
    }
    fn map_times<L: FnMut(&u64, &R)>(&mut self, heap: &Heap<R>, mut logic: L) {
        for at in heap.updates_of(self.value) {
            logic(&heap.times[at], &heap.diffs[at]);
        }
    }
    fn step_key(&mut self, heap: &Heap<R>) {
        self.key = (self.key + 1).min(heap.keys.len());
        self.rewind_vals(heap);
    }
    fn seek_key(&mut self, heap: &Heap<R>, key: &[u8]) {
        self.key += heap.keys.advance(self.key, heap.keys.len(), |held| held < key);
        self.rewind_vals(heap);
    }
    fn step_val(&mut self, heap: &Heap<R>) {
        if self.val_valid(heap) {
            self.value += 1;
        }
    }
    fn seek_val(&mut self, heap: &Heap<R>, value: &[u8]) {
        if self.key_valid(heap) {
            self.value += heap.values.advance(self.value, heap.key_ends[self.key], |held| held < value);
        }
    }
    fn rewind_keys(&mut self, heap: &Heap<R>) {
        self.key = 0;
        self.rewind_vals(heap);
    }
    fn rewind_vals(&mut self, heap: &Heap<R>) {
        self.value =
            if self.key_valid(heap) { heap.values_of(self.key).start } else { heap.value_ends.len() };
    }
}

/// Two consecutive batches on their way to become one.
pub struct HeapMerger<R> {
    result: Heap<R>,
    /// Epochs below it are moved up to it.
    since: u64,
    at: [usize; 2],
    /// Updates of one value that may cancel.
    scratch: Vec<(u64, R)>,
}

/// Keys merged between two looks at the fuel.
const KEYS_AT_ONCE: usize = 256;

impl<R: Diff> Merger<Heap<R>> for HeapMerger<R> {
    fn new(first: &Heap<R>, second: &Heap<R>, frontier: AntichainRef<'_, u64>) -> Self {
        // An empty frontier lets every epoch move; none of them is looked at again.
        let bound = |frontier: &[u64]| frontier.first().copied().unwrap_or(u64::MAX);
        let since = [first.description.since(), second.description.since()];
        let since = since.into_iter().map(|s| bound(s.elements())).max().unwrap_or(0).max(bound(&frontier));
        let since_frontier = if since == u64::MAX { Antichain::new() } else { Antichain::from_elem(since) };
        let description = Description::new(first.lower().clone(), second.upper().clone(), since_frontier);
        let keys = PackedRows::room_of(&first.keys, &second.keys);
        let values = PackedRows::room_of(&first.values, &second.values);
        let result = Heap::with_capacity(description, keys, values);
        HeapMerger { result, since, at: [0, 0], scratch: Vec::new() }
    }

    fn work(&mut self, first: &Heap<R>, second: &Heap<R>, fuel: &mut isize) {
        let begun = self.result.updates;
        let mut effort = 0isize;
        while effort < *fuel {
            let [a, b] = self.at;
            let left = [first.keys.len() - a, second.keys.len() - b];
            match left {
                [0, 0] => break,
                [n, 0] => self.copy(first, 0, n.min(KEYS_AT_ONCE)),
                [0, n] => self.copy(second, 1, n.min(KEYS_AT_ONCE)),
                _ => self.step(first, second),
            }
            effort = (self.result.updates - begun) as isize;
        }
        *fuel -= effort;
    }

    fn done(mut self) -> Heap<R> {
        // What cancelled leaves room that an arrangement would hold for long.
        self.result.times.shrink_to_fit();
        self.result.diffs.shrink_to_fit();
        self.result
    }
}

impl<R: Diff> HeapMerger<R> {
    /// Moves past the least key: a run that one side has alone, or one key that both have.
    fn step(&mut self, first: &Heap<R>, second: &Heap<R>) {
        let [a, b] = self.at;
        let (x, y) = (first.keys.index(a), second.keys.index(b));
        match x.cmp(y) {
            std::cmp::Ordering::Less => {
                let end = first.keys.len().min(a + KEYS_AT_ONCE);
                let run = first.keys.advance(a, end, |key| key < y);
                self.copy(first, 0, run);
            }
            std::cmp::Ordering::Greater => {
                let end = second.keys.len().min(b + KEYS_AT_ONCE);
                let run = second.keys.advance(b, end, |key| key < x);
                self.copy(second, 1, run);
            }
            std::cmp::Ordering::Equal => {
                let before = self.result.value_ends.len();
                self.merge_values((first, first.values_of(a)), (second, second.values_of(b)));
                if self.result.value_ends.len() > before {
                    self.result.push_key(x);
                }
                self.at = [a + 1, b + 1];
            }
        }
    }

    /// Copies the next `count` keys of one side: as a block, as far as no value cancels.
    fn copy(&mut self, source: &Heap<R>, side: usize, count: usize) {
        let keys = self.at[side]..self.at[side] + count;
        self.at[side] = keys.end;
        let mut block = keys.start;
        for key in keys.clone() {
            let values = source.values_of(key);
            let intact = values.clone().all(|value| source.updates_of(value).len() == 1);
            if intact {
                for value in values {
                    let at = source.updates_of(value).start;
                    self.result.push_single(source.times[at].max(self.since), source.diffs[at].clone());
                    self.result.value_ends.push(self.result.times.len());
                }
            } else {
                self.flush(source, block..key);
                block = key + 1;
                let before = self.result.value_ends.len();
                values.for_each(|value| self.value(&[(source, value)]));
                if self.result.value_ends.len() > before {
                    self.result.push_key(source.keys.index(key));
                }
            }
        }
        self.flush(source, block..keys.end);
    }

    /// Copies the bytes of keys whose values are all in the result already.
    fn flush(&mut self, source: &Heap<R>, keys: Range<usize>) {
        if keys.is_empty() {
            return;
        }
        let values = source.values_of(keys.start).start..source.values_of(keys.end - 1).end;
        let shift = self.result.values.len();
        let ends = &source.key_ends[keys.clone()];
        self.result.key_ends.extend(ends.iter().map(|end| end - values.start + shift));
        self.result.keys.push_range(&source.keys, keys);
        self.result.values.push_range(&source.values, values);
    }

    fn merge_values(
        &mut self,
        (first, mut left): (&Heap<R>, Range<usize>),
        (second, mut right): (&Heap<R>, Range<usize>),
    ) {
        while !left.is_empty() && !right.is_empty() {
            let order = first.values.index(left.start).cmp(second.values.index(right.start));
            match order {
                std::cmp::Ordering::Less => self.value(&[(first, left.start)]),
                std::cmp::Ordering::Greater => self.value(&[(second, right.start)]),
                std::cmp::Ordering::Equal => self.value(&[(first, left.start), (second, right.start)]),
            }
            left.start += usize::from(order.is_le());
            right.start += usize::from(order.is_ge());
        }
        left.for_each(|value| self.value(&[(first, value)]));
        right.for_each(|value| self.value(&[(second, value)]));
    }

    /// Adds one value with its updates in all `sources`, unless they cancel.
    fn value(&mut self, sources: &[(&Heap<R>, usize)]) {
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
        let single = self.scratch.len() == 1;
        for (time, diff) in self.scratch.drain(..) {
            if single {
                self.result.push_single(time, diff);
            } else {
                self.result.push_update(time, diff);
            }
        }
        let (source, value) = sources[0];
        if single || self.result.times.len() > self.result.value_ends.last().copied().unwrap_or(0) {
            self.result.push_value(source.values.index(value));
        }
    }
}
