//! Temporal filter: rows while now(), the least watermark of some sources, is between two times of theirs.
//!
//! Each row is held at the worker its bytes hash to, ordered by the time of its next event: entering the
//! output or leaving it. At the end of an epoch the rows whose event is due are taken from the front, so the
//! cost of an epoch depends on the rows that enter and leave and not on those held. Rows that have left never
//! return, since watermarks never decrease: they are no longer held, and changes of them are ignored. Rows
//! that never leave are held only until they enter. Where the state is durable, held rows are counted in it
//! under the same epoch.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use schemas::memory::{allocated_bytes, tree_bytes};
use schemas::{MemoryPart, MemoryShare, Rows, stored_key};
use timely::dataflow::Stream;
use timely::dataflow::operators::{Concat, Input};

use super::epochs::{EpochInput, process_epochs};
use super::watermark::CurrentHorizon;
use crate::arrange::updates::{ExchangeBuffer, Updates, by_key};
use crate::collect::{EpochOut, Shared};
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Edge, Horizon, Op, RelId, Scalar};
use crate::render::batch::{Data, DeltaBatch, RelationType};
use crate::render::linear::{Deltas, Errors, to_updates};
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// Renders a temporal filter.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(in crate::render) fn render_temporal_filter(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let rel = &self.plan.rels[id];
        let Op::TemporalFilter { input, since, until, clock } = &rel.op else {
            return Err(RunError::Broken("not a filter on now()".into()));
        };
        let (shape, errors) = (self.shapes[*input].clone(), self.error_table(id)?);
        let stream = self.new_input(id, *input, rel.durable);
        let mut rows = rows_with_spans(
            stream,
            shape.clone(),
            (since.clone(), until.clone()),
            (errors, self.collector.clone()),
        );
        let table_id =
            if rel.durable { Some(self.state_tables.table_of(id, StateRole::Waiting)?) } else { None };
        if let (Some(table_id), true) = (table_id, self.is_restored(id)) {
            let (handle, restored) = self.scope.new_input();
            rows = rows.concat(restored);
            self.restores.push(Restore::Rows { table_id, key: shape.codec, handle });
        }
        // now() is the least watermark itself: a horizon without lag.
        let marks = clock.iter().map(|source| (*source, 0)).collect();
        let filter = TemporalFilter {
            leave: !until.is_empty(),
            table_id,
            after: self.held_until(id),
            name: self.counter_name(id, "waiting"),
            collector: self.collector.clone(),
        };
        let horizon = CurrentHorizon::new(&Horizon { column: 0, marks });
        let mut held = FilterState { horizon, ..FilterState::default() };
        let named = ("Within", self.collector.clone());
        Ok(process_epochs(rows, self.watermark_updates()?, named, move |epoch, input| {
            filter.process_epoch(epoch, &mut held, input)
        }))
    }
}

/// Interval of now() in which a row is in the output: from `since` on, and below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    since: i64,
    until: i64,
}

impl Span {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.since.to_be_bytes());
        bytes[8..].copy_from_slice(&self.until.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Span, RunError> {
        if let Some((since, rest)) = bytes.split_first_chunk::<8>()
            && let Ok(until) = <[u8; 8]>::try_from(rest)
        {
            return Ok(Span { since: i64::from_be_bytes(*since), until: i64::from_be_bytes(until) });
        }
        Err(RunError::Broken("a row that waits for the watermark has no time".into()))
    }

    /// Returns the span of a row, from the times of its edges; None where it is empty.
    fn of_row(
        row: usize,
        times: &[&TimestampMicrosecondArray],
        (since, until): (&[Edge], &[Edge]),
    ) -> Option<Span> {
        // NULL in any time makes the condition not true: the row has no span.
        if times.iter().any(|times| times.is_null(row)) {
            return None;
        }
        let (mut begins, mut ends) = (i64::MIN, i64::MAX);
        let (since_times, until_times) = times.split_at(since.len());
        for (times, edge) in since_times.iter().zip(since) {
            begins = begins.max(times.value(row).saturating_add(edge.us));
        }
        for (times, edge) in until_times.iter().zip(until) {
            ends = ends.min(times.value(row).saturating_add(edge.us));
        }
        (begins < ends).then_some(Span { since: begins, until: ends })
    }
}

/// Converts rows to updates keyed by row, with the span as value; rows with an empty span are left out.
fn rows_with_spans<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    (since, until): (Vec<Edge>, Vec<Edge>),
    (errors, collector): (Errors, Shared),
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "WithinRows", collector, move |epoch, ownership, delta| {
        let batch = shape.decode_columns(&delta)?;
        let exprs: Vec<&Scalar> = since.iter().chain(&until).map(|edge| &edge.time).collect();
        let (columns, batch, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        let mut times = Vec::with_capacity(columns.len());
        for column in &columns {
            let Some(time) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
                return Err(RunError::Broken("now() is compared with what is no time".into()));
            };
            times.push(time);
        }
        let rows = shape.pack_rows(DeltaBatch::from_columns(batch, vec![]))?;
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        for (at, diff) in diffs.into_iter().enumerate() {
            if let Some(span) = Span::of_row(at, &times, (&since, &until)) {
                outgoing.push_key(rows.get(at));
                outgoing.push_value(&span.to_bytes(), diff);
            }
        }
        Ok(outgoing)
    })
}

