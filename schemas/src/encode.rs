//! Rows out: batches to messages, one a row.
//!
//! The same encoder serves values and, over the key columns alone, keys. A key of one VARCHAR or
//! BYTEA column can also be its plain bytes.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use crate::avro::output::AvroEncoder;
use crate::blobs::Blobs;
use crate::error::SchemaError;
use crate::json::output::JsonEncoder;
use crate::types::relation::sql_type;
use crate::types::view::{Values, View};

/// Writes the rows of batches of one schema.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// A JSON object a row, fields in column order.
    Json(JsonEncoder),
    /// Avro in Confluent's wire format.
    Avro(AvroEncoder),
    /// The bytes of the one column; NULL is a null message.
    Text,
}

impl Encoder {
    /// JSON objects of rows of `schema`.
    pub fn json(schema: &Schema) -> Result<Encoder, SchemaError> {
        Ok(Encoder::Json(JsonEncoder::new(schema)?))
    }

    /// Avro records of rows of `schema`, which is registered under `id` as
    /// [`avro_schema()`](crate::avro::schema()) writes it.
    pub fn avro(schema: &Schema, id: u32) -> Result<Encoder, SchemaError> {
        Ok(Encoder::Avro(AvroEncoder::new(schema, id)?))
    }

    /// The plain bytes of a single VARCHAR or BYTEA column, or the text of a UUID.
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

    /// One message a row.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Blobs, SchemaError> {
        match self {
            Encoder::Json(encoder) => encoder.encode(batch).map(Blobs::from),
            Encoder::Avro(encoder) => encoder.encode(batch).map(Blobs::from),
            Encoder::Text => plain(batch),
        }
    }
}

fn plain(batch: &RecordBatch) -> Result<Blobs, SchemaError> {
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

/// Refuses batches whose columns are not those the encoder was made for.
pub(crate) fn check(batch: &RecordBatch, types: &[DataType]) -> Result<(), SchemaError> {
    let same = batch.num_columns() == types.len()
        && batch.columns().iter().zip(types).all(|(c, t)| c.data_type().equals_datatype(t));
    if same {
        return Ok(());
    }
    let found: Vec<String> = batch.columns().iter().map(|c| c.data_type().to_string()).collect();
    let wanted: Vec<String> = types.iter().map(ToString::to_string).collect();
    Err(SchemaError::Mismatch(format!("({}) for ({})", found.join(", "), wanted.join(", "))))
}

#[cfg(test)]
mod tests;
