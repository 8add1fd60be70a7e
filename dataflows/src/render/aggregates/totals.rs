//! Reduce operator whose totals live in the state: one row a group there, and in memory those of epochs in flight and a
//! cache.
//!
//! It takes the place of an arrangement of accumulators where a group is read by its whole key alone: for aggregates that
//! add, for min and max of rows that are never retracted, and for DISTINCT. Changes of an epoch are summed by key once
//! the epoch is complete; the total of each changed
//! group comes from the cache or else from the state; old and new results that differ are retracted and emitted, and
//! the new total is written with the epoch. Nothing is loaded at a start. Over append-only input DISTINCT,
//! bool_and and bool_or leave out changes that no result depends on, so the count of a row may be less than the rows that came.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use differential_dataflow::difference::{IsZero, Semigroup};
use fail::fail_point;
use schemas::{Rows, stored_key};
use state::Store;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::cache::{CacheRoom, TotalsCache};
use super::finish::{Finished, OutRows, finish_group};
use super::operator::{Reduce, check_held};
use crate::arrange::updates::{Updates, by_key};
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::render::batch::DeltaBatch;
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, each_message};

/// Totals that are read from the state at once: their blocks are held meanwhile.
const READ_AT_ONCE: usize = 1024;

/// The state as operators read it while they run.
#[derive(Clone)]
pub struct StateReads {
    /// The state.
    pub store: Arc<Store>,
    /// The last committed epoch, kept up to date by the driver.
    pub committed: Arc<AtomicU64>,
    /// Room for cached totals.
    pub room: Arc<CacheRoom>,
}

impl StateReads {
    /// Shares a state, its last committed epoch, and room for cached totals.
    pub fn new(store: &Arc<Store>, committed: &Arc<AtomicU64>, room: &Arc<CacheRoom>) -> StateReads {
        StateReads { store: store.clone(), committed: committed.clone(), room: room.clone() }
    }
}

/// The totals of a worker's groups.
struct Totals {
    reduce: Reduce,
    table_id: u32,
    cache: TotalsCache,
    reads: StateReads,
}

/// Changes of the groups of an epoch, in ascending order of their keys.
#[derive(Default)]
struct Changes {
    keys: Rows,
    diffs: Vec<Accums>,
}

/// The totals of some groups.
struct Held {
    totals: Vec<Option<Accums>>,
    /// Of groups in an earlier form: the rest of their rows, behind the key, which go when the total is written.
    outdated: HashMap<usize, Vec<Vec<u8>>>,
}

