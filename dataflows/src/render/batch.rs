//! Messages between operators: batches of rows with a diff each, all at the epoch of their message.
//!
//! Stateless steps work on Arrow columns; arrangements work on packed rows. A [`DeltaBatch`] holds the
//! form its producer made, and is converted once, where the other form is first needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter, filter_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use schemas::{RowCodec, Rows};

use crate::error::RunError;

/// Rows and their diffs.
#[derive(Clone, Debug)]
pub struct DeltaBatch {
    /// The rows.
    pub data: Data,
    /// Signed count of each row.
    pub diffs: Vec<i64>,
}

/// Rows in one of two forms.
#[derive(Clone, Debug)]
pub enum Data {
    /// Columns.
    Arrow(RecordBatch),
    /// Packed rows of the relation's columns.
    Packed(Rows),
}

/// Type of one relation's rows, for both forms.
#[derive(Clone, Debug)]
pub struct RelationType {
    /// Columns, all nullable: nullability is known to the planner, not enforced on the data.
    pub schema: SchemaRef,
    /// Packed form.
    pub codec: RowCodec,
}

impl RelationType {
    /// Creates the type of rows of `schema`.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(schema: &Schema) -> Result<RelationType, RunError> {
        let fields: Vec<Field> =
            schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let codec = RowCodec::of(schema)?;
        Ok(RelationType { schema: Arc::new(Schema::new(fields)), codec })
    }

    /// Assembles columns to a batch: casts columns whose type differs only in form, and brings values with
    /// several representations to the one that decoding their packed bytes gives.
    ///
    /// # Errors
    /// When a column cannot take the type the plan states.
    pub fn assemble(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, RunError> {
        let mut assembled = Vec::with_capacity(columns.len());
        for (column, field) in columns.into_iter().zip(self.schema.fields()) {
            let fits = column.data_type() == field.data_type();
            let column = if fits { column } else { cast(&column, field.data_type())? };
            assembled.push(schemas::canonical(column)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), assembled, &options)?)
    }

    /// Returns the rows of a batch as columns.
    ///
    /// # Errors
    /// When packed bytes do not fit the schema.
    pub fn decode_columns(&self, batch: &DeltaBatch) -> Result<RecordBatch, RunError> {
        match &batch.data {
            Data::Arrow(batch) => Ok(batch.clone()),
            Data::Packed(rows) => self.assemble(self.codec.decode(rows.iter())?, rows.len()),
        }
    }

    /// Returns the rows of a batch packed.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn pack_rows(&self, batch: DeltaBatch) -> Result<Rows, RunError> {
        match batch.data {
            Data::Packed(rows) => Ok(rows),
            // The encoder takes the number of rows from the columns, so rows without columns are made here.
            Data::Arrow(batch) if batch.num_columns() == 0 => Ok(empty_rows(batch.num_rows())),
            Data::Arrow(batch) => Ok(self.codec.encode(batch.columns())?),
        }
    }
}

impl DeltaBatch {
    /// Creates a batch of columns with diffs.
    pub fn from_columns(batch: RecordBatch, diffs: Vec<i64>) -> DeltaBatch {
        DeltaBatch { data: Data::Arrow(batch), diffs }
    }

    /// Creates a batch of packed rows with diffs.
    pub fn from_packed(rows: Rows, diffs: Vec<i64>) -> DeltaBatch {
        DeltaBatch { data: Data::Packed(rows), diffs }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Returns true if the batch holds no row.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }
}

/// Converts packed rows and their diffs to a batch for each epoch.
pub(super) fn packed_batches(parts: BTreeMap<u64, (Rows, Vec<i64>)>) -> Vec<(u64, DeltaBatch)> {
    let mut batches = Vec::with_capacity(parts.len());
    for (epoch, (rows, diffs)) in parts {
        batches.push((epoch, DeltaBatch::from_packed(rows, diffs)));
    }
    batches
}

/// Returns packed rows of no columns.
pub(super) fn empty_rows(count: usize) -> Rows {
    let mut rows = Rows::new();
    for _ in 0..count {
        rows.push(&[]);
    }
    rows
}

/// Keeps the rows for which `keep` is true.
///
/// # Errors
/// Never for a mask of the batch's length.
pub fn select_rows(
    batch: &RecordBatch,
    diffs: &[i64],
    keep: &BooleanArray,
) -> Result<(RecordBatch, Vec<i64>), RunError> {
    let kept = filter_record_batch(batch, keep)?;
    let diffs = diffs
        .iter()
        .zip(keep.iter())
        .filter_map(|(diff, keep)| keep.unwrap_or(false).then_some(*diff))
        .collect();
    Ok((kept, diffs))
}

/// Keeps the items of one array for which `keep` is true.
///
/// # Errors
/// Never for a mask of the array's length.
pub fn select_array(array: &dyn Array, keep: &BooleanArray) -> Result<ArrayRef, RunError> {
    Ok(filter(array, keep)?)
}

/// Unmarks the rows at which a column is NULL.
pub(super) fn unmark_nulls(marks: &mut [bool], column: &ArrayRef) {
    // `logical_nulls` also covers arrays whose NULLs are not in their own bitmap.
    let Some(nulls) = column.logical_nulls() else { return };
    for (row, mark) in marks.iter_mut().enumerate() {
        *mark &= nulls.is_valid(row);
    }
}

/// Returns the text of the first value of a column; no text where it has none.
pub(super) fn first_value_text(column: &ArrayRef) -> String {
    array_value_to_string(column, 0).unwrap_or_default()
}

/// Describes a packed key for the error table, as `name (value, ...)`.
pub(super) fn describe_packed(name: &str, codec: &RowCodec, key: &[u8]) -> String {
    let columns = codec.decode(std::iter::once(key)).unwrap_or_default();
    let values: Vec<String> = columns.iter().map(first_value_text).collect();
    format!("{name} ({})", values.join(", "))
}

/// Returns true if a packed key holds a NULL, which is a zero byte at the start of a column.
///
/// # Errors
/// When the bytes are not a key of `codec`.
pub(in crate::render) fn null_in(codec: &RowCodec, key: &[u8]) -> Result<bool, RunError> {
    for column in 0..codec.columns() {
        if key.get(codec.prefix_len(key, column)?) == Some(&0) {
            return Ok(true);
        }
    }
    Ok(false)
}
