//! The reduce step: from an arrangement of accumulators to rows, one key and epoch at a time.
//!
//! For each epoch at which a key changed (see `changes`), its accumulators and the heads of its
//! indexes are read from the trace as they were just before and as they are at the epoch; where the
//! results differ, the old one leaves and the new one comes.

use std::collections::BTreeMap;

use differential_dataflow::trace::{Cursor, cursor::cursor_list};

use super::accum::Accums;
use super::finish::{Finished, OutRows, finish};
use super::input::{Grouping, Place};
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedArranged, PackedBatch, PackedTrace};
use crate::error::RunError;
use crate::render::batch::{DeltaBatch, Shape};
use crate::render::changes::changes;
use crate::render::collect::{Shared, stored_key};
use crate::render::event_time::expire::Gone;
use crate::render::linear::{Deltas, Errors};
use differential_dataflow::difference::{IsZero, Semigroup};

/// What a reduce needs besides its arrangement.
pub struct Reduce {
    /// Keys and aggregates.
    pub grouping: Grouping,
    /// Groups that are removed although their results stay.
    pub gone: Option<Gone>,
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
    let (single, collector) = (reduce.grouping.keys.is_empty(), reduce.collector.clone());
    changes(arranged, "Reduce", (reduce.first, single), collector, move |trace, batches, start| {
        let mut out = BTreeMap::new();
        reduce.run(trace, batches, start, &mut out)?;
        out.into_iter().map(|(epoch, rows)| Ok((epoch, reduce.build(rows)?))).collect()
    })
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
        let mut content = Content { seek: Seek::new(trace), value: Vec::new(), touched: 0 };
        let (mut fresh, fresh_storage) = cursor_list(batches);
        let mut changed = Changed::default();
        let mut started = !start;
        while let Some(key) = fresh.get_key(&fresh_storage) {
            changed.times.clear();
            changed.values.clear();
            while let Some(value) = fresh.get_val(&fresh_storage) {
                fresh.map_times(&fresh_storage, |time, _| {
                    if changed.times.last() != Some(time) {
                        changed.times.push(*time);
                    }
                    if self.space.is_some() {
                        changed.values.push((value.to_vec(), *time));
                    }
                });
                fresh.step_val(&fresh_storage);
            }
            if !started {
                changed.times.push(self.first);
                started = true;
            }
            content.seek.key(key);
            self.key(key, &mut content, &mut changed, out)?;
            fresh.step_key(&fresh_storage);
        }
        if !started {
            content.seek.key(&[]);
            let mut changed = Changed { times: vec![self.first], values: vec![] };
            self.key(&[], &mut content, &mut changed, out)?;
        }
        if let Some(epoch) = out.keys().next() {
            self.collector.borrow_mut().at(*epoch).touch(&self.name, content.touched);
        }
        Ok(())
    }

    /// One key: its output before and at each of the times, and its new durable totals.
    fn key(
        &self,
        key: &[u8],
        content: &mut Content,
        changed: &mut Changed,
        out: &mut BTreeMap<u64, OutRows>,
    ) -> Result<(), RunError> {
        changed.times.sort_unstable();
        changed.times.dedup();
        for time in &changed.times {
            if self.gone.as_ref().is_some_and(|gone| gone.take(*time, key)) {
                continue;
            }
            let [old, new] = content.totals(&[], *time)?;
            let old = time.checked_sub(1).and_then(|at| self.present(old, at));
            let new = self.present(new, *time);
            let (mut old_heads, mut new_heads) = (vec![], vec![]);
            for slot in &self.grouping.slots {
                if let Place::Index(tag, _) = slot.place {
                    let [before, at] = content.heads(tag, *time);
                    old_heads.push(before);
                    new_heads.push(at);
                }
            }
            let old = old.map(|accums| finish(&self.grouping, &accums, old_heads));
            let new = new.map(|accums| finish(&self.grouping, &accums, new_heads));
            if old != new {
                let rows = out.entry(*time).or_default();
                for (result, diff) in [(old, -1), (new, 1)] {
                    match result {
                        Some(Finished::Row(values)) => rows.push(key, values, diff),
                        Some(Finished::Failed(what, message)) => {
                            let key = describe_key(&self.grouping.key_codec, key);
                            self.errors.put(*time, &what, &message, &key, diff);
                        }
                        None => {}
                    }
                }
            }
        }
        let Some(space) = self.space else { return Ok(()) };
        changed.values.sort();
        changed.values.dedup();
        for (value, time) in &changed.values {
            let [_, total] = content.totals(value, *time)?;
            // The group is the key's alone: a worker restores by key.
            let mut stored = stored_key(key);
            stored.extend_from_slice(value);
            let bytes = total.filter(|t| !t.is_zero()).map(|t| t.to_bytes());
            self.collector.borrow_mut().at(*time).write(space, &stored, bytes.as_deref());
        }
        Ok(())
    }

    /// The accumulators as of `at`, when the key has a row then.
    fn present(&self, total: Option<Accums>, at: u64) -> Option<Accums> {
        if self.grouping.keys.is_empty() {
            return (at >= self.first).then(|| total.unwrap_or_else(|| self.grouping.zero()));
        }
        total.filter(|total| total.rows > 0)
    }
}

