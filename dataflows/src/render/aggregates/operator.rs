//! Reduce operator: converts an arrangement of accumulators to rows, one key and epoch at a time.
//!
//! For each epoch at which a key changed (see `changes`), its accumulators and the heads of its
//! indexes are read from the trace as they were just before and as they are at the epoch; where the
//! results differ, the old one is retracted and the new one emitted.

use std::collections::BTreeMap;

use differential_dataflow::trace::{Cursor, cursor::cursor_list};

use super::finish::{Finished, OutRows, finish_group};
use super::input::{AccumulatorLocation, Grouping};
use schemas::{Rows, stored_key};

use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedTrace, SharedBatch};
use crate::collect::Shared;
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::render::batch::{DeltaBatch, RelationType, describe_packed};
use crate::render::changes::{Emission, emit_changes};
use crate::render::event_time::rule::ExpiredKeys;
use crate::render::linear::{Deltas, Errors};
use differential_dataflow::difference::{IsZero, Semigroup};

/// Configuration of the operator.
#[derive(Clone)]
pub struct Reduce {
    /// Keys and aggregates.
    pub grouping: Grouping,
    /// Groups whose state is removed while their results stay.
    pub expired: Option<ExpiredKeys>,
    /// Type of output rows.
    pub output: RelationType,
    /// State table of durable totals.
    pub table_id: Option<u32>,
    /// True if the input is append-only and results do not depend on how often a row comes: a total in the state is then
    /// changed only together with its result.
    pub skips_repeats: bool,
    /// First epoch whose output counts; a GROUP BY without keys has its row from then on.
    pub first: u64,
    /// Epoch of the restored state, where nobody reads its output.
    pub unread: Option<u64>,
    /// Operator name in counters.
    pub name: String,
    /// Collector of state changes.
    pub collector: Shared,
    /// Error table for failed results.
    pub errors: Errors,
}

/// Emits the changed rows of every key that changed.
pub fn reduce<'s>(arranged: PackedArranged<'s, Accums>, mut reduce: Reduce) -> Deltas<'s> {
    let emission =
        Emission { first: reduce.first, single: reduce.grouping.keys.is_empty(), unread: reduce.unread };
    let collector = reduce.collector.clone();
    emit_changes(arranged, "Reduce", emission, collector, move |trace, batches, start| {
        let mut out = BTreeMap::new();
        reduce.process_batches(trace, batches, start, &mut out)?;
        let mut batches = Vec::with_capacity(out.len());
        for (epoch, rows) in out {
            batches.push((epoch, reduce.build_batch(rows)?));
        }
        Ok(batches)
    })
}

impl Reduce {
    /// Builds a batch of output rows.
    pub(super) fn build_batch(&self, rows: OutRows) -> Result<DeltaBatch, RunError> {
        let diffs = rows.diffs.clone();
        let columns = rows.into_columns(&self.grouping)?;
        Ok(DeltaBatch::from_columns(self.output.assemble(columns, diffs.len())?, diffs))
    }

    /// Processes all keys of `batches`; `start` adds the first row of a GROUP BY without keys.
    fn process_batches(
        &mut self,
        trace: &mut PackedTrace<Accums>,
        batches: Vec<SharedBatch<Accums>>,
        start: bool,
        out: &mut BTreeMap<u64, OutRows>,
    ) -> Result<(), RunError> {
        let mut content =
            Content { seek: Seek::new(trace), value: Vec::new(), heads: [vec![], vec![]], touched: 0 };
        let (mut fresh, fresh_storage) = cursor_list(batches);
        let mut changed = Changed::default();
        let mut started = !start;
        while let Some(key) = fresh.get_key(&fresh_storage) {
            changed.clear();
            while let Some(value) = fresh.get_val(&fresh_storage) {
                let before = changed.times.len();
                fresh.map_times(&fresh_storage, |time, _| changed.times.push(*time));
                if self.table_id.is_some() {
                    changed.note_value(value, before);
                }
                fresh.step_val(&fresh_storage);
            }
            // Without keys there is one group, so the first key is the one that `start` is for.
            if !started {
                changed.times.push(self.first);
                started = true;
            }
            content.seek.seek_key(key);
            self.process_key(key, &mut content, &mut changed, out)?;
            fresh.step_key(&fresh_storage);
        }
        if !started {
            content.seek.seek_key(&[]);
            let mut changed = Changed { times: vec![self.first], ..Changed::default() };
            self.process_key(&[], &mut content, &mut changed, out)?;
        }
        if let Some(epoch) = out.keys().next() {
            self.collector.borrow_mut().at(*epoch).count_touched(&self.name, content.touched);
        }
        Ok(())
    }

