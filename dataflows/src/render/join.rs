//! Inner and left equi-joins over two arrangements of packed rows.
//!
//! A side is arranged as key to row. Matching pairs come from differential's join; a pair is the two
//! packed rows end to end, which is the packed form of the joined row. NULL keys match nothing and
//! are left out of the right side, and of the left side unless its rows must be kept.
//!
//! A left join adds the left rows without a match, right columns NULL: all left rows, minus those
//! whose key (or, under a residual condition, whose whole row) occurs among the matches. Both parts
//! are joins again, so the work is proportional to what changed.

use arrow::array::{Array, ArrayRef, BooleanArray};
use differential_dataflow::consolidation::ConsolidatingContainerBuilder;
use differential_dataflow::operators::join::join_traces;
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::accum::Accums;
use super::aggregate::encode_keys;
use super::batch::{Data, DeltaBatch, Shape, select};
use super::collect::Shared;
use super::linear::{Deltas, Errors, by_epoch, map_batches};
use super::packed::{PackedArranged, Update};
use crate::error::RunError;
use crate::plan::Scalar;

/// One side of a join, before it is arranged.
pub struct Side {
    /// Rows of the side.
    pub shape: Shape,
    /// Key expressions over them.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: schemas::RowCodec,
    /// Whether rows with a NULL in the key stay.
    pub keep_null_keys: bool,
}

/// Key and row of every input row.
pub fn keyed<'s>(
    stream: Deltas<'s>,
    side: Side,
    errors: Errors,
    collector: Shared,
) -> Stream<'s, u64, Vec<Update<i64>>> {
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "JoinKeys", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for batch in batches.drain(..) {
                    match side.updates(&errors, *time.time(), batch) {
                        Ok(updates) => updates.into_iter().for_each(|u| session.give(u)),
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    })
}

impl Side {
    fn updates(&self, errors: &Errors, epoch: u64, delta: DeltaBatch) -> Result<Vec<Update<i64>>, RunError> {
        let batch = self.shape.columns(&delta)?;
        let exprs: Vec<&Scalar> = self.keys.iter().collect();
        let (mut keys, mut batch, mut diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        if !self.keep_null_keys && keys.iter().any(|k| k.logical_null_count() > 0) {
            let whole = not_null(&keys, diffs.len());
            keys = keys.iter().map(|k| super::batch::select_array(k, &whole)).collect::<Result<_, _>>()?;
            (batch, diffs) = select(&batch, &diffs, &whole)?;
        }
        let keys = encode_keys(&self.key_codec, &keys, diffs.len())?;
        let rows = self.shape.packed(DeltaBatch::arrow(batch, vec![]))?;
        Ok(diffs
            .into_iter()
            .enumerate()
            .map(|(at, diff)| ((keys.get(at).to_vec(), rows.get(at).to_vec()), epoch, diff))
            .collect())
    }
}

fn not_null(keys: &[ArrayRef], rows: usize) -> BooleanArray {
    let nulls: Vec<_> = keys.iter().filter_map(|k| k.logical_nulls()).collect();
    (0..rows).map(|row| Some(nulls.iter().all(|n| n.is_valid(row)))).collect()
}

/// Packed updates as batches of their epochs.
fn unpack<'s>(
    stream: Stream<'s, u64, Vec<(Vec<u8>, u64, i64)>>,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    let name = name.to_string();
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Unpack", move |_, _| {
        move |input, output| {
            input.for_each(|capability, updates: &mut Vec<(Vec<u8>, u64, i64)>| {
                let capability = capability.retain(0);
                collector.borrow_mut().at(*capability.time()).touch(&name, updates.len() as u64);
                for (epoch, batch) in by_epoch(updates) {
                    output.session(&capability.delayed(&epoch)).give(batch);
                }
            });
        }
    })
}

/// All matching pairs, left row then right row.
pub fn matches<'s>(
    left: PackedArranged<'s, i64>,
    right: PackedArranged<'s, i64>,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    type Out = ConsolidatingContainerBuilder<Vec<(Vec<u8>, u64, i64)>>;
    let pairs = join_traces::<_, _, _, _, Out>(left, right, |_, l: &[u8], r: &[u8], time, dl, dr, out| {
        let mut row = Vec::with_capacity(l.len() + r.len());
        row.extend_from_slice(l);
        row.extend_from_slice(r);
        out.push_into((row, time, dl * dr));
    });
    unpack(pairs, name, collector)
}

/// The left rows whose key is among `keys` (an arrangement with one entry a key), negated.
pub fn removed<'s>(
    left: PackedArranged<'s, i64>,
    keys: PackedArranged<'s, i64>,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    type Out = ConsolidatingContainerBuilder<Vec<(Vec<u8>, u64, i64)>>;
    let rows = join_traces::<_, _, _, _, Out>(left, keys, |_, l: &[u8], _: &[u8], time, dl, dr, out| {
        out.push_into((l.to_vec(), time, -dl * dr));
    });
    unpack(rows, name, collector)
}

/// Whole packed rows as keys of a count, for a set of distinct rows.
pub fn whole_rows<'s>(
    stream: Deltas<'s>,
    shape: Shape,
    collector: Shared,
) -> Stream<'s, u64, Vec<Update<Accums>>> {
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "WholeRows", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for mut batch in batches.drain(..) {
                    let diffs = std::mem::take(&mut batch.diffs);
                    match shape.packed(batch) {
                        Ok(rows) => rows.iter().zip(diffs).for_each(|(row, diff)| {
                            session.give(((row.to_vec(), vec![]), *time.time(), Accums::count(diff)));
                        }),
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    })
}

/// Left rows with NULL for `columns` right columns.
pub fn null_extend<'s>(stream: Deltas<'s>, left: Shape, columns: usize, collector: Shared) -> Deltas<'s> {
    map_batches(stream, "NullExtend", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut rows = schemas::Rows::new();
        let mut row = Vec::new();
        for left in left.packed(delta)?.iter() {
            row.clear();
            row.extend_from_slice(left);
            // NULL is one zero byte, whatever the type.
            row.resize(left.len() + columns, 0);
            rows.push(&row);
        }
        Ok(DeltaBatch { data: Data::Packed(rows), diffs })
    })
}

/// Left parts of joined rows.
pub fn left_part<'s>(stream: Deltas<'s>, joined: Shape, columns: usize, collector: Shared) -> Deltas<'s> {
    map_batches(stream, "LeftPart", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut rows = schemas::Rows::new();
        for row in joined.packed(delta)?.iter() {
            rows.push(&row[..joined.codec.prefix_len(row, columns)?]);
        }
        Ok(DeltaBatch { data: Data::Packed(rows), diffs })
    })
}
