//! Rows of the outbox as Arrow batches in the columns of an export's files, with the partition of each row.
//!
//! A chunk's record has the packed row as its value and, of a change, the operation as its key. Columns whose value is
//! in the name of the partition are left out of the files, as readers expect it; a date that a partition is named by
//! says less than the column, which stays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Field, Int16Type, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use schemas::types::columns::nullable_field;
use schemas::types::time::write_date;
use schemas::{OutChunk, RowCodec, SchemaError, partition_name};

use super::layout::push_partition;
use super::settings::ExportMode;
use crate::ConnectorError;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Mark of a new row in the outbox.
pub const INSERT: &[u8] = b"i";
/// Mark of a row that came in place of another of its key.
pub const UPDATE: &[u8] = b"u";
/// Mark of a row that is gone; the record has the row as it was.
pub const DELETE: &[u8] = b"d";

/// The columns and partitions of an export.
#[derive(Debug)]
pub struct ExportShape {
    /// The content of the files.
    pub mode: ExportMode,
    /// The columns of the files, all nullable.
    pub schema: SchemaRef,
    codec: RowCodec,
    /// Columns of the view that are in the files.
    kept: Vec<usize>,
    partitions: Vec<Partition>,
}

/// A partition of an export.
#[derive(Debug)]
struct Partition {
    /// The name in front of its values.
    name: String,
    /// The column of the view that has them.
    at: usize,
    /// The column's name, which is another where a time gives its day.
    column: String,
}

impl ExportShape {
    /// The shape of a view's export.
    ///
    /// # Errors
    /// When a column of the partitions is none of the view's, or has no partitions. The planner refuses both before.
    pub fn new(
        view: &Schema,
        mode: ExportMode,
        partition_by: &[String],
    ) -> Result<ExportShape, ConnectorError> {
        let mut partitions = Vec::new();
        for name in partition_by {
            let found = view.column_with_name(name);
            let named = found.and_then(|(at, field)| {
                let column = field.name().clone();
                Some(Partition { name: partition_name(field)?.to_owned(), at, column })
            });
            let Some(named) = named else {
                let message = format!("there is no column {name} that partitions can be named by");
                return Err(ConnectorError::config("partition_by", message));
            };
            partitions.push(named);
        }
        let mut fields = Vec::new();
        if mode == ExportMode::Changes {
            fields.push(Field::new("op", DataType::Utf8, true));
            fields.push(Field::new("epoch", DataType::Int64, true));
        }
        let mut kept = Vec::new();
        for (at, field) in view.fields().iter().enumerate() {
            if !partitions.iter().any(|partition| partition.at == at && partition.name == *field.name()) {
                kept.push(at);
                fields.push(nullable_field(field));
            }
        }
        let codec = RowCodec::of(view)?;
        Ok(ExportShape { mode, schema: Arc::new(Schema::new(fields)), codec, kept, partitions })
    }

    /// The mode and the partitions as text: an export that has begun keeps both.
    pub fn form(&self) -> String {
        let mut form = self.mode.word().to_owned();
        for (at, Partition { name, column, .. }) in self.partitions.iter().enumerate() {
            form.push_str(if at == 0 { " by " } else { ", " });
            form.push_str(name);
            if name != column {
                form.push_str(&format!(" of {column}"));
            }
        }
        form
    }

    /// Tells whether files are partitioned.
    pub fn is_partitioned(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// The rows of a chunk in the columns of the files.
    pub fn read_rows(&self, epoch: u64, chunk: &[u8]) -> Result<RecordBatch, ConnectorError> {
        let (mut rows, mut words) = (Vec::new(), Vec::new());
        for record in OutChunk::read(chunk)? {
            let record = record?;
            rows.push(record.value.unwrap_or_default());
            words.push(record.key.and_then(operation_word));
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        if self.mode == ExportMode::Changes {
            let epochs = vec![i64::try_from(epoch).unwrap_or(i64::MAX); rows.len()];
            columns.push(Arc::new(StringArray::from(words)));
            columns.push(Arc::new(Int64Array::from(epochs)));
        }
        columns.extend(self.codec.decode_columns(rows.into_iter(), &self.kept)?);
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| unreadable(&error))
    }

    /// The partition of each row of a chunk, as a path; empty without partitions.
    pub fn read_partitions(&self, chunk: &[u8]) -> Result<Vec<String>, ConnectorError> {
        let mut rows = Vec::new();
        for record in OutChunk::read(chunk)? {
            rows.push(record?.value.unwrap_or_default());
        }
        let mut found = vec![String::new(); rows.len()];
        if self.partitions.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<usize> = self.partitions.iter().map(|partition| partition.at).collect();
        let columns = self.codec.decode_columns(rows.into_iter(), &wanted)?;
        for (partition, column) in self.partitions.iter().zip(&columns) {
            for (at, path) in found.iter_mut().enumerate() {
                push_partition(path, &partition.name, partition_value(column, at).as_deref());
            }
        }
        Ok(found)
    }
}

/// The word of an operation; None for a mark that is none.
fn operation_word(mark: &[u8]) -> Option<&'static str> {
    match mark {
        INSERT => Some("insert"),
        UPDATE => Some("update"),
        DELETE => Some("delete"),
        _ => None,
    }
}

/// A value as the text of its partition; None for NULL. Times give their day in UTC.
fn partition_value(column: &ArrayRef, at: usize) -> Option<String> {
    if column.is_null(at) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(at).to_owned(),
        DataType::Boolean => column.as_boolean().value(at).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(at).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(at).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Date32 => day_text(i64::from(column.as_primitive::<Date32Type>().value(at))),
        DataType::Timestamp(..) => {
            let us = column.as_primitive::<TimestampMicrosecondType>().value(at);
            day_text(us.div_euclid(DAY_US))
        }
        _ => return None,
    })
}

/// A number of days since 1970 as a date.
fn day_text(days: i64) -> String {
    let mut text = Vec::with_capacity(10);
    write_date(&mut text, days);
    String::from_utf8_lossy(&text).into_owned()
}

/// The error of rows that do not fit the columns of the view.
fn unreadable(error: &arrow::error::ArrowError) -> ConnectorError {
    ConnectorError::Outbox(SchemaError::BadRow(error.to_string()))
}
