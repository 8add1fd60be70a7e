//! Rows of one side of a temporal join under one key, by time, with a running count of their memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use schemas::RowCodec;
use schemas::memory::HeapBytes;

use crate::error::RunError;
use crate::plan::Nearest;
use crate::render::event_time::time_index::rows_bytes;

/// Packed NULL, the time of rows without one.
pub(super) const NO_TIME: &[u8] = &[0];
/// Length of a packed time that is not NULL.
const TIME_BYTES: usize = 9;

/// Packed rows with their packed time in front, by both, with their multiplicity. As of PROCTIME() all rows have the
/// same, empty time.
#[derive(Default)]
pub(in crate::render) struct TimedRows {
    // One tree: no packed time is the beginning of another, so that time and row end to end sort as the two do.
    rows: BTreeMap<Vec<u8>, i64>,
    /// Bytes of the times and rows.
    bytes: usize,
}

/// Range of times and rows.
type TimeRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl TimedRows {
    pub(in crate::render) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds to the multiplicity of a row with its time in front; returns the increase in distinct rows.
    pub(in crate::render) fn change_count(&mut self, timed: Vec<u8>, diff: i64) -> i64 {
        let bytes = timed.heap_bytes();
        let Some(count) = self.rows.get_mut(&timed) else {
            if diff == 0 {
                return 0;
            }
            self.rows.insert(timed, diff);
            self.bytes += bytes;
            return 1;
        };
        *count += diff;
        if *count != 0 {
            return 0;
        }
        self.rows.remove(&timed);
        self.bytes -= bytes;
        -1
    }

    /// Returns the multiplicity of a row with its time in front.
    pub(super) fn count_of(&self, timed: &[u8]) -> Option<i64> {
        self.rows.get(timed).copied()
    }

    /// Returns all rows, with their times in front, and their multiplicities.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &i64)> {
        self.rows.iter()
    }

    /// Returns the rows, with their times in front, in a range of times.
    pub(super) fn rows_within(&self, times: TimeRange) -> impl Iterator<Item = &Vec<u8>> {
        self.rows.range(times).map(|(timed, _)| timed)
    }

    /// Returns the row that a row of the other side at `time` finds: of several at the nearest time, the greatest by
    /// its bytes.
    pub(super) fn nearest_row(&self, time: &[u8], nearest: Nearest) -> Option<&[u8]> {
        let found = if nearest.forward {
            let from = if nearest.strict { after_time(time) } else { Bound::Included(time.to_vec()) };
            let (first, _) = self.rows.range((from, Bound::Unbounded)).next()?;
            let same_time = (Bound::Unbounded, before_end(time_of(first)));
            self.rows.range(same_time).next_back()
        } else {
            let to = if nearest.strict { Bound::Excluded(time.to_vec()) } else { before_end(time) };
            self.rows.range((Bound::Unbounded, to)).next_back()
        };
        found.map(|(timed, _)| row_of(timed))
    }

    /// Returns the range of left times whose nearest right time, among the times here, may be `time`.
    pub(super) fn affected_times(&self, time: &[u8], nearest: Nearest) -> TimeRange {
        // Equal times match unless the comparison is strict; then a left row at the next right time finds `time`.
        if nearest.forward {
            let next = self.rows.range((Bound::Unbounded, Bound::Excluded(time.to_vec()))).next_back();
            let beyond = match next.map(|(timed, _)| time_of(timed)) {
                Some(next) if nearest.strict => Bound::Included(next.to_vec()),
                Some(next) => after_time(next),
                None => Bound::Unbounded,
            };
            (beyond, if nearest.strict { Bound::Excluded(time.to_vec()) } else { before_end(time) })
        } else {
            let next = self.rows.range((after_time(time), Bound::Unbounded)).next();
            let beyond = match next.map(|(timed, _)| time_of(timed)) {
                Some(next) if nearest.strict => before_end(next),
                Some(next) => Bound::Excluded(next.to_vec()),
                None => Bound::Unbounded,
            };
            (if nearest.strict { after_time(time) } else { Bound::Included(time.to_vec()) }, beyond)
        }
    }

    /// Removes the rows that have a time before `horizon`, and returns them with their multiplicities.
    pub(super) fn take_before(&mut self, horizon: &[u8]) -> Vec<(Vec<u8>, i64)> {
        let times = (after_time(NO_TIME), Bound::Excluded(horizon.to_vec()));
        let due: Vec<Vec<u8>> = self.rows_within(times).cloned().collect();
        let mut taken = Vec::with_capacity(due.len());
        for timed in due {
            self.bytes -= timed.heap_bytes();
            if let Some(count) = self.rows.remove(&timed) {
                taken.push((timed, count));
            }
        }
        taken
    }

    /// Returns the latest time of a row before `horizon`.
    pub(super) fn latest_before(&self, horizon: &[u8]) -> Option<&[u8]> {
        let times = (after_time(NO_TIME), Bound::Excluded(horizon.to_vec()));
        self.rows.range(times).next_back().map(|(timed, _)| time_of(timed))
    }

    /// Returns the earliest time of a row that is not before `horizon`.
    pub(super) fn earliest_from(&self, horizon: &[u8]) -> Option<&[u8]> {
        let times = (Bound::Included(horizon.to_vec()), Bound::Unbounded);
        self.rows.range(times).next().map(|(timed, _)| time_of(timed))
    }

    /// Returns the bytes that times and rows have allocated.
    pub(in crate::render) fn held_bytes(&self) -> usize {
        self.bytes + rows_bytes(self.rows.len())
    }
}

