//! GROUP BY input: batches are aggregated to accumulators by key, ready to be arranged.
//!
//! One arrangement serves all aggregates of a GROUP BY. Under a key, the empty value carries the
//! accumulators (in the diff, see `functions::sums::accum`); every other value is an entry of an ordered
//! index, `[slot] ++ packed argument`, counted in its diff, from which min and max read the head
//! (max stores the complement, so that its head is the greatest). Where no row is ever retracted, the head alone is an
//! accumulator. Each incoming batch is aggregated
//! by key before it is arranged, so the arrangement receives an update per key, not per row. DISTINCT is a
//! GROUP BY of all columns without aggregates.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, Schema, i256};
use schemas::{RowCodec, Rows};
use timely::dataflow::Stream;

use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::error::RunError;
use crate::functions::sums::accum::{Acc, Accums, ExactSum};
use crate::functions::sums::moments;
use crate::plan::aggregate::{MAX_ACCUMULATORS, MAX_AGGREGATES};
use crate::plan::{AggFunc, Aggregate, Scalar};
use crate::render::batch::{DeltaBatch, RelationType, empty_rows, unmark_nulls};
use crate::render::linear::{Deltas, Errors, to_updates};

/// GROUP BY resolved for rendering.
#[derive(Clone)]
pub struct Grouping {
    /// Key expressions over the input.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: RowCodec,
    /// Aggregates in output order.
    pub slots: Vec<AggregateSlot>,
    /// Accumulators of no rows.
    pub(super) template: Vec<Acc>,
}

/// Aggregate with the location of its state.
#[derive(Clone)]
pub struct AggregateSlot {
    /// The aggregate as planned.
    pub aggregate: Aggregate,
    /// Location of its state.
    pub place: AccumulatorLocation,
}

/// Location of an aggregate's state.
#[derive(Clone)]
pub enum AccumulatorLocation {
    /// Position in `Accums::accs`, and the scale of a decimal argument.
    Acc(usize, i8),
    /// Positions in `Accums::accs` of a statistic's sums.
    Moments(Range<usize>),
    /// First byte of its index entries, and the argument's packed form.
    Index(u8, RowCodec),
    /// Position in `Accums::accs` of the least packed argument, and the argument's packed form.
    Least(usize, RowCodec),
}

/// State that a GROUP BY keeps for min and max.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extremes {
    /// All values in an ordered index, since rows may be retracted.
    Indexed,
    /// The extreme value alone.
    Accumulated,
}

impl Grouping {
    /// Resolves keys and aggregates over rows of `input`, and where min and max are kept.
    ///
    /// # Errors
    /// When an expression has no type over `input`, or the plan has more aggregates than a GROUP BY keeps.
    pub fn new(
        input: &Schema,
        keys: &[Scalar],
        aggregates: &[Aggregate],
        extremes: Extremes,
    ) -> Result<Grouping, RunError> {
        let types = expression_types(input, keys)?;
        let (mut slots, mut template) = (vec![], vec![]);
        let accumulators: usize = aggregates.iter().map(|a| a.func.accumulator_count()).sum();
        if aggregates.len() > MAX_AGGREGATES || accumulators > MAX_ACCUMULATORS {
            return Err(RunError::Broken("too many aggregates in one GROUP BY".into()));
        }
        for (at, aggregate) in aggregates.iter().enumerate() {
            let arg = match &aggregate.arg {
                Some(arg) => Some(arg.data_type(input)?),
                None => None,
            };
            let place = match (aggregate.func, arg) {
                (AggFunc::Min | AggFunc::Max, Some(arg)) => {
                    let codec = RowCodec::new(&[arg])?;
                    if extremes == Extremes::Accumulated {
                        template.push(Acc { n: 0, sum: ExactSum::Least(None) });
                        AccumulatorLocation::Least(template.len() - 1, codec)
                    } else {
                        AccumulatorLocation::Index(at as u8, codec)
                    }
                }
                (AggFunc::Stat(stat), _) => {
                    let from = template.len();
                    template.extend(moments::empty(stat));
                    AccumulatorLocation::Moments(from..template.len())
                }
                (func, arg) => {
                    let scale = if let Some(DataType::Decimal128(_, scale)) = arg { scale } else { 0 };
                    let sum = match &arg {
                        _ if func == AggFunc::Count => ExactSum::Int(0),
                        Some(DataType::Float64) => ExactSum::Float(Box::default()),
                        Some(DataType::Decimal128(..)) => ExactSum::Wide(Box::new(i256::ZERO)),
                        _ => ExactSum::Int(0),
                    };
                    template.push(Acc { n: 0, sum });
                    AccumulatorLocation::Acc(template.len() - 1, scale)
                }
            };
            slots.push(AggregateSlot { aggregate: aggregate.clone(), place });
        }
        Ok(Grouping { keys: keys.to_vec(), key_codec: RowCodec::new(&types)?, slots, template })
    }

