//! Output of one worker's operators for each open epoch, until the driver takes it.
//!
//! Operators of a worker run on its thread and record state changes, view and sink deltas, counters
//! and errors here, under the epoch they belong to. When the probe has passed an epoch, its entry is
//! complete and [`Collector::take`] removes it. Entries exist only for the epochs in flight.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemas::memory::{HeapBytes, vector_bytes};
use schemas::{Blobs, MemoryPart, MemoryShare, Outcome, OutcomeCounts, Ownership, Rows, stored_key};
use state::RowChanges;

use crate::error::RunError;
use crate::runtime::fill::FillStep;
use crate::source::erasure::{Order, RowsTaken};

/// Collector shared by the operators of a worker.
pub type Shared = Rc<RefCell<Collector>>;

/// Complete output of one worker for one epoch.
#[derive(Debug, Default)]
pub struct EpochOut {
    /// New totals by state table: key and value; no value deletes.
    pub writes: BTreeMap<u32, (Rows, Blobs)>,
    /// Changes of multiplicity by state table.
    pub counts: BTreeMap<u32, (Rows, Vec<i64>)>,
    /// Changes of rows by the state table of a view whose changes are kept.
    pub changes: BTreeMap<u32, RowChanges>,
    /// Consolidated deltas by sink.
    pub sinks: BTreeMap<usize, SinkDelta>,
    /// Records by source and outcome.
    pub outcomes: BTreeMap<usize, OutcomeCounts>,
    /// Work done by operator: rows touched.
    pub touched: BTreeMap<String, u64>,
    /// Totals that were looked up by operator: found in its cache, and read from the state.
    pub lookups: BTreeMap<String, [u64; 2]>,
    /// Updates that each arrangement of this worker holds.
    pub held: BTreeMap<String, u64>,
    /// Updates that arrived at each arrangement of this worker: those of the key with most, and all.
    pub hottest: BTreeMap<String, (u64, u64)>,
    /// Bytes of the rows that joins made.
    pub joined_bytes: u64,
    /// Packed rows of the error table that this worker's operators added or removed, with their diffs; the
    /// owners of the rows count them.
    pub errors: (Rows, Vec<i64>),
    /// The step of a filling that the epoch takes, the same on all workers.
    pub fill: Option<FillStep>,
    /// Orders to erase persons that this worker has read.
    pub orders: Vec<Order>,
    /// Rows of tables that erased persons were taken from.
    pub rows_taken: RowsTaken,
    /// Memory of the rows that were fed and wait for the dataflow; of the changes, once they are complete.
    memory: MemoryShare,
}

impl EpochOut {
    /// Reports more bytes of rows that were fed.
    pub fn count_fed(&mut self, bytes: usize) {
        self.memory.set(MemoryPart::Epochs, self.memory.bytes() + bytes);
    }

    /// Returns the number of changed state entries.
    pub fn changes(&self) -> usize {
        let writes = self.writes.values().map(|(keys, _)| keys.len());
        writes.chain(self.counts.values().map(|(rows, _)| rows.len())).sum()
    }
}

/// Change of a sink in one epoch, sorted by key; keyed sinks have at most one removal and one insertion a
/// key.
#[derive(Debug, Default)]
pub struct SinkDelta {
    /// Packed sink keys; empty strings for a sink without key.
    pub keys: Rows,
    /// Packed whole rows.
    pub rows: Rows,
    /// Signed counts.
    pub diffs: Vec<i64>,
}

impl SinkDelta {
    /// Adds a change of a row.
    pub fn push(&mut self, key: &[u8], row: &[u8], diff: i64) {
        self.keys.push(key);
        self.rows.push(row);
        self.diffs.push(diff);
    }
}

impl HeapBytes for EpochOut {
    /// The bytes of the changes; counters take little.
    fn heap_bytes(&self) -> usize {
        let writes = self.writes.values().map(|(keys, values)| keys.heap_bytes() + values.heap_bytes());
        let counts = self.counts.values().map(|(rows, diffs)| rows.heap_bytes() + vector_bytes(diffs));
        let kept = self.changes.values().map(HeapBytes::heap_bytes);
        writes.chain(counts).chain(kept).chain(self.sinks.values().map(HeapBytes::heap_bytes)).sum()
    }
}

impl HeapBytes for SinkDelta {
    fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes() + self.rows.heap_bytes() + vector_bytes(&self.diffs)
    }
}

/// Open epochs of a worker.
#[derive(Debug, Default)]
pub struct Collector {
    epochs: BTreeMap<u64, EpochOut>,
    held: BTreeMap<String, u64>,
    hottest: BTreeMap<String, (u64, u64)>,
    limit: Option<u64>,
    failure: Option<RunError>,
    ownership: Ownership,
    /// Number of key groups that gates have open, from an epoch on.
    gates: BTreeMap<u64, u16>,
}

impl Collector {
    /// Creates the collector of a worker among the owners of all key groups.
    pub fn new(ownership: Ownership) -> Collector {
        Collector { ownership, ..Collector::default() }
    }

    /// Returns the owners of the key groups, to which operators send rows.
    pub fn ownership(&self) -> Ownership {
        self.ownership.clone()
    }

