//! Pairs of rows from two arrangements of packed rows, and their parts.
//!
//! A side is arranged as key to row. Matching pairs come from differential's join; a pair is the two
//! packed rows end to end, which is the packed form of the joined row. Rows of a side whose key is in
//! a set come from the same join. What each kind of join is made of stands in `joins`.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use differential_dataflow::operators::join::join_traces;
use schemas::Rows;
use timely::Accountable;
use timely::container::{CapacityContainerBuilder, ContainerBuilder};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::band;
use crate::arrange::trace::PackedArranged;
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::Scalar;
use crate::plan::analysis::interval::Band;
use crate::render::aggregates::accum::Accums;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::{Data, DeltaBatch, Shape, select};
use crate::render::collect::Shared;
use crate::render::linear::{Batches, Deltas, Errors, Timed, map_batches, to_updates};

/// Bytes of joined rows that are not counted yet, at most.
const TOLD_BYTES: u64 = 1 << 20;
/// Joined rows handed on at once.
const PAIRS: usize = 4096;

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
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "JoinKeys", collector, move |epoch, peers, batch| {
        side.updates(&errors, (epoch, peers), batch)
    })
}

/// Keys and rows of a side, and their diffs.
pub(in crate::render) struct KeyedRows {
    pub keys: Rows,
    pub rows: Rows,
    pub diffs: Vec<i64>,
}

impl Side {
    /// Key and row of each row of a batch that may match.
    ///
    /// # Errors
    /// When packed bytes do not fit the schema.
    pub(in crate::render) fn rows(
        &self,
        errors: &Errors,
        epoch: u64,
        delta: DeltaBatch,
    ) -> Result<KeyedRows, RunError> {
        let batch = self.shape.columns(&delta)?;
        let exprs: Vec<&Scalar> = self.keys.iter().collect();
        let (mut keys, mut batch, mut diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        if !self.keep_null_keys && keys.iter().any(|k| k.logical_null_count() > 0) {
            let whole = not_null(&keys, diffs.len());
            keys = keys
                .iter()
                .map(|k| crate::render::batch::select_array(k, &whole))
                .collect::<Result<_, _>>()?;
            (batch, diffs) = select(&batch, &diffs, &whole)?;
        }
        let keys = encode_keys(&self.key_codec, &keys, diffs.len())?;
        let rows = self.shape.packed(DeltaBatch::arrow(batch, vec![]))?;
        Ok(KeyedRows { keys, rows, diffs })
    }

    fn updates(
        &self,
        errors: &Errors,
        (epoch, peers): (u64, usize),
        delta: DeltaBatch,
    ) -> Result<Outgoing<i64>, RunError> {
        let KeyedRows { keys, rows, diffs } = self.rows(errors, epoch, delta)?;
        let mut outgoing = Outgoing::new(epoch, peers);
        for (at, diff) in diffs.into_iter().enumerate() {
            outgoing.key(keys.get(at));
            outgoing.value(rows.get(at), diff);
        }
        Ok(outgoing)
    }
}

fn not_null(keys: &[ArrayRef], rows: usize) -> BooleanArray {
    let nulls: Vec<_> = keys.iter().filter_map(|k| k.logical_nulls()).collect();
    (0..rows).map(|row| Some(nulls.iter().all(|n| n.is_valid(row)))).collect()
}

/// Joined rows with their epochs and diffs.
#[derive(Clone, Default)]
struct Pairs {
    rows: Rows,
    epochs: Vec<u64>,
    diffs: Vec<i64>,
}

impl Accountable for Pairs {
    fn record_count(&self) -> i64 {
        self.diffs.len() as i64
    }
}

/// Gathers joined rows and hands them on in pieces, so that a join of many rows can pause.
#[derive(Default)]
struct PairsBuilder {
    open: Pairs,
    full: VecDeque<Pairs>,
    given: Pairs,
}

impl PairsBuilder {
    fn push(&mut self, (head, tail): (&[u8], &[u8]), epoch: u64, diff: i64) {
        self.open.rows.push_joined(head, tail);
        self.open.epochs.push(epoch);
        self.open.diffs.push(diff);
        if self.open.diffs.len() >= PAIRS {
            self.full.push_back(std::mem::take(&mut self.open));
        }
    }
}

impl ContainerBuilder for PairsBuilder {
    type Container = Pairs;

