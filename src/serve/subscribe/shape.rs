//! Events of the rows and changes of a view, in the shape that subscribers want ([`Shape`]).

use anyhow::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axum::body::Bytes;
use dataflows::sql::question::Question;
use state::RowChange;

use super::events::{Frames, RowKind, Stamp};
use crate::query::format::json_object;
use crate::query::tables::shape::{BATCH_ROWS, EpochRows, Shape, select_rows};

/// Most bytes of an epoch's rows that are held to be added up.
const MERGED_BYTES: usize = 64 << 20;

/// The shape that a subscriber asks for: `filter` is a condition, `columns` are names with commas between.
///
/// # Errors
/// A mistake in one of them.
pub(super) fn asked_shape(
    view: (&str, &SchemaRef),
    (filter, columns): (Option<&str>, Option<&str>),
) -> Result<Shape> {
    let names: Option<Vec<&str>> = columns.map(|names| names.split(',').map(str::trim).collect());
    Shape::new(view, (filter.map(|text| Question { text, values: &[] }), names.as_deref()))
}

/// Receiver of the frames of an epoch. It is called without one, too, to ask whether writing goes on.
pub(super) type FrameOutput<'o, E> = dyn FnMut(u64, Option<Bytes>) -> Result<(), E> + 'o;

/// Writer of the events of one epoch. It hands on each frame as soon as it is full.
pub(super) struct EpochEvents<'s> {
    shape: &'s Shape,
    rows: EpochRows,
    written: Written,
}

/// Events that are written.
struct Written {
    kind: RowKind,
    stamp: Stamp,
    frames: Frames,
    /// Rows that were written.
    rows: usize,
}

impl Written {
    fn add<E: From<Error>>(
        &mut self,
        batch: &RecordBatch,
        diffs: &[i64],
        out: &mut FrameOutput<'_, E>,
    ) -> Result<(), E> {
        self.rows += diffs.len();
        for (row, diff) in diffs.iter().enumerate() {
            let text = json_object(batch, row)?;
            self.frames.push_row(self.kind, self.stamp, (*diff, &text));
            for frame in self.frames.take_full() {
                out(self.stamp.epoch, Some(frame))?;
            }
        }
        Ok(())
    }
}

