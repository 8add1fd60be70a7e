//! UPSERT: the record's key is the key of a row, its value the row, and a null value deletes the row.
//!
//! Key columns are taken from the key. A value may have them too, but must then agree: a value that
//! contradicts its key is a reject, and so is a record without a key.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::keys::Keys;
use super::{Form, RowsByRecord, ValueDecoder, gather_values};
use crate::decode::batch::{Batch, Decoded, Reject};
use crate::error::SchemaError;
use crate::records::record::Records;
use crate::row::RowCodec;

/// A decoder of the records of an upsert topic into rows of one schema.
#[derive(Debug)]
pub struct UpsertDecoder {
    schema: SchemaRef,
    key: Vec<usize>,
    values: ValueDecoder,
    keys: Keys,
}

impl UpsertDecoder {
    /// Creates a decoder for rows of `schema` whose key columns are at `key`. `key` is empty if the bytes of
    /// the record's key are the table's key.
    ///
    /// # Errors
    /// Fails if a column cannot have this encoding.
    pub fn new(
        schema: SchemaRef,
        key: Vec<usize>,
        values: Form,
        keys: Form,
    ) -> Result<UpsertDecoder, SchemaError> {
        Ok(UpsertDecoder {
            keys: Keys::new(&schema, &key, keys)?,
            values: ValueDecoder::new(schema.clone(), values)?,
            schema: Batch::new(&schema)?.schema,
            key,
        })
    }

    /// Returns the schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns a warning for each column that no value ever had, once; key columns are left out, because the
    /// key has them.
    pub fn warnings(&mut self) -> Vec<String> {
        let missing = self.values.missing_columns().into_iter();
        missing.filter(|(column, _)| !self.key.contains(column)).map(|(_, warning)| warning).collect()
    }

    /// Decodes keys and values of records.
    ///
    /// # Errors
    /// Fails if the wait for a registry is cancelled.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        let (keys, mut key_of) = self.keys.decode(&records.keys)?;
        let mut values = self.values.decode(&records.values)?;
        let mut value_of = RowsByRecord::of_decoded(&mut values, records.len());
        let mut out = Decoded { batch: values.batch.clone(), rows: vec![], rejects: vec![], deletes: vec![] };
        self.reject_contradictions(&values.batch, &keys.batch, &value_of, &mut key_of)?;
        let (mut value_rows, mut key_rows) = (Vec::new(), Vec::new());
        for (record, at) in (0u32..).zip(0..records.len()) {
            let deletes = records.values.get(at).is_none();
            let refused = if deletes { None } else { value_of.rejects[at].take() };
            if let Some(reject) = key_of.rejects[at].take().or(refused) {
                out.rejects.push(reject);
                continue;
            }
            out.rows.push(record);
            out.deletes.push(deletes);
            value_rows.push(value_of.rows[at]);
            key_rows.push(key_of.rows[at]);
        }
        if !out.deletes.contains(&true) {
            out.deletes.clear();
        }
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (at, column) in values.batch.columns().iter().enumerate() {
            columns.push(match self.key.iter().position(|key| *key == at) {
                Some(place) => gather_values(keys.batch.column(place), &key_rows)?,
                None => gather_values(column, &value_rows)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(out.rows.len()));
        out.batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(out)
    }

    /// Turns records whose value contradicts their key into rejects.
    fn reject_contradictions(
        &self,
        values: &RecordBatch,
        keys: &RecordBatch,
        value_of: &RowsByRecord,
        key_of: &mut RowsByRecord,
    ) -> Result<(), SchemaError> {
        for (place, at) in self.key.iter().enumerate() {
            let column: &ArrayRef = values.column(*at);
            if column.null_count() == column.len() {
                continue;
            }
            // Packed bytes are compared, so that equal values of any type are equal here.
            let codec = RowCodec::new(&[column.data_type().clone()])?;
            let said = codec.encode(std::slice::from_ref(column))?;
            let meant = codec.encode(std::slice::from_ref(keys.column(place)))?;
            for (record, (value, key)) in value_of.rows.iter().zip(&mut key_of.rows).enumerate() {
                let (Some(value), Some(row)) = (*value, *key) else { continue };
                let (value, row) = (value as usize, row as usize);
                if column.is_null(value) || said.get(value) == meant.get(row) {
                    continue;
                }
                let name = self.schema.field(*at).name();
                let message = format!("field {name}: the value says otherwise than the record's key");
                key_of.rejects[record] = Some(Reject { row: record as u32, message, schema_id: None });
                *key = None;
            }
        }
        Ok(())
    }
}
