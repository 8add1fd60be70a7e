//! Decoding of records into rows: the common part of all wire formats' decoders.
//!
//! A [`Decoder`] turns the values of [`Records`] into one Arrow batch. A record whose bytes do not
//! fit becomes a [`batch::Reject`] that names the field, and leaves nothing in the batch. Any column may
//! be NULL, whatever the schema says: NOT NULL is a constraint, checked later, so the batch's schema
//! is the given one with every field nullable.

pub mod batch;
pub mod whole;

use arrow::datatypes::SchemaRef;

use crate::avro::AvroDecoder;
use crate::error::SchemaError;
use crate::json::JsonDecoder;
use crate::keyed::{DebeziumDecoder, UpsertDecoder};
use crate::records::record::Records;
use crate::types::columns::nullable_field;
use batch::Decoded;
use whole::WholeDecoder;

/// A decoder of one source.
#[derive(Debug)]
pub enum Decoder {
    /// JSON objects.
    Json(JsonDecoder),
    /// Avro in Confluent's wire format.
    Avro(AvroDecoder),
    /// Values as they are, in one column.
    Whole(WholeDecoder),
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
            Decoder::Whole(decoder) => decoder.decode(records),
            Decoder::Upsert(decoder) => decoder.decode(records),
            Decoder::Debezium(decoder) => decoder.decode(records),
        }
    }

    /// Returns warnings for the user, each once: columns that no record ever had.
    pub fn warnings(&mut self) -> Vec<String> {
        match self {
            Decoder::Json(decoder) => decoder.warnings(),
            Decoder::Avro(decoder) => decoder.warnings(),
            Decoder::Whole(_) => Vec::new(),
            Decoder::Upsert(decoder) => decoder.warnings(),
            Decoder::Debezium(decoder) => decoder.warnings(),
        }
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Decoder::Json(decoder) => decoder.schema(),
            Decoder::Avro(decoder) => decoder.schema(),
            Decoder::Whole(decoder) => decoder.schema(),
            Decoder::Upsert(decoder) => decoder.schema(),
            Decoder::Debezium(decoder) => decoder.schema(),
        }
    }
}

/// Returns a name in lower case without separators, so that `match_id` and `matchId` count as equal.
fn normalise_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use crate::decode::batch::Fail;
    use crate::decode::batch::nearest_field;

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
