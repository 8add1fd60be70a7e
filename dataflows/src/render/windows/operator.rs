//! Functions over ordered partitions: rows arranged by partition in order, and the changes of their results.
//!
//! The arrangement's key is the packed partition; its values are `order ++ row ++ length of order`, so
//! that a partition is read in its order (see `order_bytes`). For every partition that changed, the
//! operator reads its rows just before and at the epoch, computes the functions over both and emits
//! the difference. Where only the first rows are output (top-N), no more than those are read (and if no row is ever
//! retracted, none are arranged, see `first_rows`); otherwise the cost of a change is the partition's length. A failing function (overflow) is an error of the whole
//! partition, which has no rows until it succeeds again; where all functions look back only, it still has
//! the rows before the failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion_physical_expr::window::WindowExpr;
use differential_dataflow::trace::{Cursor, cursor::cursor_list};
use schemas::{Ownership, RowCodec, Rows};
use timely::dataflow::Stream;

use super::ranks::{MAX_ROWS, PartitionRow, Ranked, count_ranked, expand_rows};
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedTrace, SharedBatch};
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::Scalar;
use crate::plan::window::{Order, Window};
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::{DeltaBatch, RelationType, describe_packed, packed_batches};
use crate::render::changes::{Emission, emit_changes};
use crate::render::event_time::rule::ExpiredKeys;
use crate::render::linear::{Deltas, Errors, to_updates};

/// Length of the trailing length field of a value.
const TAIL: usize = 4;

/// Layout of the arrangement: partition, and order within it, of every input row.
pub struct PartitionLayout {
    /// Type of input rows.
    pub shape: RelationType,
    /// Packed form of the partition.
    pub partition: RowCodec,
    /// Partition, order and functions.
    pub window: Window,
}

/// Converts rows to updates by partition, whose values sort by the partition's order.
pub fn arrange_input<'s>(
    stream: Deltas<'s>,
    layout: PartitionLayout,
    errors: Errors,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "Partition", collector, move |epoch, ownership, batch| {
        layout.keyed_updates(&errors, (epoch, ownership), batch)
    })
}

impl PartitionLayout {
    fn keyed_updates(
        &self,
        errors: &Errors,
        (epoch, ownership): (u64, &Ownership),
        delta: DeltaBatch,
    ) -> Result<ExchangeBuffer<i64>, RunError> {
        let batch = self.shape.decode_columns(&delta)?;
        let by: Vec<&Scalar> =
            self.window.partition.iter().chain(self.window.order.iter().map(|o| &o.by)).collect();
        let (columns, batch, diffs) = errors.evaluate(epoch, &by, batch, delta.diffs)?;
        let (partition, order) = columns.split_at(self.window.partition.len());
        let keys = encode_keys(&self.partition, partition, diffs.len())?;
        let order = order_bytes(&self.window.order, order, diffs.len())?;
        let rows = self.shape.pack_rows(DeltaBatch::from_columns(batch, vec![]))?;
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        let mut tail = Vec::new();
        for (at, diff) in diffs.into_iter().enumerate() {
            // The length follows the row, so that it does not affect the order.
            let Ok(length) = u32::try_from(order[at].len()) else {
                return Err(RunError::Broken("an order of 4 GiB".into()));
            };
            tail.clear();
            tail.extend_from_slice(rows.get(at));
            tail.extend_from_slice(&length.to_be_bytes());
            outgoing.push_key(keys.get(at));
            outgoing.push_concatenated(&order[at], &tail, diff);
        }
        Ok(outgoing)
    }
}

/// Returns bytes for each row that compare as ORDER BY does. Packed columns ascend with NULL lowest; in a
/// descending column every bit is flipped, and the byte of a NULL is set so that it sorts where NULLs
/// belong: below the leading bytes `01` and `FE`, or above.
fn order_bytes(order: &[Order], columns: &[ArrayRef], rows: usize) -> Result<Vec<Vec<u8>>, RunError> {
    let mut out = vec![Vec::new(); rows];
    for (order, column) in order.iter().zip(columns) {
        let codec = RowCodec::new(&[column.data_type().clone()])?;
        let mut packed = codec.encode(std::slice::from_ref(column))?;
        if order.descending {
            packed.flip();
        }
        let nulls = column.logical_nulls();
        for (at, out) in out.iter_mut().enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(at)) {
                out.push(if order.nulls_first { 0x00 } else { 0xFF });
            } else {
                out.extend_from_slice(packed.get(at));
            }
        }
    }
    Ok(out)
}

/// Splits a value into order bytes and row.
pub(in crate::render) fn split_value(value: &[u8]) -> Result<(&[u8], &[u8]), RunError> {
    if let Some((rest, tail)) = value.split_last_chunk::<TAIL>()
        && let Some(parts) = rest.split_at_checked(u32::from_be_bytes(*tail) as usize)
    {
        return Ok(parts);
    }
    Err(RunError::Broken("a row of a partition is cut short".into()))
}

