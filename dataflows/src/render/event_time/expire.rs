//! Expiry: final state is removed from arrangements without changing their operators' output.
//!
//! `remove_final` indexes the content of an arrangement by time. When the horizon passes a time at the end
//! of an epoch, it reads the content of that time and sends its removal back into the arrangement, one
//! epoch later, so that merging frees the memory and the operator that owns the state deletes it there as
//! any other removed content. A GROUP BY is informed of the expired groups (`ExpiredKeys`) and emits
//! nothing for them; below a join `hold_back_final` drops the resulting changes: by the plan's invariants
//! nothing else can change a row that was final before. A row that changes dropped content breaks those
//! invariants and stops the worker. An `ExpiryRule` decides on the content due at a horizon: in this module
//! groups and rows by a time they hold, in `sessions` the rows of ended sessions.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::TimestampMicrosecondType;
use differential_dataflow::difference::Abelian;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable, TraceReader};
use schemas::memory::{HeapBytes, table_bytes};
use schemas::{MemoryPart, MemoryShare, RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::feedback::{ConnectLoop, Feedback, Handle};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Concat, Concatenate};
use timely::progress::Antichain;

use super::rule::{ExpiredKeys, ExpiryRule, with_name};
use super::sessions::Sessions;
use super::time_index::TimeIndex;
use super::watermark::{CurrentHorizon, WatermarkUpdates, time_in};
use crate::arrange::rows::Diff;
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedTrace, SharedBatch};
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Horizon, RelId};
use crate::render::Renderer;
use crate::render::batch::{Data, DeltaBatch, RelationType, select_rows};
use crate::render::joins::band::{self, BandPlacement};
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, is_beyond_previous};

/// Updates of an arrangement, among them removals of expired content.
type Removals<'s, R> = Stream<'s, u64, Vec<Updates<R>>>;

/// Feedback edge that carries removals back into an arrangement.
pub struct RemovalLoop<'s, R: Diff> {
    handle: Handle<'s, u64, Vec<Updates<R>>>,
    horizon: Horizon,
    expired: ExpiredKeys,
}