    fn extract(&mut self) -> Option<&mut Pairs> {
        self.given = self.full.pop_front()?;
        Some(&mut self.given)
    }

    fn finish(&mut self) -> Option<&mut Pairs> {
        if !self.open.diffs.is_empty() {
            self.full.push_back(std::mem::take(&mut self.open));
        }
        self.extract()
    }
}

/// Counts what a join makes: all pairs of a key are made at once, so a key with many rows on both sides would
/// take any memory there is.
pub(in crate::render) struct Guard {
    collector: Shared,
    name: String,
    epoch: u64,
    /// Rows and bytes of the epoch, and the bytes that are told.
    rows: u64,
    bytes: u64,
    told: u64,
    /// Pairs looked at that are not counted yet.
    compared: u64,
    stopped: bool,
}

impl Guard {
    pub(in crate::render) fn new(name: &str, collector: Shared) -> Guard {
        let name = name.to_string();
        Guard { collector, name, epoch: 0, rows: 0, bytes: 0, told: 0, compared: 0, stopped: false }
    }

    /// Whether a pair of so many bytes may be kept.
    pub(in crate::render) fn admits(&mut self, epoch: u64, bytes: usize) -> bool {
        if epoch != self.epoch {
            // What was not told of the last epoch is less than a piece; it may be complete and gone.
            (self.epoch, self.rows, self.bytes, self.told) = (epoch, 0, 0, 0);
        }
        self.rows += 1;
        self.bytes += bytes as u64;
        if self.rows.is_multiple_of(PAIRS as u64) || self.bytes - self.told > TOLD_BYTES {
            self.tell();
        }
        !self.stopped
    }

    /// Counts a pair that is looked at, kept or not; what is less than a piece is not counted.
    fn compares(&mut self, epoch: u64) {
        self.compared += 1;
        if self.compared >= PAIRS as u64 {
            let compared = std::mem::take(&mut self.compared);
            self.collector.borrow_mut().at(epoch).touch(&format!("{} compared", self.name), compared);
        }
    }

    fn tell(&mut self) {
        let new = std::mem::replace(&mut self.told, self.bytes);
        let counts = (self.rows, self.bytes - new);
        self.stopped |= !self.collector.borrow_mut().joined(self.epoch, &self.name, counts);
    }
}

/// Joined rows as batches of their epochs.
fn unpack<'s>(stream: Stream<'s, u64, Pairs>, name: &str, collector: Shared) -> Deltas<'s> {
    let name = name.to_string();
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Unpack", move |_, _| {
        move |input, output| {
            input.for_each(|capability, pairs: &mut Pairs| {
                let capability = capability.retain(0);
                collector.borrow_mut().at(*capability.time()).touch(&name, pairs.diffs.len() as u64);
                for (epoch, batch) in pairs.by_epoch() {
                    output.session(&capability.delayed(&epoch)).give(batch);
                }
            });
        }
    })
}

impl Pairs {
    /// One batch for each epoch that occurs.
    fn by_epoch(&mut self) -> Vec<(u64, DeltaBatch)> {
        let Pairs { rows, epochs, diffs } = std::mem::take(self);
        let Some(first) = epochs.first().copied() else { return vec![] };
        if epochs.iter().all(|epoch| *epoch == first) {
            return vec![(first, DeltaBatch { data: Data::Packed(rows), diffs })];
        }
        let mut parts: std::collections::BTreeMap<u64, (Rows, Vec<i64>)> = Default::default();
        for (at, epoch) in epochs.into_iter().enumerate() {
            let part = parts.entry(epoch).or_default();
            part.0.push(rows.get(at));
            part.1.push(diffs[at]);
        }
        let batch = |(rows, diffs)| DeltaBatch { data: Data::Packed(rows), diffs };
        parts.into_iter().map(|(epoch, part)| (epoch, batch(part))).collect()
    }
}

