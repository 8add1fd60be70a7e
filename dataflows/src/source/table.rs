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

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use schemas::memory::{HeapBytes, table_bytes, vector_bytes};
use schemas::{
    MemoryPart, MemoryShare, Outcome, Ownership, RowCodec, Rows, stored_group, stored_key, without_group,
};
use serde::{Deserialize, Serialize};
use state::Store;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use super::held::Held;
use super::ingest::Candidates;
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::{Conflict, Source};
use crate::render::aggregates::input::Groups;
use crate::render::batch::{Data, DeltaBatch, RelationType};
use crate::render::linear::Deltas;

/// Candidates on their way to the worker that owns their keys.
#[derive(Clone, Serialize, Deserialize)]
pub struct Chunk {
    owner: u64,
    partition: i32,
    offsets: Vec<i64>,
    keys: Rows,
    rows: Rows,
    versions: Rows,
    declared: Vec<u32>,
    events: Vec<i64>,
    horizons: Vec<i64>,
    /// True for a record that deletes; its row is then empty.
    deletes: Vec<bool>,
    /// The batch the rows came in, which chunks of other owners share; None after serialization.
    #[serde(skip)]
    batch: Option<RecordBatch>,
    /// Position of each row in `batch`.
    places: Vec<u32>,
}

/// Packs candidates into chunks by owner.
pub struct Packer {
    shape: RelationType,
    key: Vec<usize>,
    key_codec: RowCodec,
    version: Option<(usize, RowCodec)>,
    declared: usize,
}

impl Packer {
    /// Makes the packer of a keyed source.
    ///
    /// # Errors
    /// When a column type has no packed form, or the source has no key.
    pub fn new(source: &Source) -> Result<Packer, RunError> {
        let Some(keyed) = &source.keyed else {
            return Err(RunError::Broken(format!("{} has no key", source.name)));
        };
        let type_of = |at: &usize| source.schema.field(*at).data_type().clone();
        let version = match keyed.conflict {
            Conflict::Overwrite { version: Some(at) } => Some((at, RowCodec::new(&[type_of(&at)])?)),
            _ => None,
        };
        Ok(Packer {
            shape: RelationType::new(&source.schema)?,
            key_codec: RowCodec::new(&keyed.key.iter().map(type_of).collect::<Vec<_>>())?,
            key: keyed.key.clone(),
            version,
            declared: source.schema.fields().len() - source.includes.len(),
        })
    }

    /// Packs the candidates of `records`' partition for the owners of their keys.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn pack(
        &self,
        candidates: Candidates,
        records: &schemas::Records,
        ownership: &Ownership,
    ) -> Result<Vec<Chunk>, RunError> {
        let batch = candidates.batch;
        let columns: Vec<_> = self.key.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.key_codec.encode(&columns)?;
        let rows = self.shape.codec.encode(batch.columns())?;
        let versions = match &self.version {
            Some((at, codec)) => Some(codec.encode(std::slice::from_ref(batch.column(*at)))?),
            None => None,
        };
        // Without INCLUDEd columns the whole packed row is declared, and its prefix need not be measured.
        let all_declared = self.declared == batch.num_columns();
        let mut chunks: BTreeMap<u64, Chunk> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let (key, bytes) = (keys.get(row), rows.get(row));
            let owner = ownership.owner_of(key) as u64;
            let chunk = chunks.entry(owner).or_insert_with(|| Chunk::new(owner, records.partition));
            chunk.offsets.push(records.offsets[candidates.records[row] as usize]);
            chunk.keys.push(key);
            chunk.events.push(candidates.events[row]);
            chunk.horizons.push(candidates.horizons[row]);
            chunk.places.push(row as u32);
            let deletes = candidates.deletes.get(row) == Some(&true);
            chunk.deletes.push(deletes);
            if deletes {
                chunk.rows.push(&[]);
                chunk.versions.push(&[]);
                chunk.declared.push(0);
                continue;
            }
            chunk.rows.push(bytes);
            chunk.versions.push(match &versions {
                Some(versions) => versions.get(row),
                None => &[],
            });
            let declared =
                if all_declared { bytes.len() } else { self.shape.codec.prefix_len(bytes, self.declared)? };
            chunk.declared.push(declared as u32);
        }
        for chunk in chunks.values_mut() {
            chunk.batch = Some(batch.clone());
        }
        Ok(chunks.into_values().collect())
    }
}

impl HeapBytes for Chunk {
    /// The bytes of the packed rows; the batch they came in is counted where it is fed.
    fn heap_bytes(&self) -> usize {
        let packed = self.keys.heap_bytes() + self.rows.heap_bytes() + self.versions.heap_bytes();
        let times = vector_bytes(&self.offsets) + vector_bytes(&self.events) + vector_bytes(&self.horizons);
        packed + times + vector_bytes(&self.declared) + vector_bytes(&self.places)
    }
}

