//! Evaluation of a plan's expressions before anything runs.
//!
//! What `check` accepts has to start, and to survive its first records. Every physical expression is
//! therefore evaluated here over no row, one row and rows of many kinds: it must give an array of the type
//! that the plan states, and that type must be one that a column can have. A row on which it fails is no
//! mistake (that is what `herald.errors` is for); an expression that fails over no row at all, that is not
//! implemented, or that panics, is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result, plan_err};
use datafusion_physical_expr::expressions::Literal;

use super::lower::not_a_column;
use crate::functions::types::herald_type;
use crate::plan::{Op, Plan, RelId, Scalar};

/// Rows of the batch that has values of many kinds.
const ROWS: usize = 4;

/// Evaluates every expression of the relations from `first` on.
///
/// # Errors
/// The first expression that could not run.
pub(crate) fn relations(plan: &Plan, first: RelId) -> Result<()> {
    for rel in plan.rels.iter().skip(first) {
        let schema = |id: RelId| plan.rels[id].schema.as_ref();
        match &rel.op {
            Op::Filter { input, predicate } => condition(predicate, schema(*input))?,
            Op::Project { input, exprs } => columns(exprs, schema(*input))?,
            Op::Within { input, since, until, .. } => {
                since.iter().chain(until).try_for_each(|edge| column(&edge.time, schema(*input)))?;
            }
            Op::Aggregate { input, keys, aggregates } => {
                columns(keys, schema(*input))?;
                for aggregate in aggregates {
                    for arg in aggregate.args() {
                        column(arg, schema(*input))?;
                    }
                    aggregate.filter.iter().try_for_each(|f| condition(f, schema(*input)))?;
                }
            }
            Op::Fold { input, keys, folds } => {
                columns(keys, schema(*input))?;
                for fold in folds {
                    column(&fold.arg, schema(*input))?;
                    fold.filter.iter().try_for_each(|f| condition(f, schema(*input)))?;
                    fold.order.iter().try_for_each(|key| column(&key.expr, schema(*input)))?;
                }
            }
            Op::Window { input, window } => {
                columns(&window.partition, schema(*input))?;
                window.order.iter().try_for_each(|order| column(&order.by, schema(*input)))?;
            }
            Op::Join { left, right, left_keys, right_keys, residual, .. } => {
                columns(left_keys, schema(*left))?;
                columns(right_keys, schema(*right))?;
                if let Some(residual) = residual {
                    let both = schema(*left).fields().iter().chain(schema(*right).fields());
                    condition(residual, &Schema::new(both.cloned().collect::<Vec<_>>()))?;
                }
            }
            Op::Lookup { left, right, left_keys, right_keys, .. } => {
                columns(left_keys, schema(*left))?;
                columns(right_keys, schema(*right))?;
            }
            Op::Source(_)
            | Op::Values(_)
            | Op::Unnest { .. }
            | Op::Union { .. }
            | Op::Distinct { .. }
            | Op::Close { .. }
            // What a round does stands among the relations, too, when this is asked.
            | Op::Recursive(_)
            | Op::Given(_) => {}
        }
    }
    Ok(())
}

fn columns(scalars: &[Scalar], input: &Schema) -> Result<()> {
    scalars.iter().try_for_each(|scalar| column(scalar, input))
}

/// Evaluates what becomes a column.
///
/// # Errors
/// When it cannot run, or has a type that no column has.
pub(crate) fn column(scalar: &Scalar, input: &Schema) -> Result<()> {
    // The number of a grouping set is a constant that never becomes a column of its own.
    if scalar.as_column().is_some() || scalar.expr().is::<Literal>() {
        return Ok(());
    }
    let of = scalar.data_type(input)?;
    if of != DataType::Null && herald_type(&of).as_ref() != Some(&of) {
        return Err(not_a_column(&scalar.to_string(), &of));
    }
    runs(scalar, &of, input)
}

fn condition(scalar: &Scalar, input: &Schema) -> Result<()> {
    runs(scalar, &DataType::Boolean, input)
}

fn runs(scalar: &Scalar, of: &DataType, input: &Schema) -> Result<()> {
    for rows in [0, 1, ROWS] {
        let batch = sample(input, rows)?;
        let given = catch_unwind(AssertUnwindSafe(|| scalar.evaluate(&batch)));
        match given {
            Ok(Ok(array)) if array.data_type() == of && array.len() == rows => {}
            Ok(Ok(array)) => {
                let found = (array.data_type(), array.len());
                return plan_err!(
                    "{scalar} gives {} values of type {}, not {rows} of {of}",
                    found.1,
                    found.0
                );
            }
            Ok(Err(error)) if rows == 0 || unable(&error) => return Err(error),
            Ok(Err(_)) => {}
            Err(_) => return plan_err!("{scalar} cannot be evaluated"),
        }
    }
    Ok(())
}

/// Tells whether an error is of the expression, not of a row.
fn unable(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Internal(_) | DataFusionError::NotImplemented(_) | DataFusionError::Plan(_) => true,
        DataFusionError::ArrowError(error, _) => {
            matches!(error.as_ref(), ArrowError::NotYetImplemented(_) | ArrowError::SchemaError(_))
        }
        _ => false,
    }
}

/// `rows` rows over `schema`: at most four, the first of them NULL where it can be.
fn sample(schema: &Schema, rows: usize) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| Ok(values(field)?.slice(0, rows)));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let nullable = schema.fields().iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Four values of a column's type: NULL, nothing (zero, empty), and two that are something.
fn values(field: &Field) -> Result<ArrayRef> {
    let of = field.data_type();
    let last: ArrayRef = match of {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false, true, true])),
        DataType::Utf8 if schemas::is_jsonb(field) => {
            Arc::new(StringArray::from(vec!["{}", "{\"a\":[1,null]}", "[\"x\"]"]))
        }
        DataType::Utf8 => Arc::new(StringArray::from(vec!["", "1", "match é"])),
        DataType::Binary => Arc::new(BinaryArray::from(vec![&b""[..], &b"\x01"[..], &b"\xff\x00"[..]])),
        DataType::List(item) => {
            let items = values(item)?;
            let offsets = OffsetBuffer::from_lengths([0, 1, ROWS - 1]);
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, None)?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let columns = fields.iter().map(|f| Ok(values(f)?.slice(1, ROWS - 1)));
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<Vec<_>>>()?, None)?)
        }
        other => {
            let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![0, 1, 20_000]));
            let narrow = || cast(&numbers, &DataType::Int32);
            match cast(&numbers, other).or_else(|_| cast(&narrow()?, other)) {
                Ok(array) => array,
                Err(_) => new_null_array(other, ROWS - 1),
            }
        }
    };
    let first = if field.is_nullable() { new_null_array(of, 1) } else { last.slice(0, 1) };
    Ok(concat(&[first.as_ref(), last.as_ref()])?)
}