impl<'s> EpochEvents<'s> {
    /// Creates a writer without events.
    pub fn new(shape: &'s Shape, kind: RowKind, stamp: Stamp) -> EpochEvents<'s> {
        let written = Written { kind, stamp, frames: Frames::default(), rows: 0 };
        EpochEvents { shape, rows: EpochRows::new(stamp.epoch, MERGED_BYTES), written }
    }

    /// The epoch.
    pub fn stamp(&self) -> Stamp {
        self.written.stamp
    }

    /// Adds rows. Asks after some thousand of them whether to go on, also where none is wanted.
    ///
    /// # Errors
    /// When the condition fails on a row, the rows are none of the view, or too many of them are to be added
    /// up; and errors of `out`.
    pub fn add<E: From<Error>>(
        &mut self,
        rows: &[RowChange<'_>],
        out: &mut FrameOutput<'_, E>,
    ) -> Result<(), E> {
        let written = &mut self.written;
        for rows in rows.chunks(BATCH_ROWS) {
            match written.kind {
                RowKind::Delta => {
                    self.rows.add(self.shape, rows, &mut |batch, diffs| written.add(batch, diffs, out))?
                }
                RowKind::Snapshot => {
                    select_rows(self.shape, rows, &mut |batch, diffs| written.add(batch, diffs, out))?
                }
            }
            out(written.stamp.epoch, None)?;
        }
        Ok(())
    }

    /// Ends the epoch with an event, and hands on the last frames; there is none for changes of no row.
    /// Returns true if there is one.
    ///
    /// # Errors
    /// When the rows are none of the view, and errors of `out`.
    pub fn finish<E: From<Error>>(self, last: &str, out: &mut FrameOutput<'_, E>) -> Result<bool, E> {
        let EpochEvents { shape, rows, mut written } = self;
        let epoch = written.stamp.epoch;
        let mut added = rows.end();
        while let Some((batch, diffs)) = added.next_rows(shape)? {
            written.add(&batch, &diffs, out)?;
            out(epoch, None)?;
        }
        let ends = written.rows > 0 || written.kind == RowKind::Snapshot;
        if ends {
            written.frames.push_text(last);
        }
        for frame in written.frames.take_all() {
            out(epoch, Some(frame))?;
        }
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use schemas::RowCodec;

    use super::*;

    fn schema() -> SchemaRef {
        let field = |name: &str, of| Field::new(name, of, true);
        Arc::new(Schema::new(vec![field("player", DataType::Utf8), field("points", DataType::Int64)]))
    }

    fn shape(filter: Option<&str>, columns: Option<&str>) -> Result<Shape> {
        asked_shape(("scores", &schema()), (filter, columns))
    }

    const STAMP: Stamp = Stamp { epoch: 1, commit_ms: 2 };

    /// Adds changes to a writer, ends its epoch, and returns all that its receiver was called with.
    fn write_all(mut written: EpochEvents<'_>, changes: &[(&str, i64, i64)]) -> Result<Vec<Option<Bytes>>> {
        let players: ArrayRef =
            Arc::new(StringArray::from_iter_values(changes.iter().map(|change| change.0)));
        let points: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.1)));
        let packed = RowCodec::of(&schema())?.encode(&[players, points])?;
        let mut rows = Vec::new();
        for (row, (_, _, diff)) in packed.iter().zip(changes) {
            rows.push(RowChange { diff: *diff, row });
        }
        let mut calls = Vec::new();
        let mut receive = |epoch: u64, frame: Option<Bytes>| -> Result<()> {
            assert_eq!(epoch, STAMP.epoch);
            calls.push(frame);
            Ok(())
        };
        written.add(&rows, &mut receive)?;
        written.finish("", &mut receive)?;
        Ok(calls)
    }

    /// The `diff` and `row` of the events that some changes lead to.
    fn events(shape: &Shape, changes: &[(&str, i64, i64)]) -> Result<Vec<String>> {
        let calls = write_all(EpochEvents::new(shape, RowKind::Delta, STAMP), changes)?;
        let text = String::from_utf8(calls.into_iter().flatten().collect::<Vec<_>>().concat())?;
        let data = text.lines().filter_map(|line| line.strip_prefix("data: {\"epoch\":1,\"commit_ms\":2,"));
        Ok(data.map(|data| data.trim_end_matches('}').to_owned()).collect())
    }

    const CHANGES: [(&str, i64, i64); 4] = [("a", 1, -1), ("a", 5, 1), ("b", 7, -1), ("b", 9, 1)];

    #[test]
    fn a_condition_tells_which_changes_are_sent() -> Result<()> {
        let found = events(&shape(Some("points > 4 AND points < 8"), None)?, &CHANGES)?;
        let row = |diff, player, points| {
            format!("\"diff\":{diff},\"row\":{{\"player\":\"{player}\",\"points\":{points}")
        };
        assert_eq!(found, [row(1, "a", 5), row(-1, "b", 7)]);
        assert_eq!(events(&shape(None, None)?, &CHANGES)?.len(), 4);
        let failing = shape(Some("10 / (points - 5) > 1"), None)?;
        let told = events(&failing, &CHANGES).map_err(|error| format!("{error:#}"));
        assert!(told.is_err_and(|told| told.starts_with("the condition fails on a row: ")));
        Ok(())
    }

