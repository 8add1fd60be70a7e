//! GROUP BY: from batches to accumulators by key, ready to be arranged.
//!
//! One arrangement serves all aggregates of a GROUP BY. Under a key, the empty value carries the
//! accumulators (in the diff, see [`super::accum`]); every other value is an entry of an ordered
//! index, `[slot] ++ packed argument`, counted in its diff, from which min and max read the head
//! (max stores the complement, so that its head is the greatest). Each incoming batch is aggregated
//! by key before it is arranged, so an arrangement sees keys, not rows. DISTINCT is a GROUP BY of
//! all columns without aggregates.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, Schema, i256};
use schemas::{RowCodec, Rows};
use timely::dataflow::Stream;

use super::accum::{Acc, Accums, Sum};
use super::moments;
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::{AggFunc, Aggregate, Scalar};
use crate::render::batch::{DeltaBatch, Shape};
use crate::render::linear::{Deltas, Errors, to_updates};

/// A GROUP BY, resolved for rendering.
#[derive(Clone)]
pub struct Grouping {
    /// Key expressions over the input.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: RowCodec,
    /// Aggregates in output order.
    pub slots: Vec<Slot>,
    template: Vec<Acc>,
}

/// One aggregate and where its state is.
#[derive(Clone)]
pub struct Slot {
    /// The aggregate as planned.
    pub aggregate: Aggregate,
    /// Where its state is.
    pub place: Place,
}

/// Where an aggregate's state is.
#[derive(Clone)]
pub enum Place {
    /// Position in [`Accums::accs`]; the scale of a decimal argument.
    Acc(usize, i8),
    /// Positions in [`Accums::accs`] of a statistic's sums.
    Moments(Range<usize>),
    /// First byte of its index entries, and the argument's packed form.
    Index(u8, RowCodec),
}

/// Aggregates of one GROUP BY, and accumulators: a byte tells them apart in the state.
pub const MAX_AGGREGATES: usize = 200;

impl Grouping {
    /// Resolves keys and aggregates over rows of `input`.
    ///
    /// # Errors
    /// When an expression has no type over `input`, or the plan has more aggregates than a GROUP BY keeps.
    pub fn new(input: &Schema, keys: &[Scalar], aggregates: &[Aggregate]) -> Result<Grouping, RunError> {
        let broken = |e: datafusion_common::DataFusionError| RunError::Broken(e.to_string());
        let types: Vec<DataType> =
            keys.iter().map(|k| k.data_type(input)).collect::<Result<_, _>>().map_err(broken)?;
        let (mut slots, mut template) = (vec![], vec![]);
        let accumulators: usize = aggregates.iter().map(|a| a.func.accumulators()).sum();
        if aggregates.len().max(accumulators) > MAX_AGGREGATES {
            return Err(RunError::Broken("too many aggregates in one GROUP BY".into()));
        }
        for (at, aggregate) in aggregates.iter().enumerate() {
            let arg = match &aggregate.arg {
                Some(arg) => Some(arg.data_type(input).map_err(broken)?),
                None => None,
            };
            let place = match (aggregate.func, arg) {
                (AggFunc::Min | AggFunc::Max, Some(arg)) => Place::Index(at as u8, RowCodec::new(&[arg])?),
                (AggFunc::Stat(stat), _) => {
                    let from = template.len();
                    template.extend(moments::empty(stat));
                    Place::Moments(from..template.len())
                }
                (func, arg) => {
                    let scale = if let Some(DataType::Decimal128(_, scale)) = arg { scale } else { 0 };
                    let sum = match &arg {
                        _ if func == AggFunc::Count => Sum::Int(0),
                        Some(DataType::Float64) => Sum::Float(Box::default()),
                        Some(DataType::Decimal128(..)) => Sum::Wide(i256::ZERO),
                        _ => Sum::Int(0),
                    };
                    template.push(Acc { n: 0, sum });
                    Place::Acc(template.len() - 1, scale)
                }
            };
            slots.push(Slot { aggregate: aggregate.clone(), place });
        }
        Ok(Grouping { keys: keys.to_vec(), key_codec: RowCodec::new(&types)?, slots, template })
    }

    /// Accumulators of no rows.
    pub fn zero(&self) -> Accums {
        Accums::new(0, self.template.iter().cloned())
    }
}

/// Aggregates every batch by key.
pub fn pre_aggregate<'s>(
    stream: Deltas<'s>,
    shape: Shape,
    grouping: Grouping,
    errors: Errors,
    fail: crate::render::collect::Shared,
) -> Stream<'s, u64, Vec<Updates<Accums>>> {
    to_updates(stream, "PreAggregate", fail, move |epoch, peers, batch| {
        let mut outgoing = Outgoing::new(epoch, peers);
        group(&shape, &grouping, &errors, batch, (epoch, &mut outgoing))?;
        Ok(outgoing)
    })
}

