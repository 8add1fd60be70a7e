//! Trial evaluation of a plan's expressions before the topology runs.
//!
//! A topology that `check` accepts has to start and to survive its first records. Every physical expression
//! is therefore evaluated over zero rows, one row and sample rows of several kinds: it must give an array of
//! the type that the plan states, and a column must be able to have that type. Failing on a row is no mistake
//! (such rows go to `herald.errors` at run time); failing over zero rows, not being implemented and panicking
//! are.

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

/// Rows of the largest sample batch.
const SAMPLE_ROWS: usize = 4;

/// Evaluates every expression of the relations from `first` on.
///
/// # Errors
/// If an expression cannot be evaluated: the first one.
pub(crate) fn evaluate_relations(plan: &Plan, first: RelId) -> Result<()> {
    for rel in plan.rels.iter().skip(first) {
        let schema = |id: RelId| plan.rels[id].schema.as_ref();
        match &rel.op {
            Op::Filter { input, predicate } => evaluate_condition(predicate, schema(*input))?,
            Op::Project { input, exprs } => evaluate_columns(exprs, schema(*input))?,
            Op::TemporalFilter { input, since, until, .. } => {
                since.iter().chain(until).try_for_each(|edge| evaluate_column(&edge.time, schema(*input)))?;
            }
            Op::Aggregate { input, keys, aggregates } => {
                evaluate_columns(keys, schema(*input))?;
                for aggregate in aggregates {
                    for arg in aggregate.args() {
                        evaluate_column(arg, schema(*input))?;
                    }
                    aggregate.filter.iter().try_for_each(|f| evaluate_condition(f, schema(*input)))?;
                }
            }
            Op::GroupRows { input, keys, folds } => {
                evaluate_columns(keys, schema(*input))?;
                for fold in folds {
                    evaluate_column(&fold.arg, schema(*input))?;
                    fold.filter.iter().try_for_each(|f| evaluate_condition(f, schema(*input)))?;
                    fold.order.iter().try_for_each(|key| evaluate_column(&key.expr, schema(*input)))?;
                }
            }
            Op::Window { input, window } => {
                evaluate_columns(&window.partition, schema(*input))?;
                window.order.iter().try_for_each(|order| evaluate_column(&order.by, schema(*input)))?;
            }
            Op::Join { left, right, left_keys, right_keys, residual, .. } => {
                evaluate_columns(left_keys, schema(*left))?;
                evaluate_columns(right_keys, schema(*right))?;
                if let Some(residual) = residual {
                    let both = schema(*left).fields().iter().chain(schema(*right).fields());
                    evaluate_condition(residual, &Schema::new(both.cloned().collect::<Vec<_>>()))?;
                }
            }
            Op::TemporalJoin { left, right, left_keys, right_keys, .. } => {
                evaluate_columns(left_keys, schema(*left))?;
                evaluate_columns(right_keys, schema(*right))?;
            }
            Op::Source(_)
            | Op::Values(_)
            | Op::Unnest { .. }
            | Op::Union { .. }
            | Op::Distinct { .. }
            | Op::EmitOnClose { .. }
            // A recursion's body is not evaluated apart: its relations are still in the plan when this runs.
            | Op::Recursive(_)
            | Op::Given(_) => {}
        }
    }
    Ok(())
}

fn evaluate_columns(scalars: &[Scalar], input: &Schema) -> Result<()> {
    scalars.iter().try_for_each(|scalar| evaluate_column(scalar, input))
}

/// Evaluates an expression that becomes a column.
///
/// # Errors
/// If it cannot be evaluated, or has a type that no column can have.
pub(crate) fn evaluate_column(scalar: &Scalar, input: &Schema) -> Result<()> {
    // The number of a grouping set is a constant that never becomes a column of its own.
    if scalar.as_column().is_some() || scalar.expr().is::<Literal>() {
        return Ok(());
    }
    let of = scalar.data_type(input)?;
    if of != DataType::Null && herald_type(&of).as_ref() != Some(&of) {
        return Err(not_a_column(&scalar.to_string(), &of));
    }
    evaluate(scalar, &of, input)
}

fn evaluate_condition(scalar: &Scalar, input: &Schema) -> Result<()> {
    evaluate(scalar, &DataType::Boolean, input)
}

/// Evaluates an expression over sample batches and checks that its values have type `of`.
fn evaluate(scalar: &Scalar, of: &DataType, input: &Schema) -> Result<()> {
    for rows in [0, 1, SAMPLE_ROWS] {
        let batch = sample_batch(input, rows)?;
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
            Ok(Err(error)) if rows == 0 || concerns_expression(&error) => return Err(error),
            Ok(Err(_)) => {}
            Err(_) => return plan_err!("{scalar} cannot be evaluated"),
        }
    }
    Ok(())
}

/// Tells whether an error comes from the expression itself and not from the values of a row.
fn concerns_expression(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Internal(_) | DataFusionError::NotImplemented(_) | DataFusionError::Plan(_) => true,
        DataFusionError::ArrowError(error, _) => {
            matches!(error.as_ref(), ArrowError::NotYetImplemented(_) | ArrowError::SchemaError(_))
        }
        _ => false,
    }
}

/// Batch of `rows` sample rows, at most [`SAMPLE_ROWS`]. The first row is NULL in every nullable column.
fn sample_batch(schema: &Schema, rows: usize) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| Ok(sample_values(field)?.slice(0, rows)));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let nullable = schema.fields().iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Sample values of a column's type: NULL (if nullable), a zero or empty value, and two other values.
fn sample_values(field: &Field) -> Result<ArrayRef> {
    let of = field.data_type();
    let last: ArrayRef = match of {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false, true, true])),
        DataType::Utf8 if schemas::is_jsonb(field) => {
            Arc::new(StringArray::from(vec!["{}", "{\"a\":[1,null]}", "[\"x\"]"]))
        }
        DataType::Utf8 => Arc::new(StringArray::from(vec!["", "1", "match é"])),
        DataType::Binary => Arc::new(BinaryArray::from(vec![&b""[..], &b"\x01"[..], &b"\xff\x00"[..]])),
        DataType::List(item) => {
            let items = sample_values(item)?;
            let offsets = OffsetBuffer::from_lengths([0, 1, SAMPLE_ROWS - 1]);
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, None)?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let columns = fields.iter().map(|f| Ok(sample_values(f)?.slice(1, SAMPLE_ROWS - 1)));
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<Vec<_>>>()?, None)?)
        }
        other => {
            let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![0, 1, 20_000]));
            let narrow = || cast(&numbers, &DataType::Int32);
            match cast(&numbers, other).or_else(|_| cast(&narrow()?, other)) {
                Ok(array) => array,
                Err(_) => new_null_array(other, SAMPLE_ROWS - 1),
            }
        }
    };
    let first = if field.is_nullable() { new_null_array(of, 1) } else { last.slice(0, 1) };
    Ok(concat(&[first.as_ref(), last.as_ref()])?)
}