    /// Emits the changes of one key's output at each of the times, and writes its new durable totals.
    fn process_key(
        &self,
        key: &[u8],
        content: &mut Content,
        changed: &mut Changed,
        out: &mut BTreeMap<u64, OutRows>,
    ) -> Result<(), RunError> {
        changed.times.sort_unstable();
        changed.times.dedup();
        for time in &changed.times {
            // The empty value carries the accumulators.
            let [old, new] = content.read_totals(*time)?;
            if changed.total_times.contains(time) {
                self.write_total((key, &[]), *time, new.as_ref());
            }
            if ExpiredKeys::take_from(&self.expired, *time, key) {
                continue;
            }
            let old = time.checked_sub(1).and_then(|at| self.accums_if_present(old, at));
            let new = self.accums_if_present(new, *time);
            for slot in &self.grouping.slots {
                if let AccumulatorLocation::Index(tag, _) = slot.place {
                    let found = content.read_heads(tag, *time);
                    for (heads, head) in content.heads.iter_mut().zip(found) {
                        heads.push(head);
                    }
                }
            }
            let [old_heads, new_heads] = &mut content.heads;
            let (old_heads, new_heads) = (old_heads.drain(..), new_heads.drain(..));
            let old = old.map(|accums| finish_group(&self.grouping, &accums, old_heads));
            let new = new.map(|accums| finish_group(&self.grouping, &accums, new_heads));
            if old != new {
                self.push_difference((key, *time), [old, new], out.entry(*time).or_default());
            }
        }
        // The entries of indexes, which are in ascending order: each is sought from the one before it.
        content.seek.rewind_values();
        for (value, time) in changed.entries.iter().zip(&changed.entry_times) {
            let count = content.read_entry(value, *time)?;
            self.write_total((key, value), *time, count.as_ref());
        }
        Ok(())
    }

    /// Adds the difference between the results of a key before and at a time to the rows or errors.
    pub(super) fn push_difference(
        &self,
        (key, time): (&[u8], u64),
        [old, new]: [Option<Finished>; 2],
        rows: &mut OutRows,
    ) {
        if old == new {
            return;
        }
        for (result, diff) in [(old, -1), (new, 1)] {
            match result {
                Some(Finished::Row(values)) => rows.push(key, values, diff),
                Some(Finished::Failed(what, message)) => {
                    let key = describe_packed("key", &self.grouping.key_codec, key);
                    self.errors.record_failure(time, &what, &message, &key, diff);
                }
                None => {}
            }
        }
    }

    /// Writes the new durable total of a value of a key; a zero total deletes the stored one.
    pub(super) fn write_total(&self, (key, value): (&[u8], &[u8]), time: u64, total: Option<&Accums>) {
        let Some(table_id) = self.table_id else { return };
        // The key group is computed from the key without the value: a worker restores by key.
        let mut stored = stored_key(key);
        stored.extend_from_slice(value);
        let bytes = total.filter(|total| !total.is_zero()).map(Accums::to_bytes);
        self.collector.borrow_mut().at(time).write_total(table_id, &stored, bytes.as_deref());
    }

    /// Returns the accumulators as of `at`, if the key has a row then.
    fn accums_if_present(&self, total: Option<Accums>, at: u64) -> Option<Accums> {
        if !self.grouping.keys.is_empty() {
            return total.filter(|total| total.rows > 0);
        }
        if at < self.first {
            return None;
        }
        Some(total.unwrap_or_else(|| self.grouping.empty_accums()))
    }
}

/// Times at which a key changed and, where totals are durable, its changed values with their times.
#[derive(Default)]
struct Changed {
    times: Vec<u64>,
    /// Times at which the accumulators changed.
    total_times: Vec<u64>,
    /// Changed entries of indexes, in ascending order, once for each time.
    entries: Rows,
    entry_times: Vec<u64>,
}

