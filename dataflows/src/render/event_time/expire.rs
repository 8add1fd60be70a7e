//! Expiry: final state is removed from arrangements without changing their operators' output.
//!
//! `remove_final` holds the keys of an arrangement by time: a group's by the time in its key, a key of rows
//! by the earliest time of a row, so that rows are in the arrangement alone. When the horizon passes a time
//! at the end of an epoch, it reads the content of the keys that are due and sends its removal back into
//! the arrangement, one epoch later, so that merging frees the memory and the operator that owns the state
//! deletes it there as any other removed content. All rows of a key have one time, which is in the key, or
//! they are placed by time (`joins::band`) and read in its order: no row is read before it is due but one.
//! A GROUP BY is informed of the expired groups (`ExpiredKeys`) and emits nothing for them; below a join
//! `hold_back` drops the resulting changes: by the plan's invariants nothing else can change a row that was
//! final before. A row that changes dropped content breaks those invariants and stops the worker. An
//! `ExpiryRule` decides on the content due at a horizon: in this module groups and rows by a time they
//! hold, in `sessions` the rows of ended sessions.

use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::difference::Abelian;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable, TraceReader};
use schemas::{MemoryPart, MemoryShare, RowCodec};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::feedback::{ConnectLoop, Feedback, Handle};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Concat, Concatenate};
use timely::progress::Antichain;

use super::rule::{ExpiredKeys, ExpiryRule, SentRemovals, with_name};
use super::sessions::Sessions;
use super::time_index::{KeySchedule, TimeIndex};
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
use crate::render::joins::band::{self, BandPlacement};
use crate::render::operators::OpenEpochs;

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
            let column = removal_loop.horizon.column;
            let expiry = Expiry {
                column,
                codec: codec.clone(),
                by_row: matches!(part, StateRole::Left | StateRole::Right),
                in_order: placing.is_some_and(|placing| placing.time_column() == column),
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
}

/// Expiry rule for groups and rows that hold their time.
struct ByTime {
    expiry: Expiry,
    due: ExpiryQueue,
}

impl<R: Diff + Abelian> ExpiryRule<R> for ByTime {
    fn note_batch(&mut self, batch: &SharedBatch<R>) -> Result<(), RunError> {
        let noted = if self.expiry.by_row {
            self.expiry.note_rows(batch, &mut self.due)
        } else {
            self.expiry.note_groups(batch, &mut self.due)
        };
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
        removed
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
    /// True if the time by which rows are placed is the one by which they expire.
    in_order: bool,
    expired: ExpiredKeys,
    name: String,
    collector: Shared,
}

/// Values of a key with their multiplicities.
type HeldValues<R> = Vec<(Vec<u8>, R)>;

/// Keys of an arrangement by time.
#[derive(Default)]
struct ExpiryQueue {
    /// Groups by the time in their key.
    groups: TimeIndex,
    /// Keys of rows by the earliest time of a row that has not expired.
    rows: KeySchedule,
    removed: SentRemovals,
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
    /// Returns true if content of this time may still change.
    fn is_open(&self, time: i64) -> bool {
        self.passed.is_none_or(|passed| time >= passed)
    }

    /// Takes back a removal that was sent.
    ///
    /// # Errors
    /// When it was not: below the horizon nothing else may arrive.
    fn take_removal(&mut self, key: &[u8], row: &[u8]) -> Result<(), RunError> {
        if !self.removed.take(key, row) {
            return Err(RunError::Broken("a row reached what was final".into()));
        }
        Ok(())
    }

    fn report_memory(&mut self) {
        let keys = self.groups.held_bytes() + self.rows.held_bytes();
        self.memory.set(MemoryPart::Expiry, keys + self.removed.held_bytes());
    }
}

impl Expiry {
    /// Records the groups that a batch changed.
    fn note_groups<R: Diff>(&self, batch: &SharedBatch<R>, due: &mut ExpiryQueue) -> Result<(), RunError> {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            match time_in(&self.codec, key, self.column)? {
                Some(time) if due.is_open(time) => due.groups.insert_key(time, key.into()),
                Some(_) => due.take_removal(key, &[]).map_err(|error| with_name(&self.name, error))?,
                None => {}
            }
            cursor.step_key(batch);
        }
        Ok(())
    }

    /// Records the keys of the rows that a batch changed.
    fn note_rows<R: Diff>(&self, batch: &SharedBatch<R>, due: &mut ExpiryQueue) -> Result<(), RunError> {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            let mut earliest: Option<i64> = None;
            while let Some(value) = cursor.get_val(batch) {
                match self.row_time(key, value)?.filter(|_| self.expires_here(key, value)) {
                    Some(time) if due.is_open(time) => {
                        earliest = Some(earliest.map_or(time, |earliest| earliest.min(time)));
                        // The rest of the key is later.
                        if self.in_order {
                            break;
                        }
                    }
                    Some(_) => due.take_removal(key, value).map_err(|error| with_name(&self.name, error))?,
                    None => {}
                }
                cursor.step_val(batch);
            }
            if let Some(time) = earliest {
                due.rows.schedule_key(key, time);
            }
            cursor.step_key(batch);
        }
        Ok(())
    }

    /// Returns the time by which a row expires; None for a row that never does.
    fn row_time(&self, key: &[u8], value: &[u8]) -> Result<Option<i64>, RunError> {
        match &self.placing {
            Some(placing) if self.in_order => Ok(placing.row_time(key, value)),
            _ => time_in(&self.codec, self.stored_row(value), self.column),
        }
    }

    /// Returns true at the first place of a row: placed in several stretches, it expires once.
    fn expires_here(&self, key: &[u8], value: &[u8]) -> bool {
        self.placing.as_ref().is_none_or(|placing| placing.is_first_place(key, value))
    }
}

