//! Pairs of rows from two arrangements of packed rows, and conversions of them.
//!
//! A side is arranged as key to row. Matching pairs come from differential's join; a pair is the two
//! packed rows end to end, which is the packed form of the joined row. Rows of a side whose key is in
//! a set come from the same join. The composition of each kind of join is in `kinds`.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use differential_dataflow::operators::join::join_traces;
use schemas::{Ownership, Rows};
use timely::Accountable;
use timely::container::ContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use super::band;
use crate::arrange::trace::PackedArranged;
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::collect::Shared;
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::plan::Scalar;
use crate::plan::analysis::interval::Band;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::{
    DeltaBatch, RelationType, packed_batches, select_array, select_rows, unmark_nulls,
};
use crate::render::linear::{Batches, Deltas, EpochTime, Errors, key_whole_rows, map_batches, to_updates};
use crate::render::operators::each_message;

/// Maximum number of bytes of joined rows not reported to the collector yet.
const MAX_UNREPORTED_BYTES: u64 = 1 << 20;
/// Number of joined rows passed on in one message.
const ROWS_PER_PIECE: usize = 4096;

/// Side of a join before it is arranged.
pub struct JoinSide {
    /// Type of the side's rows.
    pub shape: RelationType,
    /// Key expressions over them.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: schemas::RowCodec,
    /// Keeps rows with a NULL in the key.
    pub keep_null_keys: bool,
}

/// Converts every input row to an update of key and row.
pub fn key_rows<'s>(
    stream: Deltas<'s>,
    side: JoinSide,
    errors: Errors,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "JoinKeys", collector, move |epoch, ownership, batch| {
        side.keyed_updates(&errors, (epoch, ownership), batch)
    })
}

/// Keys and rows of a side, and their diffs.
pub(in crate::render) struct KeyedRows {
    pub keys: Rows,
    pub rows: Rows,
    pub diffs: Vec<i64>,
}

impl JoinSide {
    /// Returns key and row of each row of a batch that may match.
    ///
    /// # Errors
    /// When packed bytes do not fit the schema.
    pub(in crate::render) fn key_batch(
        &self,
        errors: &Errors,
        epoch: u64,
        delta: DeltaBatch,
    ) -> Result<KeyedRows, RunError> {
        let batch = self.shape.decode_columns(&delta)?;
        let exprs: Vec<&Scalar> = self.keys.iter().collect();
        let (mut keys, mut batch, mut diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        // A NULL key matches none: such rows are needed only if they are output without a match.
        if !self.keep_null_keys && keys.iter().any(|k| k.logical_null_count() > 0) {
            let whole = not_null(&keys, diffs.len());
            for key in &mut keys {
                *key = select_array(key, &whole)?;
            }
            (batch, diffs) = select_rows(&batch, &diffs, &whole)?;
        }
        let keys = encode_keys(&self.key_codec, &keys, diffs.len())?;
        let rows = self.shape.pack_rows(DeltaBatch::from_columns(batch, vec![]))?;
        Ok(KeyedRows { keys, rows, diffs })
    }

    fn keyed_updates(
        &self,
        errors: &Errors,
        (epoch, ownership): (u64, &Ownership),
        delta: DeltaBatch,
    ) -> Result<ExchangeBuffer<i64>, RunError> {
        let KeyedRows { keys, rows, diffs } = self.key_batch(errors, epoch, delta)?;
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        for (at, diff) in diffs.into_iter().enumerate() {
            outgoing.push_key(keys.get(at));
            outgoing.push_value(rows.get(at), diff);
        }
        Ok(outgoing)
    }
}

fn not_null(keys: &[ArrayRef], rows: usize) -> BooleanArray {
    let mut whole = vec![true; rows];
    for key in keys {
        unmark_nulls(&mut whole, key);
    }
    BooleanArray::from(whole)
}

/// Joined rows with their epochs and diffs.
#[derive(Clone, Default)]
struct JoinedRows {
    rows: Rows,
    epochs: Vec<u64>,
    diffs: Vec<i64>,
}

impl Accountable for JoinedRows {
    fn record_count(&self) -> i64 {
        self.diffs.len() as i64
    }
}

/// Container builder that emits joined rows in pieces, so that a join of many rows can yield.
#[derive(Default)]
struct JoinedRowsBuilder {
    open: JoinedRows,
    full: VecDeque<JoinedRows>,
    given: JoinedRows,
}

impl JoinedRowsBuilder {
    fn push(&mut self, (head, tail): (&[u8], &[u8]), epoch: u64, diff: i64) {
        self.open.rows.push_joined(head, tail);
        self.open.epochs.push(epoch);
        self.open.diffs.push(diff);
        if self.open.diffs.len() >= ROWS_PER_PIECE {
            self.full.push_back(std::mem::take(&mut self.open));
        }
    }
}

impl ContainerBuilder for JoinedRowsBuilder {
    type Container = JoinedRows;

