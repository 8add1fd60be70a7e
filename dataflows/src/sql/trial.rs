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
        evaluate_operator(plan, &rel.op)?;
    }
    Ok(())
}

/// Evaluates every expression of an operator.
fn evaluate_operator(plan: &Plan, op: &Op) -> Result<()> {
    match op {
        Op::Filter { input, predicate } => evaluate_condition(predicate, schema_of(plan, *input))?,
        Op::Project { input, exprs } => evaluate_columns(exprs, schema_of(plan, *input))?,
        Op::TemporalFilter { input, since, until, .. } => {
            for edge in since.iter().chain(until) {
                evaluate_column(&edge.time, schema_of(plan, *input))?;
            }
        }
        Op::Aggregate { input, keys, aggregates } => {
            let input = schema_of(plan, *input);
            evaluate_columns(keys, input)?;
            for aggregate in aggregates {
                evaluate_columns(aggregate.args(), input)?;
                evaluate_filter(aggregate.filter.as_ref(), input)?;
            }
        }
        Op::GroupRows { input, keys, folds } => {
            let input = schema_of(plan, *input);
            evaluate_columns(keys, input)?;
            for fold in folds {
                evaluate_column(&fold.arg, input)?;
                evaluate_filter(fold.filter.as_ref(), input)?;
                for key in &fold.order {
                    evaluate_column(&key.expr, input)?;
                }
            }
        }
        Op::Window { input, window } => {
            let input = schema_of(plan, *input);
            evaluate_columns(&window.partition, input)?;
            for order in &window.order {
                evaluate_column(&order.by, input)?;
            }
        }
        Op::Join { left, right, left_keys, right_keys, residual, .. } => {
            let (left, right) = (schema_of(plan, *left), schema_of(plan, *right));
            evaluate_columns(left_keys, left)?;
            evaluate_columns(right_keys, right)?;
            if let Some(residual) = residual {
                let both = left.fields().iter().chain(right.fields());
                evaluate_condition(residual, &Schema::new(both.cloned().collect::<Vec<_>>()))?;
            }
        }
        Op::TemporalJoin { left, right, left_keys, right_keys, .. } => {
            evaluate_columns(left_keys, schema_of(plan, *left))?;
            evaluate_columns(right_keys, schema_of(plan, *right))?;
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
    Ok(())
}

/// Columns of a relation.
fn schema_of(plan: &Plan, rel: RelId) -> &Schema {
    &plan.rels[rel].schema
}

fn evaluate_columns<'s>(scalars: impl IntoIterator<Item = &'s Scalar>, input: &Schema) -> Result<()> {
    for scalar in scalars {
        evaluate_column(scalar, input)?;
    }
    Ok(())
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

/// Evaluates the FILTER of an aggregate, if it has one.
fn evaluate_filter(filter: Option<&Scalar>, input: &Schema) -> Result<()> {
    match filter {
        Some(filter) => evaluate_condition(filter, input),
        None => Ok(()),
    }
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
    let (mut columns, mut nullable) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        columns.push(sample_values(field)?.slice(0, rows));
        nullable.push(field.as_ref().clone().with_nullable(true));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(nullable)), columns, &options)?)
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
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                columns.push(sample_values(field)?.slice(1, SAMPLE_ROWS - 1));
            }
            Arc::new(StructArray::try_new(fields.clone(), columns, None)?)
        }
        other => {
            let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![0, 1, 20_000]));
            match cast_numbers(&numbers, other) {
                Ok(array) => array,
                Err(_) => new_null_array(other, SAMPLE_ROWS - 1),
            }
        }
    };
    let first = if field.is_nullable() { new_null_array(of, 1) } else { last.slice(0, 1) };
    Ok(concat(&[first.as_ref(), last.as_ref()])?)
}

/// Casts whole numbers to another type, by way of INT if BIGINT has no cast to it.
fn cast_numbers(numbers: &ArrayRef, of: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    match cast(numbers, of) {
        Err(_) => cast(&cast(numbers, &DataType::Int32)?, of),
        array => array,
    }
}
