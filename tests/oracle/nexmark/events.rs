//! Generated events as records of the oracle: what the connectors give, and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use connectors::{Reader, SourceConfig, SourceConnector};
use dataflows::plan::{Plan, Source};
use serde_json::Value;

use crate::model::{Record, Spec};

/// What is set of the sequence.
pub struct History {
    /// Seed.
    pub seed: u64,
    /// Events.
    pub events: u64,
    /// Events in a second.
    pub rate: u64,
    /// Time of the first.
    pub base: &'static str,
    /// Events come out of order within groups of so many.
    pub group: u64,
}

/// Rows of the side input.
const SIDE_ROWS: &str = "1500";

/// The records of all sources, in the order of events; those of other connectors come first.
pub fn records(plan: &Plan, specs: &[Spec], history: &History) -> Vec<Record> {
    let mut records: Vec<Record> =
        (0..specs.len()).flat_map(|at| of_source(&plan.sources[at], at, &specs[at], history)).collect();
    let generated = |record: &Record| plan.sources[record.source].options["connector"] == "nexmark";
    records.sort_by_key(|record| (generated(record), record.offset));
    records
}

fn of_source(source: &Source, at: usize, spec: &Spec, history: &History) -> Vec<Record> {
    let mut options: BTreeMap<String, String> = source.options.clone();
    match options["connector"].as_str() {
        "nexmark" => options.extend([
            ("nexmark.seed".into(), history.seed.to_string()),
            ("nexmark.event.num".into(), history.events.to_string()),
            ("nexmark.event.rate".into(), history.rate.to_string()),
            ("nexmark.base.time".into(), history.base.into()),
            ("nexmark.out.of.order.group.size".into(), history.group.to_string()),
        ]),
        _ => drop(options.insert("rows.total".into(), SIDE_ROWS.into())),
    }
    let connector = SourceConnector::from_options(&options).unwrap();
    let config = SourceConfig { name: source.name.clone(), connector, want_headers: false, want_keys: true };
    let mut reader = Reader::open(&config, &BTreeMap::new()).unwrap();
    let polled = reader.poll(usize::MAX, usize::MAX, Duration::ZERO).unwrap().remove(0);
    assert!(reader.bounded_done());
    let record = |i: usize| {
        let bytes = polled.values.get(i).unwrap().to_vec();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let row = spec.columns.iter().map(|(name, kind)| column(&value[*name], kind)).collect();
        Record {
            source: at,
            partition: 0,
            offset: polled.offsets[i],
            timestamp_ms: polled.timestamps[i],
            row: Some(row),
            deletes: false,
            key: polled.keys.get(i).map(<[u8]>::to_vec),
            bytes: Some(bytes),
        }
    };
    (0..polled.len()).map(record).collect()
}

/// A value as the model has it: times are microseconds.
fn column(value: &Value, kind: &str) -> Value {
    match value.as_str().filter(|_| kind == "TIMESTAMP") {
        Some(text) => schemas::types::time::parse_timestamp(text).unwrap().into(),
        None => value.clone(),
    }
}
