//! Progress of a source by one epoch: counts, offsets, the marks of its partitions, and its watermark, which
//! is the least over its partitions and never goes back (DESIGN.md 2.4).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use schemas::{Outcome, OutcomeCounts};
use state::{PartitionProgress, SourceProgress};

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
    /// The offset at which reading of each partition began; it counts for partitions that are new to the state.
    pub first: BTreeMap<i32, i64>,
    /// Records among those read that a backfill found to have been read before: no worker has seen them.
    pub duplicates: u64,
    /// Ranges of offsets that a backfill has read by now, by partition.
    pub backfilled: BTreeMap<i32, Range<i64>>,
}

/// One worker's share of an epoch: records by outcome, and the marks of the partitions it reads.
pub type WorkerShare<'a> = (Option<&'a OutcomeCounts>, Option<&'a HashMap<i32, PartitionMark>>);

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
        let first_offset = head.first.get(partition).copied();
        let at = held.partitions.entry(*partition);
        let at = at.or_insert_with(|| PartitionProgress { first_offset, ..PartitionProgress::default() });
        at.next_offset = *next;
        (at.last_offset, at.last_ms, at.last_digest) = match head.last.get(partition) {
            Some(last) => (Some(last.offset), last.ms, last.digest),
            None => (None, None, None),
        };
    }
    held.outcomes[Outcome::Duplicate.index()] += head.duplicates;
    for (partition, range) in &head.backfilled {
        if let Some(at) = held.partitions.get_mut(partition) {
            at.note_read(range);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::sql::{SqlFile, compile};

    fn plan() -> Plan {
        let text = "CREATE SOURCE s (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at)
            WITH (connector = 'file', path = 'x') FORMAT PLAIN ENCODE JSON;
            CREATE MATERIALIZED VIEW v AS SELECT id FROM s;";
        let file = SqlFile { name: "t.sql".to_owned(), text: text.to_owned() };
        let no_file = |path: &str| Err(std::io::Error::other(path.to_owned()));
        compile(&[file], &|_| None, &no_file, &|_| Ok(None)).unwrap()
    }

    #[test]
    fn a_backfill_adds_to_what_was_read_and_leaves_where_reading_goes_on() {
        let plan = plan();
        let mut held = SourceProgress::default();
        let run = SourceHead {
            read: 3,
            next: [(0, 13)].into(),
            first: [(0, 10)].into(),
            last: [(0, LastRead { offset: 12, ms: Some(7), digest: Some(9) })].into(),
            partitions: [0].into(),
            ended: true,
            ..SourceHead::default()
        };
        let marks = |max| HashMap::from([(0, PartitionMark { max_event_us: Some(max), floor_us: None })]);
        let (outcomes, late) = ([3, 0, 0, 0, 0, 0, 0], marks(50));
        advance(&mut held, &plan.sources[0], &run, [(Some(&outcomes), Some(&late))].into_iter());
        let began = held.partitions[&0].clone();
        assert_eq!((began.first_offset, began.next_offset, held.watermark_us), (Some(10), 13, Some(50)));

        // Six offsets, of which two were read before; the two rows that are late leave the watermark where it is.
        let head = SourceHead {
            read: 6,
            duplicates: 2,
            partitions: [0].into(),
            backfilled: [(0, 6..12)].into(),
            ended: true,
            ..SourceHead::default()
        };
        let (outcomes, early) = ([2, 0, 0, 0, 0, 2, 0], marks(40));
        advance(&mut held, &plan.sources[0], &head, [(Some(&outcomes), Some(&early))].into_iter());
        assert_eq!((held.read, held.outcomes, held.ended), (9, [5, 2, 0, 0, 0, 2, 0], true));
        assert_eq!(held.watermark_us, Some(50));
        assert_eq!(held.partitions[&0], PartitionProgress { first_offset: Some(6), ..began });
    }
}
