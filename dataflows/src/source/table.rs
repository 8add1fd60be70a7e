//! A keyed table at the worker that owns its keys: comparison of candidates with the held rows.
//!
//! Candidates of an epoch wait until the epoch is complete, then are decided one by one in the order
//! of (partition, offset), so that the outcome does not depend on how workers interleave. The held rows
//! are read from the overlay of epochs that are not committed yet, then from the state by one
//! sorted batch lookup a chunk. Only the output is consolidated: a key that changes twice in a chunk
//! emits its net change.
//!
//! A delete retracts the held row whatever its version. Where the table has versions, a tombstone stays in
//! its place: key, version and event time, so that a late row of an older version is still superseded. It
//! expires when the row would have. Without versions a tombstone would decide nothing, and none is kept.
//!
//! A held row below a candidate's horizon counts as forgotten: the candidate is new, and nothing is
//! retracted. A slow sweep deletes such rows once every partition's horizon has passed them, which
//! therefore changes no outcome.

pub mod chunk;
mod erase;
mod overlay;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use schemas::{Outcome, OutcomeCounts, RowCodec, Rows, stored_group, stored_key, without_group};
use state::Store;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use super::erasure::SharedErasing;
use super::erasure::filter::RowFilter;
use super::held::{Held, Trace};
use crate::collect::Shared;
use crate::error::RunError;
use crate::render::aggregates::input::Groups;
use crate::render::batch::{Data, DeltaBatch, RelationType};
use crate::render::linear::Deltas;
pub use chunk::{Chunk, Packer};
use overlay::Overlay;

/// A table at one worker: its rules, its part of the state and the outputs.
pub struct Table {
    /// Index of the source, for counters.
    pub source: usize,
    /// Type of the rows.
    pub shape: RelationType,
    /// Conflict rule: the first row of a key stays.
    pub do_nothing: bool,
    /// Retention, microseconds.
    pub retention_us: Option<i64>,
    /// The state table its rows are in.
    pub table_id: u32,
    /// The ranges of key groups whose keys live at this worker.
    pub groups: Vec<Range<u16>>,
    /// The state.
    pub store: Arc<Store>,
    /// The last committed epoch.
    pub committed: Arc<AtomicU64>,
    /// The source's committed watermark, microseconds; `i64::MIN` without one.
    pub watermark: Arc<AtomicI64>,
    /// Takes the changes of the state and the counts.
    pub collector: Shared,
    /// Number of its columns that are declared, and not INCLUDEd.
    pub declared: usize,
    /// The packed form of its keys.
    pub key: RowCodec,
    /// Takes erased persons out of its rows, if it says where they are.
    pub filter: Option<(RowFilter, SharedErasing)>,
}

/// Result of the candidates of one epoch.
#[derive(Default)]
struct Decided {
    /// Records by outcome.
    counts: OutcomeCounts,
    /// Deltas of the table.
    out: Vec<DeltaBatch>,
}

/// The net change of each key of a chunk.
struct Net {
    /// The row held before the chunk, to retract. The outer None stands for a key without change.
    before: Vec<Option<Option<Vec<u8>>>>,
    /// The row of the chunk to insert.
    after: Vec<Option<u32>>,
}

