//! The progress of an epoch: offsets, watermarks and counters per source, and the watermarks of views.
//!
//! Progress is written as JSON under one key of the `meta` family, in the same batch as the rows of its
//! epoch, so that a restart finds rows and offsets of the same epoch. Two invariants are checked before
//! anything is written: a source's outcomes add up to the records read, and no counter or offset decreases.

use std::collections::BTreeMap;

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
    pub outcomes: [u64; 6],
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