impl<'s> Renderer<'s, '_> {
    /// Adds the removals of an expiring part of an operator's state to its updates. The returned loop must be
    /// connected to the arrangement of the updates with [`Renderer::connect_expiry`].
    pub(in crate::render) fn with_expiry<R: Diff>(
        &self,
        updates: Removals<'s, R>,
        of: (RelId, StateRole),
    ) -> (Removals<'s, R>, Option<RemovalLoop<'s, R>>) {
        // Parts without a horizon never expire.
        let Some(horizon) = self.plan.expiry.get(&of).cloned() else { return (updates, None) };
        // The feedback edge advances times by one epoch, as the removals do.
        let (handle, removals) = self.scope.feedback(1);
        (updates.concat(removals), Some(RemovalLoop { handle, horizon, expired: ExpiredKeys::default() }))
    }

    /// Removes final content from `arranged`, which together hold the part, and returns the keys of expired
    /// groups as they are removed. `codec` is that of the keys, or of the values for a part that holds rows.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn connect_expiry<R: Diff + Abelian>(
        &self,
        arranged: &[&PackedArranged<'s, R>],
        removal_loop: Option<RemovalLoop<'s, R>>,
        (name, part): (&str, StateRole),
        codec: RowCodec,
    ) -> Result<Option<ExpiredKeys>, RunError> {
        self.connect_placed_expiry(arranged, removal_loop, (name, part), codec, None)
    }

    /// Connects expiry as [`Renderer::connect_expiry`] does, for rows that are placed by time.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn connect_placed_expiry<R: Diff + Abelian>(
        &self,
        arranged: &[&PackedArranged<'s, R>],
        removal_loop: Option<RemovalLoop<'s, R>>,
        (name, part): (&str, StateRole),
        codec: RowCodec,
        placing: Option<&BandPlacement>,
    ) -> Result<Option<ExpiredKeys>, RunError> {
        let Some(removal_loop) = removal_loop else { return Ok(None) };
        let watermarks = self.watermark_updates()?;
        let mut removals = Vec::with_capacity(arranged.len());
        for arranged in arranged {
            let expiry = Expiry {
                column: removal_loop.horizon.column,
                codec: codec.clone(),
                by_row: matches!(part, StateRole::Left | StateRole::Right),
                placing: placing.cloned(),
                expired: removal_loop.expired.clone(),
                name: name.to_string(),
                collector: self.collector.clone(),
            };
            let by_time = ByTime { expiry, due: ExpiryQueue::default() };
            let horizon = CurrentHorizon::new(&removal_loop.horizon);
            removals.push(remove_final(arranged, watermarks.clone(), horizon, by_time));
        }
        // All arrangements of the part share one feedback edge.
        self.scope.concatenate(removals).connect_loop(removal_loop.handle);
        Ok(Some(removal_loop.expired))
    }

    /// Connects expiry of the rows of ended sessions.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn connect_session_expiry(
        &self,
        arranged: &PackedArranged<'s, i64>,
        removal_loop: Option<RemovalLoop<'s, i64>>,
        sessions: Sessions,
    ) -> Result<(), RunError> {
        let Some(removal_loop) = removal_loop else { return Ok(()) };
        let removals = remove_final(
            arranged,
            self.watermark_updates()?,
            CurrentHorizon::new(&removal_loop.horizon),
            sessions,
        );
        removals.connect_loop(removal_loop.handle);
        Ok(())
    }

    /// Drops the changes of an operator's output that result from expiry.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn hold_back_expired(
        &self,
        id: RelId,
        stream: Deltas<'s>,
        shape: RelationType,
    ) -> Result<Deltas<'s>, RunError> {
        let Some(horizons) = self.plan.settled.get(&id).cloned() else { return Ok(stream) };
        Ok(hold_back_final(stream, self.watermark_updates()?, shape, (horizons, self.collector.clone())))
    }
}

/// Expiry rule for groups and rows that hold their time.
struct ByTime {
    expiry: Expiry,
    due: ExpiryQueue,
}

impl<R: Diff + Abelian> ExpiryRule<R> for ByTime {
    fn note_batch(&mut self, batch: &SharedBatch<R>) -> Result<(), RunError> {
        let noted = self.expiry.note_batch(batch, &mut self.due);
        self.due.report_memory();
        noted
    }

    fn remove_due(
        &mut self,
        trace: &PackedTrace<R>,
        epoch: u64,
        horizon: Option<i64>,
    ) -> Result<ExchangeBuffer<R>, RunError> {
        let removed = self.expiry.remove_due(trace, epoch, (&mut self.due, horizon));
        self.due.report_memory();
        Ok(removed)
    }

    fn collector(&self) -> &Shared {
        &self.expiry.collector
    }
}

/// Configuration of the expiry of one arrangement.
struct Expiry {
    column: usize,
    codec: RowCodec,
    by_row: bool,
    /// Placement of the rows, where they are placed by time.
    placing: Option<BandPlacement>,
    expired: ExpiredKeys,
    name: String,
    collector: Shared,
}

/// Key, with the row under it where rows expire one by one; otherwise with an empty row.
type ExpiryItem = (Vec<u8>, Vec<u8>);

/// Content of an arrangement by time.
#[derive(Default)]
struct ExpiryQueue {
    items: TimeIndex<i64, ExpiryItem>,
    /// Removed items whose removal has not come back through the feedback edge yet.
    removed: HashSet<ExpiryItem>,
    /// Bytes of the keys and rows in `removed`.
    removed_bytes: usize,
    memory: MemoryShare,
    /// Time below which everything is dropped.
    passed: Option<i64>,
}