/// Configuration of the operator.
pub struct WindowOperator {
    /// Type of input rows.
    pub input: RelationType,
    /// Partition, order and functions.
    pub window: Window,
    /// Packed form of the partition, for messages.
    pub partition: RowCodec,
    /// Partitions whose state is removed while their results stay.
    pub expired: Option<ExpiredKeys>,
    /// Epoch of the restored state, where nobody reads its output.
    pub unread: Option<u64>,
    /// Operator name in counters.
    pub name: String,
    /// Collector of counters.
    pub collector: Shared,
    /// Error table for partitions on which a function fails.
    pub errors: Errors,
}

/// Failed function and its message.
type Failure = (String, String);

/// Output rows of a partition, or the failure.
type Results = Result<Vec<Vec<u8>>, Failure>;

/// Output rows and their diffs, by epoch.
pub(super) type WindowOutput = BTreeMap<u64, (Rows, Vec<i64>)>;

/// Emits the changed output rows of every partition that changed.
///
/// # Errors
/// When the plan's functions do not fit its input.
pub fn emit_windows<'s>(
    arranged: PackedArranged<'s, i64>,
    over: WindowOperator,
) -> Result<Deltas<'s>, RunError> {
    let mut compute = Compute::new(over)?;
    let (name, collector) = (compute.over.name.clone(), compute.over.collector.clone());
    let emission = Emission { first: 0, single: false, unread: compute.over.unread };
    Ok(emit_changes(arranged, &name, emission, collector, move |trace, batches, _| {
        Ok(packed_batches(compute.process_batches(trace, batches)?))
    }))
}

/// Functions prepared for evaluation.
pub(super) struct Compute {
    pub(super) over: WindowOperator,
    /// DataFusion's expression of each function; None for ranks.
    exprs: Vec<Option<Arc<dyn WindowExpr>>>,
    /// Packed form of the functions' columns.
    values: RowCodec,
}

impl Compute {
    pub(super) fn new(over: WindowOperator) -> Result<Compute, RunError> {
        let types: Vec<DataType> = over.window.functions.iter().map(|f| f.output.clone()).collect();
        let mut exprs = Vec::with_capacity(types.len());
        for at in 0..types.len() {
            exprs.push(over.window.window_expr(at, &over.input.schema)?);
        }
        Ok(Compute { exprs, values: RowCodec::new(&types)?, over })
    }

    /// Processes all partitions of `batches`, at each epoch at which they changed.
    fn process_batches(
        &mut self,
        trace: &mut PackedTrace<i64>,
        batches: Vec<SharedBatch<i64>>,
    ) -> Result<WindowOutput, RunError> {
        let mut seek = Seek::new(trace);
        let (mut fresh, storage) = cursor_list(batches);
        let (mut out, mut touched, mut times) = (WindowOutput::new(), 0, Vec::new());
        while let Some(key) = fresh.get_key(&storage) {
            times.clear();
            while fresh.get_val(&storage).is_some() {
                fresh.map_times(&storage, |time, _| times.push(*time));
                fresh.step_val(&storage);
            }
            times.sort_unstable();
            times.dedup();
            seek.seek_key(key);
            for time in &times {
                // Taken before reading: the change is the removal of the partition's state.
                if ExpiredKeys::take_from(&self.over.expired, *time, key) {
                    continue;
                }
                let entries = self.read_partition(&mut seek, *time)?;
                touched += entries.len() as u64;
                self.emit_difference(key, *time, entries, &mut out)?;
            }
            fresh.step_key(&storage);
        }
        if let Some(epoch) = out.keys().next() {
            self.over.collector.borrow_mut().at(*epoch).count_touched(&self.over.name, touched);
        }
        Ok(out)
    }

    /// Reads the partition's rows with their counts just before and at `time`, only as far as they are
    /// output.
    fn read_partition(&self, seek: &mut Seek<i64>, time: u64) -> Result<Vec<PartitionRow>, RunError> {
        let first =
            self.over.window.first.map(|f| (self.over.window.functions[f.function].call.clone(), f.most));
        let mut ranked = [Ranked::default(), Ranked::default()];
        let mut entries = Vec::new();
        seek.rewind_values();
        while let Some(value) = seek.current_value() {
            let value = value.to_vec();
            let mut counts = [0i64; 2];
            seek.visit_updates(&value, |at, diff| {
                counts[0] += if at < time { *diff } else { 0 };
                counts[1] += if at <= time { *diff } else { 0 };
            });
            seek.step_past(&value);
            // More removals than insertions: the state does not contain a removed row.
            if counts.iter().any(|count| *count < 0) {
                return Err(RunError::Unheld("partition"));
            }
            let (order, row) = split_value(&value)?;
            if let Some((rank, most)) = &first {
                // Counts are cut to the rows that are output; once both states are done, reading ends.
                let mut done = 0;
                for (side, count) in ranked.iter_mut().zip(&mut counts) {
                    *count = side.take_ranked(rank, *most, (order, *count));
                    done += usize::from(side.done);
                }
                if done == 2 {
                    break;
                }
            }
            if counts != [0, 0] {
                entries.push(PartitionRow { order: order.to_vec(), row: row.to_vec(), counts });
            }
        }
        Ok(entries)
    }

