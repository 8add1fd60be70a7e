//! Arrangements of packed rows: differential spines whose keys and values are byte strings.
//!
//! A batch holds its keys and its values as one byte vector and a list of ends each, instead of one
//! allocation per row; comparisons are `memcmp`, and the row encoding of `schemas::row` makes byte order
//! the order of SQL. Rows are exchanged between workers by key group (DESIGN.md 2.8), so the worker that
//! holds a key is the same for every arrangement, every run and every restart with as many workers.

use std::rc::Rc;

use differential_dataflow::difference::Semigroup;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::rc_blanket_impls::RcBuilder;
use differential_dataflow::trace::{BatchReader, TraceReader};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::batch::PackedBatch;
use super::builder::{EpochBatcher, PackedBuilder, PassThrough};
use super::updates::Updates;
use crate::render::collect::Shared;

/// Shared immutable batch of an arrangement.
pub type SharedBatch<R> = Rc<PackedBatch<R>>;
/// Handle to an arrangement's content.
pub type PackedTrace<R> = TraceAgent<Spine<SharedBatch<R>>>;
/// Arrangement of packed rows by packed keys.
pub type PackedArranged<'s, R> = Arranged<'s, PackedTrace<R>>;

/// Diffs an arrangement can hold.
pub trait Diff:
    Semigroup + Ord + Clone + Default + Send + serde::Serialize + for<'a> serde::Deserialize<'a> + 'static
{
}
impl<T> Diff for T where
    T: Semigroup + Ord + Clone + Default + Send + serde::Serialize + for<'a> serde::Deserialize<'a> + 'static
{
}

/// Returns the index of the worker that owns `key`, among `peers` workers.
pub fn owner_of(key: &[u8], peers: usize) -> u64 {
    schemas::owner(schemas::key_group(key), peers) as u64
}

/// Arranges updates by key at the key's owner, and reports the arrangement's size to the collector as
/// `name`.
pub fn arrange<'s, R: Diff>(
    stream: Stream<'s, u64, Vec<Updates<R>>>,
    name: &str,
    collector: Shared,
) -> PackedArranged<'s, R> {
    // The owner was computed from the key when the message was built.
    let exchange = Exchange::new(|updates: &Updates<R>| updates.owner);
    let arranged = arrange_core::<_, _, PassThrough<R>, EpochBatcher<R>, RcBuilder<PackedBuilder<R>>, _>(
        stream, exchange, name,
    );
    record_size(&arranged, name.to_string(), collector);
    arranged
}

/// Reports an arrangement's size and arrivals, by a trace handle of its own that never delays compaction.
fn record_size<R: Diff>(arranged: &PackedArranged<'_, R>, name: String, collector: Shared) {
    let mut trace = arranged.trace.clone();
    arranged.stream.clone().sink(Pipeline, "Measure", move |(input, frontier)| {
        input.for_each(|_, batches| {
            for batch in batches.drain(..).filter(|batch| batch.len() > 0) {
                collector
                    .borrow_mut()
                    .record_arrivals(&name, (batch.hottest_key_updates() as u64, batch.len() as u64));
            }
        });
        // The handle follows the input frontier, so only the other readers bound compaction.
        trace.set_logical_compaction(frontier.frontier());
        trace.set_physical_compaction(frontier.frontier());
        // Counted anew each time: merging cancels updates without a message.
        let mut held = 0;
        trace.map_batches(|batch| held += batch.len() as u64);
        collector.borrow_mut().record_size(&name, held);
    });
}

/// Byte strings in one byte vector, in the order pushed.
pub struct PackedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PackedRows {
    fn start_of(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    /// Creates an empty container with capacity for `items` of `bytes` bytes together.
    pub fn with_room(items: usize, bytes: usize) -> PackedRows {
        PackedRows { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(items) }
    }

    /// Returns the number of items and of bytes of two containers together.
    pub fn room_of(a: &PackedRows, b: &PackedRows) -> (usize, usize) {
        (a.ends.len() + b.ends.len(), a.bytes.len() + b.bytes.len())
    }

    /// Appends a range of another container's items.
    pub fn push_range(&mut self, other: &PackedRows, items: std::ops::Range<usize>) {
        if items.is_empty() {
            return;
        }
        let (start, end) = (other.start_of(items.start), other.ends[items.end - 1]);
        // Ends are relative to the whole container and are moved to this one's offsets.
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[start..end]);
        self.ends.extend(other.ends[items].iter().map(|end| end - start + shift));
    }
}

impl BatchContainer for PackedRows {
    type Owned = Vec<u8>;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(item: &[u8]) -> Vec<u8> {
        item.to_vec()
    }
    fn clone_onto(item: &[u8], other: &mut Vec<u8>) {
        other.clear();
        other.extend_from_slice(item);
    }
    fn push_ref(&mut self, item: &[u8]) {
        self.push(item);
    }
    fn push_own(&mut self, item: &Vec<u8>) {
        self.push(item);
    }
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
    // Assumes 16 bytes for each item.
    fn with_capacity(size: usize) -> Self {
        PackedRows { bytes: Vec::with_capacity(size * 16), ends: Vec::with_capacity(size) }
    }
    fn merge_capacity(a: &Self, b: &Self) -> Self {
        PackedRows {
            bytes: Vec::with_capacity(a.bytes.len() + b.bytes.len()),
            ends: Vec::with_capacity(a.ends.len() + b.ends.len()),
        }
    }
    fn reborrow<'b, 'a: 'b>(item: &'a [u8]) -> &'b [u8] {
        item
    }
    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.start_of(index)..self.ends[index]]
    }
    fn len(&self) -> usize {
        self.ends.len()
    }
}
