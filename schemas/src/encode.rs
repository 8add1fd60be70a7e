//! Encoding of batches as messages, one per row.
//!
//! The same encoder is used for values and, over the key columns alone, for keys. A key of one VARCHAR
//! or BYTEA column can also be its plain bytes.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use crate::avro::output::AvroEncoder;
use crate::error::SchemaError;
use crate::json::output::JsonEncoder;
use crate::records::blobs::Blobs;
use crate::types::relation::sql_type;
use crate::types::view::{Values, View};

/// An encoder of batches of one schema.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// One JSON object per row, fields in column order.
    Json(JsonEncoder),
    /// Avro in Confluent's wire format.
    Avro(AvroEncoder),
    /// The bytes of the one column; NULL is a null message.
    Text,
}

impl Encoder {
    /// Creates an encoder of JSON objects for rows of `schema`.
    pub fn json(schema: &Schema) -> Result<Encoder, SchemaError> {
        Ok(Encoder::Json(JsonEncoder::new(schema)?))
    }

    /// Creates an encoder of Avro records for rows of `schema`, whose form by
    /// [`avro_schema()`](crate::avro_schema()) is registered under `id`.
    pub fn avro(schema: &Schema, id: u32) -> Result<Encoder, SchemaError> {
        Ok(Encoder::Avro(AvroEncoder::new(schema, id)?))
    }

    /// Creates an encoder of the plain bytes of a single VARCHAR or BYTEA column, or of the text of a UUID.
    pub fn text(schema: &Schema) -> Result<Encoder, SchemaError> {
        match schema.fields().as_ref() {
            [only]
                if matches!(
                    only.data_type(),
                    DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(16)
                ) =>
            {
                Ok(Encoder::Text)
            }
            [only] => Err(SchemaError::UnsupportedType(sql_type(only))),
            fields => {
                let message = format!("plain bytes need one column, not {}", fields.len());
                Err(SchemaError::Mismatch(message))
            }
        }
    }

    /// Encodes each row as one message.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Blobs, SchemaError> {
        match self {
            Encoder::Json(encoder) => encoder.encode(batch).map(Blobs::from),
            Encoder::Avro(encoder) => encoder.encode(batch).map(Blobs::from),
            Encoder::Text => encode_plain(batch),
        }
    }
}

fn encode_plain(batch: &RecordBatch) -> Result<Blobs, SchemaError> {
    let [column] = batch.columns() else {
        return Err(SchemaError::Mismatch(format!("{} columns for one", batch.num_columns())));
    };
    let view = View::new(column)?;
    let mut blobs = Blobs::new();
    for row in 0..batch.num_rows() {
        match &view.values {
            _ if view.is_null(row) => blobs.push(None),
            Values::Bytes(heap) => blobs.push(Some(heap.get(row))),
            Values::Uuid(values) => blobs.push(Some(crate::types::uuid::text(&values[row]).as_bytes())),
            _ => return Err(SchemaError::UnsupportedType(column.data_type().to_string())),
        }
    }
    Ok(blobs)
}

pub(crate) mod check;
pub mod pseudonym;
#[cfg(test)]
mod tests;
