//! Joins whose condition bounds how far two times are apart: rows by key and by stretch of time.
//!
//! A join by key alone makes every pair of a key, however far apart its rows are. Here time is cut into
//! stretches as long as the bound is wide, and a row of the left stands under its key and the stretch its
//! time falls in. A row of the right stands in each stretch in which rows fall that it may meet, which are
//! at most two; so two rows that meet do so in one place, once, and a row is compared with rows that are at
//! most two bounds away. The time stands in front of the row, so that comparing takes sixteen bytes.
//!
//! What is durable stays by key and row; only the arrangements in memory are placed so. Rows that can
//! match nothing, by a NULL in the time or in the key, stand in a place of their side's own, where expiry
//! still finds them.

use schemas::RowCodec;

use super::kinds::null_in;
use crate::arrange::updates::Outgoing;
use crate::error::RunError;
use crate::plan::analysis::interval::Band;
use crate::render::event_time::watermark::time_in;

/// A tag and a stretch, at the end of a key.
const TAIL: usize = 9;
/// A time, in front of a row.
const HEAD: usize = 8;
/// Tags of the places of rows that may meet, and of those that cannot.
const MEET: u8 = 1;
const LEFT_ALONE: u8 = 2;
const RIGHT_ALONE: u8 = 3;

/// Where the rows of one side stand.
#[derive(Clone)]
pub struct Placing {
    band: Band,
    right: bool,
    /// Rows of the side.
    rows: RowCodec,
    /// Keys of which none that holds a NULL matches; None where NULLs are left out or equal each other.
    keys: Option<RowCodec>,
}

impl Placing {
    /// The places of one side's rows.
    pub fn new(band: Band, right: bool, rows: RowCodec, keys: Option<RowCodec>) -> Placing {
        Placing { band, right, rows, keys }
    }

    /// Adds a row of a key in each of its places.
    ///
    /// # Errors
    /// When the row has no time where the plan says.
    pub fn put(
        &self,
        out: &mut Outgoing<i64>,
        (key, row): (&[u8], &[u8]),
        diff: i64,
    ) -> Result<(), RunError> {
        let column = if self.right { self.band.columns.1 } else { self.band.columns.0 };
        let alone = self.keys.as_ref().is_some_and(|codec| null_in(codec, key));
        let time = time_in(&self.rows, row, column)?.filter(|_| !alone);
        let mut placed = Vec::with_capacity(key.len() + TAIL);
        let mut put = |tag: u8, stretch: i64| {
            placed.clear();
            placed.extend_from_slice(key);
            placed.push(tag);
            placed.extend_from_slice(&ordered(stretch));
            out.key(&placed);
            out.joined(&ordered(time.unwrap_or_default()), row, diff);
        };
        match time {
            None => put(if self.right { RIGHT_ALONE } else { LEFT_ALONE }, 0),
            Some(time) => {
                let (first, last) = self.stretches(time);
                (first..=last).for_each(|stretch| put(MEET, stretch));
            }
        }
        Ok(())
    }

    /// The first and the last stretch in which a row stands.
    fn stretches(&self, time: i64) -> (i64, i64) {
        let Band { least, most, .. } = self.band;
        let width = (i128::from(most) - i128::from(least) + 1).max(1);
        let stretch = |us: i128| us.div_euclid(width).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        let time = i128::from(time);
        if !self.right {
            return (stretch(time), stretch(time));
        }
        let first = stretch(time + i128::from(least));
        (first, stretch(time + i128::from(most)).max(first))
    }

    /// The key that was placed.
    pub fn key<'a>(&self, placed: &'a [u8]) -> &'a [u8] {
        &placed[..placed.len().saturating_sub(TAIL)]
    }

    /// Tells whether this is the first place of a row, which alone counts for what is known of each row once.
    pub fn first(&self, key: &[u8], value: &[u8]) -> bool {
        let Some(tail) = key.last_chunk::<TAIL>() else { return true };
        let (Some(stretch), Some(time)) = (tail.last_chunk::<HEAD>(), time(value)) else { return true };
        tail[0] != MEET || unordered(stretch) == self.stretches(time).0
    }
}

impl Band {
    /// Tells whether two placed rows of one place meet.
    pub fn meets(&self, left: &[u8], right: &[u8]) -> bool {
        let (Some(left), Some(right)) = (time(left), time(right)) else { return false };
        let apart = i128::from(left) - i128::from(right);
        (i128::from(self.least)..=i128::from(self.most)).contains(&apart)
    }
}

/// The row that was placed.
pub fn row(placed: &[u8]) -> &[u8] {
    placed.get(HEAD..).unwrap_or_default()
}

/// Bytes that compare as the numbers do.
fn ordered(number: i64) -> [u8; HEAD] {
    (number ^ i64::MIN).to_be_bytes()
}

fn unordered(bytes: &[u8; HEAD]) -> i64 {
    i64::from_be_bytes(*bytes) ^ i64::MIN
}

/// The time in front of a placed row.
fn time(value: &[u8]) -> Option<i64> {
    value.first_chunk::<HEAD>().map(unordered)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, TimeUnit};
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn placed(placing: &Placing, time: Option<i64>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![time]));
        let row = placing.rows.encode(&[array]).unwrap();
        let mut out = Outgoing::new(1, 1);
        placing.put(&mut out, (b"key", row.get(0)), 1).unwrap();
        let updates: Vec<_> = out.finish().collect();
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
            let [left, right] = [false, true].map(|right| Placing::new(band, right, codec.clone(), None));
            let (l, r) = (time(), time());
            let (ls, rs) = (placed(&left, Some(l)), placed(&right, Some(r)));
            assert!(ls.len() == 1 && (1..=2).contains(&rs.len()), "{band:?} {l} {r}");
            let met = ls.iter().flat_map(|l| rs.iter().map(move |r| (l, r)));
            let met = met.filter(|(l, r)| l.0 == r.0 && band.meets(&l.1, &r.1)).count();
            let apart = i128::from(l) - i128::from(r);
            assert_eq!(met, usize::from(apart >= least.into() && apart <= most.into()), "{band:?} {l} {r}");
            for (placing, places) in [(&left, &ls), (&right, &rs)] {
                assert_eq!(places.iter().filter(|(key, value)| placing.first(key, value)).count(), 1);
                for (key, value) in places {
                    assert_eq!(placing.key(key), b"key");
                    assert_eq!(time_in(&codec, row(value), 0).unwrap(), super::time(value));
                }
            }
        }
    }

    #[test]
    fn a_row_without_a_time_meets_nothing() {
        let codec = RowCodec::new(&[DataType::Timestamp(TimeUnit::Microsecond, None)]).unwrap();
        let band = Band { columns: (0, 0), least: -5, most: 5 };
        let places = [false, true].map(|right| placed(&Placing::new(band, right, codec.clone(), None), None));
        let keys: BTreeSet<_> = places.iter().flatten().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), 2);
    }
}