/// Builds the operator that sends removals of final content, as `rule` decides at the end of each epoch.
fn remove_final<'s, R: Diff + Abelian>(
    arranged: &PackedArranged<'s, R>,
    watermarks: WatermarkUpdates<'s>,
    mut horizon: CurrentHorizon,
    mut rule: impl ExpiryRule<R> + 'static,
) -> Removals<'s, R> {
    let mut trace: PackedTrace<R> = arranged.trace.clone();
    arranged.stream.clone().binary_frontier::<_, CapacityContainerBuilder<Vec<Updates<R>>>, _, _, _, _>(
        watermarks,
        Pipeline,
        Pipeline,
        "Expire",
        move |_, _| {
            let mut epochs = OpenEpochs::<Vec<(usize, i64)>>::new();
            let mut upper = Antichain::from_elem(0u64);
            move |(batches, frontier), (watermarks, watermarks_frontier), output| {
                batches.for_each(|_, data: &mut Vec<SharedBatch<R>>| {
                    for batch in data.drain(..) {
                        upper.clone_from(batch.upper());
                        if let Err(error) = rule.note_batch(&batch) {
                            rule.collector().borrow_mut().fail(error);
                        }
                    }
                });
                watermarks.for_each(|time, moved| epochs.input_at(&time).append(moved));
                let frontiers = [frontier, watermarks_frontier];
                while let Some((epoch, capability, moved)) = epochs.take_complete(&frontiers) {
                    // Both inputs are complete: the trace holds the epoch's content, the horizon is final.
                    horizon.raise_watermarks(moved);
                    let mut session = output.session(&capability);
                    match rule.remove_due(&trace, epoch, horizon.final_below()) {
                        Ok(removed) => {
                            for updates in removed.into_updates() {
                                session.give(updates);
                            }
                        }
                        Err(error) => rule.collector().borrow_mut().fail(error),
                    }
                }
                trace.advance_upper(&mut upper);
                // The next read is as of the first epoch whose watermarks are not processed yet.
                let next = epochs.first_epoch().or(watermarks_frontier.frontier().first().copied());
                let since: Antichain<u64> = next.into_iter().collect();
                trace.set_logical_compaction(since.borrow());
                trace.set_physical_compaction(upper.borrow());
            }
        },
    )
}

impl ExpiryQueue {
    /// Records an item, unless it is a removal that comes back.
    ///
    /// # Errors
    /// When a changed item was final and is not one of the removals.
    fn push_item(&mut self, time: Option<i64>, item: ExpiryItem) -> Result<(), RunError> {
        let Some(time) = time else { return Ok(()) };
        if self.passed.is_none_or(|passed| time >= passed) {
            self.items.insert_key(time, item);
            return Ok(());
        }
        // Below the horizon only the removal itself may arrive.
        if !self.removed.remove(&item) {
            return Err(RunError::Broken("a row reached what was final".into()));
        }
        self.removed_bytes -= item.heap_bytes();
        Ok(())
    }

    /// Records an item whose removal has been sent.
    fn await_removal(&mut self, item: ExpiryItem) {
        let bytes = item.heap_bytes();
        if self.removed.insert(item) {
            self.removed_bytes += bytes;
        }
    }

    fn report_memory(&mut self) {
        let places = table_bytes(self.removed.capacity(), size_of::<ExpiryItem>());
        let bytes = self.items.held_bytes() + places + self.removed_bytes;
        self.memory.set(MemoryPart::Expiry, bytes);
    }

    /// Removes and returns the items below the horizon, in order of key.
    fn take_due(&mut self, horizon: Option<i64>) -> Vec<ExpiryItem> {
        let Some(horizon) = horizon else { return vec![] };
        // Dropped times are never reopened.
        self.passed = self.passed.max(Some(horizon));
        let done = self.items.take_below(&horizon);
        let mut items: Vec<ExpiryItem> = done.into_values().flatten().collect();
        // The trace is read by ascending key.
        items.sort_unstable();
        items
    }
}