    /// Resolves a GROUP BY of all columns of `input`, without aggregates: one group for each distinct row.
    ///
    /// # Errors
    /// When a column has no packed form.
    pub fn of_all_columns(input: &Schema) -> Result<Grouping, RunError> {
        let mut keys = Vec::with_capacity(input.fields().len());
        for (at, field) in input.fields().iter().enumerate() {
            keys.push(Scalar::column(field.name(), at));
        }
        Grouping::new(input, &keys, &[], Extremes::Indexed)
    }

    /// Returns true if the result of a group does not depend on how often a row came.
    pub fn ignores_repeats(&self) -> bool {
        self.slots.iter().all(|slot| slot.aggregate.func.ignores_duplicates())
    }

    /// Returns the accumulators of no rows.
    pub fn empty_accums(&self) -> Accums {
        Accums::new(0, self.template.iter().cloned())
    }
}

/// Returns the types of expressions over rows of `input`.
///
/// # Errors
/// When an expression has no type over `input`.
pub fn expression_types(input: &Schema, exprs: &[Scalar]) -> Result<Vec<DataType>, RunError> {
    let mut types = Vec::with_capacity(exprs.len());
    for expr in exprs {
        types.push(expr.data_type(input)?);
    }
    Ok(types)
}

/// Aggregates every batch by key.
pub fn pre_aggregate<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    grouping: Grouping,
    errors: Errors,
    fail: crate::collect::Shared,
) -> Stream<'s, u64, Vec<Updates<Accums>>> {
    to_updates(stream, "PreAggregate", fail, move |epoch, ownership, batch| {
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        aggregate_batch(&shape, &grouping, &errors, batch, (epoch, &mut outgoing))?;
        Ok(outgoing)
    })
}

/// Aggregates one batch by key and adds the updates of each group to `outgoing`.
fn aggregate_batch(
    shape: &RelationType,
    grouping: &Grouping,
    errors: &Errors,
    delta: DeltaBatch,
    (epoch, outgoing): (u64, &mut ExchangeBuffer<Accums>),
) -> Result<(), RunError> {
    let batch = shape.decode_columns(&delta)?;
    // All expressions are evaluated together, so that a row is left out of all aggregates if one fails.
    let mut exprs: Vec<&Scalar> = grouping.keys.iter().collect();
    for slot in &grouping.slots {
        exprs.extend(slot.aggregate.args());
        exprs.extend(&slot.aggregate.filter);
    }
    let (columns, batch, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
    let (key_columns, mut rest) = columns.split_at(grouping.keys.len());
    let keys = encode_keys(&grouping.key_codec, key_columns, batch.num_rows())?;
    let groups = Groups::of_keys(&keys);
    let mut sums = GroupSums { width: grouping.template.len(), accs: Vec::new() };
    // Every group starts from the empty accumulators, side by side in one vector.
    for _ in &groups.first {
        sums.accs.extend_from_slice(&grouping.template);
    }
    let mut indexes = Vec::new();
    for slot in &grouping.slots {
        // Columns are taken in the order in which the expressions were listed.
        let arg = next_column(&slot.aggregate.arg, &mut rest)?;
        let other = next_column(&slot.aggregate.other, &mut rest)?;
        let filter = next_column(&slot.aggregate.filter, &mut rest)?;
        let counted = counted_rows([arg, other], filter, diffs.len())?;
        match &slot.place {
            AccumulatorLocation::Acc(at, _) => {
                // A count needs only the number of rows, not the argument's values.
                let summed = if slot.aggregate.func == AggFunc::Count { None } else { arg };
                sums.add_argument(*at, &groups.members, summed, (&counted, &diffs))?;
            }
            AccumulatorLocation::Moments(at) => {
                let arg = as_doubles(arg)?;
                let other = if other.is_some() { Some(as_doubles(other)?) } else { None };
                sums.add_moments(at, &groups.members, ((arg, other), &counted, &diffs));
            }
            AccumulatorLocation::Index(tag, codec) => {
                indexes.push((*tag, packed_values(codec, arg, slot.aggregate.func)?, counted));
            }
            AccumulatorLocation::Least(at, codec) => {
                let values = packed_values(codec, arg, slot.aggregate.func)?;
                sums.add_least(*at, &groups.members, &values, (&counted, &diffs))?;
            }
        }
    }
    // Updates are added group by group: a key is packed once, its values side by side.
    let rows = groups.rows_by_group();
    let mut accs = sums.accs.into_iter();
    for (first, rows) in groups.first.iter().zip(rows.chunks()) {
        outgoing.push_key(keys.get(*first as usize));
        for (tag, values, counted) in &indexes {
            for row in rows {
                let row = *row as usize;
                if counted[row] {
                    outgoing.push_concatenated(&[*tag], values.get(row), Accums::of_rows(diffs[row]));
                }
            }
        }
        // The empty value carries the row count and the accumulators of the group.
        let total = rows.iter().map(|row| diffs[*row as usize]).sum();
        outgoing.push_value(&[], Accums::new(total, accs.by_ref().take(grouping.template.len())));
    }
    Ok(())
}

/// Packs the arguments of min or max; for max with every bit flipped, so that the greatest sorts first.
///
/// # Errors
/// Without argument, or when it has no packed form.
fn packed_values(codec: &RowCodec, arg: Option<&ArrayRef>, func: AggFunc) -> Result<Rows, RunError> {
    let Some(arg) = arg else { return Err(RunError::Broken("min or max without argument".into())) };
    let mut values = codec.encode(std::slice::from_ref(arg))?;
    if func == AggFunc::Max {
        values.flip();
    }
    Ok(values)
}

/// Takes the next evaluated column, where there is an expression.
fn next_column<'a>(
    expr: &Option<Scalar>,
    rest: &mut &'a [ArrayRef],
) -> Result<Option<&'a ArrayRef>, RunError> {
    if expr.is_none() {
        return Ok(None);
    }
    let Some((first, tail)) = rest.split_first() else {
        return Err(RunError::Broken("an aggregate lost its argument".into()));
    };
    *rest = tail;
    Ok(Some(first))
}

