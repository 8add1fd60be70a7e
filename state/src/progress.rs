//! The progress of an epoch: offsets, watermarks and counters per source, and the watermarks of views.
//!
//! Progress is written as JSON under one key of the `meta` family, in the same batch as the rows of its
//! epoch, so that a restart finds rows and offsets of the same epoch. Two invariants are checked before
//! anything is written: a source's outcomes add up to the records read, and no counter or offset decreases.

use std::collections::BTreeMap;
use std::ops::Range;

use schemas::OutcomeCounts;
use serde::{Deserialize, Serialize};

use crate::error::StateError;

/// The progress of all sources and views.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// By source name.
    pub sources: BTreeMap<String, SourceProgress>,
    /// By view name.
    pub views: BTreeMap<String, ViewProgress>,
    /// The key groups, counted from the first, whose rows are in the parts that an edit has added; None if nothing is
    /// being filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filled_groups: Option<u16>,
}

/// The progress of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceProgress {
    /// By partition.
    pub partitions: BTreeMap<i32, PartitionProgress>,
    /// The source's watermark, in microseconds since 1970; None when nothing bounds it yet.
    pub watermark_us: Option<i64>,
    /// The source's watermark just before its end set it to the maximum, in microseconds since 1970.
    pub ended_us: Option<i64>,
    /// Records by outcome since the state began, in the order of `schemas::Outcome::ALL`.
    #[serde(with = "outcomes")]
    pub outcomes: OutcomeCounts,
    /// Records read since the state began: always the sum of the outcomes.
    pub read: u64,
    /// Set when a bounded source has been read to its end.
    pub ended: bool,
}

/// The progress of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionProgress {
    /// The offset of the first record not read yet.
    pub next_offset: i64,
    /// The timestamp of the last record read, in milliseconds since 1970, where the source is a topic.
    pub last_ms: Option<i64>,
    /// The offset of the last record read, if the source is a topic; between it and `next_offset` are only
    /// transaction markers. If None, the last record is the one before `next_offset`.
    pub last_offset: Option<i64>,
    /// A digest of the last record's key and value.
    pub last_digest: Option<u64>,
    /// The greatest event time seen, in microseconds since 1970.
    pub max_event_us: Option<i64>,
    /// The watermark the partition started from when it was added later or became active again.
    pub floor_us: Option<i64>,
    /// The offset from which on every record was read, up to `next_offset`; None when an earlier release began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_offset: Option<i64>,
    /// Ranges of offsets before `first_offset` that backfills have read, each with the offset behind its last: in
    /// order, and none touches another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backfilled: Vec<(i64, i64)>,
}

impl PartitionProgress {
    /// Most ranges that `backfilled` holds; a backfill that may add another is refused.
    pub const MOST_BACKFILLED: usize = 1_000;

    /// Returns true if all records of `range` were read, so that each has its outcome.
    pub fn has_read(&self, range: &Range<i64>) -> bool {
        let holds = |(from, to): (i64, i64)| from <= range.start && range.end <= to;
        let main = self.first_offset.map(|first| (first, self.next_offset));
        range.is_empty() || main.is_some_and(holds) || self.backfilled.iter().copied().any(holds)
    }

    /// Returns true if any offset of `range` was read.
    pub fn has_any_of(&self, range: &Range<i64>) -> bool {
        let meets = |(from, to): (i64, i64)| from < range.end && range.start < to;
        let main = self.first_offset.map(|first| (first, self.next_offset));
        main.is_some_and(meets) || self.backfilled.iter().copied().any(meets)
    }

    /// Notes that all records of `range`, which ends at `next_offset` at most, were read.
    pub fn note_read(&mut self, range: &Range<i64>) {
        if self.has_read(range) {
            return;
        }
        let (mut from, mut to) = (range.start, range.end);
        self.backfilled.retain(|(start, end)| {
            let apart = *end < from || to < *start;
            if !apart {
                (from, to) = (from.min(*start), to.max(*end));
            }
            apart
        });
        match self.first_offset {
            Some(first) if first <= to => self.first_offset = Some(from.min(first)),
            _ => {
                self.backfilled.push((from, to));
                self.backfilled.sort_unstable();
            }
        }
    }
}

/// The progress of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewProgress {
    /// The last epoch that changed the view.
    pub epoch: u64,
    /// The commit time of that epoch, in milliseconds since 1970.
    pub commit_ms: i64,
    /// The view's watermark, in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// The time at or before which windows end whose rows no accepted record can change any more, in
    /// microseconds since 1970; None if there is none.
    pub final_us: Option<i64>,
}

