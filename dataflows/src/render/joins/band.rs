//! Band joins: joins whose condition bounds the distance of two times. Rows are placed by key and time.
//!
//! A join by key alone enumerates every pair of a key, however far apart its times are. Here time is divided
//! into stretches as long as the bound is wide. A left row is placed under its key and the stretch of its
//! time; a right row under each stretch that may hold matching left rows, at most two. Two matching rows
//! therefore share exactly one place, and a row is compared only with rows at most two bounds away. The time
//! is stored in front of the row, so that a comparison reads sixteen bytes.
//!
//! Durable state stays by key and row; only the arrangements in memory use placement. Rows that can match
//! none, because of a NULL in the time or in the key, are placed under a tag of their side alone. The rows of
//! a place are in order of their times, by which expiry finds those that are due without reading the others.

use schemas::RowCodec;

use crate::arrange::updates::ExchangeBuffer;
use crate::error::RunError;
use crate::plan::analysis::interval::Band;
use crate::render::batch::null_in;
use crate::render::event_time::watermark::time_in;

/// Length of the tag and the stretch at the end of a placed key.
const TAIL: usize = 9;
/// Length of the time in front of a placed row.
const HEAD: usize = 8;
/// Tag of rows that may match.
const MEET: u8 = 1;
/// Tags of left and right rows that cannot match for a NULL in the key.
const ALONE: [u8; 2] = [2, 3];
/// Tags of left and right rows without a time.
const TIMELESS: [u8; 2] = [4, 5];

/// Placement of the rows of one side.
#[derive(Clone)]
pub struct BandPlacement {
    band: Band,
    right: bool,
    /// Packed form of the side's rows.
    rows: RowCodec,
    /// Packed form of the keys, where keys with a NULL are present and match none; None where they are left
    /// out or NULLs equal each other.
    keys: Option<RowCodec>,
}

impl BandPlacement {
    /// Creates the placement of one side's rows.
    pub fn new(band: Band, right: bool, rows: RowCodec, keys: Option<RowCodec>) -> BandPlacement {
        BandPlacement { band, right, rows, keys }
    }

    /// Adds a row of a key under each of its places.
    ///
    /// # Errors
    /// When the row has no time where the plan says.
    pub fn put_row(
        &self,
        out: &mut ExchangeBuffer<i64>,
        (key, row): (&[u8], &[u8]),
        diff: i64,
    ) -> Result<(), RunError> {
        let alone = match &self.keys {
            Some(codec) => null_in(codec, key)?,
            None => false,
        };
        let time = time_in(&self.rows, row, self.time_column())?;
        let mut placed = Vec::with_capacity(key.len() + TAIL);
        let mut put = |tag: u8, stretch: i64| {
            placed.clear();
            placed.extend_from_slice(key);
            placed.push(tag);
            placed.extend_from_slice(&ordered_bytes(stretch));
            out.push_key(&placed);
            // A row without a time is tagged as such; its time is not read.
            out.push_concatenated(&ordered_bytes(time.unwrap_or_default()), row, diff);
        };
        match time {
            None => put(TIMELESS[usize::from(self.right)], 0),
            Some(_) if alone => put(ALONE[usize::from(self.right)], 0),
            Some(time) => {
                let (first, last) = self.stretches_of(time);
                for stretch in first..=last {
                    put(MEET, stretch);
                }
            }
        }
        Ok(())
    }

    /// Returns the column of the time by which rows are placed.
    pub fn time_column(&self) -> usize {
        if self.right { self.band.columns.1 } else { self.band.columns.0 }
    }

    /// Returns the time of a placed row; None for a row without one.
    pub fn row_time(&self, key: &[u8], value: &[u8]) -> Option<i64> {
        let tail = key.last_chunk::<TAIL>()?;
        if TIMELESS.contains(&tail[0]) { None } else { placed_time(value) }
    }

    /// Returns the first and the last stretch of a row.
    fn stretches_of(&self, time: i64) -> (i64, i64) {
        let Band { least, most, .. } = self.band;
        // `i128` holds every sum of times and bounds without overflow.
        let width = (i128::from(most) - i128::from(least) + 1).max(1);
        let time = i128::from(time);
        // Left times lie within `least..=most` of right times, so the right row covers that range.
        if !self.right {
            let own = stretch_at(time, width);
            return (own, own);
        }
        let first = stretch_at(time + i128::from(least), width);
        (first, stretch_at(time + i128::from(most), width).max(first))
    }

    /// Returns the key of a placed key, without tag and stretch.
    pub fn unplaced_key<'a>(&self, placed: &'a [u8]) -> &'a [u8] {
        &placed[..placed.len().saturating_sub(TAIL)]
    }

    /// Returns true if this is the first place of a row; each row is counted there alone.
    pub fn is_first_place(&self, key: &[u8], value: &[u8]) -> bool {
        let Some(tail) = key.last_chunk::<TAIL>() else { return true };
        let (Some(stretch), Some(time)) = (tail.last_chunk::<HEAD>(), placed_time(value)) else {
            return true;
        };
        tail[0] != MEET || number_of_ordered(stretch) == self.stretches_of(time).0
    }
}

