//! Random histories over a random schema: inserts, updates, disorder, duplicates, late and broken records.
//!
//! A key stays in one partition, as a producer that partitions by key has it; what is accepted then
//! depends on the records before alone, and not on where epochs end.

use rand::RngExt;

use crate::history::Draw;
use crate::model::Record;
use crate::schema::{Schema, value};

/// Draws `n` records.
pub fn history(schema: &Schema, seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&schema.specs, seed);
    while draw.records.len() < n {
        let source = draw.int(0..schema.specs.len() as i64) as usize;
        if draw.rng.random_bool(0.1) && draw.repeat(source) {
            continue;
        }
        let spec = &schema.specs[source];
        let row: Vec<_> = spec
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, kind))| {
                // Even a column that must not be NULL is, at times: such a record is refused.
                let share = if spec.not_null.contains(&at) { 0.02 } else { 0.2 };
                value(&mut draw, kind, share)
            })
            .collect();
        let partition = match &spec.keyed {
            Some(_) => (schemas::hash(row[0].to_string().as_bytes()) % spec.partitions as u64) as i32,
            None => draw.int(0..i64::from(spec.partitions)) as i32,
        };
        match draw.rng.random_bool(0.03) {
            true => draw.push_broken(source, partition, &row, None),
            false => draw.push(source, partition, row, None),
        }
    }
    draw.records
}