impl Expiry {
    /// Records the keys, or the rows, that a batch changed.
    fn note_batch<R: Diff>(&self, batch: &SharedBatch<R>, due: &mut ExpiryQueue) -> Result<(), RunError> {
        let with_arrangement = |error| with_name(&self.name, error);
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            if self.by_row {
                while let Some(value) = cursor.get_val(batch) {
                    // A row placed in several stretches expires once: only its first place is recorded.
                    if self.placing.as_ref().is_none_or(|placing| placing.is_first_place(key, value)) {
                        let time = time_in(&self.codec, self.stored_row(value), self.column)?;
                        due.push_item(time, (key.to_vec(), value.to_vec())).map_err(with_arrangement)?;
                    }
                    cursor.step_val(batch);
                }
            } else {
                let time = time_in(&self.codec, key, self.column)?;
                due.push_item(time, (key.to_vec(), vec![])).map_err(with_arrangement)?;
            }
            cursor.step_key(batch);
        }
        Ok(())
    }
}

impl Expiry {
    /// Returns the removals of the content below the horizon as of `epoch`, dated one epoch later.
    fn remove_due<R: Diff + Abelian>(
        &self,
        trace: &PackedTrace<R>,
        epoch: u64,
        (due, horizon): (&mut ExpiryQueue, Option<i64>),
    ) -> ExchangeBuffer<R> {
        let items = due.take_due(horizon);
        let mut outgoing = ExchangeBuffer::new(epoch + 1, &self.collector.borrow().ownership());
        // Most epochs expire nothing: the trace is opened only if there are items.
        let mut seek = if items.is_empty() { None } else { Some(Seek::new(trace)) };
        let mut removed = 0;
        for (key, row) in items {
            let Some(seek) = &mut seek else { break };
            let held = self.negated_content(seek, epoch, (&key, &row));
            removed += held.len() as u64;
            if !held.is_empty() {
                outgoing.push_key(match &self.placing {
                    Some(placing) => placing.unplaced_key(&key),
                    None => &key[..],
                });
                for (value, total) in held {
                    outgoing.push_value(self.stored_row(&value), total);
                }
                // Recorded before the removal arrives, so that the operator emits nothing for it.
                if !self.by_row {
                    self.expired.record(epoch + 1, &key);
                }
                // Awaited by `push_item`, when the removal has passed the feedback edge.
                due.await_removal((key, row));
            }
        }
        if removed > 0 {
            // Counted in the next epoch, to which the removals belong; this one may be complete and taken.
            self.collector
                .borrow_mut()
                .at(epoch + 1)
                .count_touched(&format!("{} expired", self.name), removed);
        }
        outgoing
    }

    /// Returns the value as the state stores it, without placement.
    fn stored_row<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        if self.placing.is_some() { band::unplaced_row(value) } else { value }
    }

    /// Returns the content of an item as of `epoch`, negated.
    fn negated_content<R: Diff + Abelian>(
        &self,
        seek: &mut Seek<R>,
        epoch: u64,
        (key, row): (&[u8], &[u8]),
    ) -> Vec<(Vec<u8>, R)> {
        let mut held = Vec::new();
        seek.seek_key(key);
        seek.seek_value(row);
        while let Some(value) = seek.current_value().map(<[u8]>::to_vec) {
            // A row is one value; a group is all values of its key.
            if self.by_row && value != row {
                break;
            }
            let mut total: Option<R> = None;
            seek.visit_updates(&value, |time, diff| {
                // The trace may be ahead of the epoch whose watermarks are processed.
                if time > epoch {
                    return;
                }
                match &mut total {
                    Some(total) => total.plus_equals(diff),
                    None => total = Some(diff.clone()),
                }
            });
            seek.step_past(&value);
            if let Some(mut total) = total.filter(|total| !total.is_zero()) {
                total.negate();
                held.push((value, total));
            }
        }
        held
    }
}

/// Horizons of an operator's output, with their history at the end of each epoch that is still needed.
struct FinalRowFilter {
    horizons: Vec<(usize, CurrentHorizon, BTreeMap<u64, i64>)>,
    shape: RelationType,
}

