//! Random histories over a random schema: inserts, updates, deletes, disorder, duplicates, late and broken
//! records.
//!
//! A key stays in one partition, as a producer that partitions by key has it; what is accepted then
//! depends on the records before alone, and not on where epochs end.

use rand::RngExt;
use serde_json::{Value, json};

use crate::history::{Draw, Keyed, encode};
use crate::model::Record;
use crate::rows::Row;
use crate::schema::{Format, Schema, value};

/// Draws `n` records.
pub fn history(schema: &Schema, seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&schema.specs, seed);
    while draw.records.len() < n {
        let source = draw.int(0..schema.specs.len() as i64) as usize;
        if draw.rng.random_bool(0.1) && repeated(&mut draw, schema, source) {
            continue;
        }
        let spec = &schema.specs[source];
        let format = schema.formats[source];
        let row: Row = spec
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, kind))| {
                // Even a column that must not be NULL is, at times: such a record is refused.
                let share = match spec.not_null.contains(&at) {
                    true if format != Format::Plain => 0.0,
                    true => 0.02,
                    false => 0.2,
                };
                // Few keys, so that rows are replaced and deleted.
                match (at, *kind) {
                    (0, "VARCHAR") if !draw.rng.random_bool(share) => draw.one(&["a", "b", "ab", "B"]).into(),
                    (0, "BIGINT") if !draw.rng.random_bool(share) => draw.int(0..4).into(),
                    _ => value(&mut draw, kind, share),
                }
            })
            .collect();
        let partition = match &spec.keyed {
            Some(_) => (schemas::hash(row[0].to_string().as_bytes()) % spec.partitions as u64) as i32,
            None => draw.int(0..i64::from(spec.partitions)) as i32,
        };
        match (format != Format::Plain, draw.rng.random_bool(0.03)) {
            (true, broken) => by_key(&mut draw, schema, (source, partition), row, broken),
            (false, true) => draw.push_broken(source, partition, &row, None),
            (false, false) => draw.push(source, partition, row, None),
        }
    }
    draw.records
}

/// A record that replaces the row of its key, or deletes it.
fn by_key(draw: &mut Draw, schema: &Schema, place: (usize, i32), row: Row, broken: bool) {
    let deletes = draw.rng.random_bool(0.3);
    let key = json!({ "k": row[0] }).to_string().into_bytes();
    let value = encode(&schema.specs[place.0], &row, &mut draw.rng);
    let value = match (schema.formats[place.0], deletes) {
        (Format::Debezium, false) => {
            let op = draw.one(&["c", "r", "u"]);
            format!(r#"{{"before": null, "after": {value}, "op": "{op}"}}"#)
        }
        (Format::Debezium, true) => format!(r#"{{"before": {value}, "after": null, "op": "d"}}"#),
        _ => value,
    };
    let change = schema.formats[place.0] == Format::Debezium && draw.rng.random_bool(0.7);
    let value = value.into_bytes();
    let of_key = |row: Row| -> Row {
        row.into_iter().enumerate().map(|(at, v)| if at == 0 { v } else { Value::Null }).collect()
    };
    let keyed = match (broken, deletes) {
        (true, _) if schema.formats[place.0] == Format::Debezium => {
            Keyed { row: None, deletes: false, key: Some(key), bytes: Some(br#"{"op": "t"}"#.to_vec()) }
        }
        (true, _) => Keyed { row: None, deletes: false, key: None, bytes: Some(value) },
        // A Debezium delete is a change, or what the compaction of a topic leaves of it.
        (false, true) => {
            Keyed { row: Some(of_key(row)), deletes, key: Some(key), bytes: change.then_some(value) }
        }
        (false, false) => Keyed { row: Some(row), deletes, key: Some(key), bytes: Some(value) },
    };
    draw.push_keyed(place, keyed, None);
}

/// An earlier record once more. False without one.
fn repeated(draw: &mut Draw, schema: &Schema, source: usize) -> bool {
    if schema.formats[source] == Format::Plain {
        return draw.repeat(source);
    }
    let earlier: Vec<Record> = draw.records.iter().filter(|r| r.source == source).cloned().collect();
    if earlier.is_empty() {
        return false;
    }
    let Record { partition, row, deletes, key, bytes, .. } = draw.one(&earlier);
    draw.push_keyed((source, partition), Keyed { row, deletes, key, bytes }, None);
    true
}
