//! Rows of a subscription: the rows and changes of a view behind columns that tell the epoch.
//!
//! | column | a row of the view | a mark of progress | a reset |
//! | --- | --- | --- | --- |
//! | `herald_epoch`, `herald_commit` | the epoch with its time | the same | the same |
//! | `herald_diff` | the copies that came, or went if negative | NULL | NULL |
//! | `herald_progress`, if it is wanted | false | true | false |
//! | `herald_id`, if it is wanted | NULL | the id of the mark, which names the state as well | NULL |
//! | those of the view | the values | NULL | NULL |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use dataflows::sql::question::Question;
use state::{Entry, HistoryPiece};

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::subscription::{PlacedName, Subscription};
use super::super::values::rows::Columns;
use crate::exit::{SqlMistakes, mistake};
use crate::query::tables::epoch::{EpochReads, Stamp};
use crate::query::tables::shape::{
    AddedRows, CONDITION_FAILS, EpochRows, Shape, TooManyRows, column_place, find_view, progress_id,
};

/// Bytes of rows after which no more are joined.
const JOINED_BYTES: usize = 1 << 20;
/// Least time between two marks of epochs without changes.
const IDLE_PROGRESS: Duration = Duration::from_secs(1);

/// The columns in front of those of the view.
fn leading_fields(progress: bool, ids: bool) -> Vec<Field> {
    let mut fields = vec![
        Field::new("herald_epoch", DataType::Int64, false),
        Field::new("herald_commit", schemas::timestamptz(), false),
        Field::new("herald_diff", DataType::Int64, true),
    ];
    if progress {
        fields.push(Field::new("herald_progress", DataType::Boolean, false));
    }
    if ids {
        fields.push(Field::new("herald_id", DataType::Utf8, true));
    }
    fields
}

/// The columns of a subscription to rows of these columns.
///
/// # Errors
/// When there are too many.
pub fn described_columns(rows: Columns, asked: &Subscription) -> PgResult<Columns> {
    let fields = Fields::from(leading_fields(asked.progress, asked.ids));
    let names = fields.iter().map(|field| field.name().clone()).collect();
    let mut columns = Columns::new(&fields, names)?;
    columns.names.extend(rows.names);
    columns.kinds.extend(rows.kinds);
    columns.places.extend(rows.places);
    Ok(columns)
}

/// A view that is followed.
pub struct FollowedView {
    /// Its name.
    pub name: String,
    /// Its state table.
    pub id: u32,
    /// Set if it has a key.
    pub keyed: bool,
    /// The shape of the rows that are wanted.
    pub shape: Shape,
    /// Columns of the subscription.
    schema: SchemaRef,
    /// Set for marks of progress.
    progress: bool,
    /// The id of the state, for ids of the marks.
    state_id: Option<String>,
}

impl FollowedView {
    /// Finds the view that a subscription names; its condition has parameters with these values.
    ///
    /// # Errors
    /// A mistake of the subscription, or when the state cannot be read.
    pub fn find(
        epoch: &dyn EpochReads,
        asked: &Subscription,
        values: &[Option<String>],
    ) -> PgResult<FollowedView> {
        let name = asked.view.name.as_str();
        let (entry, schema) = find_view(epoch, name).map_err(|error| placed(&error, &asked.view))?;
        for column in asked.columns.iter().flatten() {
            column_place((name, &schema), &column.name)
                .map_err(|error| PgError { code: codes::UNDEFINED_COLUMN, ..placed(&error, column) })?;
        }
        let names = asked.columns.as_deref().map(column_names);
        let filter = asked.condition.as_ref().map(|condition| Question { text: &condition.text, values });
        let shape = Shape::new((name, &schema), (filter, names.as_deref()))
            .map_err(|error| shape_error(&error, asked))?;
        let mut fields = leading_fields(asked.progress, asked.ids);
        fields.extend(shape.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
        Ok(FollowedView {
            name: name.to_owned(),
            id: entry.id,
            keyed: entry.key.is_some(),
            shape,
            schema: Arc::new(Schema::new(fields)),
            progress: asked.progress,
            state_id: asked.ids.then(|| epoch.state_id().to_owned()),
        })
    }

    /// Columns of the subscription.
    pub fn fields(&self) -> &Fields {
        self.schema.fields()
    }

    /// Rows of an epoch with the changes of their numbers, behind the columns that tell of them.
    ///
    /// # Errors
    /// When they are none of the view.
    pub fn rows(&self, stamp: Stamp, batch: &RecordBatch, diffs: &[i64]) -> Result<RecordBatch> {
        let mut columns = self.leading(stamp, Arc::new(Int64Array::from(diffs.to_vec())), false);
        columns.extend(batch.columns().iter().cloned());
        RecordBatch::try_new(self.schema.clone(), columns)
            .with_context(|| format!("the rows of view {} do not fit its columns", self.name))
    }

    /// The mark of an epoch that is whole; None where no marks are wanted.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mark(&self, stamp: Stamp) -> Result<Option<RecordBatch>> {
        if self.progress { self.empty_row(stamp, true).map(Some) } else { Ok(None) }
    }

