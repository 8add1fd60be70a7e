//! What one worker's operators produced for each open epoch, until the driver takes it.
//!
//! Operators of a worker run on its thread and put state changes, view and sink deltas, counters
//! and errors here, under the epoch they belong to. When the probe has passed an epoch, its entry is
//! complete and [`Collector::take`] removes it. Nothing here outlives the epochs in flight.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemas::{Blobs, Outcome, Rows};

use crate::error::RunError;

/// The collector as operators share it.
pub type Shared = Rc<RefCell<Collector>>;

/// Everything one worker contributes to one epoch.
#[derive(Debug, Default)]
pub struct EpochOut {
    /// New totals by space: key and value; no value deletes.
    pub writes: BTreeMap<u32, (Rows, Blobs)>,
    /// Changes of multiplicity by space.
    pub counts: BTreeMap<u32, (Rows, Vec<i64>)>,
    /// Consolidated deltas by sink.
    pub sinks: BTreeMap<usize, SinkDelta>,
    /// Records by source and outcome.
    pub outcomes: BTreeMap<usize, [u64; 6]>,
    /// Work done by operator: rows touched.
    pub touched: BTreeMap<String, u64>,
    /// Updates that each arrangement of this worker holds.
    pub held: BTreeMap<String, u64>,
    /// Of the updates that came to an arrangement of this worker: those of the key with most, and all.
    pub busiest: BTreeMap<String, (u64, u64)>,
    /// Rows that joins made, in bytes.
    pub joined_bytes: u64,
}

impl EpochOut {
    /// How many entries of the state it changes.
    pub fn changes(&self) -> usize {
        let writes = self.writes.values().map(|(keys, _)| keys.len());
        writes.chain(self.counts.values().map(|(rows, _)| rows.len())).sum()
    }
}

/// A sink's change in one epoch: sorted by key, at most one removal and one insertion a key for keyed sinks.
#[derive(Debug, Default)]
pub struct SinkDelta {
    /// Packed sink keys; empty strings for a sink without key.
    pub keys: Rows,
    /// Packed whole rows.
    pub rows: Rows,
    /// Signed counts.
    pub diffs: Vec<i64>,
}

/// A worker's open epochs.
#[derive(Debug, Default)]
pub struct Collector {
    epochs: BTreeMap<u64, EpochOut>,
    held: BTreeMap<String, u64>,
    busiest: BTreeMap<String, (u64, u64)>,
    limit: Option<u64>,
    failure: Option<RunError>,
}

impl Collector {
    /// The entry of an epoch.
    pub fn at(&mut self, epoch: u64) -> &mut EpochOut {
        self.epochs.entry(epoch).or_default()
    }

    /// Removes and returns a complete epoch.
    pub fn take(&mut self, epoch: u64) -> EpochOut {
        let held = self.held.clone();
        let busiest = std::mem::take(&mut self.busiest);
        EpochOut { held, busiest, ..self.epochs.remove(&epoch).unwrap_or_default() }
    }

    /// Notes how many updates an arrangement holds.
    pub fn held(&mut self, arrangement: &str, updates: u64) {
        match self.held.get_mut(arrangement) {
            Some(held) => *held = updates,
            None => {
                self.held.insert(arrangement.to_string(), updates);
            }
        }
    }

    /// Notes what came to an arrangement: updates of the key with most of them, and of all keys.
    pub fn came(&mut self, arrangement: &str, (busiest, all): (u64, u64)) {
        match self.busiest.get_mut(arrangement) {
            Some(held) => *held = (held.0.max(busiest), held.1 + all),
            None => {
                self.busiest.insert(arrangement.to_string(), (busiest, all));
            }
        }
    }

    /// From now on an epoch whose joins make more than so many bytes of rows fails.
    pub fn limit(&mut self, bytes: u64) {
        self.limit = Some(bytes);
    }

    /// Counts bytes of rows that a join has made, all of `rows` so far; false when there are too many in the
    /// epoch, which has failed then.
    pub fn joined(&mut self, epoch: u64, operator: &str, (rows, bytes): (u64, u64)) -> bool {
        let out = self.at(epoch);
        out.joined_bytes += bytes;
        let all = out.joined_bytes;
        match self.limit {
            Some(limit) if all > limit => {
                let error = RunError::Explodes { operator: operator.to_string(), rows, epoch, limit };
                // The rest of the key's pairs are still gone through before the run can end.
                if self.failure.is_none() {
                    tracing::error!(%error);
                }
                self.fail(error);
                false
            }
            _ => true,
        }
    }

    /// Remembers the first failure; the worker stops before anything of it is committed.
    pub fn fail(&mut self, error: RunError) {
        self.failure.get_or_insert(error);
    }

    /// The failure, if an operator met one.
    pub fn failure(&mut self) -> Option<RunError> {
        self.failure.take()
    }
}

impl EpochOut {
    /// Sets the total of `key` in `space`.
    pub fn write(&mut self, space: u32, key: &[u8], value: Option<&[u8]>) {
        let (keys, values) = self.writes.entry(space).or_default();
        keys.push(key);
        values.push(value);
    }

    /// Changes the multiplicity of `row` in `space`.
    pub fn count(&mut self, space: u32, row: &[u8], diff: i64) {
        let (rows, diffs) = self.counts.entry(space).or_default();
        rows.push(row);
        diffs.push(diff);
    }

    /// Counts `n` records of `source`.
    pub fn outcome(&mut self, source: usize, outcome: Outcome, n: u64) {
        self.outcomes.entry(source).or_default()[outcome.index()] += n;
    }

    /// Counts rows an operator touched.
    pub fn touch(&mut self, operator: &str, rows: u64) {
        match self.touched.get_mut(operator) {
            Some(held) => *held += rows,
            None => {
                self.touched.insert(operator.to_string(), rows);
            }
        }
    }
}

/// A key as stored: its group in front, so that a worker's range is one scan.
pub fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(schemas::key_group(key));
    stored.extend_from_slice(key);
    stored
}
