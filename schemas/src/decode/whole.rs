//! Decoder of ENCODE BYTES and ENCODE TEXT: the value of a record is its one column.

use arrow::datatypes::{DataType, SchemaRef};

use super::batch::{Batch, Decoded, Fail};
use crate::error::SchemaError;
use crate::records::record::Records;
use crate::types::columns::Column;
use crate::types::relation::{is_jsonb, sql_type};

/// A decoder of values as they are, into one column of BYTEA or VARCHAR.
///
/// A null value is NULL and an empty one is empty. The only records that do not fit are those whose bytes
/// are no UTF-8 where the column is VARCHAR.
///
/// ```
/// use std::sync::Arc;
/// use arrow::datatypes::{DataType, Field, Schema};
/// use schemas::{Records, decode::whole::WholeDecoder};
///
/// let schema = Arc::new(Schema::new(vec![Field::new("body", DataType::Utf8, true)]));
/// let mut decoder = WholeDecoder::new(schema)?;
/// let mut records = Records::new(0);
/// records.push(0, None, None, Some(b"{not JSON"));
/// records.push(1, None, None, None);
/// records.push(2, None, None, Some(b"\xff"));
/// let decoded = decoder.decode(&records)?;
/// assert_eq!((decoded.rows, decoded.batch.column(0).null_count()), (vec![0, 1], 1));
/// assert_eq!(decoded.rejects[0].message, "the value is not UTF-8");
/// # Ok::<(), schemas::SchemaError>(())
/// ```
#[derive(Debug)]
pub struct WholeDecoder {
    batch: Batch,
    text: bool,
}

impl WholeDecoder {
    /// Creates a decoder for rows of `schema`, which has one column.
    ///
    /// # Errors
    /// When there is another number of columns, or the column is neither BYTEA nor VARCHAR.
    pub fn new(schema: SchemaRef) -> Result<WholeDecoder, SchemaError> {
        let [only] = schema.fields().as_ref() else {
            let message = format!("the value of a record is one column, not {}", schema.fields().len());
            return Err(SchemaError::Mismatch(message));
        };
        let text = match only.data_type() {
            DataType::Utf8 if !is_jsonb(only) => true,
            DataType::Binary => false,
            _ => return Err(SchemaError::UnsupportedType(sql_type(only))),
        };
        Ok(WholeDecoder { batch: Batch::new(&schema)?, text })
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        for (row, value) in (0u32..).zip(records.values.iter()) {
            let outcome = append_value(self.batch.root.fields_mut(), value, self.text);
            self.batch.settle_record(row, outcome, None);
        }
        self.batch.finish()
    }
}

/// Appends a record's value to the one column.
fn append_value(columns: &mut [Column], value: Option<&[u8]>, text: bool) -> Result<(), Fail> {
    let [column] = columns else { return Err(Fail::new("the value is one column")) };
    let Some(value) = value else {
        column.append_null();
        return Ok(());
    };
    if text && std::str::from_utf8(value).is_err() {
        return Err(Fail::new("the value is not UTF-8"));
    }
    if column.append_bytes(value) { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}