/// Configuration of the operator.
struct TemporalFilter {
    /// True if rows leave, which requires holding them while they are in the output.
    leave: bool,
    table_id: Option<u32>,
    /// Last epoch whose rows are already in the state.
    after: u64,
    name: String,
    collector: Shared,
}

/// Held rows, by the time at which each enters or leaves next.
#[derive(Default)]
struct FilterState {
    horizon: CurrentHorizon,
    /// Rows yet to enter, by time of entering: time of leaving and multiplicity.
    coming: BTreeMap<(i64, Vec<u8>), (i64, i64)>,
    /// Rows in the output, by time of leaving: time of entering and multiplicity.
    leaving: BTreeMap<(i64, Vec<u8>), (i64, i64)>,
    /// Bytes of the rows themselves.
    row_bytes: usize,
    memory: MemoryShare,
}

impl FilterState {
    fn report_memory(&mut self) {
        let entry = size_of::<((i64, Vec<u8>), (i64, i64))>();
        let maps = tree_bytes(self.coming.len(), entry) + tree_bytes(self.leaving.len(), entry);
        self.memory.set(MemoryPart::Waiting, maps + self.row_bytes);
    }
}

/// Changes of an epoch to the output, and to the state where it is durable.
struct FilterChanges<'a> {
    rows: Rows,
    diffs: Vec<i64>,
    /// State changes of the epoch, and the state table.
    kept: Option<(&'a mut EpochOut, u32)>,
}

impl FilterChanges<'_> {
    /// Adds a change of the output.
    fn emit_row(&mut self, row: &[u8], diff: i64) {
        self.rows.push(row);
        self.diffs.push(diff);
    }

    /// Adds a change of the durable state.
    fn count_in_state(&mut self, row: &[u8], span: Span, diff: i64) {
        if let Some((out, table_id)) = &mut self.kept {
            let mut stored = stored_key(row);
            stored.extend_from_slice(&span.to_bytes());
            out.add_count(*table_id, &stored, diff);
        }
    }
}

impl TemporalFilter {
    /// Processes one epoch: first rows that enter or leave as now() advances, then changed rows.
    fn process_epoch(
        &self,
        epoch: u64,
        held: &mut FilterState,
        (mut rows, watermarks): EpochInput,
    ) -> Result<DeltaBatch, RunError> {
        held.horizon.raise_watermarks(watermarks);
        // The largest time means "never ends": now() stays below it, so such rows never leave.
        let now = held.horizon.final_below().map(|now| now.min(i64::MAX - 1));
        let mut collector = self.collector.borrow_mut();
        let kept = match self.table_id {
            Some(table_id) if epoch > self.after => Some((collector.at(epoch), table_id)),
            _ => None,
        };
        let mut change = FilterChanges { rows: Rows::new(), diffs: Vec::new(), kept };
        if let Some(now) = now {
            self.advance_now(held, now, &mut change);
        }
        let mut failed = None;
        by_key(&mut rows, |row, entries| {
            for (span, _, diff) in entries.drain(..) {
                match Span::from_bytes(span) {
                    Ok(span) => self.apply_change(held, row, (span, diff), (now, &mut change)),
                    Err(error) => failed = Some(error),
                }
            }
        });
        let FilterChanges { rows, diffs, .. } = change;
        let touched = diffs.len() as u64;
        if touched > 0 {
            collector.at(epoch).count_touched(&self.name, touched);
        }
        collector.record_size(&self.name, (held.coming.len() + held.leaving.len()) as u64);
        held.report_memory();
        match failed {
            Some(error) => Err(error),
            None => Ok(DeltaBatch { data: Data::Packed(rows), diffs }),
        }
    }

