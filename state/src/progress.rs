//! How far an epoch got: offsets, watermarks and counters, per source, and the watermarks of views.
//!
//! It is written as JSON under one key of the `meta` family, in the same batch as the rows it speaks of, so
//! that a restart finds rows and offsets of the same epoch. Two things must hold and are checked before
//! anything is written: outcomes add up to what was read, and nothing goes back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::StateError;

/// How far all sources and views are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// By source name.
    pub sources: BTreeMap<String, SourceProgress>,
    /// By view name.
    pub views: BTreeMap<String, ViewProgress>,
}

/// How far a source is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceProgress {
    /// By partition.
    pub partitions: BTreeMap<i32, PartitionProgress>,
    /// The source's watermark, in microseconds since 1970; None when nothing bounds it yet.
    pub watermark_us: Option<i64>,
    /// How far the source was when its watermark was taken beyond all time, in microseconds since 1970.
    pub ended_us: Option<i64>,
    /// Records by outcome since the state began, in the order of `schemas::Outcome::ALL`.
    pub outcomes: [u64; 6],
    /// Records read since the state began: always the sum of the outcomes.
    pub read: u64,
    /// Whether a bounded source has been read to its end.
    pub ended: bool,
}

/// How far a partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionProgress {
    /// The offset of the first record not read yet.
    pub next_offset: i64,
    /// The timestamp of the last record read, in milliseconds since 1970, where the source is a topic.
    pub last_ms: Option<i64>,
    /// The offset of the last record read, where the source is a topic; what follows it below `next_offset` are
    /// the ends of transactions. Without it, the record before `next_offset`.
    pub last_offset: Option<i64>,
    /// A digest of the last record's key and value.
    pub last_digest: Option<u64>,
    /// The greatest event time seen, in microseconds since 1970.
    pub max_event_us: Option<i64>,
    /// The watermark the partition started from when it joined late or woke up.
    pub floor_us: Option<i64>,
}

/// How far a view is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewProgress {
    /// The last epoch that changed the view.
    pub epoch: u64,
    /// When that epoch was committed, in milliseconds since 1970.
    pub commit_ms: i64,
    /// The view's watermark, in microseconds since 1970.
    pub watermark_us: Option<i64>,
}

/// The committed epoch. A new state is at epoch 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Committed {
    /// The last committed epoch.
    pub epoch: u64,
    /// When it was committed, in milliseconds since 1970.
    pub commit_ms: i64,
    /// What it got to.
    pub progress: Progress,
}

impl Progress {
    /// Refuses a source whose outcomes do not add up.
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

    /// Refuses counters and offsets that are below the held ones.
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
