//! Stateless steps: filter, project, unnest. Each takes a batch and yields a batch of the same epoch.
//!
//! A whole batch is evaluated at once. When that fails, the batch is evaluated row by row: rows that
//! fail go to the error table with expression, message and values, under their own diff, so that the
//! retraction of such a row fails the same way and removes the entry; all other rows are passed on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take;
use datafusion_common::DataFusionError;
use schemas::Ownership;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};
use timely::order::Product;
use timely::progress::Timestamp;

use super::batch::{DeltaBatch, RelationType, first_value_text, select_rows};
use super::operators::{Output, each_message};
use crate::arrange::rows::Diff;
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::Scalar;

/// Batches of one relation.
pub type Deltas<'s> = Batches<'s, u64>;

/// Batches of one relation at times of any type.
pub type Batches<'s, T> = Stream<'s, T, Vec<DeltaBatch>>;

/// Timestamp that belongs to an epoch.
pub trait EpochTime: Timestamp {
    /// Returns the epoch.
    fn epoch(&self) -> u64;
}

impl EpochTime for u64 {
    fn epoch(&self) -> u64 {
        *self
    }
}

/// Round of a recursion, nested in an epoch.
impl EpochTime for Product<u64, u64> {
    fn epoch(&self) -> u64 {
        self.outer
    }
}

/// Error table of a view: destination of rows on which an expression fails.
#[derive(Clone)]
pub struct Errors {
    collector: Shared,
    owner: String,
    codec: schemas::RowCodec,
    silent: bool,
}

impl Errors {
    /// Creates the recorder of the view `owner`.
    ///
    /// # Errors
    /// Never: the error table's columns are text.
    pub fn new(collector: Shared, owner: &str) -> Result<Errors, RunError> {
        let codec = schemas::RowCodec::new(&[const { arrow::datatypes::DataType::Utf8 }; 4])?;
        Ok(Errors { collector, owner: owner.to_string(), codec, silent: false })
    }

    /// Returns a copy that records nothing: failing rows are only left out, and recorded elsewhere.
    pub fn without_recording(self) -> Errors {
        Errors { silent: true, ..self }
    }

    /// Records one failed row.
    pub fn record_failure(&self, epoch: u64, expression: &str, message: &str, values: &str, diff: i64) {
        if self.silent {
            return;
        }
        let columns =
            [text_column(&self.owner), text_column(expression), text_column(message), text_column(values)];
        match self.codec.encode(&columns) {
            Ok(rows) => self.collector.borrow_mut().at(epoch).add_error(rows.get(0), diff),
            Err(error) => self.collector.borrow_mut().fail(error.into()),
        }
    }

    /// Evaluates `exprs` over the rows of `batch`; rows on which an expression fails are recorded and left
    /// out.
    ///
    /// # Errors
    /// When Arrow's kernels fail on good input.
    pub fn evaluate(
        &self,
        epoch: u64,
        exprs: &[&Scalar],
        batch: RecordBatch,
        diffs: Vec<i64>,
    ) -> Result<(Vec<ArrayRef>, RecordBatch, Vec<i64>), RunError> {
        // Usual case: the whole batch succeeds in one evaluation.
        if let Ok(columns) = evaluate_all(exprs, &batch) {
            return Ok((columns, batch, diffs));
        }
        // The single-row result wins: in a batch, AND/OR may evaluate operands that short-circuiting skips
        // for one row.
        let mut good = vec![true; batch.num_rows()];
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); exprs.len()];
        for (row, good) in good.iter_mut().enumerate() {
            let one = batch.slice(row, 1);
            match evaluate_all(exprs, &one) {
                Ok(values) => {
                    for (column, value) in columns.iter_mut().zip(values) {
                        column.push(value);
                    }
                }
                Err((expr, error)) => {
                    let message = error.strip_backtrace();
                    self.record_failure(epoch, &expr.to_string(), &message, &describe_row(&one), diffs[row]);
                    // Left out of all columns: the row is in the error table instead.
                    *good = false;
                }
            }
        }
        let (batch, diffs) = select_rows(&batch, &diffs, &BooleanArray::from(good))?;
        let mut evaluated = Vec::with_capacity(exprs.len());
        for (expr, values) in exprs.iter().zip(columns) {
            evaluated.push(expr.concat_values(&batch.schema(), &values)?);
        }
        Ok((evaluated, batch, diffs))
    }
}

fn text_column(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

/// Evaluates expressions over a batch; a failure comes with its expression.
fn evaluate_all<'a>(
    exprs: &[&'a Scalar],
    batch: &RecordBatch,
) -> Result<Vec<ArrayRef>, (&'a Scalar, DataFusionError)> {
    let mut columns = Vec::with_capacity(exprs.len());
    for expr in exprs {
        match expr.evaluate(batch) {
            Ok(column) => columns.push(column),
            Err(error) => return Err((*expr, error)),
        }
    }
    Ok(columns)
}

/// Returns constant rows, present from epoch `first` on. Only worker 0 emits them, once.
pub fn constant_rows<'s>(scope: &Scope<'s, u64>, rows: RecordBatch, first: u64) -> Deltas<'s> {
    let rows = (scope.index() == 0).then_some(rows);
    source(*scope, "Values", move |capability, _| {
        let mut rows = rows.map(|rows| (capability.delayed(&first), rows));
        move |output: &mut Output<'_, u64, DeltaBatch>| {
            if let Some((time, rows)) = rows.take() {
                let diffs = vec![1; rows.num_rows()];
                output.session(&time).give(DeltaBatch::from_columns(rows, diffs));
            }
        }
    })
}