/// All matching pairs, left row then right row.
pub fn matches<'s>(
    left: PackedArranged<'s, i64>,
    right: PackedArranged<'s, i64>,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    let mut guard = Guard::new(name, collector.clone());
    let pairs = join_traces::<_, _, _, _, PairsBuilder>(
        left,
        right,
        move |_, l: &[u8], r: &[u8], time, dl, dr, out: &mut PairsBuilder| {
            if guard.admits(time, l.len() + r.len()) {
                out.push((l, r), time, dl * dr);
            }
        },
    );
    unpack(pairs, name, collector)
}

/// All matching pairs of rows that are placed (see [`super::band`]), left row then right row.
pub(in crate::render) fn near<'s>(
    (left, right): (PackedArranged<'s, i64>, PackedArranged<'s, i64>),
    band: Band,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    let mut guard = Guard::new(name, collector.clone());
    let pairs = join_traces::<_, _, _, _, PairsBuilder>(
        left,
        right,
        move |_, l: &[u8], r: &[u8], time, dl, dr, out: &mut PairsBuilder| {
            guard.compares(time);
            if band.meets(l, r) {
                let (l, r) = (band::row(l), band::row(r));
                if guard.admits(time, l.len() + r.len()) {
                    out.push((l, r), time, dl * dr);
                }
            }
        },
    );
    unpack(pairs, name, collector)
}

/// The rows whose key is among `keys` (an arrangement with one entry a key), times `sign`.
pub fn among<'s>(
    rows: PackedArranged<'s, i64>,
    keys: PackedArranged<'s, i64>,
    (name, sign): (&str, i64),
    collector: Shared,
) -> Deltas<'s> {
    let mut guard = Guard::new(name, collector.clone());
    let rows = join_traces::<_, _, _, _, PairsBuilder>(
        rows,
        keys,
        move |_, l: &[u8], _: &[u8], time, dl, dr, out: &mut PairsBuilder| {
            if guard.admits(time, l.len()) {
                out.push((l, &[]), time, sign * dl * dr);
            }
        },
    );
    unpack(rows, name, collector)
}

/// Whole packed rows as keys of a count, for a set of distinct rows.
pub fn whole_rows<'s>(
    stream: Deltas<'s>,
    shape: Shape,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<Accums>>> {
    let peers = stream.scope().peers();
    stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "WholeRows", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for mut batch in batches.drain(..) {
                    let diffs = std::mem::take(&mut batch.diffs);
                    match shape.packed(batch) {
                        Ok(rows) => {
                            let mut outgoing = Outgoing::new(*time.time(), peers);
                            for (row, diff) in rows.iter().zip(diffs) {
                                outgoing.key(row);
                                outgoing.value(&[], Accums::count(diff));
                            }
                            outgoing.finish().for_each(|updates| session.give(updates));
                        }
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    })
}

/// Rows with so many NULLs before and after them.
pub fn null_extend<'s, T: Timed>(
    stream: Batches<'s, T>,
    rows: Shape,
    (before, after): (usize, usize),
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "NullExtend", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut extended = Rows::new();
        let mut whole = Vec::new();
        for row in rows.packed(delta)?.iter() {
            // NULL is one zero byte, whatever the type.
            whole.clear();
            whole.resize(before, 0);
            whole.extend_from_slice(row);
            whole.resize(before + row.len() + after, 0);
            extended.push(&whole);
        }
        Ok(DeltaBatch { data: Data::Packed(extended), diffs })
    })
}

/// Neighbouring columns of joined rows.
pub fn columns_of<'s, T: Timed>(
    stream: Batches<'s, T>,
    joined: Shape,
    columns: Range<usize>,
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "ColumnsOf", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut rows = Rows::new();
        for row in joined.packed(delta)?.iter() {
            let start = joined.codec.prefix_len(row, columns.start)?;
            rows.push(&row[start..joined.codec.prefix_len(row, columns.end)?]);
        }
        Ok(DeltaBatch { data: Data::Packed(rows), diffs })
    })
}
