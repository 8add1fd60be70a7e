//! Top-N of rows that are never retracted: of each partition the operator keeps the rows that are output, and no others.
//!
//! A row behind the first N cannot come back, for the rows before it stay. So an arrangement of all rows is not needed:
//! changes of an epoch are merged with the kept rows once the epoch is complete, rows that are pushed out leave memory and
//! state, and rows that are behind at once never enter. The stored form is that of an arrangement of all rows; from a
//! state that holds more of them, as earlier releases left it, the epochs take them out, some thousands each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use schemas::memory::{allocated_bytes, table_bytes};
use schemas::{MemoryPart, MemoryShare, stored_key, without_group};
use state::Store;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Concat, Input};

use super::operator::{Compute, WindowOperator, WindowOutput, split_value};
use super::ranks::{PartitionRow, Ranked};
use crate::arrange::updates::{Updates, ValueUpdate, by_key};
use crate::error::RunError;
use crate::plan::RelId;
use crate::plan::state_role::StateRole;
use crate::plan::window::{Call, First};
use crate::render::aggregates::input::KeyHasher;
use crate::render::batch::{DeltaBatch, packed_batches};
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, owner_of};
use crate::render::{Renderer, Restore};

/// Updates of rows by their partitions.
type PartitionUpdates<'s> = Stream<'s, u64, Vec<Updates<i64>>>;

/// A kept row: its value, as in an arrangement, and how often it is output.
type KeptRow = (Vec<u8>, i64);

/// A row of a partition whose new rows are merged with the kept ones.
struct Merged<'a> {
    value: Cow<'a, [u8]>,
    /// Copies that were output.
    before: i64,
    /// Copies that came now.
    added: i64,
}

/// Rows of the state that are looked at in one epoch while others than the kept ones are in it.
const SWEPT_AT_ONCE: usize = 4096;

/// State table of the kept rows.
struct Stored {
    table_id: u32,
    /// Epoch whose rows come from the table.
    restored: Option<u64>,
    /// The state, where it can be read.
    store: Option<Arc<Store>>,
    worker: usize,
    /// Stored key from which on the table may hold rows that are not kept; None if it holds none.
    sweep: Option<Vec<u8>>,
}

/// The first rows of a worker's partitions.
struct FirstRows {
    compute: Compute,
    first: First,
    stored: Option<Stored>,
    /// The rows of each partition in its order.
    partitions: HashMap<Box<[u8]>, Vec<KeptRow>, BuildHasherDefault<KeyHasher>>,
    /// Number of all rows, and bytes of rows and partitions.
    rows: usize,
    bytes: usize,
    memory: MemoryShare,
}

impl<'s> Renderer<'s, '_> {
    /// Renders top-N of rows that are never retracted.
    ///
    /// # Errors
    /// When the plan's functions do not fit its input, or the state has no table for the rows.
    pub(in crate::render) fn render_first_rows(
        &mut self,
        (id, first): (RelId, First),
        updates: PartitionUpdates<'s>,
        operator: WindowOperator,
    ) -> Result<Deltas<'s>, RunError> {
        let part = StateRole::Partitions;
        let (mut updates, mut stored) = (updates, None);
        if self.plan.rels[id].durable {
            let table_id = self.state_tables.table_of(id, part)?;
            let mut restored = None;
            if self.start.is_restored() && !self.is_refilled(id, part) {
                let (handle, rows) = self.scope.new_input();
                updates = updates.concat(rows);
                self.restores.push(Restore::Rows { table_id, key: operator.partition.clone(), handle });
                restored = Some(self.start.epoch);
            }
            let store = self.reads.as_ref().map(|reads| reads.store.clone());
            stored = Some(Stored { table_id, restored, store, worker: self.scope.index(), sweep: None });
        }
        first_rows(updates, operator, (first, stored))
    }
}

