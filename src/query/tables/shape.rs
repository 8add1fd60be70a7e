//! Rows and changes of a view in the shape that a subscriber wants: those for which a condition is true, with
//! the columns it names.
//!
//! A condition is planned as a CHECK is and has bounded forms alone
//! ([`dataflows::sql::question::condition`]), so that the topology's own process may evaluate it. Without
//! some columns rows may become equal: of an epoch their changes are added up, and cancel out where nothing
//! of the shape has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use dataflows::plan::Scalar;
use dataflows::sql::SqlFile;
use dataflows::sql::question::{Question, condition};
use schemas::{RowCodec, Rows, without_group};
use state::{CatalogueEntry, RowChange, StateTableKind, count_of};

use super::conditions::Bounds;
use super::epoch::EpochReads;
use crate::exit::{SqlMistakes, mistake, unknown_name};
use crate::query::{mistakes, stored_sources};

/// Rows that are unpacked at once.
pub const BATCH_ROWS: usize = 4096;
/// Bytes of packed rows that are read or unpacked at once, however few they are.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes that a row takes, beside its own, while its changes are added up.
const MERGED_ROW_BYTES: usize = 64;

/// Digits of a state's id in the id of a mark of progress.
const STATE_DIGITS: usize = 8;

/// Words about a condition that fails on a row.
pub const CONDITION_FAILS: &str = "the condition fails on a row";