/// Drops rows that were final before their epoch.
fn hold_back_final<'s>(
    stream: Deltas<'s>,
    watermarks: WatermarkUpdates<'s>,
    shape: RelationType,
    (horizons, collector): (Vec<Horizon>, Shared),
) -> Deltas<'s> {
    let horizons = horizons.iter().map(|h| (h.column, CurrentHorizon::new(h), BTreeMap::new())).collect();
    let mut filter = FinalRowFilter { horizons, shape };
    stream.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        watermarks,
        Pipeline,
        Pipeline,
        "Freeze",
        move |_, _| {
            let mut epochs = OpenEpochs::<Vec<DeltaBatch>>::new();
            move |(rows, rows_frontier), (watermarks, watermarks_frontier), output| {
                rows.for_each(|time, batches| epochs.input_at(&time).append(batches));
                watermarks.for_each(|time, moved| filter.record_horizons(*time.time(), moved));
                while let Some(epoch) = epochs.first_epoch() {
                    // Rows of an epoch are compared with the horizon at the end of the previous one.
                    if !is_beyond_previous(watermarks_frontier, epoch) {
                        break;
                    }
                    let Some((_, capability, batches)) = epochs.take_first() else { break };
                    let mut session = output.session(&capability);
                    for batch in batches {
                        match filter.retain_open(epoch, batch) {
                            Ok(batch) if batch.is_empty() => {}
                            Ok(batch) => session.give(batch),
                            Err(error) => collector.borrow_mut().fail(error),
                        }
                    }
                }
                // The history is needed from the first epoch that is buffered or may still arrive.
                let next = epochs.first_epoch().or(rows_frontier.frontier().first().copied());
                filter.forget_before(next.unwrap_or(u64::MAX));
            }
        },
    )
}

impl FinalRowFilter {
    /// Records the horizons at the end of `epoch`.
    fn record_horizons(&mut self, epoch: u64, moved: &[(usize, i64)]) {
        for (_, horizon, history) in &mut self.horizons {
            horizon.raise_watermarks(moved.iter().copied());
            if let Some(final_below) = horizon.final_below() {
                history.insert(epoch, final_below);
            }
        }
    }

    /// Removes horizons that no epoch from `next` on needs: all before the latest one below `next`.
    fn forget_before(&mut self, next: u64) {
        for (_, _, history) in &mut self.horizons {
            let Some((&needed, _)) = history.range(..next).next_back() else { continue };
            *history = history.split_off(&needed);
        }
    }

    /// Returns the rows of a batch that were not final before `epoch`.
    fn retain_open(&self, epoch: u64, batch: DeltaBatch) -> Result<DeltaBatch, RunError> {
        let mut keep = vec![true; batch.len()];
        for (column, _, history) in &self.horizons {
            let Some((_, horizon)) = history.range(..epoch).next_back() else { continue };
            match &batch.data {
                Data::Arrow(columns) => {
                    let times = columns.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
                    let Some(times) = times else {
                        return Err(RunError::Broken("a horizon of what is no time".into()));
                    };
                    for (row, keep) in keep.iter_mut().enumerate() {
                        *keep &= times.is_null(row) || times.value(row) >= *horizon;
                    }
                }
                Data::Packed(rows) => {
                    for (row, keep) in rows.iter().zip(&mut keep) {
                        let time = time_in(&self.shape.codec, row, *column)?;
                        *keep &= time.is_none_or(|time| time >= *horizon);
                    }
                }
            }
        }
        // Usual case: the batch is passed on without copying.
        if !keep.contains(&false) {
            return Ok(batch);
        }
        match batch.data {
            Data::Arrow(columns) => {
                let (columns, diffs) = select_rows(&columns, &batch.diffs, &BooleanArray::from(keep))?;
                Ok(DeltaBatch::from_columns(columns, diffs))
            }
            Data::Packed(rows) => {
                let (mut kept, mut diffs) = (Rows::new(), Vec::new());
                for ((row, diff), keep) in rows.iter().zip(batch.diffs).zip(keep) {
                    if keep {
                        kept.push(row);
                        diffs.push(diff);
                    }
                }
                Ok(DeltaBatch::from_packed(kept, diffs))
            }
        }
    }
}