    /// The row before a snapshot that takes the place of rows sent before.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn reset(&self, stamp: Stamp) -> Result<RecordBatch> {
        self.empty_row(stamp, false)
    }

    /// A row without values of the view.
    fn empty_row(&self, stamp: Stamp, progress: bool) -> Result<RecordBatch> {
        let mut columns = self.leading(stamp, new_null_array(&DataType::Int64, 1), progress);
        for field in self.fields().iter().skip(columns.len()) {
            columns.push(new_null_array(field.data_type(), 1));
        }
        RecordBatch::try_new(self.schema.clone(), columns).context("a mark of progress cannot be made")
    }

    /// The columns in front of those of the view.
    fn leading(&self, stamp: Stamp, diffs: ArrayRef, progress: bool) -> Vec<ArrayRef> {
        let rows = diffs.len();
        let commit_us = stamp.commit_ms.saturating_mul(1000);
        let commits = TimestampMicrosecondArray::from_value(commit_us, rows).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_value(stamp.epoch.cast_signed(), rows)), Arc::new(commits), diffs];
        if self.progress {
            columns.push(Arc::new(BooleanArray::from(vec![progress; rows])));
        }
        if let Some(state_id) = &self.state_id {
            let id = progress.then(|| progress_id(stamp.epoch, state_id));
            columns.push(Arc::new(StringArray::from(vec![id; rows])));
        }
        columns
    }
}

/// The names of columns.
fn column_names(columns: &[PlacedName]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}

/// A mistake about a name, with its place.
fn placed(error: &Error, name: &PlacedName) -> PgError {
    PgError { position: Some(name.position), ..PgError::of(error) }
}

/// The error for a condition or columns that cannot be wanted.
fn shape_error(error: &Error, asked: &Subscription) -> PgError {
    match (error.downcast_ref::<SqlMistakes>(), &asked.condition) {
        (Some(mistakes), Some(condition)) => {
            let told = PgError::of_mistakes(&mistakes.found, &condition.text);
            PgError { position: told.position.map(|position| position + condition.before), ..told }
        }
        _ => PgError::of(error),
    }
}

/// The error for rows that cannot be sent. A condition that fails on one is a mistake in the request.
pub fn failure(error: &Error) -> PgError {
    if let Some(TooManyRows { epoch, .. }) = error.downcast_ref() {
        let message = format!("the changes of epoch {epoch} take more memory than a query may");
        return PgError::new(codes::OUT_OF_MEMORY, message)
            .hint("follow the view with all of its columns, or raise --query-memory");
    }
    let said = format!("{error:#}");
    if said.starts_with(CONDITION_FAILS) { PgError::of(&mistake(said)) } else { PgError::of(error) }
}

/// Writer of the changes of a view, epoch by epoch.
pub struct ChangeWriter {
    view: Arc<FollowedView>,
    /// Most bytes of the changes of an epoch that have to be added up.
    most: usize,
    /// The epoch whose changes are coming.
    open: Option<OpenEpoch>,
    /// Rows that are written, or are when they are taken.
    ready: VecDeque<Ready>,
    /// The last epoch that was marked, and the time of that; None if a mark is due.
    marked: (u64, Option<Instant>),
}

/// Rows for the client.
enum Ready {
    /// As they are sent.
    Rows(RecordBatch),
    /// Those of an epoch that were added up.
    Added(Stamp, AddedRows),
}

/// An epoch whose changes are coming.
struct OpenEpoch {
    stamp: Stamp,
    rows: EpochRows,
    /// Set when a row of it is written.
    written: bool,
}

impl ChangeWriter {
    /// A writer of the changes of a view; the last mark of progress is given.
    pub fn new(view: Arc<FollowedView>, marked: (u64, Option<Instant>), most: usize) -> ChangeWriter {
        ChangeWriter { view, most, open: None, ready: VecDeque::new(), marked }
    }

