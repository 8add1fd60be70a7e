//! Functions over ordered partitions: rows by partition in order, and what changed of their results.
//!
//! The arrangement's key is the packed partition; its values are `order ++ row ++ length of order`, so
//! that a partition reads in its order (see `order_bytes`). For every partition that changed, the
//! operator reads its rows just before and at the epoch, computes the functions over both and emits
//! the difference. Where only the first rows come out (top-N), no more than those are read; else a
//! change costs its partition's length. A function that fails (overflow) is an error of the whole
//! partition, which has no rows until it succeeds again; where all functions look back, it still has the
//! rows before the failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion_physical_expr::window::WindowExpr;
use differential_dataflow::trace::{Cursor, cursor::cursor_list};
use schemas::{RowCodec, Rows};
use timely::dataflow::Stream;

use super::ranks::{Entry, MAX_ROWS, Ranked, cut, expand};
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedBatch, PackedTrace};
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::Scalar;
use crate::plan::window::{Order, Window};
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::changes::changes;
use crate::render::collect::Shared;
use crate::render::event_time::expire::Gone;
use crate::render::linear::{Deltas, Errors, to_updates};

/// Bytes of the length at the end of a value.
const TAIL: usize = 4;

/// Partition and place of every input row.
pub struct Place {
    /// Input rows.
    pub shape: Shape,
    /// Packed form of the partition.
    pub partition: RowCodec,
    /// What is computed.
    pub window: Window,
}

/// Rows by partition, in order.
pub fn placed<'s>(
    stream: Deltas<'s>,
    place: Place,
    errors: Errors,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "Partition", collector, move |epoch, peers, batch| {
        place.updates(&errors, (epoch, peers), batch)
    })
}

impl Place {
    fn updates(
        &self,
        errors: &Errors,
        (epoch, peers): (u64, usize),
        delta: DeltaBatch,
    ) -> Result<Outgoing<i64>, RunError> {
        let batch = self.shape.columns(&delta)?;
        let by: Vec<&Scalar> =
            self.window.partition.iter().chain(self.window.order.iter().map(|o| &o.by)).collect();
        let (columns, batch, diffs) = errors.evaluate(epoch, &by, batch, delta.diffs)?;
        let (partition, order) = columns.split_at(self.window.partition.len());
        let keys = encode_keys(&self.partition, partition, diffs.len())?;
        let order = order_bytes(&self.window.order, order, diffs.len())?;
        let rows = self.shape.packed(DeltaBatch::arrow(batch, vec![]))?;
        let mut outgoing = Outgoing::new(epoch, peers);
        let mut tail = Vec::new();
        for (at, diff) in diffs.into_iter().enumerate() {
            let length =
                u32::try_from(order[at].len()).map_err(|_| RunError::Broken("an order of 4 GiB".into()))?;
            tail.clear();
            tail.extend_from_slice(rows.get(at));
            tail.extend_from_slice(&length.to_be_bytes());
            outgoing.key(keys.get(at));
            outgoing.joined(&order[at], &tail, diff);
        }
        Ok(outgoing)
    }
}

/// For each row, bytes that compare as ORDER BY does. Packed columns ascend with NULL lowest; one that
/// descends has every bit flipped, and the mark of a NULL is set to where NULLs belong: below `01` and
/// `FE`, or above.
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

/// Order and row of a value.
pub(in crate::render) fn split(value: &[u8]) -> Result<(&[u8], &[u8]), RunError> {
    let broken = || RunError::Broken("a row of a partition is cut short".into());
    let (rest, tail) = value.split_last_chunk::<TAIL>().ok_or_else(broken)?;
    rest.split_at_checked(u32::from_be_bytes(*tail) as usize).ok_or_else(broken)
}

