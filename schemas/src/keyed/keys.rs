//! Decoding of records' keys into key columns.
//!
//! A key is an object or a record with a field for each key column; or, if there is one column, its
//! bare value; or plain text, or plain bytes. All key columns must be present: a NULL in one is a reject.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::{Form, RowsByRecord};
use crate::avro::AvroDecoder;
use crate::decode::batch::{Batch, Decoded, Fail};
use crate::error::SchemaError;
use crate::json::{JsonDecoder, JsonOptions};
use crate::records::blobs::Blobs;
use crate::types::columns::{Column, Data};
use crate::types::relation::sql_type;

/// A decoder of keys.
#[derive(Debug)]
pub(super) struct Keys {
    reader: KeyReader,
}

/// The decoder of one encoding of keys.
#[derive(Debug)]
enum KeyReader {
    Json(JsonDecoder),
    Avro(AvroDecoder),
    /// The bytes of the one column, which must be UTF-8 if it is VARCHAR.
    Plain(Batch),
    /// No column is decoded from the key: its bytes are the table's key.
    Whole(SchemaRef),
}

impl Keys {
    /// Creates a decoder of the columns of `schema` at `key`; `key` is empty if the key's bytes are the
    /// table's key.
    pub(super) fn new(schema: &Schema, key: &[usize], form: Form) -> Result<Keys, SchemaError> {
        let columns: Vec<_> = key.iter().map(|at| schema.field(*at).clone()).collect();
        let (one, columns) = (columns.len() == 1, Arc::new(Schema::new(columns)));
        let reader = match form {
            _ if key.is_empty() => KeyReader::Whole(columns),
            Form::Json(options) => {
                let decoder = JsonDecoder::new(columns, options)?;
                KeyReader::Json(if one { decoder.or_value() } else { decoder })
            }
            Form::Avro(registry, cancel) => {
                let decoder = AvroDecoder::new(columns, registry, cancel)?;
                KeyReader::Avro(if one { decoder.or_value() } else { decoder })
            }
            Form::Text | Form::Bytes => plain_reader(columns, matches!(form, Form::Text))?,
        };
        Ok(Keys { reader })
    }

    /// Accepts JSON keys as the `payload` beside a `schema`, as Kafka Connect writes them.
    pub(super) fn with_envelope(self) -> Keys {
        match self.reader {
            KeyReader::Json(decoder) => Keys { reader: KeyReader::Json(decoder.with_envelope()) },
            reader => Keys { reader },
        }
    }

    /// Decodes keys. Every row has all of its columns; a reject's message names the key as its origin.
    pub(super) fn decode(&mut self, keys: &Blobs) -> Result<(Decoded, RowsByRecord), SchemaError> {
        let mut decoded = match &mut self.reader {
            KeyReader::Json(decoder) => decoder.decode_all(keys)?,
            KeyReader::Avro(decoder) => decoder.decode_all(keys)?,
            KeyReader::Plain(batch) => decode_plain(batch, keys)?,
            KeyReader::Whole(schema) => decode_whole(schema, keys)?,
        };
        let mut found = RowsByRecord::of_decoded(&mut decoded, keys.len());
        for (record, reject) in found.rejects.iter_mut().enumerate() {
            if let Some(reject) = reject {
                reject.message = match keys.get(record) {
                    Some(_) => format!("the record's key: {}", reject.message),
                    None => "the record has no key".to_owned(),
                };
                reject.schema_id = None;
            }
        }
        let fields = decoded.batch.schema();
        for (column, field) in decoded.batch.columns().iter().zip(fields.fields()) {
            if column.null_count() == 0 {
                continue;
            }
            for (record, row) in found.rows.iter_mut().enumerate() {
                if row.is_some_and(|row| column.is_null(row as usize)) {
                    let message = format!("the record's key: {} is missing", field.name());
                    found.rejects[record] =
                        Some(crate::Reject { row: record as u32, message, schema_id: None });
                    *row = None;
                }
            }
        }
        Ok((decoded, found))
    }
}

/// Chooses the decoder of a plain key. TEXT of a number is parsed as a JSON number.
fn plain_reader(columns: SchemaRef, text: bool) -> Result<KeyReader, SchemaError> {
    let fields = columns.fields();
    let [only] = fields.as_ref() else {
        return Err(SchemaError::Mismatch(format!("a plain key is one column, not {}", fields.len())));
    };
    match only.data_type() {
        DataType::Utf8 if text && !crate::is_jsonb(only) => Ok(KeyReader::Plain(Batch::new(&columns)?)),
        DataType::FixedSizeBinary(16) if text => Ok(KeyReader::Plain(Batch::new(&columns)?)),
        DataType::Binary if !text => Ok(KeyReader::Plain(Batch::new(&columns)?)),
        kind if text && (kind.is_integer() || kind.is_floating() || kind.is_decimal()) => {
            Ok(KeyReader::Json(JsonDecoder::new(columns.clone(), JsonOptions::default())?.or_value()))
        }
        _ => Err(SchemaError::UnsupportedType(sql_type(only))),
    }
}

/// Decodes the bytes of keys as one VARCHAR, BYTEA or UUID column.
fn decode_plain(batch: &mut Batch, keys: &Blobs) -> Result<Decoded, SchemaError> {
    batch.reset();
    for (row, key) in (0u32..).zip(keys.iter()) {
        let outcome = append_plain(batch.root.fields_mut(), key);
        batch.settle_record(row, outcome, None);
    }
    batch.finish()
}

/// Appends the bytes of a key to the one column.
fn append_plain(columns: &mut [Column], key: Option<&[u8]>) -> Result<(), Fail> {
    let Some(key) = key else { return Err(Fail::new("")) };
    let [column] = columns else { return Err(Fail::new("the key is one column")) };
    if *column.data_type() == DataType::Utf8 && std::str::from_utf8(key).is_err() {
        return Err(Fail::new("it is not UTF-8"));
    }
    if let (Data::Uuid(values), nulls) = column.values_and_nulls() {
        let value = std::str::from_utf8(key).ok().and_then(crate::types::uuid::parse);
        values.push(value.ok_or_else(|| Fail::new("it is no UUID"))?);
        nulls.append_non_null();
        return Ok(());
    }
    let fits = column.append_bytes(key);
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

/// Returns rows without columns for all keys that are not null.
fn decode_whole(schema: &SchemaRef, keys: &Blobs) -> Result<Decoded, SchemaError> {
    let mut batch = Batch::new(schema)?;
    for (row, key) in (0u32..).zip(keys.iter()) {
        let outcome = if key.is_some() { Ok(()) } else { Err(Fail::new("")) };
        batch.settle_record(row, outcome, None);
    }
    batch.finish()
}