/// Builds the operator: chunks in, deltas of the table out.
pub fn table<'s>(stream: Stream<'s, u64, Vec<Chunk>>, table: Table) -> Deltas<'s> {
    let exchange = Exchange::new(|chunk: &Chunk| chunk.owner);
    stream.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        exchange,
        "Table",
        move |_, _| {
            let mut waiting: BTreeMap<u64, (timely::dataflow::operators::Capability<u64>, Vec<Chunk>)> =
                BTreeMap::new();
            let mut overlay = Overlay::default();
            let mut sweep: Vec<u8> = Vec::new();
            move |(input, frontier), output| {
                input.for_each(|time, chunks: &mut Vec<Chunk>| {
                    let entry = waiting.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                    entry.1.append(chunks);
                });
                while let Some(entry) = waiting.first_entry() {
                    // Chunks of other workers may still come: the order of rows is known when the epoch is
                    // complete.
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, (capability, chunks)) = entry.remove_entry();
                    match table.decide_epoch(epoch, chunks, &mut overlay, &mut sweep) {
                        Ok(batches) => {
                            let mut session = output.session(&capability);
                            for batch in batches {
                                session.give(batch);
                            }
                        }
                        Err(error) => table.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

impl Table {
    /// Decides the candidates of a complete epoch; returns the table's deltas and collects its writes.
    fn decide_epoch(
        &self,
        epoch: u64,
        mut chunks: Vec<Chunk>,
        overlay: &mut Overlay,
        sweep: &mut Vec<u8>,
    ) -> Result<Vec<DeltaBatch>, RunError> {
        overlay.drop_through(self.committed.load(Ordering::Acquire));
        chunks.sort_by_key(|c| (c.partition, c.offsets.first().copied()));
        let mut decided = Decided::default();
        // First the held rows, then the records of the epoch without the same persons: rows are compared once both
        // are filtered.
        self.erase_held(epoch, overlay, &mut decided)?;
        for mut chunk in chunks {
            self.filter_chunk(&mut chunk)?;
            self.decide_chunk(epoch, &chunk, overlay, &mut decided)?;
        }
        let Decided { counts, out } = decided;
        let mut collector = self.collector.borrow_mut();
        let entry = collector.at(epoch);
        for outcome in Outcome::ALL {
            if counts[outcome.index()] > 0 {
                entry.count_outcome(self.source, outcome, counts[outcome.index()]);
            }
        }
        // A key that changed several times in the epoch is written once, as it is now.
        let mut bytes = Vec::new();
        overlay.visit_changed(|key, held| {
            let stored = held.map(|held| {
                bytes.clear();
                held.write(&mut bytes);
                &bytes[..]
            });
            entry.write_total(self.table_id, &stored_key(key), stored);
        });
        if self.retention_us.is_some() {
            self.sweep(entry, overlay, sweep)?;
        }
        overlay.end_epoch(epoch);
        Ok(out)
    }

    /// Decides one chunk row by row; keeps the net change of each key in the overlay.
    fn decide_chunk(
        &self,
        epoch: u64,
        chunk: &Chunk,
        overlay: &mut Overlay,
        decided: &mut Decided,
    ) -> Result<(), RunError> {
        let Groups { members, first } = Groups::of_keys(&chunk.keys);
        let mut held = self.look_up(chunk, &first, overlay)?;
        let mut net = Net { before: vec![None; first.len()], after: vec![None; first.len()] };
        let (mut inserts, mut retracts) = (Vec::new(), Rows::new());
        for (row, member) in members.iter().enumerate() {
            let group = *member as usize;
            let forgotten = held[group].as_ref().is_some_and(|held| held.is_before(chunk.horizons[row]));
            let current = if forgotten { None } else { held[group].as_ref() };
            let outcome = self.outcome_of(chunk, row, current);
            decided.counts[outcome.index()] += 1;
            let changes = match outcome {
                Outcome::Accepted => true,
                Outcome::Erased => self.replaces_as_erased(chunk, row, current),
                _ => false,
            };
            if !changes {
                continue;
            }
            if forgotten {
                // A forgotten row is never retracted, so the change made so far for its key is final: emit it
                // and start again from an empty key.
                if let Some(Some(row)) = net.before[group].take() {
                    retracts.push(&row);
                }
                inserts.extend(net.after[group].take());
                net.before[group] = Some(None);
            }
            // Only the row held before the first change is retracted; a tombstone has no row.
            if net.before[group].is_none() {
                net.before[group] = Some(match current {
                    Some(held) if !held.deleted => Some(held.row.clone()),
                    _ => None,
                });
            }
            let (deletes, erased) = (chunk.deletes[row], outcome == Outcome::Erased);
            net.after[group] = (!deletes && !erased).then_some(row as u32);
            held[group] = match (deletes, erased) {
                (_, true) => Some(chunk.erased_row(row)),
                (true, false) => chunk.tombstone(row, current),
                (false, false) => Some(chunk.held_row(row)),
            };
        }
        for (group, (before, after)) in net.before.into_iter().zip(net.after).enumerate() {
            let Some(before) = before else { continue };
            if let Some(row) = before {
                retracts.push(&row);
            }
            inserts.extend(after);
            overlay.set_row(chunk.keys.get(first[group] as usize), epoch, held[group].take());
        }
        // Groups come in the order of their first rows; a batch is taken in the order of its rows.
        inserts.sort_unstable();
        if !retracts.is_empty() {
            let diffs = vec![-1; retracts.len()];
            decided.out.push(DeltaBatch { data: Data::Packed(retracts), diffs });
        }
        if !inserts.is_empty() {
            decided.out.push(chunk.insertions(inserts)?);
        }
        Ok(())
    }

    /// The outcome of one candidate, given the key's held row.
    fn outcome_of(&self, chunk: &Chunk, row: usize, held: Option<&Held>) -> Outcome {
        let deletes = chunk.deletes[row];
        // Whatever is held: such a record is never a row again.
        if chunk.trace_of(row) != Trace::Row {
            return Outcome::Erased;
        }
        let Some(held) = held else {
            return if deletes { Outcome::Duplicate } else { Outcome::Accepted };
        };
        if deletes {
            return if held.deleted && !held.erased { Outcome::Duplicate } else { Outcome::Accepted };
        }
        if held.erased {
            // As beside the row that is gone.
            return match (self.do_nothing, is_later(chunk, row, held)) {
                (true, _) => Outcome::Duplicate,
                (false, true) => Outcome::Accepted,
                (false, false) => Outcome::Superseded,
            };
        }
        if held.deleted {
            let older = chunk.versions.get(row) < held.version.as_slice();
            return if older { Outcome::Superseded } else { Outcome::Accepted };
        }
        // Duplicates are equal in the declared columns, whatever the INCLUDEd ones hold, but for the version: a row that
        // is sent again with a greater one must stand against those between the two, in whatever order they come.
        let declared = chunk.declared[row] as usize;
        let same = held.row[..held.declared as usize] == chunk.rows.get(row)[..declared]
            && held.version == chunk.versions.get(row);
        if self.do_nothing || same {
            return Outcome::Duplicate;
        }
        if is_later(chunk, row, held) { Outcome::Accepted } else { Outcome::Superseded }
    }

    /// Returns true if a record whose row is an erased person's is the latest of its key: then no row stays of it.
    fn replaces_as_erased(&self, chunk: &Chunk, row: usize, held: Option<&Held>) -> bool {
        if chunk.trace_of(row) == Trace::Nothing || chunk.deletes[row] {
            return false;
        }
        match held {
            None => true,
            // The first row of a key stays, also if it is gone.
            Some(_) if self.do_nothing => false,
            Some(held) if held.deleted && !held.erased => chunk.versions.get(row) >= held.version.as_slice(),
            Some(held) => is_later(chunk, row, held),
        }
    }

    /// The held row of each group's key, from the overlay or else from the state.
    fn look_up(
        &self,
        chunk: &Chunk,
        first: &[u32],
        overlay: &Overlay,
    ) -> Result<Vec<Option<Held>>, RunError> {
        let mut held = Vec::with_capacity(first.len());
        let (mut missing, mut stored) = (Vec::new(), Rows::new());
        for (group, row) in first.iter().enumerate() {
            let key = chunk.keys.get(*row as usize);
            match overlay.rows.get(key) {
                Some((_, row)) => held.push(row.clone()),
                None => {
                    held.push(None);
                    missing.push(group);
                    stored.push(&stored_key(key));
                }
            }
        }
        for (group, bytes) in missing.into_iter().zip(self.store.multi_get(self.table_id, stored.iter())?) {
            if let Some(bytes) = bytes {
                held[group] = Some(read_held(&bytes)?);
            }
        }
        Ok(held)
    }

    /// Deletes some rows that every partition's horizon has passed; the next call goes on behind them.
    fn sweep(
        &self,
        entry: &mut crate::collect::EpochOut,
        overlay: &Overlay,
        next: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        const MAX_ROWS_PER_EPOCH: usize = 512;
        let watermark = self.watermark.load(Ordering::Acquire);
        let (Some(retention), true) = (self.retention_us, watermark != i64::MIN) else { return Ok(()) };
        let horizon = watermark.saturating_sub(retention);
        // Each worker sweeps its own key groups: only it knows which of their keys are about to change.
        let from = stored_group(next).unwrap_or_default();
        let Some(range) = self.groups.iter().find(|range| from < range.end) else {
            next.clear();
            return Ok(());
        };
        if from < range.start || next.is_empty() {
            *next = range.start.to_be_bytes().to_vec();
        }
        let mut scan = self.store.iter_from(self.table_id, next)?;
        for _ in 0..MAX_ROWS_PER_EPOCH {
            let found = scan.next_entry()?;
            let Some((key, value)) = found.filter(|(key, _)| stored_group(key) < Some(range.end)) else {
                // The next sweep goes on with the range behind this one, or with the first.
                let last = self.groups.last().is_some_and(|last| last.end == range.end);
                *next = if last { Vec::new() } else { range.end.to_be_bytes().to_vec() };
                return Ok(());
            };
            if read_held(value)?.is_before(horizon) && !overlay.rows.contains_key(without_group(key)) {
                entry.write_total(self.table_id, key, None);
            }
            // The least key above this one.
            next.clear();
            next.extend_from_slice(key);
            next.push(0);
        }
        Ok(())
    }
}

/// Returns true if a row is later than the held one of its key. The position of the record breaks ties of the version,
/// so that the outcome is the same on every run.
fn is_later(chunk: &Chunk, row: usize, held: &Held) -> bool {
    let new = (chunk.versions.get(row), chunk.partition, chunk.offsets[row]);
    new > (held.version.as_slice(), held.partition, held.offset)
}

/// Reads the stored form of a held row.
fn read_held(bytes: &[u8]) -> Result<Held, RunError> {
    Held::read(bytes).ok_or_else(|| RunError::Damaged("a held row is not readable".into()))
}
