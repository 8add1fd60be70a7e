//! What flows between operators: a batch of rows with a diff each, all at the epoch of its message.
//!
//! Stateless steps work on Arrow columns; arrangements work on packed rows. A [`DeltaBatch`] holds
//! whichever its producer made, and is converted once, where the other form is first needed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter, filter_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use schemas::{RowCodec, Rows};

use crate::error::RunError;

/// Rows and their diffs.
#[derive(Clone, Debug)]
pub struct DeltaBatch {
    /// The rows.
    pub data: Data,
    /// One signed count a row.
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

/// How one relation's rows look in both forms.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Columns, all nullable: nullability is the planner's knowledge, not the data's.
    pub schema: SchemaRef,
    /// Packed form.
    pub codec: RowCodec,
}

impl Shape {
    /// The shape of rows of `schema`.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(schema: &Schema) -> Result<Shape, RunError> {
        let fields: Vec<Field> =
            schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let codec = RowCodec::of(schema)?;
        Ok(Shape { schema: Arc::new(Schema::new(fields)), codec })
    }

    /// Puts columns together, casting those whose type differs only in form, and values that have several
    /// spellings to the one that their packed bytes give back.
    ///
    /// # Errors
    /// When a column cannot take the type the plan states.
    pub fn assemble(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, RunError> {
        let columns = columns.into_iter().zip(self.schema.fields()).map(|(column, field)| {
            let fits = column.data_type() == field.data_type();
            let column = if fits { column } else { cast(&column, field.data_type())? };
            Ok(schemas::types::canonical(column)?)
        });
        let columns = columns.collect::<Result<Vec<_>, RunError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// The rows as columns.
    ///
    /// # Errors
    /// When packed bytes do not fit the schema.
    pub fn columns(&self, batch: &DeltaBatch) -> Result<RecordBatch, RunError> {
        match &batch.data {
            Data::Arrow(batch) => Ok(batch.clone()),
            Data::Packed(rows) => self.assemble(self.codec.decode(rows.iter())?, rows.len()),
        }
    }

    /// The rows packed.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn packed(&self, batch: DeltaBatch) -> Result<Rows, RunError> {
        match batch.data {
            Data::Packed(rows) => Ok(rows),
            Data::Arrow(batch) if batch.num_columns() == 0 => {
                let mut rows = Rows::new();
                (0..batch.num_rows()).for_each(|_| rows.push(&[]));
                Ok(rows)
            }
            Data::Arrow(batch) => Ok(self.codec.encode(batch.columns())?),
        }
    }
}

impl DeltaBatch {
    /// Columns with diffs.
    pub fn arrow(batch: RecordBatch, diffs: Vec<i64>) -> DeltaBatch {
        DeltaBatch { data: Data::Arrow(batch), diffs }
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }
}

/// Keeps the rows for which `keep` is true.
///
/// # Errors
/// Never for a mask of the batch's length.
pub fn select(
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