/// Describes the values of a one-row batch, as `name=value` each.
pub fn describe_row(row: &RecordBatch) -> String {
    let mut out = String::new();
    for (field, column) in row.schema().fields().iter().zip(row.columns()) {
        let value = first_value_text(column);
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(field.name());
        out.push('=');
        out.push_str(if column.is_null(0) { "NULL" } else { &value });
    }
    out
}

/// Converts every batch to packed updates by `make`, which takes the epoch and the owners of keys; a failure
/// stops the worker.
pub fn to_updates<'s, R: Diff>(
    stream: Deltas<'s>,
    name: &str,
    collector: Shared,
    make: impl Fn(u64, &Ownership, DeltaBatch) -> Result<ExchangeBuffer<R>, RunError> + 'static,
) -> Stream<'s, u64, Vec<Updates<R>>> {
    let ownership = collector.borrow().ownership();
    each_message(stream, Pipeline, name, move |time, batches, output| {
        let mut session = output.session(&time);
        for batch in batches.drain(..) {
            match make(*time.time(), &ownership, batch) {
                Ok(outgoing) => {
                    for updates in outgoing.into_updates() {
                        session.give(updates);
                    }
                }
                Err(error) => collector.borrow_mut().fail(error),
            }
        }
    })
}

/// Converts rows to updates keyed by the whole packed row; `diff_of` makes an update's difference from the
/// count of its row.
pub fn key_whole_rows<'s, R: Diff>(
    stream: Deltas<'s>,
    name: &str,
    (shape, collector): (RelationType, Shared),
    diff_of: impl Fn(i64) -> R + 'static,
) -> Stream<'s, u64, Vec<Updates<R>>> {
    to_updates(stream, name, collector, move |epoch, ownership, mut batch| {
        let diffs = std::mem::take(&mut batch.diffs);
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        for (row, diff) in shape.pack_rows(batch)?.iter().zip(diffs) {
            outgoing.push_key(row);
            outgoing.push_value(&[], diff_of(diff));
        }
        Ok(outgoing)
    })
}

/// Applies `step` to every batch; a failure stops the worker.
pub fn map_batches<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    name: &str,
    collector: Shared,
    mut step: impl FnMut(u64, DeltaBatch) -> Result<DeltaBatch, RunError> + 'static,
) -> Batches<'s, T> {
    each_message(stream, Pipeline, name, move |time, batches, output| {
        let mut session = output.session(&time);
        for batch in batches.drain(..) {
            match step(time.time().epoch(), batch) {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => session.give(batch),
                Err(error) => collector.borrow_mut().fail(error),
            }
        }
    })
}

/// Keeps the rows for which `predicate` is true.
pub fn filter<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    shape: RelationType,
    predicate: Scalar,
    errors: Errors,
) -> Batches<'s, T> {
    let collector = errors.collector.clone();
    map_batches(stream, "Filter", collector, move |epoch, delta| {
        let batch = shape.decode_columns(&delta)?;
        let (mask, batch, diffs) = errors.evaluate(epoch, &[&predicate], batch, delta.diffs)?;
        let Some(mask) = mask[0].as_boolean_opt() else {
            return Err(RunError::Broken(format!("{predicate} is not boolean")));
        };
        let (batch, diffs) = select_rows(&batch, &diffs, mask)?;
        Ok(DeltaBatch::from_columns(batch, diffs))
    })
}

/// Computes one output column for each expression.
pub fn project<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    input: RelationType,
    output: RelationType,
    exprs: Vec<Scalar>,
    errors: Errors,
) -> Batches<'s, T> {
    let collector = errors.collector.clone();
    map_batches(stream, "Project", collector, move |epoch, delta| {
        let batch = input.decode_columns(&delta)?;
        let refs: Vec<&Scalar> = exprs.iter().collect();
        let (columns, _, diffs) = errors.evaluate(epoch, &refs, batch, delta.diffs)?;
        Ok(DeltaBatch::from_columns(output.assemble(columns, diffs.len())?, diffs))
    })
}

/// Replaces the list in `column` by its items, one row each; with `outer`, an empty or NULL list by one NULL.
pub fn unnest<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    input: RelationType,
    output: RelationType,
    column: usize,
    outer: bool,
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "Unnest", collector, move |_, delta| {
        let batch = input.decode_columns(&delta)?;
        let Some(list) = batch.column(column).as_list_opt::<i32>() else {
            return Err(RunError::Broken("UNNEST of what is no list".into()));
        };
        let (mut rows, mut items, mut diffs) = (vec![], vec![], vec![]);
        for row in 0..list.len() {
            let range = list.value_offsets()[row]..list.value_offsets()[row + 1];
            if !list.is_null(row) && !range.is_empty() {
                for item in range {
                    rows.push(row as u32);
                    items.push(Some(item as u32));
                    diffs.push(delta.diffs[row]);
                }
            // LEFT JOIN UNNEST keeps the row with a NULL item.
            } else if outer {
                rows.push(row as u32);
                items.push(None);
                diffs.push(delta.diffs[row]);
            }
        }
        // `items` indexes the lists' values, `rows` the batch: other columns repeat for each item.
        let (rows, items) = (UInt32Array::from(rows), UInt32Array::from(items));
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (at, values) in batch.columns().iter().enumerate() {
            let taken =
                if at == column { take(list.values(), &items, None) } else { take(values, &rows, None) };
            columns.push(taken?);
        }
        Ok(DeltaBatch::from_columns(output.assemble(columns, diffs.len())?, diffs))
    })
}

/// Drops batches at or before `epoch`, which the restored state already contains.
pub fn drop_restored<'s>(stream: Deltas<'s>, epoch: u64) -> Deltas<'s> {
    each_message(stream, Pipeline, "Cut", move |time, batches, output| {
        if *time.time() > epoch {
            output.session(&time).give_container(batches);
        }
    })
}
