//! Lowering of rows that are written in the query: VALUES, and a SELECT without FROM.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::logical_plan as logical;

use super::{Lower, column_type, lower_scalar, plain_field};
use crate::plan::{Op, RelId};

/// Greatest number of rows in VALUES: they are part of the plan and of its fingerprint.
const MAX_ROWS: usize = 10_000;

impl Lower<'_> {
    /// A relation without rows, or the one row that a SELECT without FROM computes over. Every relation has
    /// at least one column.
    pub(super) fn lower_empty(&mut self, empty: &logical::EmptyRelation) -> Result<RelId> {
        let rows = usize::from(empty.produce_one_row);
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = if empty.schema.fields().is_empty() {
            let row: ArrayRef = Arc::new(BooleanArray::from(vec![true; rows]));
            (vec![Field::new("row", DataType::Boolean, false)], vec![row])
        } else if rows > 0 {
            return plan_err!("a row without values is not supported");
        } else {
            let (mut fields, mut columns) = (Vec::new(), Vec::new());
            for field in empty.schema.fields() {
                let of = column_type(field.name(), field.data_type())?;
                columns.push(new_empty_array(&of));
                fields.push(plain_field(field, of, true));
            }
            (fields, columns)
        };
        self.push_values(Schema::new(fields), columns, rows)
    }

    /// The rows of VALUES.
    pub(super) fn lower_values(&mut self, values: &logical::Values) -> Result<RelId> {
        let rows = values.values.len();
        if rows > MAX_ROWS {
            return plan_err!("VALUES has {rows} rows, and {MAX_ROWS} are the most: read them from a file");
        }
        let empty = DFSchema::empty();
        let row = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &row)?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (at, field) in values.schema.fields().iter().enumerate() {
            let of = column_type(field.name(), field.data_type())?;
            let mut items = Vec::with_capacity(rows);
            for value in values.values.iter().filter_map(|row| row.get(at)) {
                items.push(cast(&lower_scalar(value, &empty)?.evaluate(&row)?, &of)?);
            }
            let items: Vec<&dyn Array> = items.iter().map(AsRef::as_ref).collect();
            let column = concat(&items)?;
            fields.push(plain_field(field, of, column.null_count() > 0));
            columns.push(column);
        }
        self.push_values(Schema::new(fields), columns, rows)
    }

    /// Adds a relation of constant rows.
    fn push_values(&mut self, schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> Result<RelId> {
        let schema = Arc::new(schema);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        Ok(self.push(Op::Values(rows), schema))
    }
}
