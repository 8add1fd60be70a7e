//! The rows that a feed follows, and the reading of them: the changes after an epoch, from the history of a
//! view, and a snapshot of it.

use std::time::Duration;

use anyhow::{Error, Result};
use axum::body::Bytes;
use state::{HistoryPlace, HistorySince, Snapshot, StateError};

use super::events::{RowKind, Stamp, progress, reset};
use super::shape::{EpochEvents, FrameOutput};
use crate::query::tables::shape::{Shape, read_rows};

/// Longest time in which a subscriber must have its snapshot and the changes since.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(600);

/// The reason for which a subscription ends, with a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// A word, as events and metrics have it.
    pub reason: &'static str,
    /// The sentence.
    pub why: String,
}

impl End {
    fn new(reason: &'static str, why: impl Into<String>) -> End {
        End { reason, why: why.into() }
    }

    /// The topology stops.
    pub fn ending() -> End {
        End::new("ending", "the topology is stopping: go on from the last progress when it runs")
    }

    /// The client reads too slowly.
    pub fn slow() -> End {
        End::new(
            "slow",
            "the client has fallen behind what is kept in memory for it: go on from the last progress",
        )
    }

    /// The snapshot took too long.
    pub fn late() -> End {
        let seconds = CATCH_UP_TIMEOUT.as_secs();
        End::new(
            "slow",
            format!(
                "the client did not read its snapshot and the changes since within {seconds} s: ask for less \
                 by where and columns"
            ),
        )
    }

    /// The history does not hold the next changes.
    pub fn gone() -> End {
        End::new("gone", "the changes that follow are no longer kept: subscribe again for a snapshot")
    }

    /// The rows cannot be read, or the condition fails on one.
    pub fn failed(error: &Error) -> End {
        End::new("failed", format!("{error:#}"))
    }
}

/// The reason for which reading breaks off.
#[derive(Debug)]
pub(super) enum Break {
    /// The client has left.
    Left,
    /// The subscription ends.
    End(End),
    /// The history does not hold the changes; those after this epoch it does.
    Gone(Option<u64>),
}

impl From<Error> for Break {
    fn from(error: Error) -> Break {
        Break::End(End::failed(&error))
    }
}

impl From<StateError> for Break {
    fn from(error: StateError) -> Break {
        Error::from(error).into()
    }
}

/// Receiver of frames, each with its epoch. It is called without one, too, to ask whether reading goes on.
pub(super) type Output<'o> = FrameOutput<'o, Break>;

/// The rows that a feed follows.
pub(super) struct Subject {
    /// The state table of the view.
    pub view: u32,
    /// True if the view has a key: then an entry is a key and its row, else a row and its count.
    pub keyed: bool,
    /// The shape of the rows.
    pub shape: Shape,
    /// The id of the state.
    pub state_id: String,
}