/// What the operator needs besides its arrangement.
pub struct Over {
    /// Input rows.
    pub input: Shape,
    /// What is computed.
    pub window: Window,
    /// Packed form of the partition, for messages.
    pub partition: RowCodec,
    /// Partitions that are removed although their results stay.
    pub gone: Option<Gone>,
    /// Operator name in counters.
    pub name: String,
    /// Where counters go.
    pub collector: Shared,
    /// Where partitions go that a function fails on.
    pub errors: Errors,
}

/// Which function failed, and why.
type Failure = (String, String);

/// Output rows of a partition; or what failed.
type Results = Result<Vec<Vec<u8>>, Failure>;

/// Output rows of one epoch.
type Out = BTreeMap<u64, (Rows, Vec<i64>)>;

/// What changed of every partition that changed.
///
/// # Errors
/// When the plan's functions do not fit its input.
pub fn window<'s>(arranged: PackedArranged<'s, i64>, over: Over) -> Result<Deltas<'s>, RunError> {
    let mut compute = Compute::new(over)?;
    let (name, collector) = (compute.over.name.clone(), compute.over.collector.clone());
    Ok(changes(arranged, &name, (0, false), collector, move |trace, batches, _| {
        let out = compute.run(trace, batches)?;
        let batch = |(rows, diffs)| DeltaBatch { data: Data::Packed(rows), diffs };
        Ok(out.into_iter().map(|(epoch, out)| (epoch, batch(out))).collect())
    }))
}

/// The functions, ready to run.
struct Compute {
    over: Over,
    /// DataFusion's for each function that is no rank.
    exprs: Vec<Option<Arc<dyn WindowExpr>>>,
    /// Packed form of the functions' columns.
    values: RowCodec,
}