    /// Removes the rows that leave at `now`, and emits those that enter.
    fn advance_now(&self, held: &mut FilterState, now: i64, change: &mut FilterChanges<'_>) {
        // Rows moved to `leaving` below have later times, so each row is moved at most once.
        while let Some(entry) = held.leaving.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((until, row), (since, count)) = entry.remove_entry();
            held.row_bytes -= allocated_bytes(row.len());
            change.emit_row(&row, -count);
            change.count_in_state(&row, Span { since, until }, -count);
        }
        while let Some(entry) = held.coming.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((since, row), (until, count)) = entry.remove_entry();
            // now() may have advanced past the row's whole span within one epoch.
            let stays = until > now;
            if stays {
                change.emit_row(&row, count);
            }
            if stays && self.leave {
                held.leaving.insert((until, row), (since, count));
            } else {
                held.row_bytes -= allocated_bytes(row.len());
                change.count_in_state(&row, Span { since, until }, -count);
            }
        }
    }

    /// Applies the insertion or retraction of a row; a row that has left is ignored.
    fn apply_change(
        &self,
        held: &mut FilterState,
        row: &[u8],
        (span, diff): (Span, i64),
        (now, change): (Option<i64>, &mut FilterChanges<'_>),
    ) {
        // Watermarks never decrease, so a row past its span can never be in the output again.
        if now.is_some_and(|now| span.until <= now) {
            return;
        }
        let inside = now.is_some_and(|now| span.since <= now);
        if inside {
            change.emit_row(row, diff);
        }
        // A row that never leaves is not held once it is in the output.
        if inside && !self.leave {
            return;
        }
        // A row is held under its next event: leaving if it is in the output, else entering.
        let (rows, next, other) = if inside {
            (&mut held.leaving, span.until, span.since)
        } else {
            (&mut held.coming, span.since, span.until)
        };
        // The next event's time leads the key, so that due rows are at the front of the map.
        let key = (next, row.to_vec());
        let (before, of_row) = (rows.get(&key).map_or(0, |(_, count)| *count), allocated_bytes(row.len()));
        let count = before + diff;
        if count == 0 {
            if rows.remove(&key).is_some() {
                held.row_bytes -= of_row;
            }
        } else if rows.insert(key, (other, count)).is_none() {
            held.row_bytes += of_row;
        }
        change.count_in_state(row, span, diff);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use schemas::Ownership;

    use super::*;
    use crate::collect::Collector;

    const TABLE_ID: u32 = 7;

    struct Run {
        filter: TemporalFilter,
        held: FilterState,
        epoch: u64,
    }

    impl Run {
        fn new(leave: bool) -> Run {
            let collector = Rc::new(RefCell::new(Collector::default()));
            let filter =
                TemporalFilter { leave, table_id: Some(TABLE_ID), after: 0, name: "w".into(), collector };
            let horizon = CurrentHorizon::new(&Horizon { column: 0, marks: vec![(0, 0), (1, 0)] });
            Run { filter, held: FilterState { horizon, ..FilterState::default() }, epoch: 0 }
        }

        /// Computes an epoch's output and its changes to the state.
        fn epoch(
            &mut self,
            rows: &[(u8, i64, i64, i64)],
            watermarks: &[(usize, i64)],
        ) -> (Vec<(u8, i64)>, i64) {
            self.epoch += 1;
            let mut outgoing = ExchangeBuffer::new(self.epoch, &Ownership::default());
            for (row, since, until, diff) in rows {
                outgoing.push_key(&[*row]);
                outgoing.push_value(&Span { since: *since, until: *until }.to_bytes(), *diff);
            }
            let rows = outgoing.into_updates().collect();
            let batch =
                self.filter.process_epoch(self.epoch, &mut self.held, (rows, watermarks.to_vec())).unwrap();
            let Data::Packed(rows) = batch.data else { panic!("not packed") };
            let shown = rows.iter().map(|row| row[0]).zip(batch.diffs).collect();
            let out = self.filter.collector.borrow_mut().take(self.epoch);
            let kept = out.counts.get(&TABLE_ID).map_or(0, |(_, diffs)| diffs.iter().sum());
            (shown, kept)
        }
    }

    #[test]
    fn rows_come_in_and_leave_as_the_least_watermark_moves() {
        let mut run = Run::new(true);
        assert_eq!(run.epoch(&[(1, 0, 10, 1), (2, 5, 20, 2), (3, 0, 4, 1)], &[(0, 50)]), (vec![], 4));
        // Only now both sources have a watermark; row 3 was over before it.
        assert_eq!(run.epoch(&[], &[(1, 4)]), (vec![(1, 1)], -1));
        assert_eq!(run.epoch(&[(2, 5, 20, -1)], &[(1, 5)]), (vec![(2, 2), (2, -1)], -1));
        // Retracting a row that has left changes nothing, and a late row does not enter.
        assert_eq!(run.epoch(&[(1, 0, 10, -1), (4, 0, 10, 1)], &[(1, 10)]), (vec![(1, -1)], -1));
        assert_eq!(run.epoch(&[(4, 0, 10, -1), (5, 0, 30, 1)], &[]), (vec![(5, 1)], 1));
        assert_eq!(run.epoch(&[], &[(1, i64::MAX)]), (vec![(2, -1), (5, -1)], -2));
        assert_eq!(run.held.leaving.len() + run.held.coming.len(), 0);
        assert_eq!(run.held.memory.bytes(), 0, "no row is held and none is counted");
    }

    #[test]
    fn what_never_leaves_is_kept_until_it_is_in() {
        let mut run = Run::new(false);
        assert_eq!(run.epoch(&[(1, 5, i64::MAX, 1)], &[(0, 4), (1, 4)]), (vec![], 1));
        assert_eq!(run.epoch(&[(2, 0, i64::MAX, 1)], &[(0, 9), (1, 5)]), (vec![(1, 1), (2, 1)], -1));
        assert_eq!(run.epoch(&[(1, 5, i64::MAX, -1)], &[]), (vec![(1, -1)], 0));
        assert_eq!(run.epoch(&[], &[(0, i64::MAX), (1, i64::MAX)]), (vec![], 0));
    }
}
