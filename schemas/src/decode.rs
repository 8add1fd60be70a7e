//! Records in, rows out: what every wire format's decoder has in common.
//!
//! A [`Decoder`] turns the values of [`Records`] into one Arrow batch. A record whose bytes do not
//! fit becomes a [`Reject`] that names the field, and leaves nothing behind in the batch. Every
//! column may come out NULL, whatever the schema says: NOT NULL is a constraint, judged later, so the
//! batch's schema is the given one with every field nullable.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::avro::AvroDecoder;
use crate::error::SchemaError;
use crate::json::JsonDecoder;
use crate::keyed::{DebeziumDecoder, UpsertDecoder};
use crate::record::Records;
use crate::types::columns::{Column, nullable_field};

/// What became of a batch of records.
#[derive(Debug)]
pub struct Decoded {
    /// The rows that decoded.
    pub batch: RecordBatch,
    /// For each row, the index of its record.
    pub rows: Vec<u32>,
    /// The records that did not.
    pub rejects: Vec<Reject>,
    /// For each row, whether its record deletes the row of its key; empty when none does. Of such a row
    /// only the key columns count.
    pub deletes: Vec<bool>,
}

/// A record whose bytes do not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// Index of the record.
    pub row: u32,
    /// What is wrong, with the field it is wrong in.
    pub message: String,
    /// The schema the record names, where it names one.
    pub schema_id: Option<u32>,
}

/// A decoder of one source.
#[derive(Debug)]
pub enum Decoder {
    /// JSON objects.
    Json(JsonDecoder),
    /// Avro in Confluent's wire format.
    Avro(AvroDecoder),
    /// Rows by the record's key; a null value deletes.
    Upsert(Box<UpsertDecoder>),
    /// Debezium's change events.
    Debezium(Box<DebeziumDecoder>),
}

impl Decoder {
    /// Decodes records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        match self {
            Decoder::Json(decoder) => decoder.decode(records),
            Decoder::Avro(decoder) => decoder.decode(records),
            Decoder::Upsert(decoder) => decoder.decode(records),
            Decoder::Debezium(decoder) => decoder.decode(records),
        }
    }

    /// What the user should be told once: columns that no record ever had.
    pub fn warnings(&mut self) -> Vec<String> {
        match self {
            Decoder::Json(decoder) => decoder.warnings(),
            Decoder::Avro(decoder) => decoder.warnings(),
            Decoder::Upsert(decoder) => decoder.warnings(),
            Decoder::Debezium(decoder) => decoder.warnings(),
        }
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Decoder::Json(decoder) => decoder.schema(),
            Decoder::Avro(decoder) => decoder.schema(),
            Decoder::Upsert(decoder) => decoder.schema(),
            Decoder::Debezium(decoder) => decoder.schema(),
        }
    }
}

/// The rows being built, under one struct column so that a record is one value.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) schema: SchemaRef,
    pub(crate) root: Column,
    rows: Vec<u32>,
    rejects: Vec<Reject>,
}

impl Batch {
    pub(crate) fn new(schema: &Schema) -> Result<Batch, SchemaError> {
        let fields: Vec<Field> = schema.fields().iter().map(|f| nullable_field(f)).collect();
        let schema = Arc::new(Schema::new(fields));
        let root = Column::new(&arrow::datatypes::DataType::Struct(schema.fields().clone()))?;
        Ok(Batch { schema, root, rows: Vec::new(), rejects: Vec::new() })
    }

    /// Ends the record `row`: keeps what was appended, or takes it back.
    #[inline]
    pub(crate) fn settle(&mut self, row: u32, outcome: Result<(), Fail>, schema_id: Option<u32>) {
        match outcome {
            Ok(()) => {
                self.root.close_value();
                self.rows.push(row);
            }
            Err(fail) => {
                self.root.truncate(self.rows.len());
                self.rejects.push(Reject { row, message: fail.to_string(), schema_id });
            }
        }
    }

    pub(crate) fn finish(&mut self) -> Result<Decoded, SchemaError> {
        let rows = std::mem::take(&mut self.rows);
        let array = self.root.finish()?;
        let columns = array.as_struct().columns().to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Decoded { batch, rows, rejects: std::mem::take(&mut self.rejects), deletes: vec![] })
    }

    /// Drops whatever an interrupted call left behind.
    pub(crate) fn reset(&mut self) {
        self.rows.clear();
        self.rejects.clear();
        self.root.truncate(0);
    }
}

/// Why a record does not fit, and where in it.
#[derive(Debug)]
pub(crate) struct Fail(Box<(String, String)>);

impl Fail {
    pub(crate) fn new(message: impl Into<String>) -> Fail {
        Fail(Box::new((String::new(), message.into())))
    }

    /// The same failure seen from one level up: `name` contains where it happened.
    pub(crate) fn within(mut self, name: &str) -> Fail {
        let path = &mut self.0.0;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        *path = format!("{name}{dot}{path}");
        self
    }

    /// The same failure seen from the list around the item.
    pub(crate) fn at(self, item: usize) -> Fail {
        self.within(&format!("[{item}]"))
    }
}

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, message) = &*self.0;
        if path.is_empty() { f.write_str(message) } else { write!(f, "field {path}: {message}") }
    }
}

/// The candidate most like `name`, if it is like it at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(&fold(name), &fold(candidate)), candidate))
        .min()
        .filter(|(distance, _)| *distance <= name.len().div_ceil(3))
        .map(|(_, candidate)| candidate)
}

/// Lower case without separators: `match_id` and `matchId` are the same name to a reader.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_path() {
        let fail = Fail::new("too large").within("kills").at(3).within("participants").within("info");
        assert_eq!(fail.to_string(), "field info.participants[3].kills: too large");
        assert_eq!(Fail::new("no JSON").to_string(), "no JSON");
    }

    #[test]
    fn near_names_are_found() {
        let seen = ["matchId", "platform", "x"];
        assert_eq!(nearest("match_id", seen.into_iter()), Some("matchId"));
        assert_eq!(nearest("platfrom", seen.into_iter()), Some("platform"));
        assert_eq!(nearest("duration", seen.into_iter()), None);
    }
}