fn group(
    shape: &Shape,
    grouping: &Grouping,
    errors: &Errors,
    delta: DeltaBatch,
    (epoch, outgoing): (u64, &mut Outgoing<Accums>),
) -> Result<(), RunError> {
    let batch = shape.columns(&delta)?;
    let mut exprs: Vec<&Scalar> = grouping.keys.iter().collect();
    for slot in &grouping.slots {
        exprs.extend(slot.aggregate.args());
        exprs.extend(&slot.aggregate.filter);
    }
    let (columns, batch, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
    let (key_columns, mut rest) = columns.split_at(grouping.keys.len());
    let keys = encode_keys(&grouping.key_codec, key_columns, batch.num_rows())?;
    let groups = Groups::of(&keys);
    let mut sums = Sums { width: grouping.template.len(), accs: Vec::new() };
    groups.first.iter().for_each(|_| sums.accs.extend_from_slice(&grouping.template));
    let mut indexes = Vec::new();
    for slot in &grouping.slots {
        let arg = slot.aggregate.arg.as_ref().map(|_| next(&mut rest)).transpose()?;
        let other = slot.aggregate.other.as_ref().map(|_| next(&mut rest)).transpose()?;
        let filter = slot.aggregate.filter.as_ref().map(|_| next(&mut rest)).transpose()?;
        let counted = counted([arg, other], filter, diffs.len())?;
        match &slot.place {
            Place::Acc(at, _) => {
                let adds = slot.aggregate.func != AggFunc::Count;
                sums.add(*at, &groups.members, (arg.filter(|_| adds), &counted, &diffs))?;
            }
            Place::Moments(at) => {
                let args = (doubles(arg)?, other.map(|other| doubles(Some(other))).transpose()?);
                sums.add_moments(at, &groups.members, (args, &counted, &diffs));
            }
            Place::Index(tag, codec) => {
                let arg = arg.ok_or_else(|| RunError::Broken("min or max without argument".into()))?;
                let flip = slot.aggregate.func == AggFunc::Max;
                indexes.push((*tag, index_entries(codec, arg, flip)?, counted));
            }
        }
    }
    let rows = groups.rows();
    let mut accs = sums.accs.into_iter();
    for (first, rows) in groups.first.iter().zip(rows.chunks()) {
        outgoing.key(keys.get(*first as usize));
        for (tag, values, counted) in &indexes {
            for row in rows.iter().map(|row| *row as usize).filter(|row| counted[*row]) {
                outgoing.joined(&[*tag], values.get(row), Accums::count(diffs[row]));
            }
        }
        let total = rows.iter().map(|row| diffs[*row as usize]).sum();
        outgoing.value(&[], Accums::new(total, accs.by_ref().take(grouping.template.len())));
    }
    Ok(())
}

/// Packed arguments of min or max; for max with every bit flipped, so that the greatest comes first.
fn index_entries(codec: &RowCodec, arg: &ArrayRef, flip: bool) -> Result<Rows, RunError> {
    let mut values = codec.encode(std::slice::from_ref(arg))?;
    if flip {
        values.flip();
    }
    Ok(values)
}

fn next<'a>(rest: &mut &'a [ArrayRef]) -> Result<&'a ArrayRef, RunError> {
    let (first, tail) =
        rest.split_first().ok_or_else(|| RunError::Broken("an aggregate lost its argument".into()))?;
    *rest = tail;
    Ok(first)
}

fn doubles(arg: Option<&ArrayRef>) -> Result<&Float64Array, RunError> {
    let arg = arg.and_then(|arg| arg.as_primitive_opt::<Float64Type>());
    arg.ok_or_else(|| RunError::Broken("a statistic over what is no double".into()))
}

/// Which rows an aggregate counts: filter true and no argument NULL.
fn counted(
    args: [Option<&ArrayRef>; 2],
    filter: Option<&ArrayRef>,
    rows: usize,
) -> Result<Vec<bool>, RunError> {
    let mut counted = vec![true; rows];
    if let Some(filter) = filter {
        let filter: &BooleanArray =
            filter.as_boolean_opt().ok_or_else(|| RunError::Broken("FILTER is not boolean".into()))?;
        for (row, counted) in counted.iter_mut().enumerate() {
            *counted = filter.is_valid(row) && filter.value(row);
        }
    }
    for nulls in args.into_iter().flatten().filter_map(|arg| arg.logical_nulls()) {
        for (row, counted) in counted.iter_mut().enumerate() {
            *counted &= nulls.is_valid(row);
        }
    }
    Ok(counted)
}