/// Emits the changed rows of every group that changed; its totals are those of a state table.
pub fn reduce_totals<'s>(
    updates: Stream<'s, u64, Vec<Updates<Accums>>>,
    (reduce, table_id): (Reduce, u32),
    reads: StateReads,
) -> Deltas<'s> {
    let exchange = Exchange::new(|updates: &Updates<Accums>| updates.owner);
    updates.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        exchange,
        "Totals",
        move |_, _| {
            let mut open = OpenEpochs::<Vec<Updates<Accums>>>::new();
            let cache = TotalsCache::new(reads.room.clone());
            let mut totals = Totals { reduce, table_id, cache, reads };
            move |(input, frontier), output| {
                // Groups are read once an epoch, when all of its changes are there.
                input.for_each(|time, messages: &mut Vec<Updates<Accums>>| {
                    for updates in messages.drain(..) {
                        open.delayed_input(&time, updates.epoch).push(updates);
                    }
                });
                while let Some((epoch, capability, mut parts)) = open.take_complete(&[frontier]) {
                    match totals.process_epoch(epoch, &mut parts) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => output.session(&capability).give(batch),
                        Err(error) => return totals.reduce.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

/// Emits the rows of restored totals, for state above them that a start derives again.
pub fn rows_of_totals<'s>(stream: Stream<'s, u64, Vec<Updates<Accums>>>, reduce: Reduce) -> Deltas<'s> {
    each_message(stream, Pipeline, "TotalRows", move |time, messages, output| {
        let mut session = output.session(&time);
        for updates in messages.drain(..) {
            let mut rows = OutRows::default();
            // Each group comes once.
            for (key, _, total) in updates.iter() {
                let row = reduce.row_of(Some(total));
                reduce.push_difference((key, updates.epoch), [None, row], &mut rows);
            }
            match reduce.build_batch(rows) {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => session.give(batch),
                Err(error) => reduce.collector.borrow_mut().fail(error),
            }
        }
    })
}

impl Totals {
    /// Takes the changes of a complete epoch into the totals; returns the changes of the rows.
    fn process_epoch(&mut self, epoch: u64, parts: &mut [Updates<Accums>]) -> Result<DeltaBatch, RunError> {
        let mut changes = Changes::default();
        by_key(parts, |key, entries| {
            // Totals have the empty value; there are no others.
            for (_, _, diff) in entries.drain(..) {
                changes.keys.push(key);
                changes.diffs.push(diff);
            }
        });
        let mut held = self.look_up(epoch, &changes.keys)?;
        let mut rows = OutRows::default();
        // Groups that an edit fills at the restored epoch are committed with the next one.
        let pinned = epoch.max(self.reduce.first + 1);
        for (at, diff) in changes.diffs.into_iter().enumerate() {
            // The result before is taken while the total still is as it was: it is changed in place.
            let (key, old) = (changes.keys.get(at), held.totals[at].take());
            let before = self.reduce.row_of(old.as_ref());
            let outdated = held.outdated.remove(&at);
            if outdated.is_none() && self.is_repeat(old.as_ref(), &diff, before.as_ref()) {
                self.cache.set(key, 0, old);
                continue;
            }
            for rest in outdated.into_iter().flatten() {
                self.reduce.write_total((key, &rest), epoch, None);
            }
            let new = match old {
                Some(mut total) => {
                    total.plus_equals(&diff);
                    total
                }
                None => diff,
            };
            check_held(Some(&new))?;
            // A group without rows leaves nothing behind in the state.
            let new = Some(new).filter(|total| !total.is_zero());
            let results = [before, self.reduce.row_of(new.as_ref())];
            self.reduce.push_difference((key, epoch), results, &mut rows);
            self.reduce.write_total((key, &[]), epoch, new.as_ref());
            self.cache.set(key, pinned, new);
        }
        fail_point!("totals.written");
        self.cache.shrink(self.reads.committed.load(Ordering::Acquire));
        let mut collector = self.reduce.collector.borrow_mut();
        let changed = changes.keys.len() as u64;
        collector.record_size(&self.reduce.name, self.cache.len() as u64);
        if changed > 0 {
            collector.at(epoch).count_touched(&self.reduce.name, changed);
            collector.record_arrivals(&self.reduce.name, (1, changed));
        }
        drop(collector);
        self.reduce.build_batch(rows)
    }

    /// Returns true if a change leaves the result as it was and no later result can depend on it, so that it need not be
    /// written.
    fn is_repeat(&self, old: Option<&Accums>, diff: &Accums, before: Option<&Finished>) -> bool {
        let (true, Some(old)) = (self.reduce.skips_repeats && diff.rows > 0, old) else { return false };
        let mut new = old.clone();
        new.plus_equals(diff);
        before.is_some() && self.reduce.row_of(Some(&new)).as_ref() == before
    }

    /// Returns the totals of some keys: from the cache, or else from the state.
    fn look_up(&mut self, epoch: u64, keys: &Rows) -> Result<Held, RunError> {
        let mut held = Held { totals: Vec::with_capacity(keys.len()), outdated: HashMap::new() };
        let mut missing: Vec<(Vec<u8>, u32)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match self.cache.take(key) {
                Some(total) => held.totals.push(total),
                None => {
                    held.totals.push(None);
                    missing.push((stored_key(key), at as u32));
                }
            }
        }
        let lookups = (keys.len() - missing.len(), missing.len());
        self.reduce.collector.borrow_mut().count_lookups(epoch, &self.reduce.name, lookups);
        // Neighbours in the state share blocks.
        missing.sort_unstable();
        // A piece at a time: values hold their blocks until they are decoded.
        for some in missing.chunks(READ_AT_ONCE) {
            fail_point!("totals.look_up");
            let keys = some.iter().map(|(stored, _)| &stored[..]);
            for ((stored, at), bytes) in some.iter().zip(self.reads.store.multi_get(self.table_id, keys)?) {
                let Some(bytes) = bytes else { continue };
                let (at, mut total) = (*at as usize, read_total(&bytes)?);
                if !self.reduce.grouping.is_current(&total) {
                    let rest;
                    (total, rest) = self.read_outdated(stored)?;
                    held.outdated.insert(at, rest);
                }
                held.totals[at] = Some(total);
            }
        }
        Ok(held)
    }

    /// Reads a group in an earlier form, which has several rows; returns its total and the rest of each row behind the
    /// key but for the first one, which is the total's own.
    fn read_outdated(&self, stored: &[u8]) -> Result<(Accums, Vec<Vec<u8>>), RunError> {
        let (mut total, mut outdated) = (Accums::default(), Vec::new());
        let mut scan = self.reads.store.iter_from(self.table_id, stored)?;
        while let Some((row, bytes)) = scan.next_entry()? {
            let Some(rest) = row.strip_prefix(stored) else { break };
            let update = self.reduce.grouping.current_update(rest, read_total(bytes)?);
            total.plus_equals(&update.ok_or_else(unreadable)?.1);
            if !rest.is_empty() {
                outdated.push(rest.to_vec());
            }
        }
        Ok((total, outdated))
    }
}

/// Reads the stored form of a total.
fn read_total(bytes: &[u8]) -> Result<Accums, RunError> {
    Accums::from_bytes(bytes).ok_or_else(unreadable)
}

fn unreadable() -> RunError {
    RunError::Damaged("a group in the state is not readable".into())
}

impl Reduce {
    /// Returns the result of a group without indexes; None for one without rows.
    fn row_of(&self, total: Option<&Accums>) -> Option<Finished> {
        let total = total.filter(|total| total.rows > 0)?;
        Some(finish_group(&self.grouping, total, std::iter::empty()))
    }
}