impl Chunk {
    fn new(owner: u64, partition: i32) -> Chunk {
        Chunk {
            owner,
            partition,
            offsets: vec![],
            keys: Rows::new(),
            rows: Rows::new(),
            versions: Rows::new(),
            declared: vec![],
            events: vec![],
            horizons: vec![],
            deletes: vec![],
            batch: None,
            places: vec![],
        }
    }
}

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
}

/// Rows of epochs that are not committed yet.
#[derive(Default)]
struct Overlay {
    /// By key: the last epoch that changed it, and the row it left; None for a deleted key.
    rows: HashMap<Vec<u8>, (u64, Option<Held>)>,
    /// Keys changed by epoch, oldest first.
    epochs: VecDeque<(u64, Vec<Vec<u8>>)>,
    /// Bytes of the keys and rows in both.
    bytes: usize,
    memory: MemoryShare,
}

/// Result of the candidates of one epoch.
#[derive(Default)]
struct Decided {
    /// Records by outcome.
    counts: [u64; 6],
    /// Deltas of the table.
    out: Vec<DeltaBatch>,
    /// Keys whose held row changed.
    changed: HashSet<Vec<u8>>,
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
        for chunk in chunks {
            self.decide_chunk(epoch, &chunk, overlay, &mut decided)?;
        }
        let Decided { counts, out, changed } = decided;
        let mut collector = self.collector.borrow_mut();
        let entry = collector.at(epoch);
        for outcome in Outcome::ALL {
            if counts[outcome.index()] > 0 {
                entry.count_outcome(self.source, outcome, counts[outcome.index()]);
            }
        }
        // A key that changed several times in the epoch is written once, as it is now.
        let mut bytes = Vec::new();
        for key in &changed {
            match overlay.rows.get(key) {
                Some((_, Some(held))) => {
                    bytes.clear();
                    held.write(&mut bytes);
                    entry.write_total(self.table_id, &stored_key(key), Some(&bytes));
                }
                Some((_, None)) => entry.write_total(self.table_id, &stored_key(key), None),
                None => {}
            }
        }
        if self.retention_us.is_some() {
            self.sweep(entry, overlay, sweep)?;
        }
        overlay.note_epoch(epoch, changed.into_iter().collect());
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
        // The net change of each group (key): the row held before the chunk, to retract, and the row to
        // insert. The outer None of `before` stands for a group without change.
        let mut before: Vec<Option<Option<Vec<u8>>>> = vec![None; first.len()];
        let mut after: Vec<Option<u32>> = vec![None; first.len()];
        let (mut inserts, mut retracts) = (Vec::new(), Rows::new());
        for (row, member) in members.iter().enumerate() {
            let group = *member as usize;
            let forgotten = held[group].as_ref().is_some_and(|held| held.is_before(chunk.horizons[row]));
            let current = if forgotten { None } else { held[group].as_ref() };
            let outcome = self.outcome_of(chunk, row, current);
            decided.counts[outcome.index()] += 1;
            if outcome != Outcome::Accepted {
                continue;
            }
            if forgotten {
                // A forgotten row is never retracted, so the change made so far for its key is final: emit it
                // and start again from an empty key.
                if let Some(Some(row)) = before[group].take() {
                    retracts.push(&row);
                }
                inserts.extend(after[group].take());
                before[group] = Some(None);
            }
            // Only the row held before the first change is retracted; a tombstone has no row.
            if before[group].is_none() {
                before[group] = Some(match current {
                    Some(held) if !held.deleted => Some(held.row.clone()),
                    _ => None,
                });
            }
            let deletes = chunk.deletes[row];
            after[group] = (!deletes).then_some(row as u32);
            held[group] = if deletes { chunk.tombstone(row, current) } else { Some(chunk.held_row(row)) };
        }
        for (group, before) in before.into_iter().enumerate() {
            let Some(before) = before else { continue };
            if let Some(row) = before {
                retracts.push(&row);
            }
            inserts.extend(after[group]);
            let key = chunk.keys.get(first[group] as usize).to_vec();
            overlay.set_row(key.clone(), epoch, held[group].take());
            decided.changed.insert(key);
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
        let Some(held) = held else {
            return if deletes { Outcome::Duplicate } else { Outcome::Accepted };
        };
        if deletes {
            return if held.deleted { Outcome::Duplicate } else { Outcome::Accepted };
        }
        if held.deleted {
            let older = chunk.versions.get(row) < held.version.as_slice();
            return if older { Outcome::Superseded } else { Outcome::Accepted };
        }
        // Duplicates are equal in the declared columns, whatever the INCLUDEd ones hold.
        let declared = chunk.declared[row] as usize;
        let same = held.row[..held.declared as usize] == chunk.rows.get(row)[..declared];
        if self.do_nothing || same {
            return Outcome::Duplicate;
        }
        // The position of the record breaks ties of the version, so that the outcome is the same on every
        // run.
        let new = (chunk.versions.get(row), chunk.partition, chunk.offsets[row]);
        if new > (held.version.as_slice(), held.partition, held.offset) {
            Outcome::Accepted
        } else {
            Outcome::Superseded
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

/// Reads the stored form of a held row.
fn read_held(bytes: &[u8]) -> Result<Held, RunError> {
    Held::read(bytes).ok_or_else(|| RunError::Damaged("a held row is not readable".into()))
}

impl Chunk {
    /// The stored form of an accepted row.
    fn held_row(&self, row: usize) -> Held {
        Held {
            deleted: false,
            partition: self.partition,
            offset: self.offsets[row],
            event_us: self.events[row],
            version: self.versions.get(row).to_vec(),
            declared: self.declared[row],
            row: self.rows.get(row).to_vec(),
        }
    }

    /// The tombstone that replaces a deleted row; None where rows have no version.
    fn tombstone(&self, row: usize, held: Option<&Held>) -> Option<Held> {
        let held = held.filter(|held| !held.version.is_empty())?;
        Some(Held {
            deleted: true,
            partition: self.partition,
            offset: self.offsets[row],
            event_us: held.event_us,
            version: held.version.clone(),
            declared: 0,
            row: vec![],
        })
    }

    /// Insertions of these rows: columns of the shared batch, or packed rows where there is none.
    fn insertions(&self, rows: Vec<u32>) -> Result<DeltaBatch, RunError> {
        let diffs = vec![1; rows.len()];
        match &self.batch {
            Some(batch) if rows.len() == batch.num_rows() => {
                Ok(DeltaBatch::from_columns(batch.clone(), diffs))
            }
            Some(batch) => {
                let places: UInt32Array = rows.iter().map(|row| self.places[*row as usize]).collect();
                Ok(DeltaBatch::from_columns(take_record_batch(batch, &places)?, diffs))
            }
            None => {
                let mut packed = Rows::new();
                for row in rows {
                    packed.push(self.rows.get(row as usize));
                }
                Ok(DeltaBatch { data: Data::Packed(packed), diffs })
            }
        }
    }
}

impl Overlay {
    /// Drops rows of committed epochs: the state has them. A key that a later epoch changed stays.
    fn drop_through(&mut self, committed: u64) {
        while self.epochs.front().is_some_and(|(epoch, _)| *epoch <= committed) {
            let Some((epoch, keys)) = self.epochs.pop_front() else { return };
            self.bytes -= vector_bytes(&keys);
            for key in keys {
                let mut gone = key.heap_bytes();
                if self.rows.get(&key).is_some_and(|(at, _)| *at == epoch)
                    && let Some((_, row)) = self.rows.remove(&key)
                {
                    gone += key.heap_bytes() + row.as_ref().map_or(0, HeapBytes::heap_bytes);
                }
                self.bytes -= gone;
            }
        }
    }

    /// Sets the row that an epoch left of a key.
    fn set_row(&mut self, key: Vec<u8>, epoch: u64, row: Option<Held>) {
        let of_key = key.heap_bytes();
        self.bytes += of_key + row.as_ref().map_or(0, HeapBytes::heap_bytes);
        if let Some((_, replaced)) = self.rows.insert(key, (epoch, row)) {
            self.bytes -= of_key + replaced.as_ref().map_or(0, HeapBytes::heap_bytes);
        }
    }

    /// Adds the keys that an epoch changed, and reports the memory of the overlay.
    fn note_epoch(&mut self, epoch: u64, keys: Vec<Vec<u8>>) {
        self.bytes += vector_bytes(&keys) + keys.iter().map(HeapBytes::heap_bytes).sum::<usize>();
        self.epochs.push_back((epoch, keys));
        let places = table_bytes(self.rows.capacity(), size_of::<(Vec<u8>, (u64, Option<Held>))>());
        self.memory.set(MemoryPart::Overlay, places + self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_counts_its_rows_until_their_epochs_are_committed() {
        let held = |bytes: usize| Held {
            deleted: false,
            partition: 0,
            offset: 0,
            event_us: i64::MIN,
            version: vec![1],
            declared: 0,
            row: vec![7; bytes],
        };
        let keys = || vec![b"a".to_vec(), b"b".to_vec()];
        let mut overlay = Overlay::default();
        overlay.set_row(b"a".to_vec(), 1, Some(held(100)));
        overlay.set_row(b"b".to_vec(), 1, Some(held(50)));
        overlay.note_epoch(1, keys());
        let first = overlay.bytes;
        assert!(first > 150 && overlay.memory.bytes() > first, "{first}");
        // The next epoch replaces one row and deletes the other.
        overlay.set_row(b"a".to_vec(), 2, Some(held(1000)));
        overlay.set_row(b"b".to_vec(), 2, None);
        overlay.note_epoch(2, keys());
        assert!(overlay.bytes > first + 800, "{}", overlay.bytes);
        overlay.drop_through(1);
        assert_eq!(overlay.rows.len(), 2);
        overlay.drop_through(2);
        assert_eq!((overlay.rows.len(), overlay.bytes), (0, 0));
    }
}
