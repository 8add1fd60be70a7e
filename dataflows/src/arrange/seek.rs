//! Point reads in an arrangement: one key at a time, in ascending order, and its values by seeking.
//!
//! Equivalent to differential's own list of cursors, except that values are sought only in batches that
//! hold the sought key.

use differential_dataflow::trace::{Cursor, Navigable, TraceReader};

use super::rows::Diff;
use super::trace::{PackedTrace, SharedBatch};

type BatchCursor<R> = <SharedBatch<R> as Navigable>::Cursor;

/// Reader over all batches of a trace.
pub struct Seek<R: Diff> {
    batches: Vec<(SharedBatch<R>, BatchCursor<R>)>,
    /// Indexes of the batches that hold the sought key.
    here: Vec<usize>,
}

impl<R: Diff> Seek<R> {
    /// Creates a reader of all of `trace`.
    pub fn new(trace: &PackedTrace<R>) -> Seek<R> {
        let mut batches = Vec::new();
        trace.map_batches(|batch| batches.push((batch.clone(), batch.cursor())));
        Seek { batches, here: Vec::new() }
    }

    /// Moves to `key`, which must not be below the previously sought key.
    pub fn seek_key(&mut self, key: &[u8]) {
        self.here.clear();
        for (at, (batch, cursor)) in self.batches.iter_mut().enumerate() {
            cursor.seek_key(batch, key);
            // Batches without the key take no part in seeking its values.
            if cursor.get_key(batch) == Some(key) {
                self.here.push(at);
            }
        }
    }

    /// Moves to the key's first value.
    pub fn rewind_values(&mut self) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            cursor.rewind_vals(batch);
        }
    }

    /// Moves to the key's first value at or above `value`, forward or backward.
    pub fn seek_value(&mut self, value: &[u8]) {
        self.rewind_values();
        self.seek_onward(value);
    }

    /// Moves forward to the key's first value at or above `value`; stays where the current one is above it.
    pub fn seek_onward(&mut self, value: &[u8]) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            cursor.seek_val(batch, value);
        }
    }

    /// Returns the current value: the least of the batches' current values.
    pub fn current_value(&self) -> Option<&[u8]> {
        let values = self.here.iter().filter_map(|at| self.batches[*at].1.get_val(&self.batches[*at].0));
        values.min()
    }

    /// Visits the updates of `value`, which must be the current one, in all batches.
    pub fn visit_updates(&mut self, value: &[u8], mut visit: impl FnMut(u64, &R)) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            if cursor.get_val(batch) == Some(value) {
                cursor.map_times(batch, |time, diff| visit(*time, diff));
            }
        }
    }

    /// Moves past `value`, which must be the current one.
    pub fn step_past(&mut self, value: &[u8]) {
        for at in &self.here {
            let (batch, cursor) = &mut self.batches[*at];
            if cursor.get_val(batch) == Some(value) {
                cursor.step_val(batch);
            }
        }
    }
}
