//! Progress of a source by one epoch: counts, offsets, the marks of its partitions, and its watermark, which
//! is the least over its partitions and never goes back (DESIGN.md 2.4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use state::SourceProgress;

use super::watermark::{PartitionMark, least_watermark};
use crate::plan::Source;

/// Identity of the last record read of a partition, by which a restart recognises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRead {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub ms: Option<i64>,
    /// A digest of its key and value.
    pub digest: Option<u64>,
}

/// State of a source's reading at the close of an epoch.
#[derive(Clone, Debug, Default)]
pub struct SourceHead {
    /// Records read.
    pub read: u64,
    /// Next offset by partition.
    pub next: BTreeMap<i32, i64>,
    /// The last record read, by partition, where the connector gives one.
    pub last: BTreeMap<i32, LastRead>,
    /// All partitions that exist: each must have an event before the source has a watermark.
    pub partitions: BTreeSet<i32>,
    /// Set when the source has ended.
    pub ended: bool,
}

/// One worker's share of an epoch: records by outcome, and the marks of the partitions it reads.
pub type WorkerShare<'a> = (Option<&'a [u64; 6]>, Option<&'a HashMap<i32, PartitionMark>>);

/// Moves `held` to the end of an epoch. Returns the partition with the least watermark, once every
/// partition has one.
pub fn advance<'a>(
    held: &mut SourceProgress,
    source: &Source,
    head: &SourceHead,
    shares: impl Iterator<Item = WorkerShare<'a>>,
) -> Option<i32> {
    held.read += head.read;
    held.ended = head.ended;
    for (partition, next) in &head.next {
        let at = held.partitions.entry(*partition).or_default();
        at.next_offset = *next;
        (at.last_offset, at.last_ms, at.last_digest) = match head.last.get(partition) {
            Some(last) => (Some(last.offset), last.ms, last.digest),
            None => (None, None, None),
        };
    }
    for (outcomes, marks) in shares {
        for (total, n) in held.outcomes.iter_mut().zip(outcomes.into_iter().flatten()) {
            *total += n;
        }
        for (partition, mark) in marks.into_iter().flatten() {
            if let Some(held) = held.partitions.get_mut(partition) {
                held.max_event_us = held.max_event_us.max(mark.max_event_us);
                held.floor_us = held.floor_us.max(mark.floor_us);
            }
        }
    }
    let delay_us = source.watermark?.delay_us;
    let least = least_watermark(head.partitions.iter().copied(), |partition| {
        PartitionMark::from(held.partitions.get(&partition)?).watermark(delay_us)
    });
    let (least_us, partition) = least.unzip();
    let before = held.watermark_us;
    // A partition that joins with older events must not take the watermark back.
    held.watermark_us = before.max(least_us);
    // An ended source has a watermark beyond all time: keep the time its data reached as well.
    if held.watermark_us == Some(i64::MAX) && before != held.watermark_us {
        held.ended_us = before.max(held.partitions.values().filter_map(|p| p.max_event_us).min());
    }
    partition
}