/// Accumulators of all groups of a batch, `width` side by side for each.
struct Sums {
    width: usize,
    accs: Vec<Acc>,
}

impl Sums {
    /// Adds one aggregate's argument to its groups.
    fn add(
        &mut self,
        at: usize,
        members: &[u32],
        (arg, counted, diffs): (Option<&ArrayRef>, &[bool], &[i64]),
    ) -> Result<(), RunError> {
        let (width, accs) = (self.width, &mut self.accs);
        let place = |row: usize| members[row] as usize * width + at;
        let rows = || (0..diffs.len()).filter(|row| counted[*row]);
        for row in rows() {
            accs[place(row)].n += diffs[row];
        }
        let Some(arg) = arg else { return Ok(()) };
        if let Some(values) = arg.as_primitive_opt::<Int64Type>() {
            for row in rows() {
                if let Sum::Int(sum) = &mut accs[place(row)].sum {
                    *sum += values.value(row) as i128 * diffs[row] as i128;
                }
            }
        } else if let Some(values) = arg.as_primitive_opt::<Decimal128Type>() {
            for row in rows() {
                if let Sum::Wide(sum) = &mut accs[place(row)].sum {
                    let times = i256::from_i128(diffs[row] as i128);
                    *sum = sum.wrapping_add(i256::from_i128(values.value(row)).wrapping_mul(times));
                }
            }
        } else if let Some(values) = arg.as_primitive_opt::<Float64Type>() {
            self.add_floats(at, members, rows().map(|row| (row, values.value(row), diffs[row])));
        } else {
            return Err(RunError::Broken(format!("a sum over {}", arg.data_type())));
        }
        Ok(())
    }

    /// Adds the arguments of a statistic; of pairs, y comes first.
    fn add_moments(
        &mut self,
        at: &Range<usize>,
        members: &[u32],
        ((arg, other), counted, diffs): ((&Float64Array, Option<&Float64Array>), &[bool], &[i64]),
    ) {
        for row in (0..diffs.len()).filter(|row| counted[*row]) {
            let start = members[row] as usize * self.width;
            let accs = &mut self.accs[start + at.start..start + at.end];
            let pair = match other {
                Some(x) => (x.value(row), Some(arg.value(row))),
                None => (arg.value(row), None),
            };
            moments::add(accs, pair, diffs[row]);
        }
    }

    /// Adds doubles; whole ones, which are the most, as integers first.
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
            } else if let Sum::Float(sum) = &mut self.accs[group * self.width + at].sum {
                sum.add(value, diff);
            }
        }
        for (group, whole) in whole.into_iter().enumerate() {
            if let Sum::Float(sum) = &mut self.accs[group * self.width + at].sum {
                sum.add_whole(whole);
            }
        }
    }
}

/// Packed keys of all rows; a key of no columns is the empty string.
pub fn encode_keys(codec: &RowCodec, columns: &[ArrayRef], rows: usize) -> Result<Rows, RunError> {
    if !columns.is_empty() {
        return Ok(codec.encode(columns)?);
    }
    let mut keys = Rows::new();
    (0..rows).for_each(|_| keys.push(&[]));
    Ok(keys)
}

/// Which rows of a batch have equal keys.
pub struct Groups {
    /// Each row's group.
    pub members: Vec<u32>,
    /// Each group's first row.
    pub first: Vec<u32>,
}

/// Rows by group.
struct GroupRows {
    rows: Vec<u32>,
    ends: Vec<u32>,
}

impl Groups {
    /// Numbers equal keys in the order they are first met.
    pub fn of(keys: &Rows) -> Groups {
        let mut numbers: HashMap<&[u8], u32, BuildHasherDefault<KeyHasher>> =
            HashMap::with_capacity_and_hasher(keys.len(), Default::default());
        let mut first = Vec::new();
        let members = keys
            .iter()
            .enumerate()
            .map(|(row, key)| {
                *numbers.entry(key).or_insert_with(|| {
                    first.push(row as u32);
                    first.len() as u32 - 1
                })
            })
            .collect();
        Groups { members, first }
    }

    /// The rows of each group, in their order.
    fn rows(&self) -> GroupRows {
        let mut ends = vec![0u32; self.first.len()];
        self.members.iter().for_each(|group| ends[*group as usize] += 1);
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

/// Hashes a packed key with the house's hash.
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