    fn extract(&mut self) -> Option<&mut JoinedRows> {
        self.given = self.full.pop_front()?;
        Some(&mut self.given)
    }

    fn finish(&mut self) -> Option<&mut JoinedRows> {
        if !self.open.diffs.is_empty() {
            self.full.push_back(std::mem::take(&mut self.open));
        }
        self.extract()
    }
}

/// Limit on the output of a join: all pairs of a key are made at once, so a key with many rows on both sides
/// could exhaust the memory.
pub(in crate::render) struct Guard {
    collector: Shared,
    name: String,
    epoch: u64,
    /// Rows made in the epoch.
    rows: u64,
    /// Bytes made in the epoch.
    bytes: u64,
    /// Bytes of the epoch that the collector has counted.
    reported: u64,
    /// Compared pairs not counted yet.
    compared: u64,
    /// Set when the limit is exceeded: no further pair is kept.
    stopped: bool,
}

impl Guard {
    pub(in crate::render) fn new(name: &str, collector: Shared) -> Guard {
        let name = name.to_string();
        Guard { collector, name, epoch: 0, rows: 0, bytes: 0, reported: 0, compared: 0, stopped: false }
    }

    /// Counts a pair of `bytes` bytes, and returns true if it may be kept.
    pub(in crate::render) fn admit_pair(&mut self, epoch: u64, bytes: usize) -> bool {
        if epoch != self.epoch {
            // The unreported rest of the last epoch, less than a piece, is dropped: that epoch may be
            // complete and taken from the collector.
            (self.epoch, self.rows, self.bytes, self.reported) = (epoch, 0, 0, 0);
        }
        self.rows += 1;
        self.bytes += bytes as u64;
        if self.rows.is_multiple_of(ROWS_PER_PIECE as u64)
            || self.bytes - self.reported > MAX_UNREPORTED_BYTES
        {
            self.report_size();
        }
        !self.stopped
    }

    /// Counts a compared pair, kept or not. Counts are reported in pieces; the rest is not reported.
    fn count_comparison(&mut self, epoch: u64) {
        self.compared += 1;
        if self.compared >= ROWS_PER_PIECE as u64 {
            let compared = std::mem::take(&mut self.compared);
            self.collector.borrow_mut().at(epoch).count_touched(&format!("{} compared", self.name), compared);
        }
    }

    /// Reports the new bytes to the collector, and stops the join if the epoch exceeds the limit.
    fn report_size(&mut self) {
        let new = std::mem::replace(&mut self.reported, self.bytes);
        let counts = (self.rows, self.bytes - new);
        // Once stopped, further pairs are enumerated but not kept: the join cannot be interrupted.
        self.stopped |= !self.collector.borrow_mut().count_joined(self.epoch, &self.name, counts);
    }
}

/// Converts joined rows to batches of their epochs.
fn unpack_rows<'s>(stream: Stream<'s, u64, JoinedRows>, name: &str, collector: Shared) -> Deltas<'s> {
    let name = name.to_string();
    each_message(stream, Pipeline, "Unpack", move |capability, pairs, output| {
        // Pairs may be of later epochs than the message: they are sent with delayed capabilities.
        let capability = capability.retain(0);
        collector.borrow_mut().at(*capability.time()).count_touched(&name, pairs.diffs.len() as u64);
        for (epoch, batch) in pairs.by_epoch() {
            output.session(&capability.delayed(&epoch)).give(batch);
        }
    })
}

impl JoinedRows {
    /// Returns one batch for each epoch that occurs.
    fn by_epoch(&mut self) -> Vec<(u64, DeltaBatch)> {
        let JoinedRows { rows, epochs, diffs } = std::mem::take(self);
        let Some(first) = epochs.first().copied() else { return vec![] };
        // The usual case of a single epoch moves the rows instead of copying them.
        if epochs.iter().all(|epoch| *epoch == first) {
            return vec![(first, DeltaBatch::from_packed(rows, diffs))];
        }
        let mut parts: BTreeMap<u64, (Rows, Vec<i64>)> = BTreeMap::new();
        for (at, epoch) in epochs.into_iter().enumerate() {
            let part = parts.entry(epoch).or_default();
            part.0.push(rows.get(at));
            part.1.push(diffs[at]);
        }
        packed_batches(parts)
    }
}