fn as_doubles(arg: Option<&ArrayRef>) -> Result<&Float64Array, RunError> {
    if let Some(arg) = arg
        && let Some(doubles) = arg.as_primitive_opt::<Float64Type>()
    {
        return Ok(doubles);
    }
    Err(RunError::Broken("a statistic over what is no double".into()))
}

/// Marks the rows that an aggregate counts: filter true and no argument NULL.
fn counted_rows(
    args: [Option<&ArrayRef>; 2],
    filter: Option<&ArrayRef>,
    rows: usize,
) -> Result<Vec<bool>, RunError> {
    let mut counted = vec![true; rows];
    if let Some(filter) = filter {
        let Some(filter) = filter.as_boolean_opt() else {
            return Err(RunError::Broken("FILTER is not boolean".into()));
        };
        for (row, counted) in counted.iter_mut().enumerate() {
            *counted = filter.is_valid(row) && filter.value(row);
        }
    }
    for arg in args.into_iter().flatten() {
        unmark_nulls(&mut counted, arg);
    }
    Ok(counted)
}

/// Returns the positions of the marked rows.
fn marked_rows(marks: &[bool]) -> impl Iterator<Item = usize> {
    (0..marks.len()).filter(move |row| marks[*row])
}

/// Accumulators of all groups of a batch, `width` adjacent ones for each group.
struct GroupSums {
    width: usize,
    accs: Vec<Acc>,
}

impl GroupSums {
    /// Adds one aggregate's argument to the accumulators of all groups.
    fn add_argument(
        &mut self,
        at: usize,
        members: &[u32],
        arg: Option<&ArrayRef>,
        (counted, diffs): (&[bool], &[i64]),
    ) -> Result<(), RunError> {
        let (width, accs) = (self.width, &mut self.accs);
        let place = |row: usize| members[row] as usize * width + at;
        for row in marked_rows(counted) {
            accs[place(row)].n += diffs[row];
        }
        let Some(arg) = arg else { return Ok(()) };
        // One loop for each argument type: the type is decided once, not for each row.
        if let Some(values) = arg.as_primitive_opt::<Int64Type>() {
            for row in marked_rows(counted) {
                accs[place(row)].sum.add_int(values.value(row), diffs[row]);
            }
        } else if let Some(values) = arg.as_primitive_opt::<Decimal128Type>() {
            for row in marked_rows(counted) {
                if let ExactSum::Wide(sum) = &mut accs[place(row)].sum {
                    let times = i256::from_i128(diffs[row] as i128);
                    // Decimals are below 2^127 and diffs below 2^63, so the product fits 256 bits.
                    **sum = sum.wrapping_add(i256::from_i128(values.value(row)).wrapping_mul(times));
                }
            }
        } else if let Some(values) = arg.as_primitive_opt::<Float64Type>() {
            let rows = marked_rows(counted).map(|row| (row, values.value(row), diffs[row]));
            self.add_floats(at, members, rows);
        } else {
            return Err(RunError::Broken(format!("a sum over {}", arg.data_type())));
        }
        Ok(())
    }

