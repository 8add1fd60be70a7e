//! Arrangements of packed rows: differential spines whose keys and values are byte strings.
//!
//! A batch holds its keys and its values as one byte vector and a list of ends each, instead of one
//! allocation per row; comparisons are `memcmp`, and the row encoding of `schemas::row` makes byte order
//! the order of SQL. Rows are exchanged between workers by key group (DESIGN.md 2.8), so the worker that
//! holds a key is the same for every arrangement, every run and every restart with as many workers.

use std::rc::Rc;

use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::rc_blanket_impls::RcBuilder;
use differential_dataflow::trace::{BatchReader, TraceReader};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::batch::PackedBatch;
use super::builder::{EpochBatcher, PackedBuilder, PassThrough};
use super::rows::Diff;
use super::updates::Updates;
use crate::collect::Shared;

/// Shared immutable batch of an arrangement.
pub type SharedBatch<R> = Rc<PackedBatch<R>>;
/// Handle to an arrangement's content.
pub type PackedTrace<R> = TraceAgent<Spine<SharedBatch<R>>>;
/// Arrangement of packed rows by packed keys.
pub type PackedArranged<'s, R> = Arranged<'s, PackedTrace<R>>;

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
