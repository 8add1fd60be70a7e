//! Decoding of records into rows: the common part of all wire formats' decoders.
//!
//! A [`Decoder`] turns the values of [`Records`] into one Arrow batch. A record whose bytes do not
//! fit becomes a [`Reject`] that names the field, and leaves nothing in the batch. Any column may
//! be NULL, whatever the schema says: NOT NULL is a constraint, checked later, so the batch's schema
//! is the given one with every field nullable.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::avro::AvroDecoder;
use crate::did_you_mean::{levenshtein, nearest};
use crate::error::SchemaError;
use crate::json::JsonDecoder;
use crate::keyed::{DebeziumDecoder, UpsertDecoder};
use crate::record::Records;
use crate::types::columns::{Column, nullable_field};

/// The result of decoding a batch of records.
#[derive(Debug)]
pub struct Decoded {
    /// The rows that decoded.
    pub batch: RecordBatch,
    /// The index of each row's record.
    pub rows: Vec<u32>,
    /// The records that did not decode.
    pub rejects: Vec<Reject>,
    /// True for each row whose record deletes the row of its key; empty when none does. Only the key columns
    /// of such a row are valid.
    pub deletes: Vec<bool>,
}

/// A record whose bytes do not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The index of the record.
    pub row: u32,
    /// The problem, with the field it is in.
    pub message: String,
    /// The schema id in the record, if it has one.
    pub schema_id: Option<u32>,
}

/// A decoder of one source.
#[derive(Debug)]
pub enum Decoder {
    /// JSON objects.
    Json(JsonDecoder),
    /// Avro in Confluent's wire format.
    Avro(AvroDecoder),
    /// Rows keyed by the record's key; a null value deletes.
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

    /// Returns warnings for the user, each once: columns that no record ever had.
    pub fn warnings(&mut self) -> Vec<String> {
        match self {
            Decoder::Json(decoder) => decoder.warnings(),
            Decoder::Avro(decoder) => decoder.warnings(),
            Decoder::Upsert(decoder) => decoder.warnings(),
            Decoder::Debezium(decoder) => decoder.warnings(),
        }
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Decoder::Json(decoder) => decoder.schema(),
            Decoder::Avro(decoder) => decoder.schema(),
            Decoder::Upsert(decoder) => decoder.schema(),
            Decoder::Debezium(decoder) => decoder.schema(),
        }
    }
}

/// A batch under construction: one struct column, so that a record is one value.
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

    /// Ends the record `row`: keeps the appended values, or removes them and adds a reject.
    #[inline]
    pub(crate) fn settle_record(&mut self, row: u32, outcome: Result<(), Fail>, schema_id: Option<u32>) {
        match outcome {
            Ok(()) => {
                self.root.close_value();
                self.rows.push(row);
            }
            Err(fail) => {
                // A failed record may have appended to some columns: cut all of them back to the rows so far.
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

    /// Discards the remains of an interrupted call.
    pub(crate) fn reset(&mut self) {
        self.rows.clear();
        self.rejects.clear();
        self.root.truncate(0);
    }
}

/// The reason why a record does not fit, with the path of the field.
#[derive(Debug)]
pub(crate) struct Fail(Box<(String, String)>);

impl Fail {
    pub(crate) fn new(message: impl Into<String>) -> Fail {
        Fail(Box::new((String::new(), message.into())))
    }

    /// Prepends the name of the enclosing field to the path.
    pub(crate) fn in_field(mut self, name: &str) -> Fail {
        let path = &mut self.0.0;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        *path = format!("{name}{dot}{path}");
        self
    }

    /// Prepends the index of the enclosing list's item to the path.
    pub(crate) fn in_item(self, item: usize) -> Fail {
        self.in_field(&format!("[{item}]"))
    }
}

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, message) = &*self.0;
        if path.is_empty() { f.write_str(message) } else { write!(f, "field {path}: {message}") }
    }
}

/// The field nearest to a column's name, if the distance is at most a third of the name's length.
pub(crate) fn nearest_field<'a>(name: &str, fields: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str, field: &str| levenshtein(&normalise_name(name), &normalise_name(field));
    nearest(name, fields, distance, |_| name.len().div_ceil(3))
}

/// Returns a name in lower case without separators, so that `match_id` and `matchId` count as equal.
fn normalise_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_path() {
        let fail =
            Fail::new("too large").in_field("kills").in_item(3).in_field("participants").in_field("info");
        assert_eq!(fail.to_string(), "field info.participants[3].kills: too large");
        assert_eq!(Fail::new("no JSON").to_string(), "no JSON");
    }

    #[test]
    fn near_names_are_found() {
        let seen = ["matchId", "platform", "x"];
        assert_eq!(nearest_field("match_id", seen.into_iter()), Some("matchId"));
        assert_eq!(nearest_field("platfrom", seen.into_iter()), Some("platform"));
        assert_eq!(nearest_field("duration", seen.into_iter()), None);
    }
}
