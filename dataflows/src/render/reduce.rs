//! The reduce step: from an arrangement of accumulators to rows, one key and epoch at a time.
//!
//! Epochs are totally ordered, so a key's output changes at exactly the epochs its input changes at:
//! for each, the operator reads the key's content just before and at the epoch from the trace and
//! emits the difference. No second arrangement holds the output. The trace is compacted up to one
//! epoch below what was processed, which is what reading "just before" needs.

use std::collections::BTreeMap;

use differential_dataflow::trace::{BatchReader, Cursor, TraceReader, cursor::cursor_list};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;

use super::accum::Accums;
use super::aggregate::{Grouping, Place};
use super::batch::{DeltaBatch, Shape};
use super::collect::{Shared, stored_key};
use super::finish::{Finished, OutRows, finish};
use super::linear::{Deltas, Errors};
use super::packed::{PackedArranged, PackedBatch, PackedTrace, owner_of};
use super::seek::Seek;
use crate::error::RunError;
use differential_dataflow::difference::{IsZero, Semigroup};

/// What a reduce needs besides its arrangement.
pub struct Reduce {
    /// Keys and aggregates.
    pub grouping: Grouping,
    /// Output rows.
    pub output: Shape,
    /// Where durable totals go.
    pub space: Option<u32>,
    /// The first epoch whose output counts; a GROUP BY without keys has its row from then on.
    pub first: u64,
    /// Operator name in counters.
    pub name: String,
    /// Where state changes go.
    pub collector: Shared,
    /// Where failed results go.
    pub errors: Errors,
}

/// Emits the rows of every key that changed.
pub fn reduce<'s>(arranged: PackedArranged<'s, Accums>, mut reduce: Reduce) -> Deltas<'s> {
    let mut trace: PackedTrace<Accums> = arranged.trace.clone();
    let scope = arranged.stream.scope();
    let (index, peers) = (scope.index() as u64, scope.peers());
    arranged.stream.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        Pipeline,
        "Reduce",
        move |capability, _| {
            let alone = reduce.grouping.keys.is_empty() && owner_of(&[], peers) == index;
            let mut initial = alone.then(|| capability.delayed(&reduce.first));
            let mut upper = Antichain::from_elem(0u64);
            move |(input, frontier), output| {
                let (mut batches, mut held) = (Vec::new(), None);
                input.for_each(|capability, data| {
                    held.get_or_insert_with(|| capability.retain(0));
                    for batch in data.drain(..) {
                        upper.clone_from(batch.upper());
                        batches.push(batch);
                    }
                });
                // A batch may be here before the frontier says that the first epoch is complete.
                let complete = !frontier.less_equal(&reduce.first) || !upper.less_equal(&reduce.first);
                let start = initial.take_if(|_| complete);
                if !batches.is_empty() || start.is_some() {
                    let mut out = BTreeMap::new();
                    if let Err(error) = reduce.run(&mut trace, batches, start.is_some(), &mut out) {
                        reduce.collector.borrow_mut().fail(error);
                        return;
                    }
                    for (epoch, rows) in out {
                        let Some(capability) = held.as_ref().or(start.as_ref()) else { continue };
                        let capability = if *capability.time() <= epoch {
                            capability
                        } else {
                            start.as_ref().unwrap_or(capability)
                        };
                        match reduce.build(rows) {
                            Ok(batch) if batch.is_empty() => {}
                            Ok(batch) => output.session(&capability.delayed(&epoch)).give(batch),
                            Err(error) => reduce.collector.borrow_mut().fail(error),
                        }
                    }
                }
                trace.advance_upper(&mut upper);
                let below: Antichain<u64> = upper.iter().map(|t| t.saturating_sub(1)).collect();
                trace.set_logical_compaction(below.borrow());
                trace.set_physical_compaction(upper.borrow());
            }
        },
    )
}

impl Reduce {
    fn build(&self, rows: OutRows) -> Result<DeltaBatch, RunError> {
        let diffs = rows.diffs.clone();
        let columns = rows.into_columns(&self.grouping)?;
        Ok(DeltaBatch::arrow(self.output.assemble(columns, diffs.len())?, diffs))
    }

    /// Works through all keys of `batches`; `start` adds the first row of a GROUP BY without keys.
    fn run(
        &mut self,
        trace: &mut PackedTrace<Accums>,
        batches: Vec<PackedBatch<Accums>>,
        start: bool,
        out: &mut BTreeMap<u64, OutRows>,
    ) -> Result<(), RunError> {
        let mut seek = Seek::new(trace);
        let (mut fresh, fresh_storage) = cursor_list(batches);
        let mut changed: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut started = !start;
        let mut touched = 0;
        while let Some(key) = fresh.get_key(&fresh_storage) {
            changed.clear();
            while let Some(value) = fresh.get_val(&fresh_storage) {
                let value = if self.space.is_some() { value } else { &[] };
                fresh.map_times(&fresh_storage, |time, _| changed.push((value.to_vec(), *time)));
                fresh.step_val(&fresh_storage);
            }
            let mut times: Vec<u64> = changed.iter().map(|(_, time)| *time).collect();
            if !started {
                times.push(self.first);
                started = true;
            }
            times.sort_unstable();
            times.dedup();
            seek.key(key);
            let mut content = Content { seek: &mut seek, key, touched: &mut touched };
            self.key(&mut content, &times, &mut changed, out)?;
            fresh.step_key(&fresh_storage);
        }
        if !started {
            seek.key(&[]);
            let mut content = Content { seek: &mut seek, key: &[], touched: &mut touched };
            self.key(&mut content, &[self.first], &mut changed, out)?;
        }
        if let Some(epoch) = out.keys().next() {
            self.collector.borrow_mut().at(*epoch).touch(&self.name, touched);
        }
        Ok(())
    }

