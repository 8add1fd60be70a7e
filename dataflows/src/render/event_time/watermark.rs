//! Watermarks as data: what partitions reached goes in, each source's watermark comes out, an epoch at
//! a time and on every worker.
//!
//! At the end of an epoch each worker tells all of them how far the partitions it reads have come.
//! When the epoch is complete every worker therefore knows the same: the least over the source's
//! partitions, which never goes back, and which is what the commit writes beside the offsets. A
//! restored watermark enters at the committed epoch, so that nothing is final twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemas::RowCodec;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::error::RunError;
use crate::plan::Horizon;

/// What a worker knows of a source at the end of an epoch, for one of the workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The worker it is for.
    pub to: u64,
    /// The source.
    pub source: usize,
    /// All its partitions.
    pub partitions: Vec<i32>,
    /// The watermarks of those that this worker knows of, microseconds.
    pub reached: Vec<(i32, i64)>,
}

/// Sources and their watermarks, where those moved.
pub type Levels<'s> = Stream<'s, u64, Vec<(usize, i64)>>;

/// The watermark of each source as of the last complete epoch.
pub type Known = Rc<RefCell<BTreeMap<usize, i64>>>;

/// Turns what workers know into watermarks. `known` holds the restored ones, of the epoch `start`.
pub fn levels<'s>(marks: Stream<'s, u64, Vec<Mark>>, start: u64, known: Known) -> Levels<'s> {
    let exchange = Exchange::new(|mark: &Mark| mark.to);
    marks.unary_frontier::<CapacityContainerBuilder<Vec<(usize, i64)>>, _, _, _>(
        exchange,
        "Watermarks",
        move |capability, _| {
            let mut restored = Some(capability.delayed(&start));
            let mut reached: BTreeMap<(usize, i32), i64> = BTreeMap::new();
            let mut waiting: BTreeMap<u64, (Capability<u64>, Vec<Mark>)> = BTreeMap::new();
            move |(input, frontier), output| {
                if let Some(capability) = restored.take() {
                    let mut session = output.session(&capability);
                    known.borrow().iter().for_each(|(source, us)| session.give((*source, *us)));
                }
                input.for_each(|time, marks: &mut Vec<Mark>| {
                    let entry = waiting.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                    entry.1.append(marks);
                });
                while let Some(entry) = waiting.first_entry() {
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (_, (capability, marks)) = entry.remove_entry();
                    let mut session = output.session(&capability);
                    for moved in raise(&mut reached, &mut known.borrow_mut(), marks) {
                        session.give(moved);
                    }
                }
            }
        },
    )
}

/// Takes in the marks of one epoch; gives the watermarks that moved.
fn raise(
    reached: &mut BTreeMap<(usize, i32), i64>,
    known: &mut BTreeMap<usize, i64>,
    marks: Vec<Mark>,
) -> Vec<(usize, i64)> {
    let mut partitions: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
    for mark in marks {
        for (partition, us) in mark.reached {
            let held = reached.entry((mark.source, partition)).or_insert(us);
            *held = us.max(*held);
        }
        partitions.insert(mark.source, mark.partitions);
    }
    let mut moved = Vec::new();
    for (source, partitions) in partitions {
        let all: Option<Vec<i64>> = partitions.iter().map(|p| reached.get(&(source, *p)).copied()).collect();
        let Some(least) = all.and_then(|all| all.into_iter().min()) else { continue };
        if known.get(&source).is_none_or(|held| *held < least) {
            known.insert(source, least);
            moved.push((source, least));
        }
    }
    moved
}

/// A horizon as the watermarks move.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    marks: Vec<(usize, i64)>,
    levels: BTreeMap<usize, i64>,
}

impl Reach {
    /// Nothing known yet.
    pub fn new(horizon: &Horizon) -> Reach {
        Reach { marks: horizon.marks.clone(), levels: BTreeMap::new() }
    }

    /// A source's watermark moved.
    pub fn raise(&mut self, (source, us): (usize, i64)) {
        self.levels.insert(source, us);
    }

    /// Times below it are final; None while a source has no watermark.
    pub fn now(&self) -> Option<i64> {
        let each = self.marks.iter().map(|(source, lag)| Some(self.levels.get(source)?.saturating_sub(*lag)));
        each.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

/// The time in a column of a packed row; None where it is NULL.
///
/// # Errors
/// When the bytes are not a row with a time there.
pub fn time_in(codec: &RowCodec, row: &[u8], column: usize) -> Result<Option<i64>, RunError> {
    let at = codec.prefix_len(row, column)?;
    let broken = || RunError::Broken("a packed row has no time where the plan says".into());
    match row.get(at..).and_then(|rest| rest.split_first()) {
        Some((0, _)) => Ok(None),
        Some((_, body)) => {
            let bytes = body.first_chunk::<8>().ok_or_else(broken)?;
            Ok(Some(i64::from_be_bytes(*bytes) ^ i64::MIN))
        }
        None => Err(broken()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    fn mark(partitions: &[i32], reached: &[(i32, i64)]) -> Mark {
        Mark { to: 0, source: 3, partitions: partitions.to_vec(), reached: reached.to_vec() }
    }

    #[test]
    fn a_watermark_is_the_least_of_all_partitions_and_never_goes_back() {
        let (mut reached, mut known) = (BTreeMap::new(), BTreeMap::new());
        let mut raise = |marks: &[Mark]| raise(&mut reached, &mut known, marks.to_vec());
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 5)])]), []);
        // Each worker knows of its own; the other's old news takes nothing back.
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 9)]), mark(&[0, 1], &[(0, 5), (1, 7)])]), [(3, 7)]);
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 12)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(1, 20)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(2, 3)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(2, 30)])]), [(3, 12)]);
    }

    #[test]
    fn a_horizon_waits_for_every_source() {
        let mut reach = Reach::new(&Horizon { column: 0, marks: vec![(0, 10), (2, -1)] });
        reach.raise((0, 100));
        assert_eq!(reach.now(), None);
        reach.raise((2, 50));
        assert_eq!(reach.now(), Some(51));
        reach.raise((0, i64::MIN));
        assert_eq!(reach.now(), Some(i64::MIN));
    }

    #[test]
    fn times_are_found_in_packed_rows() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let codec = RowCodec::new(&[DataType::Utf8, time]).unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a\0b"), None, Some("")]));
        let values = [Some(-5), Some(i64::MAX), None];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(values.to_vec()));
        let rows = codec.encode(&[texts, times]).unwrap();
        for (row, value) in rows.iter().zip(values) {
            assert_eq!(time_in(&codec, row, 1).unwrap(), value);
        }
        assert!(time_in(&codec, &[0], 1).is_err());
    }
}