impl Band {
    /// Returns true if two placed rows of one place are within the bound.
    pub fn rows_meet(&self, left: &[u8], right: &[u8]) -> bool {
        let (Some(left), Some(right)) = (placed_time(left), placed_time(right)) else { return false };
        let apart = i128::from(left) - i128::from(right);
        (i128::from(self.least)..=i128::from(self.most)).contains(&apart)
    }
}

/// Returns the number of the stretch that a time, in microseconds, is in.
fn stretch_at(us: i128, width: i128) -> i64 {
    us.div_euclid(width).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Returns the beginning of the placed rows whose time is at or after `time`.
pub fn placed_from(time: i64) -> [u8; HEAD] {
    ordered_bytes(time)
}

/// Returns the row of a placed row, without its time.
pub fn unplaced_row(placed: &[u8]) -> &[u8] {
    placed.get(HEAD..).unwrap_or_default()
}

/// Returns bytes in the order of the numbers.
fn ordered_bytes(number: i64) -> [u8; HEAD] {
    (number ^ i64::MIN).to_be_bytes()
}

/// Reads a number from its ordered bytes.
fn number_of_ordered(bytes: &[u8; HEAD]) -> i64 {
    i64::from_be_bytes(*bytes) ^ i64::MIN
}

/// Returns the time in front of a placed row.
fn placed_time(value: &[u8]) -> Option<i64> {
    value.first_chunk::<HEAD>().map(number_of_ordered)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, TimeUnit};
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn placed(placing: &BandPlacement, time: Option<i64>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![time]));
        let row = placing.rows.encode(&[array]).unwrap();
        let mut out = ExchangeBuffer::new(1, &schemas::Ownership::default());
        placing.put_row(&mut out, (b"key", row.get(0)), 1).unwrap();
        let updates: Vec<_> = out.into_updates().collect();
        updates[0].iter().map(|(key, value, _)| (key.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn rows_meet_in_one_place_just_when_the_bound_says() {
        let codec = RowCodec::new(&[DataType::Timestamp(TimeUnit::Microsecond, None)]).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
        for round in 0..4000 {
            let mut time = || match round % 4 {
                0 => extremes[rng.random_range(0..extremes.len())],
                _ => rng.random_range(-40..40),
            };
            let (a, b) = (time(), time());
            let (least, most) = (a.min(b), if round % 7 == 0 { a.min(b) } else { a.max(b) });
            let band = Band { columns: (0, 0), least, most };
            let [left, right] =
                [false, true].map(|right| BandPlacement::new(band, right, codec.clone(), None));
            let (l, r) = (time(), time());
            let (ls, rs) = (placed(&left, Some(l)), placed(&right, Some(r)));
            assert!(ls.len() == 1 && (1..=2).contains(&rs.len()), "{band:?} {l} {r}");
            let met = ls.iter().flat_map(|l| rs.iter().map(move |r| (l, r)));
            let met = met.filter(|(l, r)| l.0 == r.0 && band.rows_meet(&l.1, &r.1)).count();
            let apart = i128::from(l) - i128::from(r);
            assert_eq!(met, usize::from(apart >= least.into() && apart <= most.into()), "{band:?} {l} {r}");
            for (placing, places) in [(&left, &ls), (&right, &rs)] {
                assert_eq!(
                    places.iter().filter(|(key, value)| placing.is_first_place(key, value)).count(),
                    1
                );
                for (key, value) in places {
                    assert_eq!(placing.unplaced_key(key), b"key");
                    assert_eq!(
                        time_in(&codec, unplaced_row(value), 0).unwrap(),
                        placing.row_time(key, value)
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_without_a_time_meets_nothing() {
        let codec = RowCodec::new(&[DataType::Timestamp(TimeUnit::Microsecond, None)]).unwrap();
        let band = Band { columns: (0, 0), least: -5, most: 5 };
        let places =
            [false, true].map(|right| placed(&BandPlacement::new(band, right, codec.clone(), None), None));
        let keys: BTreeSet<_> = places.iter().flatten().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), 2);
        let placing = BandPlacement::new(band, false, codec, None);
        assert!(places.iter().flatten().all(|(key, value)| placing.row_time(key, value).is_none()));
    }

    #[test]
    fn a_row_whose_key_has_a_null_meets_nothing_and_keeps_its_time() {
        let codec = RowCodec::new(&[DataType::Timestamp(TimeUnit::Microsecond, None)]).unwrap();
        let keys = RowCodec::new(&[DataType::Boolean]).unwrap();
        let band = Band { columns: (0, 0), least: -5, most: 5 };
        let mut found = BTreeSet::new();
        for right in [false, true] {
            let placing = BandPlacement::new(band, right, codec.clone(), Some(keys.clone()));
            let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![7]));
            let row = codec.encode(&[array]).unwrap();
            let mut out = ExchangeBuffer::new(1, &schemas::Ownership::default());
            placing.put_row(&mut out, (&[0], row.get(0)), 1).unwrap();
            let updates: Vec<_> = out.into_updates().collect();
            for (key, value, _) in updates[0].iter() {
                assert_eq!(placing.row_time(key, value), Some(7));
                found.insert(key.to_vec());
            }
        }
        assert_eq!(found.len(), 2);
    }
}
