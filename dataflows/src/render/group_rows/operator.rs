//! GROUP BY with aggregates that need the rows of their group, over the arrangement.
//!
//! For each epoch at which a key changed (see [`crate::render::changes`]), its entries are read from the
//! trace with their counts just before and at the epoch, sorted once, and passed to the aggregates'
//! accumulators; where the results differ, the old one is retracted and the new one emitted. The work is
//! proportional to the size of the groups that changed. A failing result concerns its group alone: it goes to
//! the error table, and the group has no row until it has a result again.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take};
use datafusion_common::{DataFusionError, exec_err};
use differential_dataflow::trace::{Cursor, cursor::cursor_list};
use schemas::{RowCodec, Rows};

use super::layout::{GroupRowsSlot, RowGrouping};
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedTrace, SharedBatch};
use crate::collect::Shared;
use crate::error::RunError;
use crate::render::batch::{describe_packed, packed_batches};
use crate::render::changes::{Emission, emit_changes};
use crate::render::event_time::rule::ExpiredKeys;
use crate::render::linear::{Deltas, Errors};

/// Maximum number of values of one aggregate of one group, which bounds the memory of its evaluation.
const MAX_VALUES: usize = 1 << 27;

/// Configuration of the operator.
pub struct GroupRowsOperator {
    /// Keys and aggregates.
    pub grouping: RowGrouping,
    /// Groups whose state is removed while their results stay.
    pub expired: Option<ExpiredKeys>,
    /// First epoch whose output counts; a GROUP BY without keys has its row from then on.
    pub first: u64,
    /// Epoch of the restored state, where nobody reads its output.
    pub unread: Option<u64>,
    /// Operator name in counters.
    pub name: String,
    /// Collector of counters and failures.
    pub collector: Shared,
    /// Error table for failed results.
    pub errors: Errors,
}

/// Result of a group: packed, or the failed aggregate with its message.
type GroupResult = Result<Vec<u8>, (String, String)>;

/// Packed rows and their diffs, by epoch.
type GroupRowsOutput = BTreeMap<u64, (Rows, Vec<i64>)>;

/// Emits the changed rows of every key that changed.
pub fn emit_groups<'s>(arranged: PackedArranged<'s, i64>, operator: GroupRowsOperator) -> Deltas<'s> {
    let emission = Emission {
        first: operator.first,
        single: operator.grouping.keys.is_empty(),
        unread: operator.unread,
    };
    let collector = operator.collector.clone();
    emit_changes(arranged, "Fold", emission, collector, move |trace, batches, start| {
        Ok(packed_batches(operator.process_batches(trace, batches, start)?))
    })
}

impl GroupRowsOperator {
    /// Processes all keys of `batches`; `start` adds the first row of a GROUP BY without keys.
    fn process_batches(
        &self,
        trace: &mut PackedTrace<i64>,
        batches: Vec<SharedBatch<i64>>,
        start: bool,
    ) -> Result<GroupRowsOutput, RunError> {
        let mut seek = Seek::new(trace);
        let (mut fresh, storage) = cursor_list(batches);
        let mut out = GroupRowsOutput::new();
        let mut touched = 0;
        let mut times = Vec::new();
        let mut started = !start;
        while let Some(key) = fresh.get_key(&storage) {
            times.clear();
            while fresh.get_val(&storage).is_some() {
                fresh.map_times(&storage, |time, _| times.push(*time));
                fresh.step_val(&storage);
            }
            // Without keys there is one group, so the first key is the one that `start` is for.
            if !std::mem::replace(&mut started, true) {
                times.push(self.first);
            }
            touched += self.process_key(key, &mut seek, &mut times, &mut out)?;
            fresh.step_key(&storage);
        }
        if !started {
            self.process_key(&[], &mut seek, &mut vec![self.first], &mut out)?;
        }
        if let Some(epoch) = out.keys().next() {
            self.collector.borrow_mut().at(*epoch).count_touched(&self.name, touched);
        }
        Ok(out)
    }