    /// Returns the entry of an epoch.
    pub fn at(&mut self, epoch: u64) -> &mut EpochOut {
        self.epochs.entry(epoch).or_default()
    }

    /// Removes and returns a complete epoch.
    pub fn take(&mut self, epoch: u64) -> EpochOut {
        let held = self.held.clone();
        // Gates have passed the epoch, and go by its entry until the next one that opens more.
        if let Some(since) = self.gates.range(..=epoch).next_back().map(|(since, _)| *since) {
            self.gates = self.gates.split_off(&since);
        }
        // Sizes persist until they change; arrivals are counted from epoch to epoch.
        let hottest = std::mem::take(&mut self.hottest);
        let mut out = EpochOut { held, hottest, ..self.epochs.remove(&epoch).unwrap_or_default() };
        out.memory.set(MemoryPart::Epochs, out.heap_bytes());
        out
    }

    /// Records the number of updates that an arrangement holds.
    pub fn record_size(&mut self, arrangement: &str, updates: u64) {
        // Looked up before inserting: the name is allocated only once.
        match self.held.get_mut(arrangement) {
            Some(held) => *held = updates,
            None => {
                self.held.insert(arrangement.to_string(), updates);
            }
        }
    }

    /// Records arrivals at an arrangement: the updates of the key with most of them, and of all keys.
    pub fn record_arrivals(&mut self, arrangement: &str, (hottest, all): (u64, u64)) {
        match self.hottest.get_mut(arrangement) {
            Some(held) => *held = (held.0.max(hottest), held.1 + all),
            None => {
                self.hottest.insert(arrangement.to_string(), (hottest, all));
            }
        }
    }

    /// Sets the limit of bytes of rows that joins may make in one epoch; an epoch beyond it fails.
    pub fn limit_joined_bytes(&mut self, bytes: u64) {
        self.limit = Some(bytes);
    }

    /// Adds bytes of rows that a join has made, `rows` in total so far; returns false beyond the epoch's
    /// limit, in which case the epoch has failed.
    pub fn count_joined(&mut self, epoch: u64, operator: &str, (rows, bytes): (u64, u64)) -> bool {
        let out = self.at(epoch);
        out.joined_bytes += bytes;
        let all = out.joined_bytes;
        match self.limit {
            Some(limit) if all > limit => {
                let error = RunError::Explodes { operator: operator.to_string(), rows, epoch, limit };
                // Logged at once: the join still enumerates the rest of the key's pairs before the run can
                // end.
                if self.failure.is_none() {
                    tracing::error!(%error);
                }
                self.fail(error);
                false
            }
            _ => true,
        }
    }

    /// Counts totals that an operator looked up: those found in its cache, and those read from the state.
    pub fn count_lookups(&mut self, epoch: u64, operator: &str, (cached, read): (usize, usize)) {
        let held = self.at(epoch).lookups.entry(operator.to_owned()).or_default();
        held[0] += cached as u64;
        held[1] += read as u64;
    }

    /// Opens the gates for the first `groups` key groups from an epoch on, which no gate has processed yet.
    pub fn open_gates(&mut self, epoch: u64, groups: u16) {
        self.gates.insert(epoch, groups);
    }

    /// Returns the number of key groups that gates have open at an epoch.
    pub fn open_groups(&self, epoch: u64) -> u16 {
        self.gates.range(..=epoch).next_back().map_or(0, |(_, groups)| *groups)
    }

    /// Records a failure unless there is one; the worker stops before the epoch is committed.
    pub fn fail(&mut self, error: RunError) {
        self.failure.get_or_insert(error);
    }

    /// Removes and returns the first failure of an operator.
    pub fn take_failure(&mut self) -> Option<RunError> {
        self.failure.take()
    }
}

impl EpochOut {
    /// Sets the total of `key` in `table_id`.
    pub fn write_total(&mut self, table_id: u32, key: &[u8], value: Option<&[u8]>) {
        let (keys, values) = self.writes.entry(table_id).or_default();
        keys.push(key);
        values.push(value);
    }

    /// Changes the multiplicity of `row` in `table_id`.
    pub fn add_count(&mut self, table_id: u32, row: &[u8], diff: i64) {
        let (rows, diffs) = self.counts.entry(table_id).or_default();
        rows.push(row);
        diffs.push(diff);
    }

    /// Changes the multiplicity of a row of the error table, which its owner is to count.
    pub fn add_error(&mut self, row: &[u8], diff: i64) {
        self.errors.0.push(row);
        self.errors.1.push(diff);
    }

    /// Counts the rows of the error table that this worker owns.
    pub fn count_errors(&mut self, table_id: u32) {
        let (rows, diffs) = std::mem::take(&mut self.errors);
        for (row, diff) in rows.iter().zip(diffs) {
            self.add_count(table_id, &stored_key(row), diff);
        }
    }

    /// Counts `n` records of `source`.
    pub fn count_outcome(&mut self, source: usize, outcome: Outcome, n: u64) {
        self.outcomes.entry(source).or_default()[outcome.index()] += n;
    }

    /// Counts rows an operator touched.
    pub fn count_touched(&mut self, operator: &str, rows: u64) {
        match self.touched.get_mut(operator) {
            Some(held) => *held += rows,
            None => {
                self.touched.insert(operator.to_string(), rows);
            }
        }
    }
}
