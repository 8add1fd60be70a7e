//! Stateless steps: filter, project, unnest. Each takes a batch and yields a batch of the same epoch.
//!
//! A whole batch is evaluated at once. When that fails, the batch is evaluated row by row: rows that
//! fail go to the error table with expression, message and values, under their own diff, so that the
//! retraction of such a row fails the same way and removes the entry; all others go on.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};
use timely::dataflow::{Scope, Stream};
use timely::order::Product;
use timely::progress::Timestamp;

use super::batch::{DeltaBatch, Shape, select};
use super::collect::Shared;
use crate::arrange::trace::Diff;
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::Scalar;

/// Batches of one relation.
pub type Deltas<'s> = Batches<'s, u64>;

/// Batches of one relation at times of any kind.
pub type Batches<'s, T> = Stream<'s, T, Vec<DeltaBatch>>;

/// A time that belongs to an epoch.
pub trait Timed: Timestamp {
    /// The epoch.
    fn epoch(&self) -> u64;
}

impl Timed for u64 {
    fn epoch(&self) -> u64 {
        *self
    }
}

/// A round of a recursion.
impl Timed for Product<u64, u64> {
    fn epoch(&self) -> u64 {
        self.outer
    }
}

/// Where rows that an expression fails on are put.
#[derive(Clone)]
pub struct Errors {
    collector: Shared,
    space: u32,
    owner: String,
    codec: schemas::RowCodec,
    silent: bool,
}

impl Errors {
    /// Errors of the view `owner`, counted in `space`.
    ///
    /// # Errors
    /// Never: the error table's columns are text.
    pub fn new(collector: Shared, space: u32, owner: &str) -> Result<Errors, RunError> {
        let codec = schemas::RowCodec::new(&[const { arrow::datatypes::DataType::Utf8 }; 4])?;
        Ok(Errors { collector, space, owner: owner.to_string(), codec, silent: false })
    }

    /// The same that puts nothing: rows that fail are left out, and put elsewhere.
    pub fn silent(self) -> Errors {
        Errors { silent: true, ..self }
    }

    /// Puts one failed row.
    pub fn put(&self, epoch: u64, expression: &str, message: &str, values: &str, diff: i64) {
        if self.silent {
            return;
        }
        let text = |t: &str| -> ArrayRef { std::sync::Arc::new(arrow::array::StringArray::from(vec![t])) };
        let columns = [text(&self.owner), text(expression), text(message), text(values)];
        if let Ok(rows) = self.codec.encode(&columns) {
            let stored = super::collect::stored_key(rows.get(0));
            self.collector.borrow_mut().at(epoch).count(self.space, &stored, diff);
        }
    }

    /// Evaluates `exprs` over the rows of `batch`; rows on which one fails are put and left out.
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
        let whole: Result<Vec<_>, _> = exprs.iter().map(|e| e.evaluate(&batch)).collect();
        if let Ok(columns) = whole {
            return Ok((columns, batch, diffs));
        }
        // What a row gives alone stands: side by side, AND and OR may evaluate what they leave out alone.
        let mut good = vec![true; batch.num_rows()];
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); exprs.len()];
        for (row, good) in good.iter_mut().enumerate() {
            let one = batch.slice(row, 1);
            let values = exprs.iter().map(|e| e.evaluate(&one).map_err(|error| (e, error)));
            match values.collect::<Result<Vec<_>, _>>() {
                Ok(values) => columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value)),
                Err((expr, error)) => {
                    let message = error.strip_backtrace();
                    self.put(epoch, &expr.to_string(), &message, &describe(&one), diffs[row]);
                    *good = false;
                }
            }
        }
        let (batch, diffs) = select(&batch, &diffs, &BooleanArray::from(good))?;
        let columns = exprs.iter().zip(columns).map(|(e, values)| e.joined(&batch.schema(), &values));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| RunError::Broken(e.to_string()))?;
        Ok((columns, batch, diffs))
    }
}

/// Rows that are there from epoch `first` on: one worker has them, once.
pub fn constant<'s>(scope: &Scope<'s, u64>, rows: RecordBatch, first: u64) -> Deltas<'s> {
    let rows = (scope.index() == 0).then_some(rows);
    source(*scope, "Values", move |capability, _| {
        let mut rows = rows.map(|rows| (capability.delayed(&first), rows));
        move |output: &mut OutputBuilderSession<'_, u64, CapacityContainerBuilder<Vec<DeltaBatch>>>| {
            if let Some((time, rows)) = rows.take() {
                let diffs = vec![1; rows.num_rows()];
                output.session(&time).give(DeltaBatch::arrow(rows, diffs));
            }
        }
    })
}