    /// Emits the changes of one key's result at each of the times; returns the number of entries read.
    fn process_key(
        &self,
        key: &[u8],
        seek: &mut Seek<i64>,
        times: &mut Vec<u64>,
        out: &mut GroupRowsOutput,
    ) -> Result<u64, RunError> {
        times.sort_unstable();
        times.dedup();
        // Every removal is taken here, also of times at which nothing is emitted.
        let mut expired = Vec::with_capacity(times.len());
        for time in times.iter() {
            expired.push(ExpiredKeys::take_from(&self.expired, *time, key));
        }
        if !expired.contains(&false) {
            return Ok(0);
        }
        seek.seek_key(key);
        let group = GroupEntries::read_entries(seek, times)?;
        let ordered = group.order_entries(&self.grouping)?;
        let mut old = match times.first().and_then(|time| time.checked_sub(1)) {
            Some(before) => self.compute_result(&group, &ordered, (0, before))?,
            None => None,
        };
        for (at, time) in times.iter().enumerate() {
            let new = self.compute_result(&group, &ordered, (at + 1, *time))?;
            if old != new && !expired[at] {
                self.put_result(key, &old, (*time, -1), out);
                self.put_result(key, &new, (*time, 1), out);
            }
            old = new;
        }
        Ok(group.rows.len() as u64)
    }

    /// Adds a result to the output, or to the error table if it failed.
    fn put_result(
        &self,
        key: &[u8],
        result: &Option<GroupResult>,
        (time, diff): (u64, i64),
        out: &mut GroupRowsOutput,
    ) {
        match result {
            Some(Ok(values)) => {
                let (rows, diffs) = out.entry(time).or_default();
                rows.push_joined(key, values);
                diffs.push(diff);
            }
            Some(Err((what, message))) => {
                let key = describe_packed("key", &self.grouping.key_codec, key);
                self.errors.record_failure(time, what, message, &key, diff);
            }
            None => {}
        }
    }

    /// Computes the result in one of the group's states, that of `time`; None where the group has no row.
    fn compute_result(
        &self,
        group: &GroupEntries,
        ordered: &Ordered,
        (state, time): (usize, u64),
    ) -> Result<Option<GroupResult>, RunError> {
        let present = if self.grouping.keys.is_empty() {
            time >= self.first
        } else {
            group.counts.iter().any(|counts| counts[state] > 0)
        };
        if !present {
            return Ok(None);
        }
        let mut values: Vec<ArrayRef> = Vec::with_capacity(self.grouping.slots.len());
        for (slot, rows) in self.grouping.slots.iter().zip(&ordered.slots) {
            let counts = rows.iter().map(|row| (*row, group.counts[*row as usize][state]));
            match aggregate_value(slot, ordered, counts) {
                Ok(value) => values.push(value),
                Err(error) => {
                    return Ok(Some(Err((slot.fold.to_string(), error.strip_backtrace()))));
                }
            }
        }
        Ok(Some(Ok(self.grouping.results.encode(&values)?.get(0).to_vec())))
    }
}

/// Computes one aggregate over ordered entries with their counts.
fn aggregate_value(
    slot: &GroupRowsSlot,
    ordered: &Ordered,
    counts: impl Iterator<Item = (u32, i64)>,
) -> Result<ArrayRef, DataFusionError> {
    let (arg, packed) = (&ordered.columns[slot.arg], &ordered.packed[slot.arg]);
    let mut rows: Vec<u32> = Vec::new();
    for (row, count) in counts.filter(|(_, count)| *count > 0) {
        // For DISTINCT: different entries have equal arguments where they differ in other columns.
        let again = rows.last().is_some_and(|last| packed.get(*last as usize) == packed.get(row as usize));
        if slot.fold.distinct && again {
            continue;
        }
        // Some aggregates need fewer copies than the count; the sum is checked before allocating.
        let copies = usize::try_from(slot.fold.effective_copies(count)).unwrap_or(MAX_VALUES);
        if copies >= MAX_VALUES - rows.len() {
            return exec_err!("a group has more than {MAX_VALUES} values");
        }
        rows.extend(std::iter::repeat_n(row, copies));
    }
    let mut accumulator = slot.fold.new_accumulator(arg.data_type())?;
    if !rows.is_empty() {
        let mut args = vec![take(arg, &UInt32Array::from(rows), None)?];
        if let Some(constant) = &slot.fold.constant {
            args.push(constant.to_array_of_size(args[0].len())?);
        }
        accumulator.update_batch(&args)?;
    }
    let value = accumulator.evaluate()?.to_array()?;
    if *value.data_type() == slot.fold.output {
        return Ok(value);
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(&value, &slot.fold.output, &options)?)
}

/// Entries of one key.
struct GroupEntries {
    rows: Rows,
    /// Count of each entry in each state: just before the first time, and at each of the times.
    counts: Vec<Vec<i64>>,
}