    /// Takes a stored piece of the view's history.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn take_entry(&mut self, entry: Entry<'_>) -> PgResult<()> {
        let read = HistoryPiece::decode(entry).context("a piece of a history is not readable");
        let piece = read.map_err(|error| PgError::of(&error))?;
        let stamp = Stamp { epoch: piece.place.epoch, commit_ms: piece.commit_ms };
        self.finish_before(stamp.epoch)?;
        let view = self.view.clone();
        let rows = EpochRows::new(stamp.epoch, self.most);
        let OpenEpoch { rows, written, .. } =
            self.open.get_or_insert(OpenEpoch { stamp, rows, written: false });
        let ready = &mut self.ready;
        let added = rows.add(&view.shape, &piece.changes, &mut |batch, diffs| -> Result<()> {
            if !diffs.is_empty() {
                ready.push_back(Ready::Rows(view.rows(stamp, batch, diffs)?));
                *written = true;
            }
            Ok(())
        });
        added.map_err(|error| failure(&error))
    }

    /// Ends the open epoch if it is before another, which says that it is whole.
    ///
    /// # Errors
    /// When its rows cannot be sent.
    pub fn finish_before(&mut self, epoch: u64) -> PgResult<()> {
        let Some(open) = self.open.take_if(|open| open.stamp.epoch < epoch) else { return Ok(()) };
        let OpenEpoch { stamp, rows, written } = open;
        let added = rows.end();
        let is_changed = added.left() > 0;
        if is_changed {
            self.ready.push_back(Ready::Added(stamp, added));
        }
        if written || is_changed { self.mark(stamp) } else { Ok(()) }
    }

    /// Marks an epoch up to which there are no other changes, unless another was marked just before.
    ///
    /// # Errors
    /// When the mark cannot be made.
    pub fn mark_idle(&mut self, stamp: Stamp) -> PgResult<()> {
        let (epoch, at) = self.marked;
        let due = at.is_none_or(|at| at.elapsed() >= IDLE_PROGRESS);
        if epoch < stamp.epoch && due { self.mark(stamp) } else { Ok(()) }
    }

    fn mark(&mut self, stamp: Stamp) -> PgResult<()> {
        self.marked = (stamp.epoch, Some(Instant::now()));
        let mark = self.view.mark(stamp).map_err(|error| PgError::of(&error))?;
        self.ready.extend(mark.map(Ready::Rows));
        Ok(())
    }

    /// Takes the next rows that are written: all of them, or about as many as are sent at once; None without
    /// any.
    ///
    /// # Errors
    /// When they do not go together.
    pub fn take_rows(&mut self) -> PgResult<Option<RecordBatch>> {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while bytes < JOINED_BYTES
            && let Some(batch) = self.next_batch()?
        {
            bytes += batch.get_array_memory_size();
            batches.push(batch);
        }
        if batches.len() < 2 {
            return Ok(batches.pop());
        }
        let joined = concat_batches(&self.view.schema, &batches);
        joined.map(Some).map_err(|error| PgError::new(codes::INTERNAL_ERROR, error.to_string()))
    }

    /// The next rows that are ready: rows that were added up are unpacked here, some thousand at a time.
    fn next_batch(&mut self) -> PgResult<Option<RecordBatch>> {
        loop {
            match self.ready.front_mut() {
                None => return Ok(None),
                Some(Ready::Added(stamp, rows)) => {
                    let next = rows.next_rows(&self.view.shape).map_err(|error| failure(&error))?;
                    if let Some((batch, diffs)) = next {
                        let rows = self.view.rows(*stamp, &batch, &diffs);
                        return rows.map(Some).map_err(|error| failure(&error));
                    }
                    self.ready.pop_front();
                }
                Some(Ready::Rows(_)) => {
                    if let Some(Ready::Rows(batch)) = self.ready.pop_front() {
                        return Ok(Some(batch));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use schemas::RowCodec;

    use super::super::super::sql::words::Words;
    use super::*;

    fn schema() -> SchemaRef {
        let field = |name: &str, of| Field::new(name, of, false);
        Arc::new(Schema::new(vec![field("player", DataType::Utf8), field("points", DataType::Int64)]))
    }

    /// The view `scores` with marks of progress, and these columns of it.
    fn followed(columns: Option<&[&str]>, condition: Option<&str>) -> Result<Arc<FollowedView>> {
        let filter = condition.map(|text| Question { text, values: &[] });
        let shape = Shape::new(("scores", &schema()), (filter, columns))?;
        let mut fields = leading_fields(true, false);
        fields.extend(shape.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
        let schema = Arc::new(Schema::new(fields));
        Ok(Arc::new(FollowedView {
            name: "scores".into(),
            id: 1,
            keyed: false,
            shape,
            schema,
            progress: true,
            state_id: None,
        }))
    }

    /// Has a writer take changes of an epoch, as the state stores them.
    fn take(writer: &mut ChangeWriter, epoch: u64, changes: &[(&str, i64, i64)]) -> Result<PgResult<()>> {
        let players: ArrayRef =
            Arc::new(StringArray::from_iter_values(changes.iter().map(|change| change.0)));
        let points: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.1)));
        let packed = RowCodec::of(&schema())?.encode(&[players, points])?;
        let mut value = 5_i64.to_be_bytes().to_vec();
        for (row, (_, _, diff)) in packed.iter().zip(changes) {
            // As `RowChanges` writes them: small numbers are one byte.
            assert!(diff.abs() < 64 && row.len() < 128);
            value.extend([((diff << 1) ^ (diff >> 63)) as u8, row.len() as u8]);
            value.extend_from_slice(row);
        }
        let key = [&epoch.to_be_bytes()[..], &[0; 4]].concat();
        let piece = HistoryPiece::decode((&key, &value)).context("a piece")?;
        assert_eq!(piece.changes.len(), changes.len());
        Ok(writer.take_entry((&key, &value)))
    }

    /// Rows as text: epoch, diff, progress, and the values of the view.
    fn taken(writer: &mut ChangeWriter) -> PgResult<Vec<String>> {
        let Some(batch) = writer.take_rows()? else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for row in 0..batch.num_rows() {
            let epoch = batch.column(0).as_primitive::<Int64Type>().value(row);
            assert!(batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row) > 0);
            let diffs = batch.column(2).as_primitive::<Int64Type>();
            let diff = if diffs.is_null(row) { "-".to_owned() } else { diffs.value(row).to_string() };
            let mut text = format!("{epoch} {diff} {}", batch.column(3).as_boolean().value(row));
            for column in &batch.columns()[4..] {
                let value = match column.data_type() {
                    _ if column.is_null(row) => "-".to_owned(),
                    DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                    _ => column.as_primitive::<Int64Type>().value(row).to_string(),
                };
                text = format!("{text} {value}");
            }
            rows.push(text);
        }
        Ok(rows)
    }

    #[test]
    fn an_epoch_is_marked_once_it_is_whole() -> Result<()> {
        let mut writer = ChangeWriter::new(followed(None, None)?, (1, Some(Instant::now())), 1 << 20);
        assert_eq!(take(&mut writer, 2, &[("a", 1, -1), ("a", 5, 1)])?, Ok(()));
        assert_eq!(taken(&mut writer), Ok(vec!["2 -1 false a 1".into(), "2 1 false a 5".into()]));
        assert_eq!(writer.finish_before(2), Ok(()), "other pieces of the epoch may come");
        assert_eq!(taken(&mut writer), Ok(vec![]));
        assert_eq!(take(&mut writer, 4, &[("b", 7, 2)])?, Ok(()));
        assert_eq!(writer.finish_before(5), Ok(()));
        let expected: Vec<String> =
            ["2 - true - -", "4 2 false b 7", "4 - true - -"].map(str::to_owned).to_vec();
        assert_eq!(taken(&mut writer), Ok(expected));
        let idle = Stamp { epoch: 6, commit_ms: 7 };
        assert_eq!(writer.mark_idle(idle), Ok(()));
        assert_eq!(taken(&mut writer), Ok(vec![]), "the last mark is too young");
        writer.marked.1 = None;
        assert_eq!(writer.mark_idle(idle), Ok(()));
        assert_eq!(taken(&mut writer), Ok(vec!["6 - true - -".into()]));
        assert_eq!(writer.marked.0, 6);
        Ok(())
    }

    #[test]
    fn rows_are_filtered_and_added_up() -> Result<()> {
        let view = followed(Some(&["player"]), Some("points > 4"))?;
        let mut writer = ChangeWriter::new(view, (1, Some(Instant::now())), 1 << 20);
        let changes = [("a", 5, -1), ("a", 6, 1), ("b", 9, 1), ("c", 7, -1), ("d", 1, 1)];
        assert_eq!(take(&mut writer, 2, &changes)?, Ok(()));
        assert_eq!(take(&mut writer, 3, &[("a", 5, 1), ("a", 6, -1)])?, Ok(()));
        assert_eq!(writer.finish_before(4), Ok(()));
        let expected: Vec<String> = ["2 -1 false c", "2 1 false b", "2 - true -"].map(str::to_owned).to_vec();
        assert_eq!(taken(&mut writer), Ok(expected), "nothing of the shape changes in epoch 3");
        let mut small = ChangeWriter::new(followed(Some(&["player"]), None)?, (1, None), 100);
        let told = take(&mut small, 2, &changes)?.map_err(|error| error.code);
        assert_eq!(told, Err("53200"));
        let mut failing = ChangeWriter::new(followed(None, Some("10 / (points - 5) > 1"))?, (1, None), 100);
        let told = take(&mut failing, 2, &changes)?.map_err(|error| error.code);
        assert_eq!(told, Err("22012"));
        Ok(())
    }

    /// Rows that were added up are unpacked some at a time, as they are sent.
    #[test]
    fn a_large_epoch_is_taken_in_parts() -> Result<()> {
        let mut writer = ChangeWriter::new(followed(Some(&["player"]), None)?, (1, None), 16 << 20);
        let names: Vec<String> = (0..30_000).map(|number| format!("{number:0>60}")).collect();
        let changes: Vec<(&str, i64, i64)> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
        assert_eq!(take(&mut writer, 2, &changes)?, Ok(()));
        assert_eq!(writer.finish_before(3), Ok(()));
        let packed = |writer: &ChangeWriter| match writer.ready.front() {
            Some(Ready::Added(_, rows)) => rows.left(),
            _ => 0,
        };
        assert_eq!(packed(&writer), names.len(), "none is unpacked before it is taken");
        let mut parts = Vec::new();
        while let Some(batch) = writer.take_rows().map_err(|error| anyhow::anyhow!(error.message))? {
            parts.push(batch.num_rows());
            let left = names.len().saturating_sub(parts.iter().sum());
            assert_eq!(packed(&writer), left, "no more than those that are sent");
        }
        assert_eq!(parts.iter().sum::<usize>(), names.len() + 1, "all of them, and a mark");
        assert!(parts.len() > 1 && parts.iter().all(|rows| *rows < 20_000), "{parts:?}");
        Ok(())
    }

    fn subscription(text: &str) -> Result<Subscription> {
        let mut words = Words::new(text);
        let read = words.expect("subscribe").and_then(|_| Subscription::read(&mut words, 0));
        read.map_err(|error| anyhow::anyhow!(error.message))
    }

    #[test]
    fn marks_have_ids_of_their_state() -> Result<()> {
        let asked = subscription("SUBSCRIBE TO scores WITH (ids)")?;
        let fields = leading_fields(asked.progress, asked.ids);
        let shape = Shape::new(("scores", &schema()), (None, Some(&["player"][..])))?;
        let player = Field::new("player", DataType::Utf8, true);
        let schema = Arc::new(Schema::new([&fields[..], &[player]].concat()));
        let view = FollowedView {
            name: "scores".into(),
            id: 1,
            keyed: false,
            shape,
            schema,
            progress: asked.progress,
            state_id: Some("0123456789abcdef".to_owned()),
        };
        let stamp = Stamp { epoch: 7, commit_ms: 1 };
        let mark = view.mark(stamp)?.context("a mark")?;
        assert_eq!(mark.column(4).as_string::<i32>().value(0), "7-01234567");
        assert!(mark.column(5).is_null(0) && view.reset(stamp)?.column(4).is_null(0));
        Ok(())
    }

    #[test]
    fn columns_are_described_as_they_are_sent() -> Result<()> {
        let view = followed(None, None)?;
        let own = Columns::new(schema().fields(), vec!["player".into(), "points".into()])
            .map_err(|error| anyhow::anyhow!(error.message))?;
        let asked = subscription("SUBSCRIBE TO scores WITH (progress)")?;
        let described = described_columns(own, &asked).map_err(|error| anyhow::anyhow!(error.message))?;
        let sent = Columns::new(view.fields(), described.names.clone());
        assert_eq!(sent.as_ref().map(|sent| &sent.kinds), Ok(&described.kinds));
        assert_eq!(described.names[..4], ["herald_epoch", "herald_commit", "herald_diff", "herald_progress"]);
        let reset = view.reset(Stamp { epoch: 3, commit_ms: 4 })?;
        assert!(!reset.column(3).as_boolean().value(0) && reset.column(2).is_null(0));
        Ok(())
    }
}
