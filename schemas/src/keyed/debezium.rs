//! Debezium's change events: `op` is the operation, `before` and `after` are the row before and after it.
//!
//! `c` (create), `r` (read in a snapshot) and `u` (update) write the row `after`; `d` deletes the row
//! whose key is in `before`, or in the record's key if the database does not provide `before`. A null
//! value, which follows a delete so that the topic can be compacted, deletes by the record's key.
//! `t` (truncate) would empty the table and is a reject, as is any other event. In JSON the event may
//! be the `payload` beside a `schema`, as Kafka Connect writes it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::keys::Keys;
use super::{Form, RowsByRecord, ValueDecoder, gather_values};
use crate::decode::batch::{Batch, Decoded, Reject};
use crate::error::SchemaError;
use crate::records::blobs::Blobs;
use crate::records::record::Records;
use crate::types::columns::nullable_field;

const BEFORE: usize = 0;
const AFTER: usize = 1;
const OP: usize = 2;

/// A decoder of Debezium's events into rows of one schema.
#[derive(Debug)]
pub struct DebeziumDecoder {
    schema: SchemaRef,
    key: Vec<usize>,
    events: ValueDecoder,
    keys: Keys,
}

/// The source of a row, or of the key of a deleted row: an index in `after`, in `before`, or in the decoded
/// keys.
#[derive(Clone, Copy)]
enum RowSource {
    After(u32),
    Before(u32),
    Key(u32),
}

impl DebeziumDecoder {
    /// Creates a decoder for rows of `schema` whose key columns are at `key`.
    ///
    /// # Errors
    /// Fails if a column cannot have this encoding, or if there are no key columns.
    pub fn new(
        schema: SchemaRef,
        key: Vec<usize>,
        events: Form,
        keys: Form,
    ) -> Result<DebeziumDecoder, SchemaError> {
        if key.is_empty() {
            return Err(SchemaError::Mismatch("Debezium's events need key columns".to_owned()));
        }
        let of_key: Fields = key.iter().map(|at| nullable_field(schema.field(*at))).collect();
        let all: Fields = schema.fields().iter().map(|field| nullable_field(field)).collect();
        let event = Arc::new(Schema::new(vec![
            Field::new("before", DataType::Struct(of_key), true),
            Field::new("after", DataType::Struct(all), true),
            Field::new("op", DataType::Utf8, true),
        ]));
        let events = match ValueDecoder::new(event, events)? {
            ValueDecoder::Json(decoder) => ValueDecoder::Json(decoder.with_envelope().declared_in(AFTER)),
            avro @ ValueDecoder::Avro(_) => avro,
        };
        let keys = Keys::new(&schema, &key, keys)?.with_envelope();
        Ok(DebeziumDecoder { schema: Batch::new(&schema)?.schema, key, events, keys })
    }

    /// Returns the schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns a warning for each column that no event ever had, once.
    pub fn warnings(&mut self) -> Vec<String> {
        self.events.missing_columns().into_iter().map(|(_, warning)| warning).collect()
    }

