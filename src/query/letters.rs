//! `herald.dead_letter` as a table: rejected records, oldest first, with where each came from.
//!
//! Key and value are the record's bytes, unchanged; everything else is as the dead letter topic's
//! headers say it.

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

use super::tables::Budget;

/// The columns of the table.
pub(super) fn schema() -> SchemaRef {
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

/// All dead letters that the state holds.
pub(super) fn rows(snapshot: &Snapshot<'_>, budget: &mut Budget) -> Result<RecordBatch> {
    let mut columns = Columns::new();
    snapshot
        .dead_letters(Order::Oldest, usize::MAX, |sequence, stored| {
            // Once as stored bytes, once in the columns.
            budget.take(2 * stored.len(), "herald.dead_letter")?;
            let letter = DeadLetter::from_bytes(stored)
                .with_context(|| format!("dead letter {sequence} cannot be read"))?;
            columns.push(sequence, &letter);
            Ok::<(), Failed>(())
        })
        .map_err(|failed| failed.0)?;
    columns.finish()
}

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

    fn push(&mut self, sequence: u64, letter: &DeadLetter) {
        self.sequence.append_value(sequence as i64);
        let [source, outcome, constraint, message, topic] = &mut self.texts;
        source.append_value(&letter.source);
        outcome.append_value(letter.outcome.name());
        constraint.append_option(letter.constraint.as_deref());
        message.append_value(&letter.message);
        topic.append_value(&letter.topic);
        self.partition.append_value(letter.partition);
        self.offset.append_value(letter.offset);
        self.timestamp.append_option(letter.timestamp.map(|ms| ms.saturating_mul(1000)));
        self.schema_id.append_option(letter.schema_id.map(i64::from));
        let [key, value] = &mut self.bytes;
        key.append_option(letter.key.as_deref());
        value.append_option(letter.value.as_deref());
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
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

/// An error that may come from the state or from what is done with it.
struct Failed(anyhow::Error);

impl From<StateError> for Failed {
    fn from(error: StateError) -> Failed {
        Failed(error.into())
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Failed {
        Failed(error)
    }
}