/// The committed epoch with its time and progress. A new state is at epoch 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Committed {
    /// The last committed epoch.
    pub epoch: u64,
    /// The time of that commit, in milliseconds since 1970.
    pub commit_ms: i64,
    /// The progress as of that epoch.
    pub progress: Progress,
}

impl Progress {
    /// Refuses a source whose outcomes do not add up to the records read.
    pub fn check_conservation(&self) -> Result<(), StateError> {
        for (name, source) in &self.sources {
            let counted: u128 = source.outcomes.iter().map(|&count| u128::from(count)).sum();
            if counted != u128::from(source.read) {
                return Err(StateError::Conservation {
                    source_name: name.clone(),
                    read: source.read,
                    counted,
                });
            }
        }
        Ok(())
    }

    /// Refuses counters and offsets below those of the committed progress `held`.
    pub(crate) fn check_follows(&self, held: &Progress) -> Result<(), StateError> {
        for (name, source) in &self.sources {
            let Some(before) = held.sources.get(name) else {
                continue;
            };
            let refuse = |what: String, held: i128, offered: i128| {
                if offered < held {
                    return Err(StateError::Backwards { source_name: name.clone(), what, held, offered });
                }
                Ok(())
            };
            refuse("records read".into(), before.read.into(), source.read.into())?;
            for (partition, at) in &source.partitions {
                if let Some(was) = before.partitions.get(partition) {
                    refuse(
                        format!("offset of partition {partition}"),
                        was.next_offset.into(),
                        at.next_offset.into(),
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// The stored form of counts by outcome: as a list that leaves out zeros of outcomes which earlier releases do not have.
mod outcomes {
    use schemas::OutcomeCounts;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Outcomes of the first release.
    const FIRST: usize = 6;

    pub fn serialize<S: Serializer>(counts: &OutcomeCounts, to: S) -> Result<S::Ok, S::Error> {
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts[..used.max(FIRST)].serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OutcomeCounts, D::Error> {
        let held = Vec::<u64>::deserialize(from)?;
        let mut counts = OutcomeCounts::default();
        if held.len() > counts.len() {
            return Err(serde::de::Error::custom("there are outcomes of a later release"));
        }
        counts[..held.len()].copy_from_slice(&held);
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_releases_read_counts_until_somebody_is_erased() {
        let mut source = SourceProgress { outcomes: [3, 0, 0, 0, 0, 1, 0], read: 4, ..Default::default() };
        let text = serde_json::to_string(&source).expect("JSON");
        assert!(text.contains(r#""outcomes":[3,0,0,0,0,1],"#), "{text}");
        assert_eq!(serde_json::from_str::<SourceProgress>(&text).expect("progress"), source);
        source.outcomes[6] = 2;
        let text = serde_json::to_string(&source).expect("JSON");
        assert!(text.contains(r#""outcomes":[3,0,0,0,0,1,2],"#), "{text}");
        assert_eq!(serde_json::from_str::<SourceProgress>(&text).expect("progress"), source);
        let longer = text.replace("1,2]", "1,2,0]");
        assert!(serde_json::from_str::<SourceProgress>(&longer).is_err());
    }

    #[test]
    fn ranges_that_were_read_grow_together_and_are_never_read_less() {
        // The same by a set of offsets, over ranges that a simple generator gives.
        let mut seed = 7_u64;
        let mut next = move |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % limit) as i64
        };
        for _ in 0..200 {
            let first = next(60);
            let mut progress = PartitionProgress {
                next_offset: 60,
                first_offset: Some(first),
                ..PartitionProgress::default()
            };
            let mut read: std::collections::BTreeSet<i64> = (first..60).collect();
            for _ in 0..8 {
                let from = next(60);
                let range = from..(from + next(12)).min(60);
                progress.note_read(&range);
                read.extend(range);
                for offset in 0..60 {
                    assert_eq!(
                        progress.has_read(&(offset..offset + 1)),
                        read.contains(&offset),
                        "{progress:?}"
                    );
                }
                let mut before = i64::MIN;
                for (start, end) in progress.backfilled.iter().chain([&(progress.first_offset.unwrap(), 60)])
                {
                    assert!(before < *start && start <= end, "{progress:?}");
                    before = *end;
                }
            }
        }
    }

    #[test]
    fn progress_of_an_earlier_release_is_read_and_a_plain_one_is_written_as_before() {
        let earlier = r#"{"next_offset":8,"last_ms":1}"#;
        let read: PartitionProgress = serde_json::from_str(earlier).unwrap();
        assert_eq!((read.next_offset, read.first_offset), (8, None));
        assert!(!read.has_read(&(0..1)) && read.has_read(&(3..3)));
        let written = serde_json::to_string(&read).unwrap();
        assert!(!written.contains("first_offset") && !written.contains("backfilled"), "{written}");
    }
}