impl Expiry {
    /// Returns the removals of the content below the horizon as of `epoch`, dated one epoch later.
    fn remove_due<R: Diff + Abelian>(
        &self,
        trace: &PackedTrace<R>,
        epoch: u64,
        (due, horizon): (&mut ExpiryQueue, Option<i64>),
    ) -> Result<ExchangeBuffer<R>, RunError> {
        let mut outgoing = ExchangeBuffer::new(epoch + 1, &self.collector.borrow().ownership());
        let Some(horizon) = horizon else { return Ok(outgoing) };
        // Dropped times are never reopened.
        let since = due.passed;
        due.passed = since.max(Some(horizon));
        let keys: Vec<Rc<[u8]>> =
            if self.by_row { due.rows.take_below(horizon) } else { due.groups.take_below(horizon) };
        // Most epochs expire nothing: the trace is opened only if there are keys.
        if keys.is_empty() {
            return Ok(outgoing);
        }
        let mut seek = Seek::new(trace);
        let mut removed = 0;
        // The trace is read by ascending key, as the keys are.
        for key in keys {
            seek.seek_key(&key);
            let held = if self.by_row {
                let (held, next) = self.due_rows(&mut seek, epoch, (&key, since..Some(horizon)))?;
                if let Some(next) = next {
                    due.rows.schedule_key(&key, next);
                }
                held
            } else {
                seek.rewind_values();
                all_values(&mut seek, epoch)
            };
            if held.is_empty() {
                continue;
            }
            removed += held.len() as u64;
            outgoing.push_key(match &self.placing {
                Some(placing) => placing.unplaced_key(&key),
                None => &key[..],
            });
            for (value, total) in held {
                outgoing.push_value(self.stored_row(&value), total);
                // Awaited by `note_rows`, when the removal has passed the feedback edge.
                if self.by_row {
                    due.removed.insert(&key, &value);
                }
            }
            if !self.by_row {
                // Recorded before the removal arrives, so that the operator emits nothing for it.
                self.expired.record(epoch + 1, &key);
                due.removed.insert(&key, &[]);
            }
        }
        if removed > 0 {
            // Counted in the next epoch, to which the removals belong; this one may be complete and taken.
            self.collector
                .borrow_mut()
                .at(epoch + 1)
                .count_touched(&format!("{} expired", self.name), removed);
        }
        Ok(outgoing)
    }

    /// Returns the rows of the sought key that are below the horizon, negated, as of `epoch`, and the time of
    /// the next row that may be due. `times` is from the last horizon, below which nothing is left, to this one.
    fn due_rows<R: Diff + Abelian>(
        &self,
        seek: &mut Seek<R>,
        epoch: u64,
        (key, times): (&[u8], Range<Option<i64>>),
    ) -> Result<(HeldValues<R>, Option<i64>), RunError> {
        let (mut held, mut next) = (Vec::new(), None);
        match times.start.filter(|_| self.in_order) {
            // Removed rows stay in the batches until these are merged: they are not read again.
            Some(since) => seek.seek_value(&band::placed_from(since)),
            None => seek.rewind_values(),
        }
        while let Some(value) = seek.current_value().map(<[u8]>::to_vec) {
            let time = self.row_time(key, &value)?.filter(|_| self.expires_here(key, &value));
            if time.is_some() && time >= times.end {
                next = [next, time].into_iter().flatten().min();
                // The rest of the key is later.
                if self.in_order {
                    break;
                }
            }
            let total = if time.is_some() && time < times.end { negated(seek, &value, epoch) } else { None };
            seek.step_past(&value);
            if let Some(total) = total {
                held.push((value, total));
            }
        }
        Ok((held, next))
    }

    /// Returns the value as the state stores it, without placement.
    fn stored_row<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        if self.placing.is_some() { band::unplaced_row(value) } else { value }
    }
}

/// Returns all values of the sought key as of `epoch`, negated.
fn all_values<R: Diff + Abelian>(seek: &mut Seek<R>, epoch: u64) -> HeldValues<R> {
    let mut held = Vec::new();
    while let Some(value) = seek.current_value().map(<[u8]>::to_vec) {
        let total = negated(seek, &value, epoch);
        seek.step_past(&value);
        if let Some(total) = total {
            held.push((value, total));
        }
    }
    held
}

/// Returns the negated sum of the current value's updates as of `epoch`; None for a sum of zero.
fn negated<R: Diff + Abelian>(seek: &mut Seek<R>, value: &[u8], epoch: u64) -> Option<R> {
    let mut total: Option<R> = None;
    seek.visit_updates(value, |time, diff| {
        // The trace may be ahead of the epoch whose watermarks are processed.
        if time > epoch {
            return;
        }
        match &mut total {
            Some(total) => total.plus_equals(diff),
            None => total = Some(diff.clone()),
        }
    });
    let mut total = total.filter(|total| !total.is_zero())?;
    total.negate();
    Some(total)
}
