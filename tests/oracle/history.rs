//! Random histories of records: rows drawn from small pools, so that keys meet again, and their bytes.
//!
//! Among them are corrections with higher, lower and equal versions, exact duplicates, rows that break
//! a constraint, bytes that do not decode, event times out of order, too old and too far ahead.
//! The bytes vary where the meaning does not: field names in other case, `12.0` for 12, fields that
//! are no columns, NULL by absence.

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::model::{Record, Spec};
use crate::rows::Row;

/// 2026-01-31 12:00 UTC, microseconds.
pub const START_US: i64 = 1_769_860_800_000_000;
/// One second, microseconds.
pub const SECOND_US: i64 = 1_000_000;
const DATES: [(i64, &str); 4] =
    [(20484, "2026-01-31"), (20485, "2026-02-01"), (19782, "2024-02-29"), (-1, "1969-12-31")];

/// A record with a key: what it means, and its bytes.
#[derive(Clone)]
pub struct Keyed {
    /// The decoded columns, of a delete the key columns; None when the bytes do not fit.
    pub row: Option<Row>,
    /// Whether it deletes.
    pub deletes: bool,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub bytes: Option<Vec<u8>>,
}

/// Draws records.
pub struct Draw {
    /// Randomness.
    pub rng: ChaCha8Rng,
    specs: Vec<Spec>,
    next: BTreeMap<(usize, i32), i64>,
    /// What was drawn, in order of arrival.
    pub records: Vec<Record>,
}

impl Draw {
    /// Nothing drawn yet.
    pub fn new(specs: &[Spec], seed: u64) -> Draw {
        Draw {
            rng: ChaCha8Rng::seed_from_u64(seed),
            specs: specs.to_vec(),
            next: BTreeMap::new(),
            records: vec![],
        }
    }

    /// One of a pool.
    pub fn one<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.rng.random_range(0..pool.len())].clone()
    }

    /// NULL, `share` of the time.
    pub fn or_null(&mut self, share: f64, value: impl Into<Value>) -> Value {
        if self.rng.random_bool(share) { Value::Null } else { value.into() }
    }

    /// A number of `range`.
    pub fn int(&mut self, range: std::ops::Range<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// A date, as days since 1970.
    pub fn date(&mut self) -> i64 {
        self.one(&DATES).0
    }

    /// Appends a record of `row`, its timestamp `timestamp_us`.
    pub fn push(&mut self, source: usize, partition: i32, row: Row, timestamp_us: Option<i64>) {
        let bytes = Some(encode(&self.specs[source], &row, &mut self.rng).into_bytes());
        self.append(source, partition, Some(row), bytes, timestamp_us);
    }

    /// Appends a record with a key, which may delete.
    pub fn push_keyed(&mut self, (source, partition): (usize, i32), keyed: Keyed, timestamp_us: Option<i64>) {
        let Keyed { row, deletes, key, bytes } = keyed;
        self.append(source, partition, row, bytes, timestamp_us);
        let Some(record) = self.records.last_mut() else { return };
        (record.deletes, record.key) = (deletes, key);
    }

    /// Appends a record whose bytes do not fit.
    pub fn push_broken(&mut self, source: usize, partition: i32, row: &Row, timestamp_us: Option<i64>) {
        let good = encode(&self.specs[source], row, &mut self.rng);
        let (name, kind) = self.specs[source].columns[0];
        let wrong = if kind == "VARCHAR" { "12" } else { "\"twelve\"" };
        let bytes = match self.rng.random_range(0..7) {
            0 => None,
            1 => Some(good[..good.len() - 2].to_string()),
            2 => Some(format!("{good} x")),
            3 => Some(format!("[{good}]")),
            4 => Some(format!("{{\"{name}\": {wrong}}}")),
            5 => Some(String::new()),
            _ => Some(format!("{{\"{name}\": [1], \"other\": 1}}")),
        };
        self.append(source, partition, None, bytes.map(String::into_bytes), timestamp_us);
    }

    /// Appends an earlier record of a source again, its bytes spelled anew. False without one.
    pub fn repeat(&mut self, source: usize) -> bool {
        let earlier: Vec<usize> =
            (0..self.records.len()).filter(|i| self.records[*i].source == source).collect();
        if earlier.is_empty() {
            return false;
        }
        let at = self.one(&earlier);
        let again = self.records[at].clone();
        match again.row {
            Some(row) => self.push(source, again.partition, row, again.timestamp_ms.map(|ms| ms * 1000)),
            None => self.append(
                source,
                again.partition,
                None,
                again.bytes,
                again.timestamp_ms.map(|ms| ms * 1000),
            ),
        }
        true
    }

    fn append(
        &mut self,
        source: usize,
        partition: i32,
        row: Option<Row>,
        bytes: Option<Vec<u8>>,
        timestamp_us: Option<i64>,
    ) {
        let next = self.next.entry((source, partition)).or_default();
        // Markers of transactions take offsets too.
        let offset = *next + i64::from(self.rng.random_bool(0.1));
        *next = offset + 1;
        let timestamp_ms = timestamp_us.map(|us| us.div_euclid(1000));
        self.records.push(Record {
            source,
            partition,
            offset,
            timestamp_ms,
            row,
            deletes: false,
            key: None,
            bytes,
        });
    }
}

