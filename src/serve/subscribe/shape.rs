//! Rows of a view in the shape that subscribers want: those for which a condition is true, with the columns
//! they name.
//!
//! A condition is planned as a CHECK is and has bounded forms alone
//! ([`dataflows::sql::question::condition`]), so that it can be evaluated here. Without some columns rows may
//! become equal: of an epoch their changes are added up, and cancel out where nothing of the shape has
//! changed.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, bail};
use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use axum::body::Bytes;
use dataflows::plan::Scalar;
use dataflows::sql::SqlFile;
use dataflows::sql::question::condition;
use schemas::RowCodec;
use state::RowChange;

use super::events::{Frames, RowKind, Stamp};
use crate::exit::{SqlMistakes, mistake, unknown_name};
use crate::query::format::json_object;

/// Rows that are unpacked at once.
const BATCH_ROWS: usize = 4096;
/// Bytes of packed rows that are unpacked at once, however few they are.
const BATCH_BYTES: usize = 1 << 20;
/// Most bytes of an epoch's rows that are held to be added up.
const MERGED_BYTES: usize = 64 << 20;
/// Bytes that a held row takes beside its own.
const MERGED_ROW_BYTES: usize = 64;

/// A shape of a view's rows.
pub(super) struct Shape {
    view: String,
    schema: SchemaRef,
    codec: RowCodec,
    filter: Option<Scalar>,
    columns: Option<Columns>,
}

/// The columns that are wanted, where not all are.
struct Columns {
    places: Vec<usize>,
    schema: SchemaRef,
    codec: RowCodec,
}

/// Rows with the number of copies of each that came or went.
struct Selected {
    batch: RecordBatch,
    diffs: Vec<i64>,
}

impl Shape {
    /// The shape of a view's rows: `filter` is a condition, `columns` are names with commas between.
    ///
    /// # Errors
    /// A mistake in one of them.
    pub fn new(
        (view, schema): (&str, &SchemaRef),
        (filter, columns): (Option<&str>, Option<&str>),
    ) -> Result<Shape> {
        let filter = match filter {
            Some(text) => Some(condition(text, (view, schema)).map_err(|found| {
                let file = SqlFile { name: "where".to_owned(), text: text.to_owned() };
                SqlMistakes::new(found, &[file])
            })?),
            None => None,
        };
        let columns = columns.map(|names| Columns::named((view, schema), names)).transpose()?;
        let codec = RowCodec::of(schema)?;
        Ok(Shape { view: view.to_owned(), schema: schema.clone(), codec, filter, columns })
    }

    /// Unpacks rows, and keeps those that are wanted.
    fn select(&self, rows: &[RowChange<'_>]) -> Result<Selected> {
        let columns = self
            .codec
            .decode(rows.iter().map(|change| change.row))
            .with_context(|| format!("the rows of view {} cannot be read", self.view))?;
        let mut batch = RecordBatch::try_new(self.schema.clone(), columns)
            .with_context(|| format!("the rows of view {} do not fit its columns", self.view))?;
        let mut diffs: Vec<i64> = rows.iter().map(|change| change.diff).collect();
        if let Some(filter) = &self.filter {
            let wanted = filter.evaluate_bool(&batch).context("the condition fails on a row")?;
            batch = filter_record_batch(&batch, &wanted)?;
            let mut wanted = wanted.iter();
            diffs.retain(|_| wanted.next().flatten() == Some(true));
        }
        if let Some(columns) = &self.columns {
            batch = batch.project(&columns.places)?;
        }
        Ok(Selected { batch, diffs })
    }
}

impl Columns {
    /// The columns of some names.
    fn named((view, schema): (&str, &Schema), names: &str) -> Result<Columns> {
        let mut places = Vec::new();
        for name in names.split(',').map(str::trim) {
            let Some((place, _)) = schema.column_with_name(name) else {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(unknown_name(&format!("view {view} has no column {name:?}"), name, &known));
            };
            if places.contains(&place) {
                return Err(mistake(format!("the column {name} is named twice in columns: leave one out")));
            }
            places.push(place);
        }
        let schema = schema.project(&places)?;
        let codec = RowCodec::of(&schema)?;
        Ok(Columns { places, schema: SchemaRef::new(schema), codec })
    }