/// Emits the changes of the first rows of every partition that changed.
fn first_rows<'s>(
    updates: PartitionUpdates<'s>,
    operator: WindowOperator,
    (first, stored): (First, Option<Stored>),
) -> Result<Deltas<'s>, RunError> {
    let collector = operator.collector.clone();
    let mut kept = FirstRows {
        compute: Compute::new(operator)?,
        first,
        stored,
        partitions: HashMap::default(),
        rows: 0,
        bytes: 0,
        memory: MemoryShare::default(),
    };
    let exchange = Exchange::new(owner_of);
    Ok(updates.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        exchange,
        "FirstRows",
        move |_, _| {
            let mut open = OpenEpochs::<Vec<Updates<i64>>>::new();
            move |(input, frontier), output| {
                // Ranks are computed once an epoch, when all of its rows are there.
                input.for_each(|time, messages: &mut Vec<Updates<i64>>| {
                    open.input_at(&time).append(messages);
                });
                while let Some((epoch, capability, mut parts)) = open.take_complete(&[frontier]) {
                    match kept.process_epoch(epoch, &mut parts) {
                        Ok(out) => {
                            let mut session = output.session(&capability);
                            for (_, batch) in packed_batches(out) {
                                session.give(batch);
                            }
                        }
                        Err(error) => return collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    ))
}

impl FirstRows {
    /// Takes the changes of a complete epoch; returns the changes of the output.
    fn process_epoch(&mut self, epoch: u64, parts: &mut [Updates<i64>]) -> Result<WindowOutput, RunError> {
        let (mut out, mut result) = (WindowOutput::new(), Ok(()));
        let (mut hottest, mut arrived) = (0, 0);
        by_key(parts, |key, entries| {
            let rows = entries.len() as u64;
            (hottest, arrived) = (rows.max(hottest), arrived + rows);
            if result.is_ok() {
                result = self.change_partition((key, epoch), entries, &mut out);
            }
        });
        result?;
        if !self.is_restored(epoch) {
            self.sweep(epoch)?;
        }
        self.report_memory();
        let over = &self.compute.over;
        let mut collector = over.collector.borrow_mut();
        collector.record_size(&over.name, self.rows as u64);
        if arrived > 0 {
            collector.record_arrivals(&over.name, (hottest, arrived));
            collector.at(epoch).count_touched(&over.name, arrived);
        }
        Ok(out)
    }

    /// Merges the new rows of a partition, in its order, with the kept ones.
    fn change_partition(
        &mut self,
        (key, epoch): (&[u8], u64),
        entries: &[ValueUpdate<'_, i64>],
        out: &mut WindowOutput,
    ) -> Result<(), RunError> {
        let rank = self.compute.over.window.functions[self.first.function].call.clone();
        let held = match self.partitions.get_mut(key) {
            Some(held) if are_behind(entries, held, (&rank, self.first.most)) => return Ok(()),
            Some(held) => std::mem::take(held),
            None => Vec::new(),
        };
        (self.rows, self.bytes) = (self.rows - held.len(), self.bytes - bytes_of(&held));
        let (mut kept, mut changes) = (Vec::with_capacity(held.len() + 1), Vec::new());
        let mut ranked = Ranked::default();
        for Merged { value, before, added } in merge_rows(held, entries) {
            if added < 0 {
                return Err(RunError::Broken("a row was retracted of input that only grows".into()));
            }
            // Further new rows change nothing.
            if ranked.done && before == 0 && !self.is_restored(epoch) {
                continue;
            }
            let (order, row) = split_value(&value)?;
            let after = ranked.take_ranked(&rank, self.first.most, (order, before + added));
            self.store_count((key, epoch), &value, [before, after]);
            changes.push(PartitionRow { order: order.to_vec(), row: row.to_vec(), counts: [before, after] });
            if after > 0 {
                kept.push((value.into_owned(), after));
            }
        }
        if self.compute.over.unread != Some(epoch) {
            self.compute.emit_difference(key, epoch, changes, out)?;
        }
        // Rows that were pushed out are freed with `changes`.
        self.keep(key, kept);
        Ok(())
    }

    /// Writes the count of a row if it changed.
    fn store_count(&mut self, (key, epoch): (&[u8], u64), value: &[u8], [before, after]: [i64; 2]) {
        let from_table = self.is_restored(epoch);
        let Some(stored) = &mut self.stored else { return };
        if from_table && after == 0 && stored.sweep.is_none() {
            stored.sweep = Some(Vec::new());
        }
        if from_table || before == after {
            return;
        }
        // As in an arrangement: the partition, then the value.
        let mut row = stored_key(key);
        row.extend_from_slice(value);
        let bytes = after.to_be_bytes();
        let count = if after > 0 { Some(&bytes[..]) } else { None };
        let collector = &self.compute.over.collector;
        collector.borrow_mut().at(epoch).write_total(stored.table_id, &row, count);
    }

    /// Looks at some rows of the state, and takes out those of this worker that are not kept; the next call goes on behind
    /// them.
    fn sweep(&mut self, epoch: u64) -> Result<(), RunError> {
        let Some(stored) = &mut self.stored else { return Ok(()) };
        let (Some(mut from), Some(store)) = (stored.sweep.take(), &stored.store) else { return Ok(()) };
        let over = &self.compute.over;
        let mut collector = over.collector.borrow_mut();
        let ownership = collector.ownership();
        let mut scan = store.iter_from(stored.table_id, &from)?;
        for _ in 0..SWEPT_AT_ONCE {
            let Some((row, _)) = scan.next_entry()? else { return Ok(()) };
            let packed = without_group(row);
            let (key, value) = packed.split_at(over.partition.prefix_len(packed, over.partition.columns())?);
            let kept = match self.partitions.get(key) {
                Some(rows) => rows.binary_search_by(|(held, _)| (**held).cmp(value)).is_ok(),
                None => false,
            };
            // A row that this or another epoch has just pushed out may be taken out twice.
            if !kept && ownership.owner_of(key) == stored.worker {
                collector.at(epoch).write_total(stored.table_id, row, None);
            }
            // The least key above this one.
            from.clear();
            from.extend_from_slice(row);
            from.push(0);
        }
        stored.sweep = Some(from);
        Ok(())
    }

    /// Returns true for the epoch whose rows come from the state.
    fn is_restored(&self, epoch: u64) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.restored == Some(epoch))
    }

    /// Sets the rows of a partition, whose earlier ones are not counted any more.
    fn keep(&mut self, key: &[u8], rows: Vec<KeptRow>) {
        (self.rows, self.bytes) = (self.rows + rows.len(), self.bytes + bytes_of(&rows));
        // The partition is allocated only once, when it comes.
        if let Some(held) = self.partitions.get_mut(key) {
            *held = rows;
            return;
        }
        if !rows.is_empty() {
            self.bytes += allocated_bytes(key.len());
            self.partitions.insert(key.into(), rows);
        }
    }

    fn report_memory(&mut self) {
        let places = table_bytes(self.partitions.capacity(), size_of::<(Box<[u8]>, Vec<KeptRow>)>());
        self.memory.set(MemoryPart::Arrangements, self.bytes + places);
    }
}

/// Returns true if new rows, in the partition's order, are numbered behind all that is kept, so that nothing changes.
fn are_behind(new: &[ValueUpdate<'_, i64>], kept: &[KeptRow], (rank, most): (&Call, u64)) -> bool {
    let (Call::RowNumber, Some((last, _)), Some((first, ..))) = (rank, kept.last(), new.first()) else {
        return false;
    };
    let mut numbered = 0;
    for (_, count) in kept {
        numbered += count.unsigned_abs();
    }
    numbered >= most && *first > &**last
}

/// Merges new rows with the kept ones; all are in the partition's order, and so is the result.
fn merge_rows<'a>(kept: Vec<KeptRow>, mut new: &'a [ValueUpdate<'a, i64>]) -> Vec<Merged<'a>> {
    let mut merged = Vec::with_capacity(kept.len() + new.len());
    for (value, before) in kept {
        let (less, rest) = new.split_at(new.partition_point(|(other, ..)| *other < &*value));
        add_new(less, &mut merged);
        // The same row may come again.
        let added = match rest.split_first() {
            Some(((other, _, diff), later)) if *other == &*value => {
                new = later;
                *diff
            }
            _ => {
                new = rest;
                0
            }
        };
        merged.push(Merged { value: Cow::Owned(value), before, added });
    }
    add_new(new, &mut merged);
    merged
}

/// Adds rows that are new.
fn add_new<'a>(new: &'a [ValueUpdate<'a, i64>], merged: &mut Vec<Merged<'a>>) {
    for (value, _, diff) in new {
        merged.push(Merged { value: Cow::Borrowed(value), before: 0, added: *diff });
    }
}

/// Bytes of rows.
fn bytes_of(rows: &[KeptRow]) -> usize {
    let mut bytes = allocated_bytes(size_of_val(rows));
    for (value, _) in rows {
        bytes += allocated_bytes(value.len());
    }
    bytes
}
