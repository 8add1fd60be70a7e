//! A keyed table at the worker that owns its keys: judging candidates against the held rows.
//!
//! Candidates of an epoch wait until the epoch is complete, then are judged one by one in the order
//! of (partition, offset), so that the outcome does not depend on how workers interleave. What is
//! held is looked up in the overlay of epochs that are not committed yet, then in the state by one
//! sorted batch lookup a chunk. Only the output is consolidated: a key that changes twice in a chunk
//! emits its net change.
//!
//! A delete takes back the held row whatever its version. Where the table has versions, a grave stays in
//! its place: key, version and event time, so that a row of an older version that comes late is still
//! superseded, and forgotten when the row would have been. Without versions nothing could be judged by
//! it, and nothing stays.
//!
//! A held row below a candidate's horizon counts as forgotten: the candidate is new, and nothing is
//! retracted. A slow sweep clears such rows once every partition's horizon has passed them, which
//! therefore changes no outcome.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use schemas::{Outcome, RowCodec, Rows};
use serde::{Deserialize, Serialize};
use state::Store;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use super::held::Held;
use super::ingest::Candidates;
use crate::error::RunError;
use crate::plan::{Conflict, Source};
use crate::render::aggregates::input::Groups;
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::{Shared, stored_key};
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
    /// Whether the record deletes; its row is then empty.
    deletes: Vec<bool>,
    /// The rows as columns: where they are in a batch that chunks of other owners share.
    #[serde(skip)]
    batch: Option<RecordBatch>,
    places: Vec<u32>,
}

/// Packs candidates into chunks by owner.
pub struct Packer {
    shape: Shape,
    key: Vec<usize>,
    key_codec: RowCodec,
    version: Option<(usize, RowCodec)>,
    declared: usize,
}

impl Packer {
    /// The packer of a keyed source.
    ///
    /// # Errors
    /// When a column type has no packed form, or the source has no key.
    pub fn new(source: &Source) -> Result<Packer, RunError> {
        let keyed =
            source.keyed.as_ref().ok_or_else(|| RunError::Broken(format!("{} has no key", source.name)))?;
        let of = |at: &usize| source.schema.field(*at).data_type().clone();
        let version = match keyed.conflict {
            Conflict::Overwrite { version: Some(at) } => Some((at, RowCodec::new(&[of(&at)])?)),
            _ => None,
        };
        Ok(Packer {
            shape: Shape::new(&source.schema)?,
            key_codec: RowCodec::new(&keyed.key.iter().map(of).collect::<Vec<_>>())?,
            key: keyed.key.clone(),
            version,
            declared: source.schema.fields().len() - source.includes.len(),
        })
    }

    /// Packs the candidates of `records`' partition for `peers` workers.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn pack(
        &self,
        candidates: Candidates,
        records: &schemas::Records,
        peers: usize,
    ) -> Result<Vec<Chunk>, RunError> {
        let batch = candidates.batch;
        let columns: Vec<_> = self.key.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.key_codec.encode(&columns)?;
        let rows = self.shape.codec.encode(batch.columns())?;
        let versions = match &self.version {
            Some((at, codec)) => Some(codec.encode(std::slice::from_ref(batch.column(*at)))?),
            None => None,
        };
        let all_declared = self.declared == batch.num_columns();
        let mut chunks: BTreeMap<u64, Chunk> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let (key, bytes) = (keys.get(row), rows.get(row));
            let owner = if peers == 1 { 0 } else { schemas::owner(schemas::key_group(key), peers) as u64 };
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
            chunk.versions.push(versions.as_ref().map(|v| v.get(row)).unwrap_or_default());
            let declared =
                if all_declared { bytes.len() } else { self.shape.codec.prefix_len(bytes, self.declared)? };
            chunk.declared.push(declared as u32);
        }
        chunks.values_mut().for_each(|chunk| chunk.batch = Some(batch.clone()));
        Ok(chunks.into_values().collect())
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

/// What a table needs to judge.
pub struct Table {
    /// Index of the source, for counters.
    pub source: usize,
    /// Rows.
    pub shape: Shape,
    /// Conflict rule.
    pub do_nothing: bool,
    /// Retention, microseconds.
    pub retention_us: Option<i64>,
    /// The space its rows are in.
    pub space: u32,
    /// The key groups whose keys live at this worker.
    pub groups: Vec<u8>,
    /// The state.
    pub store: Arc<Store>,
    /// The last committed epoch.
    pub committed: Arc<AtomicU64>,
    /// The source's committed watermark, microseconds; `i64::MIN` without one.
    pub watermark: Arc<AtomicI64>,
    /// Where changes and counts go.
    pub collector: Shared,
}

