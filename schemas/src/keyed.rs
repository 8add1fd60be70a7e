//! Rows that replace and delete each other by key: UPSERT and Debezium, over any encoding of values.
//!
//! A keyed decoder reads values, and keys where it needs them, with the decoders of the plain
//! encodings, and puts the two together column by column. A record that deletes becomes a row of which
//! only the key columns count, marked in [`Decoded::deletes`](crate::Decoded::deletes). Every such row
//! has its whole key; a record that does not say which row it means is a reject.

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
use crate::blobs::Blobs;
use crate::decode::{Decoded, Reject};
use crate::error::SchemaError;
use crate::json::{JsonDecoder, JsonOptions};
use crate::registry::Registry;

pub use debezium::DebeziumDecoder;
pub use lines::{KeyAndValue, split_line};
pub use upsert::UpsertDecoder;

/// What the bytes of a key or a value are.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON object; of a key of one column also its bare value.
    Json(JsonOptions),
    /// Avro in Confluent's wire format; of a key of one column also its bare value.
    Avro(Registry, Arc<AtomicBool>),
    /// The text of one VARCHAR or number; for keys only.
    Text,
    /// One BYTEA as it is; for keys only.
    Bytes,
}

/// Reads values.
#[derive(Debug)]
enum Values {
    Json(JsonDecoder),
    Avro(AvroDecoder),
}

impl Values {
    fn new(schema: SchemaRef, form: Form) -> Result<Values, SchemaError> {
        match form {
            Form::Json(options) => JsonDecoder::new(schema, options).map(Values::Json),
            Form::Avro(registry, cancel) => AvroDecoder::new(schema, registry, cancel).map(Values::Avro),
            Form::Text | Form::Bytes => Err(SchemaError::UnsupportedType("plain text as a value".to_owned())),
        }
    }

    /// Decodes one message a blob; a null is a reject.
    fn decode(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        match self {
            Values::Json(decoder) => decoder.decode_all(values),
            Values::Avro(decoder) => decoder.decode_all(values),
        }
    }

    /// Columns that no record ever had, told once.
    fn missing(&mut self) -> Vec<(usize, String)> {
        match self {
            Values::Json(decoder) => decoder.missing(),
            Values::Avro(decoder) => decoder.missing(),
        }
    }
}

/// What a decoder made of each record: the row of its batch, or why there is none.
struct Found {
    rows: Vec<Option<u32>>,
    rejects: Vec<Option<Reject>>,
}

impl Found {
    /// Of `records` records; takes the rows' and rejects' places out of `decoded`.
    fn of(decoded: &mut Decoded, records: usize) -> Found {
        let mut found = Found { rows: vec![None; records], rejects: vec![None; records] };
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

/// The values at `places`, NULL where there is none. What is taken whole and in order is not copied.
fn gather(column: &ArrayRef, places: &[Option<u32>]) -> Result<ArrayRef, SchemaError> {
    let whole = places.len() == column.len() && (0u32..).zip(places).all(|(at, place)| *place == Some(at));
    if whole {
        return Ok(column.clone());
    }
    Ok(take(column, &UInt32Array::from(places.to_vec()), None)?)
}

#[cfg(test)]
mod tests;