impl GroupEntries {
    /// Reads the entries of the sought key that are present in any of these states.
    fn read_entries(seek: &mut Seek<i64>, times: &[u64]) -> Result<GroupEntries, RunError> {
        let mut group = GroupEntries { rows: Rows::new(), counts: Vec::new() };
        let mut entry = Vec::new();
        seek.rewind_values();
        while let Some(found) = seek.current_value() {
            entry.clear();
            entry.extend_from_slice(found);
            let mut counts = vec![0i64; times.len() + 1];
            seek.visit_updates(&entry, |at, diff| {
                if let Some(count) = counts.get_mut(first_state(times, at)) {
                    *count += diff;
                }
            });
            // Running sums turn the changes at each time to counts; later updates are beyond the last state.
            for state in 1..counts.len() {
                counts[state] += counts[state - 1];
            }
            // More removals than insertions: the state does not contain a removed row.
            if counts.iter().any(|count| *count < 0) {
                return Err(RunError::Unheld("group"));
            }
            if counts.iter().any(|count| *count > 0) {
                group.rows.push(&entry);
                group.counts.push(counts);
            }
            seek.step_past(&entry);
        }
        Ok(group)
    }

    /// Returns the entries as columns, and the order in which each aggregate reads them.
    fn order_entries(&self, grouping: &RowGrouping) -> Result<Ordered, RunError> {
        let columns = grouping.entry_codec.decode(self.rows.iter())?;
        let mut packed = Vec::with_capacity(columns.len());
        for column in &columns {
            let codec = RowCodec::new(&[column.data_type().clone()])?;
            packed.push(codec.encode(std::slice::from_ref(column))?);
        }
        let mut slots = Vec::with_capacity(grouping.slots.len());
        for slot in &grouping.slots {
            let mut rows = passing_entries(self.rows.len(), slot.filter.map(|at| &columns[at]));
            // Sorted once for all states: only the counts differ between them.
            rows.sort_unstable_by(|a, b| compare_entries(slot, &packed, (*a as usize, *b as usize)));
            slots.push(rows);
        }
        Ok(Ordered { columns, packed, slots })
    }
}

/// Returns the first state that an update of epoch `at` counts in, which may be beyond the last one.
#[inline]
fn first_state(times: &[u64], at: u64) -> usize {
    // State 0 is everything before the first time; an update counts from its time's state on.
    match times.first() {
        Some(first) if at >= *first => times.partition_point(|time| *time < at) + 1,
        _ => 0,
    }
}

/// Returns the entries, out of `count`, for which a filter is true; all without a filter.
fn passing_entries(count: usize, filter: Option<&ArrayRef>) -> Vec<u32> {
    let all = 0..count as u32;
    let Some(filter) = filter else { return all.collect() };
    let Some(filter) = filter.as_boolean_opt() else { return vec![] };
    all.filter(|row| filter.is_valid(*row as usize) && filter.value(*row as usize)).collect()
}

/// Entries as columns, with the rows of each aggregate in its order.
struct Ordered {
    columns: Vec<ArrayRef>,
    /// Packed values of each column.
    packed: Vec<Rows>,
    slots: Vec<Vec<u32>>,
}