    /// One key: its output before and at each of `times`, and its new durable totals.
    fn key(
        &self,
        content: &mut Content<'_>,
        times: &[u64],
        changed: &mut Vec<(Vec<u8>, u64)>,
        out: &mut BTreeMap<u64, OutRows>,
    ) -> Result<(), RunError> {
        let sums = content.sums(&[])?;
        for time in times {
            let [old, new] = [time.checked_sub(1), Some(*time)].map(|at| self.present(&sums, at));
            let mut heads = [vec![], vec![]];
            for slot in &self.grouping.slots {
                if let Place::Index(tag, _) = slot.place {
                    let [before, at] = content.heads(tag, *time);
                    heads[0].push(before);
                    heads[1].push(at);
                }
            }
            let [old_heads, new_heads] = heads;
            let old = old.map(|accums| finish(&self.grouping, &accums, old_heads));
            let new = new.map(|accums| finish(&self.grouping, &accums, new_heads));
            if old != new {
                let rows = out.entry(*time).or_default();
                for (result, diff) in [(old, -1), (new, 1)] {
                    match result {
                        Some(Finished::Row(values)) => rows.push(content.key, values, diff),
                        Some(Finished::Failed(what, message)) => {
                            let key = self.describe_key(content.key);
                            self.errors.put(*time, &what, &message, &key, diff);
                        }
                        None => {}
                    }
                }
            }
        }
        let Some(space) = self.space else { return Ok(()) };
        changed.sort();
        changed.dedup();
        for (value, time) in changed.iter() {
            let total = sum_at(&content.sums(value)?, *time);
            // The group is the key's alone: a worker restores by key.
            let mut stored = stored_key(content.key);
            stored.extend_from_slice(value);
            let bytes = total.filter(|t| !t.is_zero()).map(|t| t.to_bytes());
            self.collector.borrow_mut().at(*time).write(space, &stored, bytes.as_deref());
        }
        Ok(())
    }

    /// The accumulators as of `at`, when the key has a row then.
    fn present(&self, sums: &[(u64, Accums)], at: Option<u64>) -> Option<Accums> {
        let at = at?;
        let total = sum_at(sums, at);
        if self.grouping.keys.is_empty() {
            return (at >= self.first).then(|| total.unwrap_or_else(|| self.grouping.zero()));
        }
        total.filter(|total| total.rows > 0)
    }

    fn describe_key(&self, key: &[u8]) -> String {
        let columns = self.grouping.key_codec.decode(std::iter::once(key)).unwrap_or_default();
        let values: Vec<String> = columns
            .iter()
            .map(|c| arrow::util::display::array_value_to_string(c, 0).unwrap_or_default())
            .collect();
        format!("key ({})", values.join(", "))
    }
}

/// The accumulators of all updates up to `at`.
fn sum_at(sums: &[(u64, Accums)], at: u64) -> Option<Accums> {
    let mut total: Option<Accums> = None;
    for (_, diff) in sums.iter().filter(|(time, _)| *time <= at) {
        match &mut total {
            Some(total) => total.plus_equals(diff),
            None => total = Some(diff.clone()),
        }
    }
    total
}

/// A key's values in the trace.
struct Content<'a> {
    seek: &'a mut Seek<Accums>,
    key: &'a [u8],
    touched: &'a mut u64,
}

impl Content<'_> {
    /// All updates of one value.
    fn sums(&mut self, value: &[u8]) -> Result<Vec<(u64, Accums)>, RunError> {
        let mut sums = Vec::new();
        self.seek.value(value);
        if self.seek.get() == Some(value) {
            *self.touched += 1;
            self.seek.updates(value, |time, diff| sums.push((time, diff.clone())));
            let last = sum_at(&sums, u64::MAX);
            if last.is_some_and(|total| total.rows < 0) {
                return Err(RunError::Broken("more rows were removed from a group than it had".into()));
            }
        }
        Ok(sums)
    }

    /// The least entry of an index that is present just before and at `time`.
    fn heads(&mut self, tag: u8, time: u64) -> [Option<Vec<u8>>; 2] {
        let mut heads = [None, None];
        self.seek.value(&[tag]);
        while let Some(value) = self.seek.get().map(<[u8]>::to_vec) {
            if value.first() != Some(&tag) || heads.iter().all(Option::is_some) {
                break;
            }
            *self.touched += 1;
            let mut counts = [0i64; 2];
            self.seek.updates(&value, |at, diff| {
                counts[0] += if at < time { diff.rows } else { 0 };
                counts[1] += if at <= time { diff.rows } else { 0 };
            });
            for (head, count) in heads.iter_mut().zip(counts) {
                if head.is_none() && count > 0 {
                    *head = Some(value[1..].to_vec());
                }
            }
            self.seek.step(&value);
        }
        heads
    }
}