/// A row as one of the JSON objects that mean it.
pub fn encode(spec: &Spec, row: &Row, rng: &mut ChaCha8Rng) -> String {
    let mut fields = Vec::new();
    for ((name, kind), value) in spec.columns.iter().zip(row) {
        if value.is_null() && rng.random_bool(0.5) {
            continue;
        }
        let name = if rng.random_bool(0.1) { name.to_uppercase() } else { name.to_string() };
        fields.push(format!("\"{name}\": {}", spell(kind, value, rng)));
    }
    if rng.random_bool(0.2) {
        fields.push(r#""nobody_asked": {"deep": [1, {"x": null}], "text": "\u00e9\n"}"#.into());
    }
    // The order of fields says nothing.
    let start = rng.random_range(0..fields.len().max(1));
    fields.rotate_left(start);
    format!("{{{}}}", fields.join(", "))
}

fn spell(kind: &str, value: &Value, rng: &mut impl Rng) -> String {
    let plain = |value: &Value| value.to_string();
    match (kind, value) {
        (_, Value::Null) => "null".into(),
        ("TIMESTAMP", value) => {
            let us = value.as_i64().unwrap();
            let zoned = schemas::types::time::format_timestamp(us + 7200 * SECOND_US, false);
            if rng.random_bool(0.2) {
                format!("\"{zoned}+02:00\"")
            } else {
                format!("\"{}\"", schemas::types::time::format_timestamp(us, true))
            }
        }
        ("DATE", value) => {
            let (_, text) = DATES.iter().find(|(day, _)| value.as_i64() == Some(*day)).unwrap();
            format!("\"{text}\"")
        }
        ("BIGINT" | "INTEGER" | "SMALLINT", value) if rng.random_bool(0.1) => format!("{value}.0"),
        ("DECIMAL(10,2)", Value::String(text)) if rng.random_bool(0.5) => text.clone(),
        (_, value) => plain(value),
    }
}

/// A list of players, as the column `players` has it.
pub fn players(draw: &mut Draw, names: &[&str]) -> Value {
    if draw.rng.random_bool(0.1) {
        return Value::Null;
    }
    let n = draw.int(0..4);
    let player = |draw: &mut Draw| {
        let name = draw.one(names);
        let champion = draw.int(1..7);
        let kills = draw.int(0..20);
        let win = draw.rng.random_bool(0.5);
        json!({
            "puuid": draw.or_null(0.05, name),
            "champion_id": draw.or_null(0.1, champion),
            "kills": draw.or_null(0.15, kills),
            "win": draw.or_null(0.1, win),
        })
    };
    (0..n).map(|_| player(draw)).collect::<Vec<_>>().into()
}