    /// Unpacks rows of these columns.
    fn unpack(&self, rows: &[RowChange<'_>]) -> Result<RecordBatch> {
        let columns = self.codec.decode(rows.iter().map(|change| change.row))?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// Receiver of the frames of an epoch. It is called without one, too, to ask whether writing goes on.
pub(super) type FrameOutput<'o, E> = dyn FnMut(u64, Option<Bytes>) -> Result<(), E> + 'o;

/// Writer of the events of one epoch. It hands on each frame as soon as it is full.
pub(super) struct EpochEvents<'s> {
    shape: &'s Shape,
    kind: RowKind,
    stamp: Stamp,
    frames: Frames,
    merged: MergedRows,
    /// Rows that were written.
    rows: usize,
}

impl<'s> EpochEvents<'s> {
    /// Creates a writer without events.
    pub fn new(shape: &'s Shape, kind: RowKind, stamp: Stamp) -> EpochEvents<'s> {
        EpochEvents { shape, kind, stamp, frames: Frames::default(), merged: MergedRows::new(), rows: 0 }
    }

    /// The epoch.
    pub fn stamp(&self) -> Stamp {
        self.stamp
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
        for rows in rows.chunks(BATCH_ROWS) {
            let Selected { batch, diffs } = self.shape.select(rows)?;
            match &self.shape.columns {
                Some(columns) if self.kind == RowKind::Delta => {
                    let packed = columns.codec.encode(batch.columns()).map_err(Error::from)?;
                    for (row, diff) in packed.iter().zip(diffs) {
                        self.merged.add(row, diff);
                        self.merged.check_bytes(&self.shape.view, self.stamp)?;
                    }
                }
                _ => self.write(&batch, &diffs, out)?,
            }
            out(self.stamp.epoch, None)?;
        }
        Ok(())
    }

    /// Ends the epoch with an event, and hands on the last frames; there is none for changes of no row.
    /// Returns true if there is one.
    ///
    /// # Errors
    /// When the rows are none of the view, and errors of `out`.
    pub fn finish<E: From<Error>>(mut self, last: &str, out: &mut FrameOutput<'_, E>) -> Result<bool, E> {
        let merged = std::mem::take(&mut self.merged.rows);
        // Rows that go before rows that come, as the views' changes have them.
        for gone in [true, false] {
            let (mut changes, mut bytes) = (Vec::new(), 0);
            for (row, diff) in merged.iter().filter(|(_, diff)| (**diff < 0) == gone) {
                changes.push(RowChange { diff: *diff, row });
                bytes += row.len();
                if changes.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                    self.write_merged(&changes, out)?;
                    changes.clear();
                    bytes = 0;
                }
            }
            self.write_merged(&changes, out)?;
        }
        let ends = self.rows > 0 || self.kind == RowKind::Snapshot;
        if ends {
            self.frames.push_text(last);
        }
        for frame in self.frames.take_all() {
            out(self.stamp.epoch, Some(frame))?;
        }
        Ok(ends)
    }

    /// Writes rows that were added up.
    fn write_merged<E: From<Error>>(
        &mut self,
        changes: &[RowChange<'_>],
        out: &mut FrameOutput<'_, E>,
    ) -> Result<(), E> {
        let Some(columns) = self.shape.columns.as_ref().filter(|_| !changes.is_empty()) else {
            return Ok(());
        };
        let batch = columns.unpack(changes)?;
        let diffs: Vec<i64> = changes.iter().map(|change| change.diff).collect();
        self.write(&batch, &diffs, out)?;
        out(self.stamp.epoch, None)
    }

    fn write<E: From<Error>>(
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

/// Packed rows of an epoch with their changes added up, where rows may have become equal. Those that cancel
/// out take no place.
struct MergedRows {
    rows: BTreeMap<Vec<u8>, i64>,
    bytes: usize,
    /// Most bytes.
    most: usize,
}

impl MergedRows {
    fn new() -> MergedRows {
        MergedRows { rows: BTreeMap::new(), bytes: 0, most: MERGED_BYTES }
    }

    fn add(&mut self, row: &[u8], diff: i64) {
        let Some(held) = self.rows.get_mut(row) else {
            if diff != 0 {
                self.rows.insert(row.to_vec(), diff);
                self.bytes += row.len() + MERGED_ROW_BYTES;
            }
            return;
        };
        *held += diff;
        if *held == 0 {
            self.rows.remove(row);
            self.bytes -= row.len() + MERGED_ROW_BYTES;
        }
    }

    /// Refuses more bytes than may be held.
    fn check_bytes(&self, view: &str, stamp: Stamp) -> Result<()> {
        if self.bytes <= self.most {
            return Ok(());
        }
        bail!(
            "epoch {} changes more rows of view {view} than are added up for columns ({} MiB): leave columns \
             out, ask for fewer rows by where, or subscribe again without an id or as_of for a snapshot",
            stamp.epoch,
            self.most >> 20
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn schema() -> SchemaRef {
        let field = |name: &str, of| Field::new(name, of, true);
        Arc::new(Schema::new(vec![field("player", DataType::Utf8), field("points", DataType::Int64)]))
    }

    fn shape(filter: Option<&str>, columns: Option<&str>) -> Result<Shape> {
        Shape::new(("scores", &schema()), (filter, columns))
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
            written.merged.most = most;
            written
        };
        let mut changes = Vec::new();
        for points in 0..1000 {
            changes.extend([("a", points, -1), ("b", points, 1)]);
        }
        let calls = write_all(bounded(2 * MERGED_ROW_BYTES), &changes)?;
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
