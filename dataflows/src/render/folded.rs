//! GROUP BY with aggregates that need the rows of their group, over the arrangement.
//!
//! For each epoch at which a key changed (see [`super::changes`]), its entries are read from the trace
//! with their counts just before and at the epoch, put in order once, and given to the aggregates'
//! accumulators; where the results differ, the old one leaves and the new one comes. The work is
//! proportional to the size of the groups that changed. A result that fails is a failure of that group
//! alone: it goes to the error table, and the group has no row until it has a result again.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take};
use datafusion_common::DataFusionError;
use differential_dataflow::trace::{Cursor, cursor::cursor_list};
use schemas::{RowCodec, Rows};

use super::batch::{Data, DeltaBatch};
use super::changes::changes;
use super::collect::Shared;
use super::fold::{Folding, Slot};
use super::linear::{Deltas, Errors};
use super::packed::{PackedArranged, PackedBatch, PackedTrace};
use super::reduce::describe_key;
use super::seek::Seek;
use crate::error::RunError;

/// What the operator needs besides its arrangement.
pub struct Folded {
    /// Keys and aggregates.
    pub folding: Folding,
    /// The first epoch whose output counts; a GROUP BY without keys has its row from then on.
    pub first: u64,
    /// Operator name in counters.
    pub name: String,
    /// Where counters and failures go.
    pub collector: Shared,
    /// Where failed results go.
    pub errors: Errors,
}

/// A group's result: packed, or which aggregate failed, and why.
type Outcome = Result<Vec<u8>, (String, String)>;

/// Packed rows and their diffs, by epoch.
type Out = BTreeMap<u64, (Rows, Vec<i64>)>;

/// Emits the rows of every key that changed.
pub fn folded<'s>(arranged: PackedArranged<'s, i64>, folded: Folded) -> Deltas<'s> {
    let (single, collector) = (folded.folding.keys.is_empty(), folded.collector.clone());
    changes(arranged, "Fold", (folded.first, single), collector, move |trace, batches, start| {
        let out = folded.run(trace, batches, start)?;
        let batch = |(rows, diffs)| DeltaBatch { data: Data::Packed(rows), diffs };
        Ok(out.into_iter().map(|(epoch, part)| (epoch, batch(part))).collect())
    })
}

impl Folded {
    /// Works through all keys of `batches`; `start` adds the first row of a GROUP BY without keys.
    fn run(
        &self,
        trace: &mut PackedTrace<i64>,
        batches: Vec<PackedBatch<i64>>,
        start: bool,
    ) -> Result<Out, RunError> {
        let mut seek = Seek::new(trace);
        let (mut fresh, storage) = cursor_list(batches);
        let mut out = Out::new();
        let mut touched = 0;
        let mut times = Vec::new();
        let mut started = !start;
        while let Some(key) = fresh.get_key(&storage) {
            times.clear();
            while fresh.get_val(&storage).is_some() {
                fresh.map_times(&storage, |time, _| times.push(*time));
                fresh.step_val(&storage);
            }
            if !std::mem::replace(&mut started, true) {
                times.push(self.first);
            }
            touched += self.key(key, &mut seek, &mut times, &mut out)?;
            fresh.step_key(&storage);
        }
        if !started {
            self.key(&[], &mut seek, &mut vec![self.first], &mut out)?;
        }
        if let Some(epoch) = out.keys().next() {
            self.collector.borrow_mut().at(*epoch).touch(&self.name, touched);
        }
        Ok(out)
    }

    /// One key: its results before and at each of the times. Gives the number of entries read.
    fn key(
        &self,
        key: &[u8],
        seek: &mut Seek<i64>,
        times: &mut Vec<u64>,
        out: &mut Out,
    ) -> Result<u64, RunError> {
        times.sort_unstable();
        times.dedup();
        seek.key(key);
        let group = Group::read(seek, times)?;
        let ordered = group.ordered(&self.folding)?;
        let mut old = match times.first().and_then(|time| time.checked_sub(1)) {
            Some(before) => self.result(&group, &ordered, (0, before))?,
            None => None,
        };
        for (at, time) in times.iter().enumerate() {
            let new = self.result(&group, &ordered, (at + 1, *time))?;
            if old != new {
                self.put(key, (*time, &old, -1), out);
                self.put(key, (*time, &new, 1), out);
            }
            old = new;
        }
        Ok(group.rows.len() as u64)
    }

    fn put(&self, key: &[u8], (time, result, diff): (u64, &Option<Outcome>, i64), out: &mut Out) {
        match result {
            Some(Ok(values)) => {
                let (rows, diffs) = out.entry(time).or_default();
                rows.push_joined(key, values);
                diffs.push(diff);
            }
            Some(Err((what, message))) => {
                let key = describe_key(&self.folding.key_codec, key);
                self.errors.put(time, what, message, &key, diff);
            }
            None => {}
        }
    }