    #[test]
    fn changes_of_columns_that_are_not_wanted_cancel_out() -> Result<()> {
        let players = shape(None, Some("player"))?;
        assert_eq!(events(&players, &CHANGES)?, Vec::<String>::new());
        let found = events(&players, &[("a", 1, 1), ("a", 2, 1), ("b", 3, -1), ("c", 3, 0)])?;
        assert_eq!(found, [r#""diff":-1,"row":{"player":"b""#, r#""diff":2,"row":{"player":"a""#]);
        let turned = events(&shape(Some("player = 'a'"), Some(" points , player "))?, &CHANGES)?;
        assert_eq!(
            turned,
            [r#""diff":-1,"row":{"points":1,"player":"a""#, r#""diff":1,"row":{"points":5,"player":"a""#]
        );
        Ok(())
    }

    /// However many rows an epoch changes, little more than a frame of events is in memory.
    #[test]
    fn frames_are_handed_on_as_they_are_filled() -> Result<()> {
        let name = "p".repeat(100);
        let changes: Vec<(&str, i64, i64)> =
            (0..5 * BATCH_ROWS as i64).map(|points| (name.as_str(), points, 1)).collect();
        for columns in [None, Some("points,player")] {
            let shape = shape(None, columns)?;
            let calls = write_all(EpochEvents::new(&shape, RowKind::Delta, STAMP), &changes)?;
            let sizes: Vec<usize> = calls.iter().flatten().map(Bytes::len).collect();
            assert!(sizes.iter().all(|size| *size < 200 << 10), "{columns:?}: {sizes:?}");
            // Each few thousand rows have their frames before the next are unpacked: with columns in the end.
            let batches: Vec<usize> =
                calls.split(Option::is_none).map(|frames| frames.iter().flatten().count()).collect();
            let written = &batches[batches.len() - 6..];
            assert!(written[..5].iter().all(|frames| (4..=9).contains(frames)), "{columns:?}: {batches:?}");
            assert!(written[5] <= 1, "{columns:?}: {batches:?}");
            let all = calls.into_iter().flatten().collect::<Vec<_>>().concat();
            assert_eq!(String::from_utf8(all)?.lines().count(), 3 * changes.len());
        }
        Ok(())
    }

    /// Rows that are added up are bounded; those that cancel out do not count.
    #[test]
    fn rows_that_are_added_up_are_bounded() -> Result<()> {
        let points = shape(None, Some("points"))?;
        let bounded = |most| {
            let mut written = EpochEvents::new(&points, RowKind::Delta, STAMP);
            written.rows = EpochRows::new(STAMP.epoch, most);
            written
        };
        let mut changes = Vec::new();
        for points in 0..1000 {
            changes.extend([("a", points, -1), ("b", points, 1)]);
        }
        let calls = write_all(bounded(128), &changes)?;
        assert_eq!(calls, [None], "nothing is left of them");
        changes.truncate(1);
        changes.extend((0..100_000).map(|points| ("a", points + 1, 1)));
        let told = write_all(bounded(1 << 20), &changes).map_err(|error| error.to_string());
        assert_eq!(
            told,
            Err("epoch 1 changes more rows of view scores than are added up for columns (1 MiB): leave \
                 columns out, ask for fewer rows by where, or subscribe again without an id or as_of for a \
                 snapshot"
                .to_owned())
        );
        assert!(write_all(bounded(MERGED_BYTES), &changes).is_ok());
        Ok(())
    }

    #[test]
    fn mistakes_are_told() {
        for (filter, columns, told) in [
            (
                Some("repeat(player, 9) = 'x'"),
                None,
                "where:1:1: the condition of a subscriber calls no function",
            ),
            (None, Some("pionts"), "view scores has no column \"pionts\"\n  did you mean points?"),
            (None, Some("player,player"), "the column player is named twice"),
            (None, Some(""), "view scores has no column \"\""),
        ] {
            let error =
                shape(filter, columns).err().map(|error| (crate::exit::code(&error), error.to_string()));
            let (code, found) = error.unwrap_or_default();
            assert!(code == 2 && found.starts_with(told), "{found}");
        }
    }
}
