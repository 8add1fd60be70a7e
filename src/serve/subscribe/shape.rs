//! Rows of a view in the shape that subscribers want: those for which a condition is true, with the columns
//! they name.
//!
//! A condition is planned as a CHECK is and has bounded forms alone
//! ([`dataflows::sql::question::condition`]), so that it can be evaluated here. Without some columns rows may
//! become equal: of an epoch their changes are added up, and cancel out where nothing of the shape has
//! changed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
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
}

/// Writer of the events of one epoch.
pub(super) struct EpochEvents<'s> {
    shape: &'s Shape,
    kind: RowKind,
    stamp: Stamp,
    frames: Frames,
    /// Packed rows with their changes, where rows may have become equal.
    merged: BTreeMap<Vec<u8>, i64>,
    /// Rows that were written.
    rows: usize,
}

impl<'s> EpochEvents<'s> {
    /// Creates a writer without events.
    pub fn new(shape: &'s Shape, kind: RowKind, stamp: Stamp) -> EpochEvents<'s> {
        EpochEvents { shape, kind, stamp, frames: Frames::default(), merged: BTreeMap::new(), rows: 0 }
    }

    /// The epoch.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Adds rows, and returns the frames that are full.
    ///
    /// # Errors
    /// When the condition fails on a row, or the rows are none of the view.
    pub fn add(&mut self, rows: &[RowChange<'_>]) -> Result<Vec<Bytes>> {
        for rows in rows.chunks(BATCH_ROWS) {
            let Selected { batch, diffs } = self.shape.select(rows)?;
            match &self.shape.columns {
                Some(columns) if self.kind == RowKind::Delta => {
                    let packed = columns.codec.encode(batch.columns())?;
                    for (row, diff) in packed.iter().zip(diffs) {
                        *self.merged.entry(row.to_vec()).or_default() += diff;
                    }
                }
                _ => self.write(&batch, &diffs)?,
            }
        }
        Ok(self.frames.take_full())
    }

    /// Ends the epoch with an event, and returns the last frames; none for changes of no row.
    ///
    /// # Errors
    /// When the rows are none of the view.
    pub fn finish(mut self, last: &str) -> Result<Vec<Bytes>> {
        let merged = std::mem::take(&mut self.merged);
        if let Some(columns) = &self.shape.columns {
            // Rows that go before rows that come, as the views' changes have them.
            for gone in [true, false] {
                let changes = merged.iter().filter(|(_, diff)| **diff != 0 && (**diff < 0) == gone);
                let changes: Vec<(&[u8], i64)> = changes.map(|(row, diff)| (row.as_slice(), *diff)).collect();
                for changes in changes.chunks(BATCH_ROWS) {
                    let unpacked = columns.codec.decode(changes.iter().map(|(row, _)| *row))?;
                    let batch = RecordBatch::try_new(columns.schema.clone(), unpacked)?;
                    let diffs: Vec<i64> = changes.iter().map(|(_, diff)| *diff).collect();
                    self.write(&batch, &diffs)?;
                }
            }
        }
        if self.rows > 0 || self.kind == RowKind::Snapshot {
            self.frames.push_text(last);
        }
        Ok(self.frames.take_all())
    }

    fn write(&mut self, batch: &RecordBatch, diffs: &[i64]) -> Result<()> {
        self.rows += diffs.len();
        for (row, diff) in diffs.iter().enumerate() {
            self.frames.push_row(self.kind, self.stamp, (*diff, &json_object(batch, row)?));
        }
        Ok(())
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

    /// The `diff` and `row` of the events that some changes lead to.
    fn events(shape: &Shape, changes: &[(&str, i64, i64)]) -> Result<Vec<String>> {
        let players: ArrayRef =
            Arc::new(StringArray::from_iter_values(changes.iter().map(|change| change.0)));
        let points: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.1)));
        let packed = RowCodec::of(&schema())?.encode(&[players, points])?;
        let mut rows = Vec::new();
        for (row, (_, _, diff)) in packed.iter().zip(changes) {
            rows.push(RowChange { diff: *diff, row });
        }
        let mut written = EpochEvents::new(shape, RowKind::Delta, Stamp { epoch: 1, commit_ms: 2 });
        let mut frames = written.add(&rows)?;
        frames.extend(written.finish("")?);
        let text = String::from_utf8(frames.concat())?;
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