    /// Emits the difference of the partition's results just before and at `time`.
    pub(super) fn emit_difference(
        &self,
        key: &[u8],
        time: u64,
        entries: Vec<PartitionRow>,
        out: &mut WindowOutput,
    ) -> Result<(), RunError> {
        // Changes beyond the rows that are output leave both states equal.
        if entries.iter().all(|e| e.counts[0] == e.counts[1]) {
            return Ok(());
        }
        let mut changes: Vec<(Vec<u8>, i64)> = Vec::new();
        for (side, diff) in [(0, -1), (1, 1)] {
            let (results, failed) = match expand_rows(&entries, side) {
                (rows, true) => self.as_far(&rows)?,
                (rows, false) => {
                    // Too many rows: the functions see only the beginning, as before a failure.
                    let many = ("OVER".into(), format!("a partition has more than {MAX_ROWS} rows"));
                    (self.results_before_failure(&rows, rows.len())?, Some(many))
                }
            };
            changes.extend(results.into_iter().map(|row| (row, diff)));
            if let Some((what, message)) = failed {
                let partition = describe_packed("partition", &self.over.partition, key);
                self.over.errors.record_failure(time, &what, &message, &partition, diff);
            }
        }
        // Equal rows of both states cancel.
        changes.sort_unstable();
        let (rows, diffs) = out.entry(time).or_default();
        let mut rest = changes.as_slice();
        while let Some((row, _)) = rest.first() {
            let same = rest.iter().take_while(|(other, _)| other == row).count();
            let diff: i64 = rest[..same].iter().map(|(_, diff)| diff).sum();
            if diff != 0 {
                rows.push(row);
                diffs.push(diff);
            }
            rest = &rest[same..];
        }
        Ok(())
    }

    /// Computes the functions over a partition; where one fails, over the rows before the failure if it does
    /// not affect them, together with the failure.
    fn as_far(&self, rows: &[&PartitionRow]) -> Result<(Vec<Vec<u8>>, Option<Failure>), RunError> {
        match self.compute_results(rows)? {
            Ok(results) => Ok((results, None)),
            Err(failure) => Ok((self.results_before_failure(rows, rows.len())?, Some(failure))),
        }
    }

    /// Computes the functions over the longest prefix of a partition, below `end`, over which none fails; no
    /// rows where they look ahead. Later rows then do not change the results of earlier ones.
    fn results_before_failure(&self, rows: &[&PartitionRow], end: usize) -> Result<Vec<Vec<u8>>, RunError> {
        if self.over.window.looks_back().is_none() {
            return Ok(vec![]);
        }
        // Peers affect each other's results: a prefix ends where the order differs.
        let ends: Vec<usize> = (1..end).filter(|at| rows[*at].order != rows[at - 1].order).collect();
        let (mut good, mut low, mut high) = (vec![], 0, ends.len());
        // Binary search: a prefix fails if a shorter one does.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compute_results(&rows[..ends[middle]])? {
                Ok(results) => (good, low) = (results, middle + 1),
                Err(_) => high = middle,
            }
        }
        Ok(good)
    }

    /// Computes the functions over rows of a partition.
    fn compute_results(&self, rows: &[&PartitionRow]) -> Result<Results, RunError> {
        if rows.is_empty() {
            return Ok(Ok(vec![]));
        }
        let mut batch = None;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.exprs.len());
        for (function, expr) in self.over.window.functions.iter().zip(&self.exprs) {
            let Some(expr) = expr else {
                columns.push(Arc::new(Int64Array::from(super::ranks::compute_ranks(&function.call, rows))));
                continue;
            };
            // Rows are decoded only if a function other than a rank needs them.
            if batch.is_none() {
                let packed = self.over.input.codec.decode(rows.iter().map(|e| e.row.as_slice()))?;
                batch = Some(self.over.input.assemble(packed, rows.len())?);
            }
            let Some(batch) = &batch else { continue };
            match expr.evaluate(batch) {
                Ok(column) => columns.push(column),
                Err(error) => return Ok(Err((function.to_string(), error.strip_backtrace()))),
            }
        }
        // Top-N: the first rows by rank form a prefix of the ordered partition.
        let kept = match &self.over.window.first {
            Some(first) => count_ranked(&columns[first.function], first.most),
            None => rows.len(),
        };
        let values = self.values.encode(&columns)?;
        let mut results = Vec::with_capacity(kept);
        for (at, entry) in rows.iter().enumerate().take(kept) {
            results.push([entry.row.as_slice(), values.get(at)].concat());
        }
        Ok(Ok(results))
    }
}
