//! What becomes of a record, written from DESIGN.md 1.1 and 2.4 alone: plain code over plain maps,
//! one record at a time.
//!
//! [`Model::record`] gives the outcome of a record; [`Model::tables`] the rows that views are over.
//! What a table with retention forgets is not retracted: its rows stay, and a new version is one more
//! row. A source's watermark moves at the end of an epoch, and matters only to partitions that join.

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
    /// Columns of the record's coordinates: `partition` or `offset`, and the column's name.
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
    /// The decoded columns; None when the bytes do not fit them.
    pub row: Option<Row>,
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
    /// Rows of an append-only source, and rows that were forgotten and not taken back.
    stay: Vec<Row>,
    outcomes: [u64; 6],
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
    pub fn outcomes(&self, source: usize) -> [u64; 6] {
        self.states[source].outcomes
    }

    /// A source's watermark at the end of the last epoch.
    pub fn watermark(&self, source: usize) -> Option<i64> {
        self.states[source].watermark
    }

    /// The rows that views are over.
    pub fn tables(&self) -> Tables {
        let table = |(spec, state): (&Spec, &State)| {
            let included = spec.included.iter().map(|(_, name)| (*name, "BIGINT"));
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

    /// Keys of a table that were ever accepted.
    pub fn known(&self, source: usize) -> usize {
        self.states[source].held.len()
    }

    /// Keys of a table that are still held at or above its horizon, however slow clearing is.
    pub fn remembered(&self, source: usize) -> usize {
        let (spec, state) = (&self.specs[source], &self.states[source]);
        let retention = spec.keyed.as_ref().and_then(|k| k.retention);
        let horizon = state.watermark.zip(retention).map(|(watermark, retention)| watermark - retention);
        state.held.values().filter(|held| held.event.is_none() || held.event >= horizon).count()
    }
}

impl State {
    fn partition_watermark(&self, partition: i32, delay: i64) -> Option<i64> {
        let reached = self.greatest.get(&partition).map(|greatest| greatest - delay);
        reached.max(self.floor.get(&partition).copied())
    }

    fn judge(&mut self, spec: &Spec, record: &Record) -> Outcome {
        let Some(row) = &record.row else { return Outcome::Decode };
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

    fn conflict(
        &mut self,
        spec: &Spec,
        keyed: &Keyed,
        (row, event, horizon): (Row, Option<i64>, Option<i64>),
        record: &Record,
    ) -> Outcome {
        let key =
            Value::from(keyed.key.iter().map(|column| row[*column].clone()).collect::<Vec<_>>()).to_string();
        if let Some(held) = self.held.get(&key)
            && held.event.is_some()
            && held.event < horizon
        {
            // Forgotten: its row stays where it is, and nobody knows of it any more.
            let held = self.held.remove(&key).unwrap();
            self.stay.push(held.row);
        }
        let version = keyed.version.and_then(|column| row[column].as_i64());
        let at = (record.partition, record.offset);
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

fn coordinates(spec: &Spec, mut row: Row, record: &Record) -> Row {
    for (kind, _) in &spec.included {
        row.push(if *kind == "offset" { record.offset.into() } else { record.partition.into() });
    }
    row
}