impl Changed {
    fn clear(&mut self) {
        self.times.clear();
        self.total_times.clear();
        self.entries.clear();
        self.entry_times.clear();
    }

    /// Notes that a value changed at the times from the given place on.
    fn note_value(&mut self, value: &[u8], from: usize) {
        let times = &mut self.times[from..];
        times.sort_unstable();
        for (at, time) in times.iter().enumerate() {
            // The same time may come from several batches.
            if at > 0 && times[at - 1] == *time {
                continue;
            }
            if value.is_empty() {
                self.total_times.push(*time);
            } else {
                self.entries.push(value);
                self.entry_times.push(*time);
            }
        }
    }
}

/// Reader of the sought key's values in the trace.
struct Content {
    seek: Seek<Accums>,
    /// Copy of the current value, which must outlive a step.
    value: Vec<u8>,
    /// Heads of the indexes just before and at a time, while a result is computed.
    heads: [Vec<Option<Vec<u8>>>; 2],
    touched: u64,
}

impl Content {
    /// Reads the accumulators just before and at `time`.
    fn read_totals(&mut self, time: u64) -> Result<[Option<Accums>; 2], RunError> {
        self.seek.rewind_values();
        let (mut before, mut fresh): (Option<Accums>, Option<Accums>) = (None, None);
        // The empty value is the least one.
        if self.seek.current_value() == Some(&[]) {
            self.touched += 1;
            self.seek.visit_updates(&[], |at, diff| {
                if at < time {
                    add_diff(&mut before, diff);
                } else if at == time {
                    add_diff(&mut fresh, diff);
                }
            });
        }
        // The total before is kept as it is: it is a result of its own.
        let total = match (&before, fresh) {
            (Some(before), Some(mut fresh)) => {
                fresh.plus_equals(before);
                Some(fresh)
            }
            (None, fresh) => fresh,
            (Some(before), None) => Some(before.clone()),
        };
        check_held(total.as_ref())?;
        Ok([before, total])
    }

    /// Reads the count of an index' entry at `time`. Entries are read in ascending order.
    fn read_entry(&mut self, entry: &[u8], time: u64) -> Result<Option<Accums>, RunError> {
        let mut total = None;
        self.seek.seek_onward(entry);
        if self.seek.current_value() == Some(entry) {
            self.touched += 1;
            self.seek.visit_updates(entry, |at, diff| {
                if at <= time {
                    add_diff(&mut total, diff);
                }
            });
        }
        check_held(total.as_ref())?;
        Ok(total)
    }

    /// Reads the least present entry of an index just before and at `time`.
    fn read_heads(&mut self, tag: u8, time: u64) -> [Option<Vec<u8>>; 2] {
        let mut heads = [None, None];
        self.seek.seek_value(&[tag]);
        while let Some(value) = self.seek.current_value() {
            // Reading ends with the index, or once both heads are found.
            if value.first() != Some(&tag) || heads.iter().all(Option::is_some) {
                break;
            }
            self.value.clear();
            self.value.extend_from_slice(value);
            self.touched += 1;
            let mut counts = [0i64; 2];
            self.seek.visit_updates(&self.value, |at, diff| {
                counts[0] += if at < time { diff.rows } else { 0 };
                counts[1] += if at <= time { diff.rows } else { 0 };
            });
            for (head, count) in heads.iter_mut().zip(counts) {
                if head.is_none() && count > 0 {
                    *head = Some(self.value[1..].to_vec());
                }
            }
            self.seek.step_past(&self.value);
        }
        heads
    }
}

/// Checks a total: with more removals than insertions the state does not contain a removed row.
pub(super) fn check_held(total: Option<&Accums>) -> Result<(), RunError> {
    if total.is_some_and(|total| total.rows < 0) {
        return Err(RunError::Unheld("group"));
    }
    Ok(())
}

fn add_diff(total: &mut Option<Accums>, diff: &Accums) {
    match total {
        Some(total) => total.plus_equals(diff),
        None => *total = Some(diff.clone()),
    }
}
