//! Watermarks as data: partition watermarks are combined to each source's watermark, epoch by epoch and
//! on every worker.
//!
//! At the end of an epoch each worker sends the watermarks of the partitions it reads to all workers.
//! When the epoch is complete every worker therefore computes the same watermark: the least over the source's
//! partitions, which never decreases, and which the commit writes beside the offsets. A restored watermark
//! enters at the committed epoch, so that no row becomes final twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemas::RowCodec;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::error::RunError;
use crate::plan::Horizon;
use crate::render::operators::OpenEpochs;
use crate::source::watermark::least_watermark;

/// Partition watermarks of a source known to one worker at the end of an epoch, addressed to one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionWatermark {
    /// Index of the receiving worker.
    pub to: u64,
    /// Index of the source.
    pub source: usize,
    /// All partitions of the source.
    pub partitions: Vec<i32>,
    /// Watermarks, in microseconds, of the partitions known to the sending worker.
    pub reached: Vec<(i32, i64)>,
}

/// Stream of sources whose watermark moved, with the new watermark.
pub type WatermarkUpdates<'s> = Stream<'s, u64, Vec<(usize, i64)>>;

/// Watermark of each source as of the last complete epoch.
pub type CurrentWatermarks = Rc<RefCell<BTreeMap<usize, i64>>>;

/// Combines partition watermarks to source watermarks. `current` holds the restored ones, of epoch `start`.
pub fn combine_watermarks<'s>(
    marks: Stream<'s, u64, Vec<PartitionWatermark>>,
    start: u64,
    current: CurrentWatermarks,
) -> WatermarkUpdates<'s> {
    let exchange = Exchange::new(|mark: &PartitionWatermark| mark.to);
    marks.unary_frontier::<CapacityContainerBuilder<Vec<(usize, i64)>>, _, _, _>(
        exchange,
        "Watermarks",
        move |capability, _| {
            let mut restored = Some(capability.delayed(&start));
            let mut reached: BTreeMap<(usize, i32), i64> = BTreeMap::new();
            let mut waiting = OpenEpochs::<Vec<PartitionWatermark>>::new();
            move |(input, frontier), output| {
                // Restored watermarks enter once, before any other.
                if let Some(capability) = restored.take() {
                    let mut session = output.session(&capability);
                    for (source, us) in current.borrow().iter() {
                        session.give((*source, *us));
                    }
                }
                input.for_each(|time, marks| waiting.input_at(&time).append(marks));
                while let Some((_, capability, marks)) = waiting.take_complete(&[frontier]) {
                    let mut session = output.session(&capability);
                    for moved in raise_watermarks(&mut reached, &mut current.borrow_mut(), marks) {
                        session.give(moved);
                    }
                }
            }
        },
    )
}

/// Applies the partition watermarks of one epoch; returns the source watermarks that moved.
fn raise_watermarks(
    reached: &mut BTreeMap<(usize, i32), i64>,
    current: &mut BTreeMap<usize, i64>,
    marks: Vec<PartitionWatermark>,
) -> Vec<(usize, i64)> {
    let mut partitions: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
    for mark in marks {
        for (partition, us) in mark.reached {
            let held = reached.entry((mark.source, partition)).or_insert(us);
            // Kept from epoch to epoch: a worker sends only the partitions it reads.
            *held = us.max(*held);
        }
        partitions.insert(mark.source, mark.partitions);
    }
    let mut moved = Vec::new();
    for (source, partitions) in partitions {
        let watermark_of = |partition| reached.get(&(source, partition)).copied();
        let Some((least, _)) = least_watermark(partitions, watermark_of) else { continue };
        // A new partition may lower the least watermark, but a source's watermark never decreases.
        if current.get(&source).is_none_or(|held| *held < least) {
            current.insert(source, least);
            moved.push((source, least));
        }
    }
    moved
}

/// Horizon as of the current watermarks: the least watermark of some sources, each minus its lag.
#[derive(Clone, Debug, Default)]
pub struct CurrentHorizon {
    marks: Vec<(usize, i64)>,
    watermarks: BTreeMap<usize, i64>,
}

impl CurrentHorizon {
    /// Creates the horizon without any watermark.
    pub fn new(horizon: &Horizon) -> CurrentHorizon {
        CurrentHorizon { marks: horizon.marks.clone(), watermarks: BTreeMap::new() }
    }

    /// Sets the watermarks of some sources.
    pub fn raise_watermarks(&mut self, moved: impl IntoIterator<Item = (usize, i64)>) {
        for update in moved {
            self.raise_watermark(update);
        }
    }

    /// Sets the watermark of a source.
    pub fn raise_watermark(&mut self, (source, us): (usize, i64)) {
        self.watermarks.insert(source, us);
    }

    /// Returns the time below which all times are final; None while a source has no watermark.
    pub fn final_below(&self) -> Option<i64> {
        let each =
            self.marks.iter().map(|(source, lag)| Some(self.watermarks.get(source)?.saturating_sub(*lag)));
        each.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

/// Reads the time in a column of a packed row; None where it is NULL.
///
/// # Errors
/// When the bytes are not a row with a time there.
pub fn time_in(codec: &RowCodec, row: &[u8], column: usize) -> Result<Option<i64>, RunError> {
    let at = codec.prefix_len(row, column)?;
    if let Some((tag, body)) = row.get(at..).and_then(<[u8]>::split_first) {
        if *tag == 0 {
            return Ok(None);
        }
        // The packed form flips the sign bit so that bytes compare as times do.
        if let Some(bytes) = body.first_chunk::<8>() {
            return Ok(Some(i64::from_be_bytes(*bytes) ^ i64::MIN));
        }
    }
    Err(RunError::Broken("a packed row has no time where the plan says".into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    fn mark(partitions: &[i32], reached: &[(i32, i64)]) -> PartitionWatermark {
        PartitionWatermark { to: 0, source: 3, partitions: partitions.to_vec(), reached: reached.to_vec() }
    }

    #[test]
    fn a_watermark_is_the_least_of_all_partitions_and_never_goes_back() {
        let (mut reached, mut current) = (BTreeMap::new(), BTreeMap::new());
        let mut raise =
            |marks: &[PartitionWatermark]| raise_watermarks(&mut reached, &mut current, marks.to_vec());
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 5)])]), []);
        // Each worker sends its own partitions; an outdated watermark from the other does not lower one.
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 9)]), mark(&[0, 1], &[(0, 5), (1, 7)])]), [(3, 7)]);
        assert_eq!(raise(&[mark(&[0, 1], &[(0, 12)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(1, 20)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(2, 3)])]), []);
        assert_eq!(raise(&[mark(&[0, 1, 2], &[(2, 30)])]), [(3, 12)]);
    }

    #[test]
    fn a_horizon_waits_for_every_source() {
        let mut horizon = CurrentHorizon::new(&Horizon { column: 0, marks: vec![(0, 10), (2, -1)] });
        horizon.raise_watermark((0, 100));
        assert_eq!(horizon.final_below(), None);
        horizon.raise_watermark((2, 50));
        assert_eq!(horizon.final_below(), Some(51));
        horizon.raise_watermark((0, i64::MIN));
        assert_eq!(horizon.final_below(), Some(i64::MIN));
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