    /// Adds the least value of each group.
    ///
    /// # Errors
    /// When a row is taken back: the plan says that none is.
    fn add_least(
        &mut self,
        at: usize,
        members: &[u32],
        values: &Rows,
        (counted, diffs): (&[bool], &[i64]),
    ) -> Result<(), RunError> {
        let mut least: Vec<Option<&[u8]>> = vec![None; self.accs.len() / self.width];
        for row in marked_rows(counted) {
            if diffs[row] < 0 {
                return Err(RunError::Broken("a row was retracted of input that only grows".into()));
            }
            let group = members[row] as usize;
            self.accs[group * self.width + at].n += diffs[row];
            let value = values.get(row);
            if least[group].is_none_or(|held| value < held) {
                least[group] = Some(value);
            }
        }
        // Only the least value of a batch is copied, once for each group.
        for (group, least) in least.into_iter().enumerate() {
            self.accs[group * self.width + at].sum = ExactSum::least_of(least.unwrap_or_default());
        }
        Ok(())
    }

    /// Adds the arguments of a statistic; of two arguments, y comes first.
    fn add_moments(
        &mut self,
        at: &Range<usize>,
        members: &[u32],
        ((arg, other), counted, diffs): ((&Float64Array, Option<&Float64Array>), &[bool], &[i64]),
    ) {
        for row in marked_rows(counted) {
            let start = members[row] as usize * self.width;
            let accs = &mut self.accs[start + at.start..start + at.end];
            // SQL passes (y, x); the accumulators take (x, y).
            let pair = match other {
                Some(x) => (x.value(row), Some(arg.value(row))),
                None => (arg.value(row), None),
            };
            moments::add(accs, pair, diffs[row]);
        }
    }

    /// Adds doubles. Whole ones, the usual case, are summed as integers first.
    fn add_floats(&mut self, at: usize, members: &[u32], rows: impl Iterator<Item = (usize, f64, i64)>) {
        const WHOLE: f64 = (1u64 << 52) as f64;
        let mut whole = vec![0i128; self.accs.len() / self.width];
        for (row, value, diff) in rows {
            let group = members[row] as usize;
            // A batch has far fewer than 2^31 rows, so the sum of its whole numbers is below 2^96.
            if value.abs() < WHOLE
                && value.fract() == 0.0
                && i32::try_from(diff).is_ok_and(|d| d.abs() < 4096)
            {
                whole[group] += value as i128 * diff as i128;
            } else if let ExactSum::Float(sum) = &mut self.accs[group * self.width + at].sum {
                sum.add(value, diff);
            }
        }
        for (group, whole) in whole.into_iter().enumerate() {
            if let ExactSum::Float(sum) = &mut self.accs[group * self.width + at].sum {
                sum.add_whole(whole);
            }
        }
    }
}

/// Packs the keys of all rows; a key of no columns is the empty string.
pub fn encode_keys(codec: &RowCodec, columns: &[ArrayRef], rows: usize) -> Result<Rows, RunError> {
    if !columns.is_empty() {
        return Ok(codec.encode(columns)?);
    }
    Ok(empty_rows(rows))
}

/// Grouping of a batch's rows by equal keys.
pub struct Groups {
    /// Group of each row.
    pub members: Vec<u32>,
    /// First row of each group.
    pub first: Vec<u32>,
}

/// Rows sorted by group, with the end of each group.
struct GroupRows {
    rows: Vec<u32>,
    ends: Vec<u32>,
}

impl Groups {
    /// Numbers distinct keys in order of their first row.
    pub fn of_keys(keys: &Rows) -> Groups {
        let mut numbers: HashMap<&[u8], u32, BuildHasherDefault<KeyHasher>> =
            HashMap::with_capacity_and_hasher(keys.len(), Default::default());
        let (mut members, mut first) = (Vec::with_capacity(keys.len()), Vec::new());
        for (row, key) in keys.iter().enumerate() {
            // A key that is not numbered yet is the first of a new group.
            let next = first.len() as u32;
            let group = *numbers.entry(key).or_insert(next);
            if group == next {
                first.push(row as u32);
            }
            members.push(group);
        }
        Groups { members, first }
    }

    /// Returns the rows of each group, in their order.
    fn rows_by_group(&self) -> GroupRows {
        let mut ends = vec![0u32; self.first.len()];
        for group in &self.members {
            ends[*group as usize] += 1;
        }
        // Counting sort: counts become starts here, and starts become ends as rows are placed.
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut rows = vec![0; self.members.len()];
        for (row, group) in self.members.iter().enumerate() {
            let at = &mut ends[*group as usize];
            rows[*at as usize] = row as u32;
            *at += 1;
        }
        GroupRows { rows, ends }
    }
}

impl GroupRows {
    fn chunks(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.rows[start as usize..*end as usize])
    }
}

/// Hasher of packed keys by [`schemas::hash`].
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = schemas::hash(bytes);
    }
    fn write_usize(&mut self, _: usize) {}
}
