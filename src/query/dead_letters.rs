//! The table `herald.dead_letter`: rejected records, oldest first, each with its origin.
//!
//! Key and value are the record's bytes, unchanged; the other columns match the headers of the dead-letter
//! topic.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use connectors::DeadLetter;
use schemas::timestamptz;
use state::{Order, Snapshot, StateError};

use super::budget::TableBudget;

/// The columns of the table.
pub(super) fn table_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("sequence", DataType::Int64, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("outcome", DataType::Utf8, false),
        Field::new("constraint", DataType::Utf8, true),
        Field::new("message", DataType::Utf8, true),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamptz(), true),
        Field::new("schema_id", DataType::Int64, true),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
    ]))
}

/// Reads all dead letters of the state.
pub(super) fn read_all(snapshot: &Snapshot<'_>, budget: &mut TableBudget) -> Result<RecordBatch> {
    let mut columns = Columns::new();
    snapshot
        .dead_letters(Order::Oldest, usize::MAX, |sequence, stored| {
            // Counted twice: as stored bytes, and in the columns.
            budget.take(2 * stored.len(), "herald.dead_letter")?;
            let dead_letter = DeadLetter::from_bytes(stored)
                .with_context(|| format!("dead letter {sequence} cannot be read"))?;
            columns.push(sequence, &dead_letter);
            Ok::<(), ScanError>(())
        })
        .map_err(|failed| failed.0)?;
    columns.finish()
}

/// Builders of the table's columns.
struct Columns {
    sequence: Int64Builder,
    texts: [StringBuilder; 5],
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    schema_id: Int64Builder,
    bytes: [BinaryBuilder; 2],
}

impl Columns {
    fn new() -> Columns {
        Columns {
            sequence: Int64Builder::new(),
            texts: Default::default(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            schema_id: Int64Builder::new(),
            bytes: Default::default(),
        }
    }

    fn push(&mut self, sequence: u64, dead_letter: &DeadLetter) {
        self.sequence.append_value(sequence as i64);
        let [source, outcome, constraint, message, topic] = &mut self.texts;
        source.append_value(&dead_letter.source);
        outcome.append_value(dead_letter.outcome.name());
        constraint.append_option(dead_letter.constraint.as_deref());
        message.append_value(&dead_letter.message);
        topic.append_value(&dead_letter.topic);
        self.partition.append_value(dead_letter.partition);
        self.offset.append_value(dead_letter.offset);
        self.timestamp.append_option(dead_letter.timestamp.map(|ms| ms.saturating_mul(1000)));
        self.schema_id.append_option(dead_letter.schema_id.map(i64::from));
        let [key, value] = &mut self.bytes;
        key.append_option(dead_letter.key.as_deref());
        value.append_option(dead_letter.value.as_deref());
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let [source, outcome, constraint, message, topic] = &mut self.texts;
        let [key, value] = &mut self.bytes;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.sequence.finish()),
            Arc::new(source.finish()),
            Arc::new(outcome.finish()),
            Arc::new(constraint.finish()),
            Arc::new(message.finish()),
            Arc::new(topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.schema_id.finish()),
            Arc::new(key.finish()),
            Arc::new(value.finish()),
        ];
        Ok(RecordBatch::try_new(table_schema(), columns)?)
    }
}

/// An error of the scan or of its callback; both convert into it.
struct ScanError(anyhow::Error);

impl From<StateError> for ScanError {
    fn from(error: StateError) -> ScanError {
        ScanError(error.into())
    }
}

impl From<anyhow::Error> for ScanError {
    fn from(error: anyhow::Error) -> ScanError {
        ScanError(error)
    }
}