impl Compute {
    fn new(over: Over) -> Result<Compute, RunError> {
        let types: Vec<DataType> = over.window.functions.iter().map(|f| f.output.clone()).collect();
        let exprs = (0..types.len())
            .map(|at| over.window.expression(at, &over.input.schema))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| RunError::Broken(e.to_string()))?;
        Ok(Compute { exprs, values: RowCodec::new(&types)?, over })
    }

    fn run(&mut self, trace: &mut PackedTrace<i64>, batches: Vec<PackedBatch<i64>>) -> Result<Out, RunError> {
        let mut seek = Seek::new(trace);
        let (mut fresh, storage) = cursor_list(batches);
        let (mut out, mut touched, mut times) = (Out::new(), 0, Vec::new());
        while let Some(key) = fresh.get_key(&storage) {
            times.clear();
            while fresh.get_val(&storage).is_some() {
                fresh.map_times(&storage, |time, _| times.push(*time));
                fresh.step_val(&storage);
            }
            times.sort_unstable();
            times.dedup();
            seek.key(key);
            for time in &times {
                if self.over.gone.as_ref().is_some_and(|gone| gone.take(*time, key)) {
                    continue;
                }
                let entries = self.read(&mut seek, *time)?;
                touched += entries.len() as u64;
                self.difference(key, *time, entries, &mut out)?;
            }
            fresh.step_key(&storage);
        }
        if let Some(epoch) = out.keys().next() {
            self.over.collector.borrow_mut().at(*epoch).touch(&self.over.name, touched);
        }
        Ok(out)
    }

    /// The partition's rows with their counts just before and at `time`, as many as come out.
    fn read(&self, seek: &mut Seek<i64>, time: u64) -> Result<Vec<Entry>, RunError> {
        let first =
            self.over.window.first.map(|f| (self.over.window.functions[f.function].call.clone(), f.most));
        let mut ranked = [Ranked::default(), Ranked::default()];
        let mut entries = Vec::new();
        seek.value(&[]);
        while let Some(value) = seek.get() {
            let value = value.to_vec();
            let mut counts = [0i64; 2];
            seek.updates(&value, |at, diff| {
                counts[0] += if at < time { *diff } else { 0 };
                counts[1] += if at <= time { *diff } else { 0 };
            });
            seek.step(&value);
            if counts.iter().any(|count| *count < 0) {
                return Err(RunError::Unheld("partition"));
            }
            let (order, row) = split(&value)?;
            if let Some((rank, most)) = &first {
                let mut done = 0;
                for (side, count) in ranked.iter_mut().zip(&mut counts) {
                    *count = side.take(rank, *most, (order, *count));
                    done += usize::from(side.done);
                }
                if done == 2 {
                    break;
                }
            }
            if counts != [0, 0] {
                entries.push(Entry { order: order.to_vec(), row: row.to_vec(), counts });
            }
        }
        Ok(entries)
    }

    fn difference(&self, key: &[u8], time: u64, entries: Vec<Entry>, out: &mut Out) -> Result<(), RunError> {
        if entries.iter().all(|e| e.counts[0] == e.counts[1]) {
            return Ok(());
        }
        let mut changes: Vec<(Vec<u8>, i64)> = Vec::new();
        for (side, diff) in [(0, -1), (1, 1)] {
            let (results, failed) = match expand(&entries, side) {
                (rows, true) => self.as_far(&rows)?,
                (rows, false) => {
                    let many = ("OVER".into(), format!("a partition has more than {MAX_ROWS} rows"));
                    (self.before(&rows, rows.len())?, Some(many))
                }
            };
            changes.extend(results.into_iter().map(|row| (row, diff)));
            if let Some((what, message)) = failed {
                self.over.errors.put(time, &what, &message, &self.describe(key), diff);
            }
        }
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

    /// The functions over the rows of a partition; where one fails, over those before the failure if it does not
    /// touch them, and why it failed.
    fn as_far(&self, rows: &[&Entry]) -> Result<(Vec<Vec<u8>>, Option<Failure>), RunError> {
        match self.results(rows)? {
            Ok(results) => Ok((results, None)),
            Err(failure) => Ok((self.before(rows, rows.len())?, Some(failure))),
        }
    }

    /// The functions over the longest beginning of a partition, below `end`, over which none fails; no rows
    /// where they look ahead. What comes later then takes nothing back of what stands before it.
    fn before(&self, rows: &[&Entry], end: usize) -> Result<Vec<Vec<u8>>, RunError> {
        if self.over.window.looks_back().is_none() {
            return Ok(vec![]);
        }
        // Peers see each other: a beginning ends where the order differs.
        let ends: Vec<usize> = (1..end).filter(|at| rows[*at].order != rows[at - 1].order).collect();
        let (mut good, mut low, mut high) = (vec![], 0, ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.results(&rows[..ends[middle]])? {
                Ok(results) => (good, low) = (results, middle + 1),
                Err(_) => high = middle,
            }
        }
        Ok(good)
    }

    /// The functions over rows of a partition.
    fn results(&self, rows: &[&Entry]) -> Result<Results, RunError> {
        if rows.is_empty() {
            return Ok(Ok(vec![]));
        }
        let mut batch = None;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.exprs.len());
        for (function, expr) in self.over.window.functions.iter().zip(&self.exprs) {
            let Some(expr) = expr else {
                columns.push(Arc::new(Int64Array::from(super::ranks::ranks(&function.call, rows))));
                continue;
            };
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
        let kept = match &self.over.window.first {
            Some(first) => cut(&columns[first.function], first.most),
            None => rows.len(),
        };
        let values = self.values.encode(&columns)?;
        let joined = |(at, entry): (usize, &&Entry)| [entry.row.as_slice(), values.get(at)].concat();
        Ok(Ok(rows.iter().enumerate().take(kept).map(joined).collect()))
    }

    fn describe(&self, key: &[u8]) -> String {
        let columns = self.over.partition.decode(std::iter::once(key)).unwrap_or_default();
        let values: Vec<String> = columns
            .iter()
            .map(|c| arrow::util::display::array_value_to_string(c, 0).unwrap_or_default())
            .collect();
        format!("partition ({})", values.join(", "))
    }
}