/// Compares two entries in the order of an aggregate: by ORDER BY, then by the packed argument.
fn compare_entries(slot: &GroupRowsSlot, packed: &[Rows], (a, b): (usize, usize)) -> Ordering {
    for (column, key) in slot.order.iter().zip(&slot.fold.order) {
        let (a, b) = (packed[*column].get(a), packed[*column].get(b));
        // NULL is packed as one zero byte, and no other value starts with one.
        let order = match (a == [0], b == [0]) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => b.cmp(a),
            (false, false) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    packed[slot.arg].get(a).cmp(packed[slot.arg].get(b))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::DataType;
    use arrow::util::display::array_value_to_string;
    use datafusion_expr::AggregateUDF;
    use datafusion_functions_aggregate::{array_agg, bit_and_or_xor, first_last};

    use super::*;
    use crate::plan::{Fold, Scalar, SortKey};

    fn slot(func: Arc<AggregateUDF>, output: DataType) -> GroupRowsSlot {
        let fold = Fold {
            func,
            arg: Scalar::column("x", 0),
            constant: None,
            filter: None,
            order: vec![],
            distinct: false,
            ignore_nulls: false,
            output,
        };
        GroupRowsSlot { fold, arg: 0, filter: None, order: vec![] }
    }

    /// Result of `slot` over a group of values with their counts.
    fn folded(slot: &GroupRowsSlot, values: &[(Option<i64>, i64)]) -> Result<String, DataFusionError> {
        let array: ArrayRef = Arc::new(values.iter().map(|v| v.0).collect::<Int64Array>());
        let codec = RowCodec::new(&[DataType::Int64]).unwrap();
        let rows = codec.encode(std::slice::from_ref(&array)).unwrap();
        let counts = values.iter().map(|v| vec![v.1]).collect();
        let grouping = crate::render::group_rows::layout::RowGrouping {
            keys: vec![],
            key_codec: RowCodec::new(&[]).unwrap(),
            reads: vec![slot.fold.arg.clone()],
            entry_codec: codec.clone(),
            slots: vec![slot.clone()],
            results: codec,
        };
        let group = GroupEntries { rows, counts };
        let ordered = group.order_entries(&grouping).unwrap();
        let found = ordered.slots[0].iter().map(|row| (*row, group.counts[*row as usize][0]));
        Ok(array_value_to_string(&aggregate_value(slot, &ordered, found)?, 0)?)
    }

    #[test]
    fn values_come_in_order_and_as_often_as_they_are_there() {
        let list = DataType::new_list(DataType::Int64, true);
        let mut all = slot(array_agg::array_agg_udaf(), list);
        let group = [(Some(3), 1), (None, 2), (Some(-5), 2), (Some(7), 0)];
        assert_eq!(folded(&all, &group).unwrap(), "[, , -5, -5, 3]");
        all.fold.distinct = true;
        assert_eq!(folded(&all, &group).unwrap(), "[, -5, 3]");
        all.order = vec![0];
        all.fold.order = vec![SortKey { expr: Scalar::column("x", 0), descending: true, nulls_first: false }];
        assert_eq!(folded(&all, &group).unwrap(), "[3, -5, ]");
        all.fold.ignore_nulls = true;
        assert_eq!(folded(&all, &group).unwrap(), "[3, -5]");
        assert_eq!(folded(&all, &[(Some(1), 0)]).unwrap(), "");
    }

    #[test]
    fn counts_of_any_size_are_told_or_taken_as_they_are() {
        let all = slot(array_agg::array_agg_udaf(), DataType::new_list(DataType::Int64, true));
        let message = folded(&all, &[(Some(1), 9), (Some(2), i64::MAX)]).unwrap_err().to_string();
        assert!(message.contains("a group has more than 134217728 values"), "{message}");
        let of = |func, group: &[(Option<i64>, i64)]| folded(&slot(func, DataType::Int64), group).unwrap();
        let extremes = [(Some(i64::MAX), i64::MAX), (Some(i64::MIN), i64::MAX - 1), (None, i64::MAX)];
        assert_eq!(of(bit_and_or_xor::bit_xor_udaf(), &extremes), i64::MAX.to_string());
        assert_eq!(of(bit_and_or_xor::bit_and_udaf(), &extremes), "0");
        assert_eq!(of(bit_and_or_xor::bit_or_udaf(), &extremes), "-1");
        assert_eq!(of(bit_and_or_xor::bit_xor_udaf(), &[(Some(6), 2)]), "0");
        assert_eq!(of(bit_and_or_xor::bit_xor_udaf(), &[(None, 2)]), "");
        assert_eq!(of(first_last::last_value_udaf(), &extremes), i64::MAX.to_string());
    }

    #[test]
    fn a_result_that_does_not_fit_is_an_error() {
        let small = slot(first_last::first_value_udaf(), DataType::Int16);
        assert_eq!(folded(&small, &[(Some(7), 1)]).unwrap(), "7");
        assert!(folded(&small, &[(Some(70_000), 1)]).is_err());
    }

    #[test]
    fn null_stands_where_the_order_wants_it() {
        let key = |descending, nulls_first| SortKey { expr: Scalar::column("x", 0), descending, nulls_first };
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(-1)]));
        let packed = [RowCodec::new(&[DataType::Int64]).unwrap().encode(&[values]).unwrap()];
        let mut slot = slot(first_last::first_value_udaf(), DataType::Int64);
        slot.order = vec![0];
        for (descending, nulls_first, wanted) in [
            (false, false, [2, 0, 1]),
            (false, true, [1, 2, 0]),
            (true, false, [0, 2, 1]),
            (true, true, [1, 0, 2]),
        ] {
            slot.fold.order = vec![key(descending, nulls_first)];
            let mut rows = [0, 1, 2];
            rows.sort_by(|a, b| compare_entries(&slot, &packed, (*a, *b)));
            assert_eq!(rows, wanted);
        }
    }
}
