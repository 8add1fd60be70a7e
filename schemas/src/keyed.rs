//! Decoders of rows that replace and delete each other by key: UPSERT and Debezium, over any encoding of
//! values.
//!
//! A keyed decoder decodes values, and keys where it needs them, with the decoders of the plain
//! encodings, and combines the two column by column. A record that deletes becomes a row of which
//! only the key columns are valid, marked in [`Decoded::deletes`]. Every such row has its complete
//! key; a record that does not identify its row is a reject.

mod debezium;
mod keys;
mod lines;
mod upsert;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use crate::avro::AvroDecoder;
use crate::decode::batch::{Decoded, Reject};
use crate::error::SchemaError;
use crate::json::{JsonDecoder, JsonOptions};
use crate::records::blobs::Blobs;
use crate::registry::Registry;

pub use debezium::DebeziumDecoder;
pub use lines::{KeyAndValue, split_line};
pub use upsert::UpsertDecoder;

/// The encoding of a key or a value.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON object; for a key of one column also its bare value.
    Json(JsonOptions),
    /// Avro in Confluent's wire format; for a key of one column also its bare value.
    Avro(Registry, Arc<AtomicBool>),
    /// The text of one VARCHAR or number; for keys only.
    Text,
    /// The bytes of one BYTEA; for keys only.
    Bytes,
}

/// A decoder of values.
#[derive(Debug)]
enum ValueDecoder {
    Json(JsonDecoder),
    Avro(AvroDecoder),
}

impl ValueDecoder {
    fn new(schema: SchemaRef, form: Form) -> Result<ValueDecoder, SchemaError> {
        match form {
            Form::Json(options) => JsonDecoder::new(schema, options).map(ValueDecoder::Json),
            Form::Avro(registry, cancel) => {
                AvroDecoder::new(schema, registry, cancel).map(ValueDecoder::Avro)
            }
            Form::Text | Form::Bytes => Err(SchemaError::UnsupportedType("plain text as a value".to_owned())),
        }
    }

    /// Decodes each blob as one message; a null is a reject.
    fn decode(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        match self {
            ValueDecoder::Json(decoder) => decoder.decode_all(values),
            ValueDecoder::Avro(decoder) => decoder.decode_all(values),
        }
    }

    /// Returns the columns that no record ever had, with their warnings, once.
    fn missing_columns(&mut self) -> Vec<(usize, String)> {
        match self {
            ValueDecoder::Json(decoder) => decoder.missing_columns(),
            ValueDecoder::Avro(decoder) => decoder.missing_columns(),
        }
    }
}

/// The result of decoding by record: the index of its row in the batch, or its reject.
struct RowsByRecord {
    rows: Vec<Option<u32>>,
    rejects: Vec<Option<Reject>>,
}

impl RowsByRecord {
    /// Arranges the rows and rejects of `decoded` by record, out of `records`; the rejects are moved.
    fn of_decoded(decoded: &mut Decoded, records: usize) -> RowsByRecord {
        let mut found = RowsByRecord { rows: vec![None; records], rejects: vec![None; records] };
        for (at, record) in (0u32..).zip(&decoded.rows) {
            found.rows[*record as usize] = Some(at);
        }
        for reject in std::mem::take(&mut decoded.rejects) {
            let record = reject.row as usize;
            found.rejects[record] = Some(reject);
        }
        found
    }
}

/// Takes the values at `places`, NULL for None. A column taken whole and in order is not copied.
fn gather_values(column: &ArrayRef, places: &[Option<u32>]) -> Result<ArrayRef, SchemaError> {
    let whole = places.len() == column.len() && (0u32..).zip(places).all(|(at, place)| *place == Some(at));
    if whole {
        return Ok(column.clone());
    }
    Ok(take(column, &UInt32Array::from(places.to_vec()), None)?)
}

#[cfg(test)]
mod tests;