/// A packed key as the error table shows it.
pub fn describe_key(codec: &schemas::RowCodec, key: &[u8]) -> String {
    let columns = codec.decode(std::iter::once(key)).unwrap_or_default();
    let values: Vec<String> = columns
        .iter()
        .map(|c| arrow::util::display::array_value_to_string(c, 0).unwrap_or_default())
        .collect();
    format!("key ({})", values.join(", "))
}

/// When a key changed, and, where totals are durable, which of its values did.
#[derive(Default)]
struct Changed {
    times: Vec<u64>,
    values: Vec<(Vec<u8>, u64)>,
}

/// The values in the trace of the key at hand.
struct Content {
    seek: Seek<Accums>,
    /// The value at hand, when it must outlive a step.
    value: Vec<u8>,
    touched: u64,
}

impl Content {
    /// The accumulators of `value` just before and at `time`.
    fn totals(&mut self, value: &[u8], time: u64) -> Result<[Option<Accums>; 2], RunError> {
        let (mut before, mut fresh): (Option<Accums>, Option<Accums>) = (None, None);
        self.seek.value(value);
        if self.seek.get() == Some(value) {
            self.touched += 1;
            self.seek.updates(value, |at, diff| {
                if at < time {
                    add(&mut before, diff);
                } else if at == time {
                    add(&mut fresh, diff);
                }
            });
        }
        let mut total = before.clone();
        if let Some(fresh) = fresh {
            add(&mut total, &fresh);
        }
        if total.as_ref().is_some_and(|total| total.rows < 0) {
            return Err(RunError::Unheld("group"));
        }
        Ok([before, total])
    }

    /// The least entry of an index that is present just before and at `time`.
    fn heads(&mut self, tag: u8, time: u64) -> [Option<Vec<u8>>; 2] {
        let mut heads = [None, None];
        self.seek.value(&[tag]);
        while let Some(value) = self.seek.get() {
            if value.first() != Some(&tag) || heads.iter().all(Option::is_some) {
                break;
            }
            self.value.clear();
            self.value.extend_from_slice(value);
            self.touched += 1;
            let mut counts = [0i64; 2];
            self.seek.updates(&self.value, |at, diff| {
                counts[0] += if at < time { diff.rows } else { 0 };
                counts[1] += if at <= time { diff.rows } else { 0 };
            });
            for (head, count) in heads.iter_mut().zip(counts) {
                if head.is_none() && count > 0 {
                    *head = Some(self.value[1..].to_vec());
                }
            }
            self.seek.step(&self.value);
        }
        heads
    }
}

fn add(total: &mut Option<Accums>, diff: &Accums) {
    match total {
        Some(total) => total.plus_equals(diff),
        None => *total = Some(diff.clone()),
    }
}
