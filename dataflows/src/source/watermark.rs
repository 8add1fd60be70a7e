//! The watermark of a partition and of a source (DESIGN.md 2.4).
//!
//! A partition's watermark is its greatest event time less the source's delay, or its floor where that is
//! higher. A source's watermark is the least over all its partitions, once each has one.

use state::PartitionProgress;

/// Event times seen in one partition; committed with its offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionMark {
    /// Greatest event time of rows that passed decoding and constraints, microseconds.
    pub max_event_us: Option<i64>,
    /// The watermark the partition started at, when it joined late.
    pub floor_us: Option<i64>,
}

impl PartitionMark {
    /// The partition's watermark under a delay; None before its first event where it has no floor.
    pub fn watermark(&self, delay_us: i64) -> Option<i64> {
        self.max_event_us.map(|max| max.saturating_sub(delay_us)).max(self.floor_us)
    }

    /// Returns true once its source has ended: no time is left that could still come.
    pub fn has_ended(&self) -> bool {
        self.floor_us == Some(i64::MAX)
    }
}

impl From<&PartitionProgress> for PartitionMark {
    fn from(committed: &PartitionProgress) -> PartitionMark {
        PartitionMark { max_event_us: committed.max_event_us, floor_us: committed.floor_us }
    }
}

/// The least watermark over all `partitions`, and the partition that holds it (the lowest of equals); None
/// while one of them has no watermark, and without partitions.
pub fn least_watermark(
    partitions: impl IntoIterator<Item = i32>,
    watermark_of: impl Fn(i32) -> Option<i64>,
) -> Option<(i64, i32)> {
    let mut least: Option<(i64, i32)> = None;
    for partition in partitions {
        let found = (watermark_of(partition)?, partition);
        least = Some(least.map_or(found, |least| least.min(found)));
    }
    least
}
