//! Decoded rows of a batch of records, and the records that were rejected.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{normalise_name, nullable_field};
use crate::did_you_mean::{levenshtein, nearest};
use crate::error::SchemaError;
use crate::types::columns::Column;

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
                self.undo_record();
                self.rejects.push(Reject { row, message: fail.to_string(), schema_id });
            }
        }
    }

    /// Removes the values that a record has appended so far, so that it can be read again.
    pub(crate) fn undo_record(&mut self) {
        self.root.truncate(self.rows.len());
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

/// The warning that no record has a column, with a hint at the nearest of the fields that they have.
pub(crate) fn missing_warning<'a>(name: &str, fields: impl Iterator<Item = &'a str>, rows: u64) -> String {
    let hint = match nearest_field(name, fields) {
        Some(near) => format!("; the nearest field is \"{near}\""),
        None => String::new(),
    };
    format!("column \"{name}\" was in none of {rows} records{hint}")
}

/// The field nearest to a column's name, if the distance is at most a third of the name's length.
pub(crate) fn nearest_field<'a>(name: &str, fields: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str, field: &str| levenshtein(&normalise_name(name), &normalise_name(field));
    nearest(name, fields, distance, |_| name.len().div_ceil(3))
}