/// Rows of epochs that are not committed yet.
#[derive(Default)]
struct Overlay {
    rows: HashMap<Vec<u8>, (u64, Option<Held>)>,
    epochs: VecDeque<(u64, Vec<Vec<u8>>)>,
}

/// The operator: chunks in, deltas of the table out.
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
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, (capability, chunks)) = entry.remove_entry();
                    match table.epoch(epoch, chunks, &mut overlay, &mut sweep) {
                        Ok(batches) => {
                            let mut session = output.session(&capability);
                            batches.into_iter().for_each(|b| session.give(b));
                        }
                        Err(error) => table.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

impl Table {
    fn epoch(
        &self,
        epoch: u64,
        mut chunks: Vec<Chunk>,
        overlay: &mut Overlay,
        sweep: &mut Vec<u8>,
    ) -> Result<Vec<DeltaBatch>, RunError> {
        overlay.drop_through(self.committed.load(Ordering::Acquire));
        chunks.sort_by_key(|c| (c.partition, c.offsets.first().copied()));
        let (mut counts, mut out, mut changed) = ([0u64; 6], vec![], HashSet::new());
        for chunk in chunks {
            self.chunk(epoch, &chunk, overlay, (&mut counts, &mut out, &mut changed))?;
        }
        let mut collector = self.collector.borrow_mut();
        let entry = collector.at(epoch);
        for outcome in Outcome::ALL {
            if counts[outcome.index()] > 0 {
                entry.outcome(self.source, outcome, counts[outcome.index()]);
            }
        }
        let mut bytes = Vec::new();
        for key in &changed {
            match overlay.rows.get(key) {
                Some((_, Some(held))) => {
                    bytes.clear();
                    held.write(&mut bytes);
                    entry.write(self.space, &stored_key(key), Some(&bytes));
                }
                Some((_, None)) => entry.write(self.space, &stored_key(key), None),
                None => {}
            }
        }
        if self.retention_us.is_some() {
            self.sweep(entry, overlay, sweep)?;
        }
        overlay.epochs.push_back((epoch, changed.into_iter().collect()));
        Ok(out)
    }

    /// Judges one chunk, row by row.
    fn chunk(
        &self,
        epoch: u64,
        chunk: &Chunk,
        overlay: &mut Overlay,
        (counts, out, changed): (&mut [u64; 6], &mut Vec<DeltaBatch>, &mut HashSet<Vec<u8>>),
    ) -> Result<(), RunError> {
        let Groups { members, first } = Groups::of(&chunk.keys);
        let mut held = self.look_up(chunk, &first, overlay)?;
        // What the deltas add up to, a group: the row taken back (as it was before the chunk) and the row put in.
        let mut before: Vec<Option<Option<Vec<u8>>>> = vec![None; first.len()];
        let mut after: Vec<Option<u32>> = vec![None; first.len()];
        let (mut inserts, mut retracts) = (Vec::new(), Rows::new());
        for (row, member) in members.iter().enumerate() {
            let group = *member as usize;
            let forgotten = held[group]
                .as_ref()
                .is_some_and(|h| h.event_us != i64::MIN && h.event_us < chunk.horizons[row]);
            let current = held[group].as_ref().filter(|_| !forgotten);
            let outcome = self.judge(chunk, row, current);
            counts[outcome.index()] += 1;
            if outcome != Outcome::Accepted {
                continue;
            }
            if forgotten {
                // What was forgotten is not retracted, so what this chunk did for it so far stays.
                if let Some(Some(row)) = before[group].take() {
                    retracts.push(&row);
                }
                inserts.extend(after[group].take());
                before[group] = Some(None);
            }
            if before[group].is_none() {
                before[group] = Some(current.filter(|h| !h.deleted).map(|h| h.row.clone()));
            }
            let deletes = chunk.deletes[row];
            after[group] = (!deletes).then_some(row as u32);
            held[group] = if deletes { chunk.grave(row, current) } else { Some(chunk.held(row)) };
        }
        for (group, before) in before.into_iter().enumerate() {
            let Some(before) = before else { continue };
            if let Some(row) = before {
                retracts.push(&row);
            }
            inserts.extend(after[group]);
            let key = chunk.keys.get(first[group] as usize).to_vec();
            overlay.rows.insert(key.clone(), (epoch, held[group].take()));
            changed.insert(key);
        }
        inserts.sort_unstable();
        if !retracts.is_empty() {
            let diffs = vec![-1; retracts.len()];
            out.push(DeltaBatch { data: Data::Packed(retracts), diffs });
        }
        if !inserts.is_empty() {
            out.push(chunk.inserted(inserts)?);
        }
        Ok(())
    }

    fn judge(&self, chunk: &Chunk, row: usize, held: Option<&Held>) -> Outcome {
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
        let declared = chunk.declared[row] as usize;
        let same = held.row[..held.declared as usize] == chunk.rows.get(row)[..declared];
        if self.do_nothing || same {
            return Outcome::Duplicate;
        }
        let new = (chunk.versions.get(row), chunk.partition, chunk.offsets[row]);
        if new > (held.version.as_slice(), held.partition, held.offset) {
            Outcome::Accepted
        } else {
            Outcome::Superseded
        }
    }

    /// What is held for the first key of each group.
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
        for (group, bytes) in missing.into_iter().zip(self.store.multi_get(self.space, stored.iter())?) {
            if let Some(bytes) = bytes {
                let row = Held::read(&bytes)
                    .ok_or_else(|| RunError::Broken("a held row is not readable".into()))?;
                held[group] = Some(row);
            }
        }
        Ok(held)
    }

    /// Clears some rows that every partition's horizon has passed.
    fn sweep(
        &self,
        entry: &mut crate::render::collect::EpochOut,
        overlay: &Overlay,
        next: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        const ROWS: usize = 512;
        let watermark = self.watermark.load(Ordering::Acquire);
        let (Some(retention), true) = (self.retention_us, watermark != i64::MIN) else { return Ok(()) };
        let horizon = watermark.saturating_sub(retention);
        // Others sweep theirs: only here is it known what is about to change.
        let (Some(first), Some(last)) = (self.groups.first(), self.groups.last()) else { return Ok(()) };
        if next.is_empty() {
            next.push(*first);
        }
        let mut scan = self.store.iter_from(self.space, next)?;
        for _ in 0..ROWS {
            let Some((key, value)) = scan.next_entry()?.filter(|(key, _)| key.first() <= Some(last)) else {
                next.clear();
                return Ok(());
            };
            let held =
                Held::read(value).ok_or_else(|| RunError::Broken("a held row is not readable".into()))?;
            if held.event_us != i64::MIN && held.event_us < horizon && !overlay.rows.contains_key(&key[1..]) {
                entry.write(self.space, key, None);
            }
            next.clear();
            next.extend_from_slice(key);
            next.push(0);
        }
        Ok(())
    }
}

