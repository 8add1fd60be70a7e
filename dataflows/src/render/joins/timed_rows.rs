//! Rows of one side of a temporal join under one key, by time, with a running count of their memory.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref};

use schemas::RowCodec;
use schemas::memory::{HeapBytes, allocated_bytes, tree_bytes};

use crate::error::RunError;
use crate::plan::Nearest;
use crate::render::event_time::time_index::rows_bytes;

/// Rows with their multiplicity.
type Counts = BTreeMap<Vec<u8>, i64>;

/// Rows by packed time with their multiplicity. As of PROCTIME() all rows have the same, empty time.
#[derive(Default)]
pub(in crate::render) struct TimedRows {
    times: BTreeMap<Vec<u8>, Counts>,
    /// Bytes of the maps of rows, and of times and rows.
    bytes: usize,
}

impl Deref for TimedRows {
    type Target = BTreeMap<Vec<u8>, Counts>;

    fn deref(&self) -> &BTreeMap<Vec<u8>, Counts> {
        &self.times
    }
}

impl TimedRows {
    /// Adds to the multiplicity of a row; returns the increase in distinct rows.
    pub(in crate::render) fn change_count(&mut self, time: Vec<u8>, row: Vec<u8>, diff: i64) -> i64 {
        let (of_time, of_row) = (time.heap_bytes(), row.heap_bytes());
        let rows = self.times.entry(time.clone()).or_default();
        let before = rows.len();
        let count = rows.entry(row.clone()).or_insert(0);
        *count += diff;
        if *count == 0 {
            rows.remove(&row);
        }
        let after = rows.len();
        self.bytes += rows_bytes(after) + if after > before { of_row } else { 0 };
        self.bytes -= rows_bytes(before) + if after < before { of_row } else { 0 };
        match (before, after) {
            (0, 1..) => self.bytes += of_time,
            (1.., 0) => self.bytes -= of_time,
            _ => {}
        }
        if after == 0 {
            self.times.remove(&time);
        }
        after as i64 - before as i64
    }

    /// Removes and returns the rows at a time.
    pub(in crate::render) fn take_time(&mut self, time: &[u8]) -> Counts {
        let Some((time, rows)) = self.times.remove_entry(time) else { return Counts::new() };
        self.bytes -= taken_bytes(&time, &rows);
        rows
    }

    /// Removes and returns the rows before a time, by their times.
    pub(in crate::render) fn take_before(&mut self, time: &[u8]) -> BTreeMap<Vec<u8>, Counts> {
        let later = self.times.split_off(time);
        let before = std::mem::replace(&mut self.times, later);
        self.bytes -= before.iter().map(|(time, rows)| taken_bytes(time, rows)).sum::<usize>();
        before
    }

    /// Returns the bytes that times and rows have allocated.
    pub(in crate::render) fn held_bytes(&self) -> usize {
        self.bytes + tree_bytes(self.times.len(), size_of::<(Vec<u8>, Counts)>())
    }
}

/// Returns the bytes of a time with its rows.
fn taken_bytes(time: &[u8], rows: &Counts) -> usize {
    allocated_bytes(time.len())
        + rows_bytes(rows.len())
        + rows.keys().map(HeapBytes::heap_bytes).sum::<usize>()
}

/// Returns the range of left times whose nearest right time may be `time`.
pub(super) fn affected_times<'a>(
    right: &'a TimedRows,
    time: &'a Vec<u8>,
    nearest: Nearest,
) -> (Bound<&'a Vec<u8>>, Bound<&'a Vec<u8>>) {
    // Equal times match unless the comparison is strict; then a left row at the next right time finds `time`.
    let own = if nearest.strict { Bound::Excluded(time) } else { Bound::Included(time) };
    let next = if nearest.forward {
        right.range::<Vec<u8>, _>((Bound::Unbounded, Bound::Excluded(time))).next_back()
    } else {
        right.range::<Vec<u8>, _>((Bound::Excluded(time), Bound::Unbounded)).next()
    };
    let beyond = match next {
        Some((next, _)) if nearest.strict => Bound::Included(next),
        Some((next, _)) => Bound::Excluded(next),
        None => Bound::Unbounded,
    };
    if nearest.forward { (beyond, own) } else { (own, beyond) }
}

/// Returns the bytes of the time in a packed row, which sort as times do; one zero byte for NULL.
pub(super) fn packed_time(codec: &RowCodec, row: &[u8], column: usize) -> Result<Vec<u8>, RunError> {
    // The packed form of a timestamp is order-preserving and is used as it is.
    let (start, end) = (codec.prefix_len(row, column)?, codec.prefix_len(row, column + 1)?);
    match row.get(start..end) {
        Some(time) => Ok(time.to_vec()),
        None => Err(RunError::Broken("a packed row has no time where the plan says".into())),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn the_count_is_that_of_the_rows_held() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        let (mut side, mut distinct) = (TimedRows::default(), 0i64);
        for round in 0..5000 {
            let (time, row) = (vec![1, rng.random_range(0..6u8)], vec![7; rng.random_range(0..30usize)]);
            match round % 40 {
                0 => distinct -= side.take_time(&time).len() as i64,
                1 => distinct -= side.take_before(&time).values().map(|rows| rows.len() as i64).sum::<i64>(),
                _ => distinct += side.change_count(time, row, rng.random_range(-1..=1)),
            }
            assert_eq!(side.bytes, side.iter().map(|(time, rows)| taken_bytes(time, rows)).sum::<usize>());
            assert_eq!(distinct, side.values().map(|rows| rows.len() as i64).sum::<i64>());
            assert!(side.values().all(|rows| !rows.is_empty()));
        }
        side.take_before(&[2]);
        assert_eq!(side.held_bytes(), 0);
    }
}
