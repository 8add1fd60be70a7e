//! The table `herald.dead_letter`: rejected records, oldest first, each with its origin.
//!
//! Key, value and headers are the record's, unchanged; the other columns match the headers that Herald writes to
//! the dead-letter topic.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListArray, RecordBatch, StringBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use connectors::DeadLetter;
use connectors::dead_letter::KeptHeaders;
use schemas::timestamptz;

use super::budget::TableBudget;
use super::tables::epoch::EpochReads;

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
        Field::new("headers", DataType::List(header_item()), false),
        Field::new("headers_cut", DataType::Int64, false),
    ]))
}

/// The type of one header.
fn header_item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), true))
}

/// Name and value of a header: `value` if it is text, else `bytes`.
fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
        Field::new("bytes", DataType::Binary, true),
    ])
}

/// Reads all dead letters of the state.
pub(super) fn read_all(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let mut columns = Columns::new();
    epoch.dead_letters(0, &mut |sequence, stored| {
        // Counted twice: as stored bytes, and in the columns.
        budget.take(2 * stored.len(), "herald.dead_letter")?;
        let dead_letter = DeadLetter::from_bytes(stored)
            .with_context(|| format!("dead letter {sequence} cannot be read"))?;
        columns.push(sequence, &dead_letter);
        Ok(true)
    })?;
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
    headers: HeaderColumn,
    left_out: Int64Builder,
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
            headers: HeaderColumn::default(),
            left_out: Int64Builder::new(),
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
        self.headers.push(&dead_letter.headers);
        self.left_out.append_value(i64::from(dead_letter.headers.left_out));
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
            self.headers.finish()?,
            Arc::new(self.left_out.finish()),
        ];
        Ok(RecordBatch::try_new(table_schema(), columns)?)
    }
}

/// Builder of the column of headers: its items, and how many each row has.
#[derive(Default)]
struct HeaderColumn {
    names: StringBuilder,
    values: StringBuilder,
    bytes: BinaryBuilder,
    counts: Vec<usize>,
}

impl HeaderColumn {
    fn push(&mut self, headers: &KeptHeaders) {
        for (name, value) in &headers.list {
            self.names.append_value(name);
            match value.as_deref().map(std::str::from_utf8) {
                Some(Ok(text)) => {
                    self.values.append_value(text);
                    self.bytes.append_null();
                }
                Some(Err(_)) | None => {
                    self.values.append_null();
                    self.bytes.append_option(value.as_deref());
                }
            }
        }
        self.counts.push(headers.list.len());
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.names.finish()),
            Arc::new(self.values.finish()),
            Arc::new(self.bytes.finish()),
        ];
        let items = StructArray::try_new(header_fields(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.counts));
        Ok(Arc::new(ListArray::try_new(header_item(), offsets, Arc::new(items), None)?))
    }
}