/// Returns the packed time in front of a row.
pub(super) fn time_of(timed: &[u8]) -> &[u8] {
    let length = if timed.starts_with(NO_TIME) { NO_TIME.len() } else { TIME_BYTES };
    timed.get(..length).unwrap_or(timed)
}

/// Returns the row behind its packed time.
pub(super) fn row_of(timed: &[u8]) -> &[u8] {
    timed.get(time_of(timed).len()..).unwrap_or_default()
}

/// Returns the lower bound of the rows after a time.
fn after_time(time: &[u8]) -> Bound<Vec<u8>> {
    match following(time) {
        Some(next) => Bound::Included(next),
        None => Bound::Excluded(time.to_vec()),
    }
}

/// Returns the upper bound of the rows up to and at a time.
fn before_end(time: &[u8]) -> Bound<Vec<u8>> {
    match following(time) {
        Some(next) => Bound::Excluded(next),
        None => Bound::Unbounded,
    }
}

/// Returns the least bytes above all that begin with `prefix`; None where there are none.
fn following(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = prefix[..=kept].to_vec();
    next[kept] += 1;
    Some(next)
}

/// Returns the bytes of the time in a packed row, which sort as times do; one zero byte for NULL.
pub(super) fn packed_time<'r>(codec: &RowCodec, row: &'r [u8], column: usize) -> Result<&'r [u8], RunError> {
    // The packed form of a timestamp is order-preserving and is used as it is.
    let (start, end) = (codec.prefix_len(row, column)?, codec.prefix_len(row, column + 1)?);
    row.get(start..end).ok_or_else(|| RunError::Broken("a packed row has no time where the plan says".into()))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Packed time.
    fn packed(time: u8) -> Vec<u8> {
        [&[1][..], &[u8::MAX; 7], &[time]].concat()
    }

    #[test]
    fn the_count_is_that_of_the_rows_held() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        let (mut side, mut distinct) = (TimedRows::default(), 0i64);
        for round in 0..5000 {
            let time = packed(rng.random_range(250..=255));
            let row = vec![7; rng.random_range(0..30usize)];
            match round % 40 {
                0 => distinct -= side.take_before(&time).len() as i64,
                _ => distinct += side.change_count([time, row].concat(), rng.random_range(-1..=1)),
            }
            assert_eq!(side.bytes, side.rows.keys().map(HeapBytes::heap_bytes).sum::<usize>());
            assert_eq!(distinct, side.rows.len() as i64);
            assert!(side.rows.values().all(|count| *count != 0));
        }
        side.take_before(&[2]);
        assert_eq!(side.held_bytes(), 0);
    }

    /// Returns the nearest of the listed times to `from`.
    fn nearest_time(list: &[(u8, Vec<u8>)], from: u8, nearest: Nearest) -> Option<u8> {
        let meets = |time: u8| match (nearest.forward, nearest.strict) {
            (false, false) => time <= from,
            (false, true) => time < from,
            (true, false) => time >= from,
            (true, true) => time > from,
        };
        let times = list.iter().map(|(time, _)| *time).filter(|time| meets(*time));
        if nearest.forward { times.min() } else { times.max() }
    }

    /// Compares lookups with those in a list of times and rows.
    #[test]
    fn times_are_found_as_in_a_list() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for round in 0..4000 {
            let mut side = TimedRows::default();
            let mut list: Vec<(u8, Vec<u8>)> = Vec::new();
            for _ in 0..rng.random_range(0..8) {
                // Times end in the greatest byte, too, which has no successor of its own.
                let (time, row) = (rng.random_range(248..=255u8), vec![rng.random_range(0..4u8)]);
                side.change_count([packed(time), row.clone()].concat(), 1);
                list.push((time, row));
            }
            list.sort();
            list.dedup();
            let at = rng.random_range(248..=255u8);
            let nearest = Nearest { forward: round % 2 == 0, strict: round % 4 < 2 };
            let row = nearest_time(&list, at, nearest)
                .and_then(|time| list.iter().rfind(|(other, _)| *other == time));
            assert_eq!(side.nearest_row(&packed(at), nearest), row.map(|(_, row)| &row[..]));
            let earliest = list.iter().map(|(time, _)| *time).find(|time| *time >= at);
            assert_eq!(side.earliest_from(&packed(at)), earliest.map(packed).as_deref());
            let latest = list.iter().map(|(time, _)| *time).rfind(|time| *time < at);
            assert_eq!(side.latest_before(&packed(at)), latest.map(packed).as_deref());
            // A left row whose nearest time is `at`, once it is there, is among the affected ones.
            let range = side.affected_times(&packed(at), nearest);
            list.push((at, vec![]));
            for from in 240..=255u8 {
                let mut left = TimedRows::default();
                left.change_count([packed(from), vec![9]].concat(), 1);
                let affected = left.rows_within(range.clone()).next().is_some();
                assert_eq!(
                    affected,
                    nearest_time(&list, from, nearest) == Some(at),
                    "{nearest:?} {at} {from} {list:?}"
                );
            }
        }
    }
}