/// Emits all matching pairs, left row then right row.
pub fn match_keys<'s>(
    left: PackedArranged<'s, i64>,
    right: PackedArranged<'s, i64>,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    let mut guard = Guard::new(name, collector.clone());
    let pairs = join_traces::<_, _, _, _, JoinedRowsBuilder>(
        left,
        right,
        move |_, l: &[u8], r: &[u8], time, dl, dr, out: &mut JoinedRowsBuilder| {
            // Counted before the pair is stored, so that the limit bounds the memory.
            if guard.admit_pair(time, l.len() + r.len()) {
                out.push((l, r), time, dl * dr);
            }
        },
    );
    unpack_rows(pairs, name, collector)
}

/// Emits all matching pairs of rows placed by time (see [`super::band`]), left row then right row.
pub(in crate::render) fn match_within_band<'s>(
    (left, right): (PackedArranged<'s, i64>, PackedArranged<'s, i64>),
    band: Band,
    name: &str,
    collector: Shared,
) -> Deltas<'s> {
    let mut guard = Guard::new(name, collector.clone());
    let pairs = join_traces::<_, _, _, _, JoinedRowsBuilder>(
        left,
        right,
        move |_, l: &[u8], r: &[u8], time, dl, dr, out: &mut JoinedRowsBuilder| {
            // Rows of one place may still be too far apart.
            guard.count_comparison(time);
            if band.rows_meet(l, r) {
                let (l, r) = (band::unplaced_row(l), band::unplaced_row(r));
                if guard.admit_pair(time, l.len() + r.len()) {
                    out.push((l, r), time, dl * dr);
                }
            }
        },
    );
    unpack_rows(pairs, name, collector)
}

/// Emits the rows whose key is in `keys` (an arrangement with one entry for each key), multiplied by `sign`.
pub fn semi_join<'s>(
    rows: PackedArranged<'s, i64>,
    keys: PackedArranged<'s, i64>,
    (name, sign): (&str, i64),
    collector: Shared,
) -> Deltas<'s> {
    // The right row is the key itself and is not output.
    let mut guard = Guard::new(name, collector.clone());
    let rows = join_traces::<_, _, _, _, JoinedRowsBuilder>(
        rows,
        keys,
        move |_, l: &[u8], _: &[u8], time, dl, dr, out: &mut JoinedRowsBuilder| {
            if guard.admit_pair(time, l.len()) {
                out.push((l, &[]), time, sign * dl * dr);
            }
        },
    );
    unpack_rows(rows, name, collector)
}

/// Converts rows to counts keyed by the whole packed row, for a set of distinct rows.
pub fn whole_rows<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    collector: Shared,
) -> Stream<'s, u64, Vec<Updates<Accums>>> {
    key_whole_rows(stream, "WholeRows", (shape, collector), Accums::of_rows)
}

/// Extends rows by `before` NULLs in front and `after` NULLs at the end.
pub fn null_extend<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    rows: RelationType,
    (before, after): (usize, usize),
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "NullExtend", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut extended = Rows::new();
        let mut whole = Vec::new();
        for row in rows.pack_rows(delta)?.iter() {
            // NULL of any type is packed as one zero byte.
            whole.clear();
            whole.resize(before, 0);
            whole.extend_from_slice(row);
            whole.resize(before + row.len() + after, 0);
            extended.push(&whole);
        }
        Ok(DeltaBatch::from_packed(extended, diffs))
    })
}

/// Projects joined rows to a range of adjacent columns.
pub fn columns_of<'s, T: EpochTime>(
    stream: Batches<'s, T>,
    joined: RelationType,
    columns: Range<usize>,
    collector: Shared,
) -> Batches<'s, T> {
    map_batches(stream, "ColumnsOf", collector, move |_, mut delta| {
        let diffs = std::mem::take(&mut delta.diffs);
        let mut rows = Rows::new();
        for row in joined.pack_rows(delta)?.iter() {
            // Packed columns are adjacent, so a range of columns is a range of bytes.
            let start = joined.codec.prefix_len(row, columns.start)?;
            rows.push(&row[start..joined.codec.prefix_len(row, columns.end)?]);
        }
        Ok(DeltaBatch::from_packed(rows, diffs))
    })
}