/// A shape of a view's rows.
pub struct Shape {
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
    /// The shape of a view's rows: those that meet a condition, with the columns of some names.
    ///
    /// # Errors
    /// A mistake in one of them; [`SqlMistakes`] for the condition.
    pub fn new(
        (view, schema): (&str, &SchemaRef),
        (filter, columns): (Option<Question<'_>>, Option<&[&str]>),
    ) -> Result<Shape> {
        let filter = match filter {
            Some(asked) => Some(condition(asked, (view, schema)).map_err(|found| {
                let file = SqlFile { name: "where".to_owned(), text: asked.text.to_owned() };
                SqlMistakes::new(found, &[file])
            })?),
            None => None,
        };
        let columns = columns.map(|names| Columns::named((view, schema), names)).transpose()?;
        let codec = RowCodec::of(schema)?;
        Ok(Shape { view: view.to_owned(), schema: schema.clone(), codec, filter, columns })
    }

    /// The columns of the rows that are wanted.
    pub fn schema(&self) -> &SchemaRef {
        self.columns.as_ref().map_or(&self.schema, |columns| &columns.schema)
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
            let wanted = filter.evaluate_bool(&batch).context(CONDITION_FAILS)?;
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
    fn named((view, schema): (&str, &Schema), names: &[&str]) -> Result<Columns> {
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = column_place((view, schema), name)?;
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

/// The place of a column of a view.
///
/// # Errors
/// A mistake, with the names there are.
pub fn column_place((view, schema): (&str, &Schema), name: &str) -> Result<usize> {
    match schema.column_with_name(name) {
        Some((place, _)) => Ok(place),
        None => {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Err(unknown_name(&format!("view {view} has no column {name:?}"), name, &known))
        }
    }
}

/// Receiver of rows in their shape, with the changes of their numbers.
pub type ShapedRows<'o, E> = dyn FnMut(&RecordBatch, &[i64]) -> Result<(), E> + 'o;

/// The failure of an epoch that changes more rows than may be added up.
#[derive(Debug, thiserror::Error)]
#[error(
    "epoch {epoch} changes more rows of view {view} than are added up for columns ({} MiB): leave columns \
     out, ask for fewer rows by where, or subscribe again without an id or as_of for a snapshot",
    most >> 20
)]
pub struct TooManyRows {
    view: String,
    /// The epoch.
    pub epoch: u64,
    /// Most bytes.
    most: usize,
}

/// Rows of one epoch on their way into a shape.
#[derive(Debug)]
pub struct EpochRows {
    epoch: u64,
    /// Packed rows with their changes added up, where rows may have become equal. Those that cancel out take
    /// no place.
    merged: BTreeMap<Vec<u8>, i64>,
    bytes: usize,
    /// Most bytes.
    most: usize,
}

impl EpochRows {
    /// Creates rows of an epoch, of which `most` bytes may be held to be added up.
    pub fn new(epoch: u64, most: usize) -> EpochRows {
        EpochRows { epoch, merged: BTreeMap::new(), bytes: 0, most }
    }

    /// Adds changes. Those of rows that may have become equal come out at the end of the epoch.
    ///
    /// # Errors
    /// When the condition fails on a row, the rows are none of the view, or `out` fails; [`TooManyRows`].
    pub fn add<E: From<Error>>(
        &mut self,
        shape: &Shape,
        rows: &[RowChange<'_>],
        out: &mut ShapedRows<'_, E>,
    ) -> Result<(), E> {
        let Some(columns) = &shape.columns else { return select_rows(shape, rows, out) };
        for rows in rows.chunks(BATCH_ROWS) {
            let Selected { batch, diffs } = shape.select(rows)?;
            let packed = columns.codec.encode(batch.columns()).map_err(Error::from)?;
            for (row, diff) in packed.iter().zip(diffs) {
                self.merge(row, diff);
                if self.bytes > self.most {
                    let (view, epoch, most) = (shape.view.clone(), self.epoch, self.most);
                    return Err(Error::from(TooManyRows { view, epoch, most }).into());
                }
            }
        }
        Ok(())
    }

    /// Adds up the changes of a packed row.
    fn merge(&mut self, row: &[u8], diff: i64) {
        let Some(held) = self.merged.get_mut(row) else {
            if diff != 0 {
                self.merged.insert(row.to_vec(), diff);
                self.bytes += row.len() + MERGED_ROW_BYTES;
            }
            return;
        };
        *held += diff;
        if *held == 0 {
            self.merged.remove(row);
            self.bytes -= row.len() + MERGED_ROW_BYTES;
        }
    }

    /// Ends the epoch; returns the rows that were added up. Rows that go are before rows that come, as the views'
    /// changes have them.
    pub fn end(self) -> AddedRows {
        let (mut rows, come): (Vec<_>, Vec<_>) = self.merged.into_iter().partition(|(_, diff)| *diff < 0);
        rows.extend(come);
        AddedRows { rows: rows.into_iter() }
    }
}

/// Rows of an epoch that were added up. They are packed until they are taken.
#[derive(Debug)]
pub struct AddedRows {
    rows: std::vec::IntoIter<(Vec<u8>, i64)>,
}

impl AddedRows {
    /// The number of those that are left.
    pub fn left(&self) -> usize {
        self.rows.len()
    }

    /// Unpacks the next rows of a shape, some thousand at most, with the changes of their numbers; None after the last.
    ///
    /// # Errors
    /// When they are none of the view.
    pub fn next_rows(&mut self, shape: &Shape) -> Result<Option<(RecordBatch, Vec<i64>)>> {
        let (mut packed, mut diffs, mut bytes) = (Vec::new(), Vec::new(), 0);
        while diffs.len() < BATCH_ROWS
            && bytes < BATCH_BYTES
            && let Some((row, diff)) = self.rows.next()
        {
            bytes += row.len();
            packed.push(row);
            diffs.push(diff);
        }
        match &shape.columns {
            Some(columns) if !diffs.is_empty() => {
                let unpacked = columns.codec.decode(packed.iter().map(Vec::as_slice))?;
                Ok(Some((RecordBatch::try_new(columns.schema.clone(), unpacked)?, diffs)))
            }
            _ => Ok(None),
        }
    }
}

/// Hands on the rows that are wanted as they are.
///
/// # Errors
/// When the condition fails on a row, the rows are none of the view, or `out` fails.
pub fn select_rows<E: From<Error>>(
    shape: &Shape,
    rows: &[RowChange<'_>],
    out: &mut ShapedRows<'_, E>,
) -> Result<(), E> {
    for rows in rows.chunks(BATCH_ROWS) {
        let Selected { batch, diffs } = shape.select(rows)?;
        out(&batch, &diffs)?;
    }
    Ok(())
}

/// Reads all rows of a view, which is given by its state table; true says that it has a key. Rows past their
/// retention are among them until the state deletes them, which is a change.
///
/// # Errors
/// When the state cannot be read, or `visit` fails.
pub fn read_rows<E: From<Error>>(
    epoch: &dyn EpochReads,
    (view, keyed): (u32, bool),
    visit: &mut dyn FnMut(&[RowChange<'_>]) -> Result<(), E>,
) -> Result<(), E> {
    let mut scan = epoch.open_scan(view, &Arc::new(Bounds::All))?;
    let (mut rows, mut copies) = (Rows::new(), Vec::new());
    while scan.advance()? {
        let Some((key, value)) = scan.entry() else { break };
        if keyed {
            // An entry is a key and its row.
            rows.push(value);
            copies.push(1);
        } else {
            // An entry is a row and its count.
            rows.push(without_group(key));
            copies.push(count_of(value).context("the view holds a row without a count")?);
        }
        if rows.len() >= BATCH_ROWS || rows.bytes_len() >= BATCH_BYTES {
            visit(&changes_of(&rows, &copies))?;
            rows.clear();
            copies.clear();
        }
    }
    if rows.is_empty() { Ok(()) } else { visit(&changes_of(&rows, &copies)) }
}

/// Rows with their numbers of copies as changes.
fn changes_of<'r>(rows: &'r Rows, copies: &[i64]) -> Vec<RowChange<'r>> {
    rows.iter().zip(copies).map(|(row, diff)| RowChange { diff: *diff, row }).collect()
}

/// The view of a name in an epoch, with its columns.
///
/// # Errors
/// A mistake if there is none; else when the state cannot be read.
pub fn find_view(epoch: &dyn EpochReads, name: &str) -> Result<(CatalogueEntry, SchemaRef)> {
    let mut names = Vec::new();
    for entry in epoch.catalogue()?.entries {
        if entry.kind != StateTableKind::View || entry.name.starts_with("herald.") {
            continue;
        }
        if entry.name == name {
            mistakes::refuse_filling(&entry, &epoch.committed().progress)?;
            let schema = super::view_schema(&entry)?;
            return Ok((entry, schema));
        }
        names.push(entry.name);
    }
    if names.is_empty() {
        return Err(mistake(format!("there is no view {name}: the topology has no materialized view")));
    }
    Err(mistakes::unknown_view(name, &names, &stored_sources(epoch)?))
}

/// The mistake of following a view without a history.
pub fn without_history(view: &str) -> Error {
    mistake(format!(
        "view {view} keeps no changes to follow\n  \
         leave history = '0 seconds' out of its WITH (...), and start the topology again"
    ))
}

/// The sentence about changes that are asked for and not kept; those after `since` are. An epoch of another
/// state is [`u64::MAX`].
pub fn gone_text(epoch: u64, since: Option<u64>) -> String {
    let asked = match epoch {
        u64::MAX => "the changes since an epoch of another state are not kept here".to_owned(),
        epoch => format!("the changes after epoch {epoch} are not kept"),
    };
    match since {
        Some(since) => format!("{asked}: those after epoch {since} are"),
        None => asked,
    }
}

/// The id of an epoch's mark of progress: the epoch, and the first digits of the state's id.
pub fn progress_id(epoch: u64, state_id: &str) -> String {
    let state = state_id.get(..STATE_DIGITS).unwrap_or(state_id);
    format!("{epoch}-{state}")
}

/// The epoch that an id names, or an epoch alone; None for another text. An epoch of another state is
/// [`u64::MAX`], which is never held.
pub fn epoch_of_id(id: &str, state_id: &str) -> Option<u64> {
    let (epoch, state) = match id.trim().split_once('-') {
        Some((epoch, state)) => (epoch, Some(state)),
        None => (id.trim(), None),
    };
    let epoch = epoch.parse().ok()?;
    match state {
        Some(_) if id.trim() != progress_id(epoch, state_id) => Some(u64::MAX),
        _ => Some(epoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_an_epoch_of_its_state() {
        let state = "0123456789abcdef";
        assert_eq!(epoch_of_id(&progress_id(7, state), state), Some(7));
        assert_eq!(epoch_of_id("7-01234567", state), Some(7));
        assert_eq!(epoch_of_id(" 7 ", state), Some(7));
        assert_eq!(epoch_of_id("7-89abcdef", state), Some(u64::MAX));
        for none in ["", "x", "-1", "7.5", "7x-01234567"] {
            assert_eq!(epoch_of_id(none, state), None, "{none}");
        }
    }
}