impl Chunk {
    fn held(&self, row: usize) -> Held {
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

    /// What stays of a held row that the record deletes: nothing where rows have no version.
    fn grave(&self, row: usize, held: Option<&Held>) -> Option<Held> {
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

    fn inserted(&self, rows: Vec<u32>) -> Result<DeltaBatch, RunError> {
        let diffs = vec![1; rows.len()];
        match &self.batch {
            Some(batch) if rows.len() == batch.num_rows() => Ok(DeltaBatch::arrow(batch.clone(), diffs)),
            Some(batch) => {
                let places: UInt32Array = rows.iter().map(|row| self.places[*row as usize]).collect();
                Ok(DeltaBatch::arrow(take_record_batch(batch, &places)?, diffs))
            }
            None => {
                let mut packed = Rows::new();
                rows.iter().for_each(|row| packed.push(self.rows.get(*row as usize)));
                Ok(DeltaBatch { data: Data::Packed(packed), diffs })
            }
        }
    }
}

impl Overlay {
    /// Forgets what is in the state by now.
    fn drop_through(&mut self, committed: u64) {
        while self.epochs.front().is_some_and(|(epoch, _)| *epoch <= committed) {
            let Some((epoch, keys)) = self.epochs.pop_front() else { return };
            for key in keys {
                if self.rows.get(&key).is_some_and(|(at, _)| *at == epoch) {
                    self.rows.remove(&key);
                }
            }
        }
    }
}
