//! Rows that are inserted, corrected and deleted: records for Herald, tables for PostgreSQL.
//!
//! Herald's table `t` is keyed; PostgreSQL's `t` holds the rows that are left at the end. Every record that is not a
//! deletion is a row of the table `h` too, numbered, for what is over sources without a key.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Records;

use crate::kind::{COLUMNS, Value};
use crate::postgres::Postgres;

/// Rows left at the end, at most.
const KEYS: usize = 16;

/// One record of `t`: its key, and its values unless it deletes.
pub struct Record {
    /// Key.
    pub key: usize,
    /// Values of [`COLUMNS`].
    pub values: Option<Vec<Value>>,
}

/// All records, in order.
pub struct History {
    /// Records.
    pub records: Vec<Record>,
}

impl History {
    /// A random history.
    pub fn new(seed: u64) -> History {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let mut records = Vec::new();
        let row = |rng: &mut ChaCha8Rng| Some(COLUMNS.iter().map(|c| c.value(rng)).collect());
        for key in 0..KEYS {
            records.push(Record { key, values: row(rng) });
        }
        for _ in 0..KEYS {
            let key = rng.random_range(0..KEYS);
            let values = if rng.random_range(0..3) == 0 { None } else { row(rng) };
            records.push(Record { key, values });
        }
        // Most keys are there at the end.
        for key in 0..KEYS {
            if rng.random_range(0..2) == 0 {
                records.push(Record { key, values: row(rng) });
            }
        }
        History { records }
    }

    /// Names and types of columns, as Herald's declarations have them.
    pub fn declared() -> String {
        let column = |c: &crate::kind::Column| {
            format!("{} {}{}", c.name, c.herald, if c.not_null { " NOT NULL" } else { "" })
        };
        COLUMNS.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// Records of the keyed table, from place to place.
    pub fn keyed(&self, places: std::ops::Range<usize>) -> Records {
        let mut out = Records::new(0);
        for (at, record) in self.records[places.clone()].iter().enumerate() {
            let key = format!("{{\"id\":{}}}", record.key);
            let value = record.values.as_ref().map(|values| format!("{{{}}}", members(values)));
            let offset = (places.start + at) as i64;
            out.push(offset, None, Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
        }
        out
    }

    /// Records of a source without a key, numbered as `h` has them.
    pub fn plain(&self, places: std::ops::Range<usize>) -> Records {
        let mut out = Records::new(0);
        for (at, record) in self.records.iter().enumerate().take(places.end).skip(places.start) {
            let Some(values) = &record.values else { continue };
            let text = format!("{{\"id\":{at},{}}}", members(values));
            out.push(at as i64, None, None, Some(text.as_bytes()));
        }
        out
    }

    /// Makes PostgreSQL's tables `t` and `h`, and `u` with its one row.
    pub fn declare(postgres: &mut Postgres) {
        let columns: Vec<String> = COLUMNS.iter().map(|c| format!("{} {}", c.name, c.postgres)).collect();
        for table in ["t", "h"] {
            postgres.told(&format!("CREATE TABLE {table} (id int, {})", columns.join(", ")));
        }
        postgres.told("CREATE TABLE u AS SELECT 1 AS one");
    }

    /// Fills PostgreSQL's tables `t` and `h`.
    pub fn tell(&self, postgres: &mut Postgres) {
        postgres.told("TRUNCATE t, h");
        let mut left = std::collections::BTreeMap::new();
        let mut all = Vec::new();
        for (at, record) in self.records.iter().enumerate() {
            left.insert(record.key, record.values.as_ref());
            all.extend(record.values.as_ref().map(|values| (at, values)));
        }
        let left = left.into_iter().filter_map(|(key, values)| Some((key, values?)));
        insert(postgres, "t", left);
        insert(postgres, "h", all.into_iter());
    }
}

fn members(values: &[Value]) -> String {
    let member = |(c, value): (&crate::kind::Column, &Value)| format!("\"{}\":{}", c.name, value.json);
    COLUMNS.iter().zip(values).map(member).collect::<Vec<_>>().join(",")
}

fn insert<'a>(postgres: &mut Postgres, table: &str, rows: impl Iterator<Item = (usize, &'a Vec<Value>)>) {
    let value = |value: &Value| match &value.text {
        None => "NULL".to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    };
    let rows: Vec<String> = rows
        .map(|(id, values)| format!("({id}, {})", values.iter().map(value).collect::<Vec<_>>().join(", ")))
        .collect();
    postgres.told(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
}