    /// Decodes events.
    ///
    /// # Errors
    /// Fails if the wait for a registry is cancelled.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        let mut events = self.events.decode(&records.values)?;
        let mut event_of = RowsByRecord::of_decoded(&mut events, records.len());
        let event = &events.batch;
        let mut classified: Vec<Result<RowSource, String>> = Vec::with_capacity(records.len());
        for row in &event_of.rows {
            classified.push(match row {
                Some(row) => classify_event(event, *row as usize),
                None => Err(String::new()),
            });
        }
        // Only null values and deletes without `before` need the record's key.
        let mut wanted = Blobs::new();
        for (at, classified) in classified.iter().enumerate() {
            let tombstone = records.values.get(at).is_none();
            let needed = tombstone || matches!(classified, Ok(RowSource::Key(_)));
            wanted.push(if needed { records.keys.get(at) } else { None });
        }
        let (keys, mut key_of) = self.keys.decode(&wanted)?;
        let mut out = Decoded { batch: event.clone(), rows: vec![], rejects: vec![], deletes: vec![] };
        let mut places = Vec::new();
        for (record, (at, classified)) in (0u32..).zip(classified.into_iter().enumerate()) {
            let tombstone = records.values.get(at).is_none();
            let place = match classified {
                Ok(RowSource::Key(_)) => key_source(&mut key_of, at),
                _ if tombstone => key_source(&mut key_of, at),
                Ok(place) => Ok(place),
                Err(message) => Err(event_of.rejects[at].take().or(Some(reject_record(record, message)))),
            };
            match place {
                Ok(place) => {
                    out.rows.push(record);
                    out.deletes.push(!matches!(place, RowSource::After(_)));
                    places.push(place);
                }
                Err(reject) => out.rejects.extend(reject),
            }
        }
        if !out.deletes.contains(&true) {
            out.deletes.clear();
        }
        out.batch = self.build_rows(event, &keys.batch, &places)?;
        Ok(out)
    }

    /// Builds the rows; a deleted row has its key columns, and NULL in all others.
    fn build_rows(
        &self,
        event: &RecordBatch,
        keys: &RecordBatch,
        places: &[RowSource],
    ) -> Result<RecordBatch, SchemaError> {
        let (before, after) = (of_struct(event, BEFORE), of_struct(event, AFTER));
        // For each row its index in `after`, and its place in `after`, `before` or the keys.
        let mut rows: Vec<Option<u32>> = Vec::with_capacity(places.len());
        let mut sources: Vec<(usize, usize)> = Vec::with_capacity(places.len());
        for place in places {
            let (of_after, source) = match *place {
                RowSource::After(row) => (Some(row), (0, row as usize)),
                RowSource::Before(row) => (None, (1, row as usize)),
                RowSource::Key(row) => (None, (2, row as usize)),
            };
            rows.push(of_after);
            sources.push(source);
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (at, column) in after.columns().iter().enumerate() {
            columns.push(match self.key.iter().position(|key| *key == at) {
                Some(place) => {
                    let all: [&dyn Array; 3] = [column, before.column(place), keys.column(place)];
                    interleave(&all, &sources)?
                }
                None => gather_values(column, &rows)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// The key of a record as the source of its row, or the reject of the key.
fn key_source(key_of: &mut RowsByRecord, at: usize) -> Result<RowSource, Option<Reject>> {
    match key_of.rows[at] {
        Some(row) => Ok(RowSource::Key(row)),
        None => Err(key_of.rejects[at].take()),
    }
}

fn of_struct(event: &RecordBatch, at: usize) -> &StructArray {
    event.column(at).as_struct()
}

/// Classifies the event in `row`; `RowSource::Key` is a delete of the row named by the record's key.
fn classify_event(event: &RecordBatch, row: usize) -> Result<RowSource, String> {
    let at = row as u32;
    let op = event.column(OP).as_string::<i32>();
    if op.is_null(row) {
        let hint =
            "this is no event of Debezium's; declare FORMAT UPSERT if its rows are unwrapped on the way";
        return Err(format!("field op is missing: {hint}"));
    }
    let (before, after) = (of_struct(event, BEFORE), of_struct(event, AFTER));
    match op.value(row) {
        "c" | "r" | "u" if after.is_valid(row) => Ok(RowSource::After(at)),
        op @ ("c" | "r" | "u") => Err(format!("field after: an event with op \"{op}\" has none")),
        "d" => {
            let whole = before.is_valid(row) && before.columns().iter().all(|column| column.is_valid(row));
            Ok(if whole { RowSource::Before(at) } else { RowSource::Key(at) })
        }
        "t" => Err("field op: \"t\" empties the whole table, which no single row can stand for; \
                    leave truncates out at the connector (skipped.operations = 't')"
            .to_owned()),
        op => {
            let shown: String = op.chars().take(32).collect();
            Err(format!("field op: \"{shown}\" is not c, r, u or d"))
        }
    }
}

fn reject_record(row: u32, message: String) -> Reject {
    Reject { row, message, schema_id: None }
}
