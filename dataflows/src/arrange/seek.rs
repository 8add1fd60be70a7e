//! Point reads in an arrangement: one key at a time, in ascending order, its values by seeking.
//!
//! It does what differential's own list of cursors does, except that only batches which hold the
//! sought key look for a value.

use differential_dataflow::trace::{Cursor, Navigable, TraceReader};

use super::trace::{Diff, PackedBatch, PackedTrace};

type BatchCursor<R> = <PackedBatch<R> as Navigable>::Cursor;

/// The batches of a trace, read as one.
pub struct Seek<R: Diff> {
    batches: Vec<(PackedBatch<R>, BatchCursor<R>)>,
    /// Those that hold the sought key.
    here: Vec<usize>,
}

impl<R: Diff> Seek<R> {
    /// Everything in `trace`.
    pub fn new(trace: &PackedTrace<R>) -> Seek<R> {
        let mut batches = Vec::new();
        trace.map_batches(|batch| batches.push((batch.clone(), batch.cursor())));
        Seek { batches, here: Vec::new() }
    }

    /// Goes to `key`, which is not below the one before.
    pub fn key(&mut self, key: &[u8]) {
        self.here.clear();
        for (at, (batch, cursor)) in self.batches.iter_mut().enumerate() {
            cursor.seek_key(batch, key);
            if cursor.get_key(batch) == Some(key) {
                self.here.push(at);
            }
        }
    }

    /// Goes to the key's first value that is not below `value`, wherever it was.
    pub fn value(&mut self, value: &[u8]) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            cursor.rewind_vals(batch);
            cursor.seek_val(batch, value);
        }
    }

    /// The value at hand: the least of the batches'.
    pub fn get(&self) -> Option<&[u8]> {
        let values = self.here.iter().filter_map(|at| self.batches[*at].1.get_val(&self.batches[*at].0));
        values.min()
    }

    /// The updates of `value`, which is the one at hand.
    pub fn updates(&mut self, value: &[u8], mut visit: impl FnMut(u64, &R)) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            if cursor.get_val(batch) == Some(value) {
                cursor.map_times(batch, |time, diff| visit(*time, diff));
            }
        }
    }

    /// Goes past `value`, which is the one at hand.
    pub fn step(&mut self, value: &[u8]) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            if cursor.get_val(batch) == Some(value) {
                cursor.step_val(batch);
            }
        }
    }
}
