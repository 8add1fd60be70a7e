//! How a source gets ahead by an epoch: counts, offsets, the marks of its partitions, and from them its
//! watermark, which is the least over its partitions and never goes back (DESIGN.md 2.4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use state::{PartitionProgress, SourceProgress};

use super::ingest::PartitionMark;
use crate::plan::Source;

/// What is known of the last record of a partition, so that it is known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRead {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub ms: Option<i64>,
    /// A digest of its key and value.
    pub digest: Option<u64>,
}

/// What is known of a source when an epoch is closed.
#[derive(Clone, Debug, Default)]
pub struct SourceHead {
    /// Records read.
    pub read: u64,
    /// Next offset by partition.
    pub next: BTreeMap<i32, i64>,
    /// The last record before it, by partition, where that tells something.
    pub last: BTreeMap<i32, LastRead>,
    /// All partitions there are: each must have an event before the source has a watermark.
    pub partitions: BTreeSet<i32>,
    /// Whether the source has ended.
    pub ended: bool,
}

/// One worker's share of an epoch: records by outcome, and the marks of the partitions it reads.
pub type Share<'a> = (Option<&'a [u64; 6]>, Option<&'a HashMap<i32, PartitionMark>>);

/// Moves `held` to the end of an epoch. Gives back the partition that holds the watermark, once every
/// partition has one.
pub fn advance<'a>(
    held: &mut SourceProgress,
    source: &Source,
    head: &SourceHead,
    shares: impl Iterator<Item = Share<'a>>,
) -> Option<i32> {
    held.read += head.read;
    held.ended = head.ended;
    for (partition, next) in &head.next {
        let at = held.partitions.entry(*partition).or_default();
        let last = head.last.get(partition);
        at.next_offset = *next;
        (at.last_offset, at.last_ms) = (last.map(|last| last.offset), last.and_then(|last| last.ms));
        at.last_digest = last.and_then(|last| last.digest);
    }
    for (outcomes, marks) in shares {
        held.outcomes.iter_mut().zip(outcomes.into_iter().flatten()).for_each(|(total, n)| *total += n);
        for (partition, mark) in marks.into_iter().flatten() {
            if let Some(held) = held.partitions.get_mut(partition) {
                held.max_event_us = held.max_event_us.max(mark.max_event_us);
                held.floor_us = held.floor_us.max(mark.floor_us);
            }
        }
    }
    let reached = least(&head.partitions, &held.partitions, source.watermark?.delay_us);
    let before = held.watermark_us;
    held.watermark_us = before.max(reached.map(|(us, _)| us));
    if held.watermark_us == Some(i64::MAX) && before != held.watermark_us {
        held.ended_us = before.max(held.partitions.values().filter_map(|p| p.max_event_us).min());
    }
    reached.map(|(_, partition)| partition)
}

/// The least watermark over all partitions and the partition that holds it; None while one has none.
fn least(all: &BTreeSet<i32>, held: &BTreeMap<i32, PartitionProgress>, delay_us: i64) -> Option<(i64, i32)> {
    all.iter()
        .map(|partition| {
            let mark = held.get(partition)?;
            let reached = mark.max_event_us.map(|max| max.saturating_sub(delay_us)).max(mark.floor_us);
            reached.map(|us| (us, *partition))
        })
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .min()
}
