//! What becomes of a record, written from DESIGN.md 1.1 and 2.4 alone: plain code over plain maps,
//! one record at a time.
//!
//! [`Model::record`] gives the outcome of a record; [`Model::tables`] the rows that views are over.
//! What a table with retention forgets is not retracted: its rows stay, and a new version is one more
//! row. A delete takes the row back and leaves, where rows have versions, a grave: the version below which
//! a row that comes late is superseded, forgotten when the row would have been. A source's watermark moves at the end of an epoch, and matters only to partitions that join.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Outcome;
use serde_json::Value;

use crate::duck::Tables;
use crate::rows::Row;

/// One day, microseconds.
pub const DAY_US: i64 = 86_400_000_000;

/// What a source or table declares.
#[derive(Clone)]
pub struct Spec {
    /// Name.
    pub name: &'static str,
    /// Declared columns and their DuckDB types; generated ones come last.
    pub columns: Vec<(&'static str, &'static str)>,
    /// Generated columns, over the declared ones before them.
    pub generated: Vec<fn(&Row) -> Value>,
    /// Columns of the record's coordinates: `partition`, `offset` or `timestamp`, and the column's name.
    pub included: Vec<(&'static str, &'static str)>,
    /// NOT NULL columns.
    pub not_null: Vec<usize>,
    /// CHECK constraints; None is NULL and passes.
    pub checks: Vec<fn(&Row) -> Option<bool>>,
    /// Event time column and delay in microseconds.
    pub watermark: Option<(usize, i64)>,
    /// Key and conflict rule of a table.
    pub keyed: Option<Keyed>,
    /// Partitions at the start.
    pub partitions: i32,
}

/// Key and conflict rule.
#[derive(Clone)]
pub struct Keyed {
    /// Key columns.
    pub key: Vec<usize>,
    /// DO NOTHING.
    pub first_wins: bool,
    /// Version column.
    pub version: Option<usize>,
    /// Retention, microseconds.
    pub retention: Option<i64>,
}

/// A record as it was made: what it means, and the bytes that say so.
#[derive(Clone, Debug)]
pub struct Record {
    /// Source, by index.
    pub source: usize,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Record timestamp, milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The decoded columns, of a delete the key columns and NULL; None when the bytes do not fit them.
    pub row: Option<Row>,
    /// Whether it deletes the row of its key.
    pub deletes: bool,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub bytes: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Held {
    row: Row,
    version: Option<i64>,
    at: (i32, i64),
    event: Option<i64>,
}

#[derive(Clone, Default)]
struct State {
    greatest: BTreeMap<i32, i64>,
    floor: BTreeMap<i32, i64>,
    partitions: BTreeSet<i32>,
    held: BTreeMap<String, Held>,
    /// Of deleted keys, the version and the event time of the row they had.
    graves: BTreeMap<String, (Option<i64>, Option<i64>)>,
    /// Rows of an append-only source, and rows that were forgotten and not taken back.
    stay: Vec<Row>,
    outcomes: schemas::OutcomeCounts,
    watermark: Option<i64>,
}

/// All sources.
#[derive(Clone)]
pub struct Model {
    specs: Vec<Spec>,
    states: Vec<State>,
}

impl Model {
    /// Nothing read yet.
    pub fn new(specs: &[Spec]) -> Model {
        let state = |spec: &Spec| State { partitions: (0..spec.partitions).collect(), ..State::default() };
        Model { specs: specs.to_vec(), states: specs.iter().map(state).collect() }
    }

    /// Judges the records of one epoch, and gives the outcome of each. Conflicts between partitions
    /// are settled in the order of partition and offset.
    pub fn epoch(&mut self, records: &[Record]) -> Vec<Outcome> {
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|i| (records[*i].source, records[*i].partition, records[*i].offset));
        let mut outcomes = vec![Outcome::Accepted; records.len()];
        for i in order {
            outcomes[i] = self.record(&records[i]);
        }
        for (spec, state) in self.specs.iter().zip(&mut self.states) {
            let Some((_, delay)) = spec.watermark else { continue };
            let all: Option<Vec<i64>> =
                state.partitions.iter().map(|p| state.partition_watermark(*p, delay)).collect();
            state.watermark = state.watermark.max(all.and_then(|all| all.into_iter().min()));
        }
        outcomes
    }