    /// The result in one of the group's states, which is that of `time`; None where it has no row.
    fn result(
        &self,
        group: &Group,
        ordered: &Ordered,
        (state, time): (usize, u64),
    ) -> Result<Option<Outcome>, RunError> {
        let present = match self.folding.keys.is_empty() {
            true => time >= self.first,
            false => group.counts.iter().any(|counts| counts[state] > 0),
        };
        if !present {
            return Ok(None);
        }
        let mut values: Vec<ArrayRef> = Vec::with_capacity(self.folding.slots.len());
        for (slot, rows) in self.folding.slots.iter().zip(&ordered.slots) {
            let counts = rows.iter().map(|row| (*row, group.counts[*row as usize][state]));
            match value(slot, ordered, counts) {
                Ok(value) => values.push(value),
                Err(error) => {
                    return Ok(Some(Err((slot.fold.to_string(), error.strip_backtrace()))));
                }
            }
        }
        Ok(Some(Ok(self.folding.results.encode(&values)?.get(0).to_vec())))
    }
}

/// One aggregate over entries that are in order, each so many times.
fn value(
    slot: &Slot,
    ordered: &Ordered,
    counts: impl Iterator<Item = (u32, i64)>,
) -> Result<ArrayRef, DataFusionError> {
    let (arg, packed) = (&ordered.columns[slot.arg], &ordered.packed[slot.arg]);
    let mut rows: Vec<u32> = Vec::new();
    for (row, count) in counts.filter(|(_, count)| *count > 0) {
        let again = rows.last().is_some_and(|last| packed.get(*last as usize) == packed.get(row as usize));
        let times = match slot.fold.distinct {
            true => usize::from(!again),
            // No more than memory can hold; the batch engine has as many rows.
            false => usize::try_from(count).unwrap_or(usize::MAX),
        };
        rows.extend(std::iter::repeat_n(row, times));
    }
    let mut accumulator = slot.fold.accumulator(arg.data_type())?;
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

/// The entries of one key.
struct Group {
    rows: Rows,
    /// How often each entry is there: just before the first time, and at each of the times.
    counts: Vec<Vec<i64>>,
}

impl Group {
    /// The entries of the key at hand that are there in any of these states.
    fn read(seek: &mut Seek<i64>, times: &[u64]) -> Result<Group, RunError> {
        let mut group = Group { rows: Rows::new(), counts: Vec::new() };
        let mut entry = Vec::new();
        seek.value(&[]);
        while let Some(found) = seek.get() {
            entry.clear();
            entry.extend_from_slice(found);
            let mut counts = vec![0i64; times.len() + 1];
            seek.updates(&entry, |at, diff| {
                let state = match times.first() {
                    Some(first) if at >= *first => times.partition_point(|time| *time < at) + 1,
                    _ => 0,
                };
                if let Some(count) = counts.get_mut(state) {
                    *count += diff;
                }
            });
            for state in 1..counts.len() {
                counts[state] += counts[state - 1];
            }
            if counts.iter().any(|count| *count < 0) {
                return Err(RunError::Broken("more rows were removed from a group than it had".into()));
            }
            if counts.iter().any(|count| *count > 0) {
                group.rows.push(&entry);
                group.counts.push(counts);
            }
            seek.step(&entry);
        }
        Ok(group)
    }

    /// The entries as columns, and in the order of each aggregate.
    fn ordered(&self, folding: &Folding) -> Result<Ordered, RunError> {
        let columns = folding.entry_codec.decode(self.rows.iter())?;
        let pack = |column: &ArrayRef| -> Result<Rows, RunError> {
            Ok(RowCodec::new(&[column.data_type().clone()])?.encode(std::slice::from_ref(column))?)
        };
        let packed = columns.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let mut slots = Vec::with_capacity(folding.slots.len());
        for slot in &folding.slots {
            let filter = slot.filter.map(|at| columns[at].as_boolean_opt());
            let passes = |row: &u32| match filter {
                Some(Some(filter)) => filter.is_valid(*row as usize) && filter.value(*row as usize),
                other => other.is_none(),
            };
            let mut rows: Vec<u32> = (0..self.rows.len() as u32).filter(passes).collect();
            rows.sort_unstable_by(|a, b| compare(slot, &packed, (*a as usize, *b as usize)));
            slots.push(rows);
        }
        Ok(Ordered { columns, packed, slots })
    }
}

/// Entries as columns, and the rows of each aggregate in its order.
struct Ordered {
    columns: Vec<ArrayRef>,
    /// Each column's values packed.
    packed: Vec<Rows>,
    slots: Vec<Vec<u32>>,
}

/// Which of two entries an aggregate takes first: by ORDER BY, then by the packed argument.
fn compare(slot: &Slot, packed: &[Rows], (a, b): (usize, usize)) -> Ordering {
    let mut by = slot.order.iter().zip(&slot.fold.order).map(|(column, key)| {
        let (a, b) = (packed[*column].get(a), packed[*column].get(b));
        // NULL is one zero byte, and nothing else starts with one.
        match (a == [0], b == [0]) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => b.cmp(a),
            (false, false) => a.cmp(b),
        }
    });
    let first = by.find(|order| order.is_ne());
    first.unwrap_or_else(|| packed[slot.arg].get(a).cmp(packed[slot.arg].get(b)))
}