/// The values of a one-row batch, `name=value` each.
pub fn describe(row: &RecordBatch) -> String {
    let mut out = String::new();
    for (field, column) in row.schema().fields().iter().zip(row.columns()) {
        let value = arrow::util::display::array_value_to_string(column, 0).unwrap_or_default();
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(field.name());
        out.push('=');
        out.push_str(if column.is_null(0) { "NULL" } else { &value });
    }
    out
}

/// What `make` gives for every batch of an epoch, for as many workers as there are; a failure stops the
/// worker.
pub fn to_updates<'s, R: Diff>(
    stream: Deltas<'s>,
    name: &str,
    collector: Shared,
    make: impl Fn(u64, usize, DeltaBatch) -> Result<Outgoing<R>, RunError> + 'static,
) -> Stream<'s, u64, Vec<Updates<R>>> {
    let peers = stream.scope().peers();
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for batch in batches.drain(..) {
                    match make(*time.time(), peers, batch) {
                        Ok(outgoing) => outgoing.finish().for_each(|updates| session.give(updates)),
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    })
}

/// Applies `step` to every batch; a failure stops the worker.
pub fn map_batches<'s, T: Timed>(
    stream: Batches<'s, T>,
    name: &str,
    collector: Shared,
    mut step: impl FnMut(u64, DeltaBatch) -> Result<DeltaBatch, RunError> + 'static,
) -> Batches<'s, T> {
    stream.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for batch in batches.drain(..) {
                    match step(time.time().epoch(), batch) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => session.give(batch),
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    })
}

/// Rows for which `predicate` is true.
pub fn filter<'s, T: Timed>(
    stream: Batches<'s, T>,
    shape: Shape,
    predicate: Scalar,
    errors: Errors,
) -> Batches<'s, T> {
    let collector = errors.collector.clone();
    map_batches(stream, "Filter", collector, move |epoch, delta| {
        let batch = shape.columns(&delta)?;
        let (mask, batch, diffs) = errors.evaluate(epoch, &[&predicate], batch, delta.diffs)?;
        let mask = mask[0]
            .as_boolean_opt()
            .ok_or_else(|| RunError::Broken(format!("{predicate} is not boolean")))?;
        let (batch, diffs) = select(&batch, &diffs, mask)?;
        Ok(DeltaBatch::arrow(batch, diffs))
    })
}

/// One expression an output column.
pub fn project<'s, T: Timed>(
    stream: Batches<'s, T>,
    input: Shape,
    output: Shape,
    exprs: Vec<Scalar>,
    errors: Errors,
) -> Batches<'s, T> {
    let collector = errors.collector.clone();
    map_batches(stream, "Project", collector, move |epoch, delta| {
        let batch = input.columns(&delta)?;
        let refs: Vec<&Scalar> = exprs.iter().collect();
        let (columns, _, diffs) = errors.evaluate(epoch, &refs, batch, delta.diffs)?;
        Ok(DeltaBatch::arrow(output.assemble(columns, diffs.len())?, diffs))
    })
}

/// Replaces the list in `column` by its items, one row each.
pub fn unnest<'s, T: Timed>(
    stream: Batches<'s, T>,
    input: Shape,
    output: Shape,
    column: usize,
    outer: bool,
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "Unnest", collector, move |_, delta| {
        let batch = input.columns(&delta)?;
        let list = batch
            .column(column)
            .as_list_opt::<i32>()
            .ok_or_else(|| RunError::Broken("UNNEST of what is no list".into()))?;
        let (mut rows, mut items, mut diffs) = (vec![], vec![], vec![]);
        for row in 0..list.len() {
            let range = list.value_offsets()[row]..list.value_offsets()[row + 1];
            if !list.is_null(row) && !range.is_empty() {
                for item in range {
                    rows.push(row as u32);
                    items.push(Some(item as u32));
                    diffs.push(delta.diffs[row]);
                }
            } else if outer {
                rows.push(row as u32);
                items.push(None);
                diffs.push(delta.diffs[row]);
            }
        }
        let (rows, items) = (UInt32Array::from(rows), UInt32Array::from(items));
        let columns = (0..batch.num_columns())
            .map(|i| {
                if i == column {
                    take(list.values(), &items, None)
                } else {
                    take(batch.column(i), &rows, None)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(DeltaBatch::arrow(output.assemble(columns, diffs.len())?, diffs))
    })
}

/// Drops what is at or before `epoch`: what a restored arrangement already holds, or a restored view showed.
pub fn cut<'s>(stream: Deltas<'s>, epoch: u64) -> Deltas<'s> {
    stream.unary(Pipeline, "Cut", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                if *time.time() > epoch {
                    output.session(&time).give_container(batches);
                }
            });
        }
    })
}