    /// A partition joins at the source's watermark.
    pub fn join(&mut self, source: usize, partition: i32) {
        let state = &mut self.states[source];
        if state.partitions.insert(partition)
            && let Some(watermark) = state.watermark
        {
            state.floor.insert(partition, watermark);
        }
    }

    fn record(&mut self, record: &Record) -> Outcome {
        let (spec, state) = (&self.specs[record.source], &mut self.states[record.source]);
        let outcome = state.judge(spec, record);
        state.outcomes[outcome.index()] += 1;
        outcome
    }

    /// Outcomes of a source so far.
    pub fn outcomes(&self, source: usize) -> schemas::OutcomeCounts {
        self.states[source].outcomes
    }

    /// A source's watermark at the end of the last epoch.
    pub fn watermark(&self, source: usize) -> Option<i64> {
        self.states[source].watermark
    }

    /// The rows that views are over.
    pub fn tables(&self) -> Tables {
        let table = |(spec, state): (&Spec, &State)| {
            let kind = |of: &str| if of == "timestamp" { "TIMESTAMP" } else { "BIGINT" };
            let included = spec.included.iter().map(|(of, name)| (*name, kind(of)));
            let columns = spec.columns.iter().copied().chain(included);
            let columns = columns.map(|(name, kind)| (name.to_string(), kind.to_string())).collect();
            let rows = state.held.values().map(|held| held.row.clone()).chain(state.stay.clone()).collect();
            (spec.name.to_string(), (columns, rows))
        };
        self.specs.iter().zip(&self.states).map(table).collect()
    }

    /// The rows that views are over, and a row `marks` of the sources' watermarks, named as they are.
    pub fn tables_and_marks(&self) -> Tables {
        let mut tables = self.tables();
        let columns =
            self.specs.iter().map(|spec| (spec.name.to_string(), "TIMESTAMP".to_string())).collect();
        let marks =
            self.states.iter().map(|state| state.watermark.map_or(Value::Null, Value::from)).collect();
        tables.insert("marks".into(), (columns, vec![marks]));
        tables
    }

    /// Keys of a table that were ever accepted; where rows have no version, without deleted ones.
    pub fn known(&self, source: usize) -> usize {
        self.states[source].held.len() + self.states[source].graves.len()
    }

    /// Keys of a table that are still held at or above its horizon, however slow clearing is.
    pub fn remembered(&self, source: usize) -> usize {
        let (spec, state) = (&self.specs[source], &self.states[source]);
        let retention = spec.keyed.as_ref().and_then(|k| k.retention);
        let horizon = state.watermark.zip(retention).map(|(watermark, retention)| watermark - retention);
        let events = state.held.values().map(|held| held.event);
        let events = events.chain(state.graves.values().map(|(_, event)| *event));
        events.filter(|event| event.is_none() || *event >= horizon).count()
    }
}

impl State {
    fn partition_watermark(&self, partition: i32, delay: i64) -> Option<i64> {
        let reached = self.greatest.get(&partition).map(|greatest| greatest - delay);
        reached.max(self.floor.get(&partition).copied())
    }