impl Subject {
    /// Reads the changes after an epoch, up to the epoch of a snapshot. The frames of each epoch that changes
    /// a row end with a mark of progress. Returns the last such epoch. Asks after each piece of the history
    /// whether to go on.
    pub fn read_changes(
        &self,
        snapshot: &Snapshot<'_>,
        after: u64,
        out: &mut Output<'_>,
    ) -> Result<Option<u64>, Break> {
        let mut scan = match snapshot.history_from(self.view, HistoryPlace::after(after))? {
            HistorySince::Held(scan) => scan,
            HistorySince::Gone(since) => return Err(Break::Gone(since)),
        };
        let (mut open, mut marked): (Option<EpochEvents<'_>>, Option<u64>) = (None, None);
        while let Some(piece) = scan.next_piece()? {
            let stamp = Stamp { epoch: piece.place.epoch, commit_ms: piece.commit_ms };
            if let Some(done) = open.take_if(|events| events.stamp() != stamp) {
                marked = self.finish_epoch(done, out)?.or(marked);
            }
            let events = open.get_or_insert_with(|| EpochEvents::new(&self.shape, RowKind::Delta, stamp));
            events.add(&piece.changes, out)?;
        }
        if let Some(done) = open {
            marked = self.finish_epoch(done, out)?.or(marked);
        }
        Ok(marked)
    }

    /// Hands on the last frames of an epoch; returns it if it has any.
    fn finish_epoch(&self, events: EpochEvents<'_>, out: &mut Output<'_>) -> Result<Option<u64>, Break> {
        let stamp = events.stamp();
        let marked = events.finish(&progress(stamp, &self.state_id), out)?;
        Ok(marked.then_some(stamp.epoch))
    }

    /// Reads all rows of a snapshot; `why` tells the client the reason for it.
    pub fn read_snapshot(
        &self,
        snapshot: &Snapshot<'_>,
        why: &str,
        out: &mut Output<'_>,
    ) -> Result<(), Break> {
        let stamp = stamp_of(snapshot);
        out(stamp.epoch, Some(Bytes::from(reset(stamp, why))))?;
        let mut events = EpochEvents::new(&self.shape, RowKind::Snapshot, stamp);
        read_rows(snapshot, (self.view, self.keyed), &mut |rows| events.add(rows, out))?;
        events.finish(&progress(stamp, &self.state_id), out)?;
        Ok(())
    }
}

/// The epoch of a snapshot with its time.
pub(super) fn stamp_of(snapshot: &Snapshot<'_>) -> Stamp {
    Stamp { epoch: snapshot.epoch(), commit_ms: snapshot.committed().commit_ms }
}

#[cfg(test)]
impl Subject {
    /// The rows of a view of one column, for tests.
    pub fn test() -> Result<Subject> {
        Subject::test_where(None)
    }

    /// Those for which a condition is true.
    pub fn test_where(filter: Option<&str>) -> Result<Subject> {
        let schema = std::sync::Arc::new(tests::schema());
        let shape = super::shape::asked_shape(("v", &schema), (filter, None))?;
        Ok(Subject { view: 1, keyed: false, shape, state_id: "0123456789abcdef".to_owned() })
    }
}

#[cfg(test)]
pub(super) use tests::store_of_numbers;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use schemas::RowCodec;
    use state::{Commit, HistoryLimits, RowChanges, Store, StoreOptions, ViewChanges};

    use super::*;

    pub fn schema() -> Schema {
        Schema::new(vec![Field::new("n", DataType::Int64, true)])
    }

    /// A state whose epochs add the numbers from 1 to the history of a view, one each.
    pub fn store_of_numbers(dir: &Path, last: i64) -> Result<Store> {
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Store::open(&dir.join("state"), &options)?;
        store.keep_histories(&BTreeMap::from([(1, HistoryLimits { age_ms: 60_000, bytes: 1 << 20 })]))?;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=last));
        let packed = RowCodec::of(&schema())?.encode(&[numbers])?;
        for (epoch, row) in (1..).zip(packed.iter()) {
            let mut changes = RowChanges::default();
            changes.push(row, 1, u64::MAX);
            let changes = vec![ViewChanges { view: 1, changes }];
            store.commit(Commit { epoch, commit_ms: 5, changes, ..Commit::default() })?;
        }
        Ok(store)
    }

    /// A subscriber that has left is noticed while a history is read of which it would get nothing.
    #[test]
    fn reading_breaks_off_also_where_no_row_is_wanted() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let store = store_of_numbers(dir.path(), 9)?;
        let (subject, snapshot) = (Subject::test_where(Some("n > 1000"))?, store.snapshot()?);
        let mut looks = Vec::new();
        let read = subject.read_changes(&snapshot, 0, &mut |epoch, frame| {
            assert_eq!(frame, None);
            looks.push(epoch);
            if looks.len() < 3 { Ok(()) } else { Err(Break::Left) }
        });
        assert!(matches!(read, Err(Break::Left)), "{read:?}");
        assert_eq!(looks, [1, 2, 3]);
        let read = subject.read_changes(&snapshot, 0, &mut |_, _| Ok(()));
        assert!(matches!(read, Ok(None)), "{read:?}");
        Ok(())
    }
}