    fn judge(&mut self, spec: &Spec, record: &Record) -> Outcome {
        let Some(row) = &record.row else { return Outcome::Decode };
        if record.deletes {
            return self.delete(spec, row, record);
        }
        let mut row = row.clone();
        for generate in &spec.generated {
            row.push(generate(&row));
        }
        let event = spec.watermark.and_then(|(column, _)| row[column].as_i64());
        let ahead = match (event, record.timestamp_ms) {
            (Some(event), Some(ms)) => event > ms * 1000 + DAY_US,
            _ => false,
        };
        let broken = spec.not_null.iter().any(|column| row[*column].is_null())
            || spec.checks.iter().any(|check| check(&row) == Some(false));
        if broken || ahead {
            return Outcome::Constraint;
        }
        // The bound is what the partition had reached before this record.
        let bound = spec.watermark.and_then(|(_, delay)| self.partition_watermark(record.partition, delay));
        if let Some(event) = event {
            let greatest = self.greatest.entry(record.partition).or_insert(event);
            *greatest = event.max(*greatest);
        }
        let Some(keyed) = &spec.keyed else {
            if event.is_some() && event < bound {
                return Outcome::Late;
            }
            self.stay.push(coordinates(spec, row, record));
            return Outcome::Accepted;
        };
        let horizon = bound.zip(keyed.retention).map(|(bound, retention)| bound - retention);
        if event.is_some() && event < horizon {
            return Outcome::Late;
        }
        self.conflict(spec, keyed, (row, event, horizon), record)
    }

    /// A delete has a key and nothing else: no constraint is about it, it is never late, moves no
    /// watermark, and what it deletes may be forgotten already.
    fn delete(&mut self, spec: &Spec, row: &Row, record: &Record) -> Outcome {
        let Some(keyed) = &spec.keyed else { return Outcome::Decode };
        let key = key_of(keyed, row);
        let bound = spec.watermark.and_then(|(_, delay)| self.partition_watermark(record.partition, delay));
        self.forget(&key, bound.zip(keyed.retention).map(|(bound, retention)| bound - retention));
        let Some(held) = self.held.remove(&key) else { return Outcome::Duplicate };
        if keyed.version.is_some() {
            self.graves.insert(key, (held.version, held.event));
        }
        Outcome::Accepted
    }

    /// What is below the horizon is known no more; a row stays where it is.
    fn forget(&mut self, key: &str, horizon: Option<i64>) {
        let below = |event: Option<i64>| event.is_some() && event < horizon;
        if self.held.get(key).is_some_and(|held| below(held.event)) {
            let held = self.held.remove(key).unwrap();
            self.stay.push(held.row);
        }
        if self.graves.get(key).is_some_and(|(_, event)| below(*event)) {
            self.graves.remove(key);
        }
    }

    fn conflict(
        &mut self,
        spec: &Spec,
        keyed: &Keyed,
        (row, event, horizon): (Row, Option<i64>, Option<i64>),
        record: &Record,
    ) -> Outcome {
        let key = key_of(keyed, &row);
        self.forget(&key, horizon);
        let version = keyed.version.and_then(|column| row[column].as_i64());
        let at = (record.partition, record.offset);
        if let Some((buried, _)) = self.graves.get(&key) {
            if version < *buried {
                return Outcome::Superseded;
            }
            self.graves.remove(&key);
        }
        if let Some(held) = self.held.get(&key) {
            let declared = spec.columns.len();
            if keyed.first_wins || held.row[..declared] == row[..declared] {
                return Outcome::Duplicate;
            }
            // NULL is the lowest version, as None is.
            if (version, at) < (held.version, held.at) {
                return Outcome::Superseded;
            }
        }
        let row = coordinates(spec, row, record);
        self.held.insert(key, Held { row, version, at, event });
        Outcome::Accepted
    }
}

fn key_of(keyed: &Keyed, row: &Row) -> String {
    Value::from(keyed.key.iter().map(|column| row[*column].clone()).collect::<Vec<_>>()).to_string()
}

fn coordinates(spec: &Spec, mut row: Row, record: &Record) -> Row {
    for (kind, _) in &spec.included {
        row.push(match *kind {
            "offset" => record.offset.into(),
            "timestamp" => record.timestamp_ms.map_or(Value::Null, |ms| (ms * 1000).into()),
            _ => record.partition.into(),
        });
    }
    row
}
