//! Debezium's change events: `op` says what happened, `before` and `after` are the row around it.
//!
//! `c` (create), `r` (read in a snapshot) and `u` (update) put the row `after` in place; `d` deletes the
//! row whose key is in `before`, or in the record's key where the database does not tell `before`. A
//! null value, which follows a delete so that the topic can be compacted, deletes by the record's key.
//! `t` (truncate) would empty the table and is a reject, as is any other event. In JSON the event may
//! stand in Kafka Connect's `payload` beside its `schema`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::keys::Keys;
use super::{Form, Found, Values, gather};
use crate::blobs::Blobs;
use crate::decode::{Batch, Decoded, Reject};
use crate::error::SchemaError;
use crate::record::Records;
use crate::types::columns::nullable_field;

const BEFORE: usize = 0;
const AFTER: usize = 1;
const OP: usize = 2;

/// Decodes Debezium's events into rows of one schema.
#[derive(Debug)]
pub struct DebeziumDecoder {
    schema: SchemaRef,
    key: Vec<usize>,
    events: Values,
    keys: Keys,
}

/// Where a row, or the key of one that is deleted, is.
#[derive(Clone, Copy)]
enum From {
    After(u32),
    Before(u32),
    Key(u32),
}

impl DebeziumDecoder {
    /// A decoder for rows of `schema` whose key columns are at `key`.
    ///
    /// # Errors
    /// When a column has no such form.
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
        let events = match Values::new(event, events)? {
            Values::Json(decoder) => Values::Json(decoder.enveloped().declared_in(AFTER)),
            avro @ Values::Avro(_) => avro,
        };
        let keys = Keys::new(&schema, &key, keys)?.enveloped();
        Ok(DebeziumDecoder { schema: Batch::new(&schema)?.schema, key, events, keys })
    }

    /// The schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Columns that no event ever had, told once.
    pub fn warnings(&mut self) -> Vec<String> {
        self.events.missing().into_iter().map(|(_, warning)| warning).collect()
    }

    /// Decodes events.
    ///
    /// # Errors
    /// When the registry cannot be asked and the wait for it is called off.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        let mut events = self.events.decode(&records.values)?;
        let mut event_of = Found::of(&mut events, records.len());
        let event = &events.batch;
        let judged: Vec<Result<From, String>> = event_of
            .rows
            .iter()
            .map(|row| match row {
                Some(row) => judge(event, *row as usize),
                None => Err(String::new()),
            })
            .collect();
        // Only events that do not say themselves which row they delete need the record's key.
        let mut wanted = Blobs::new();
        for (at, judged) in judged.iter().enumerate() {
            let tombstone = records.values.get(at).is_none();
            let needed = tombstone || matches!(judged, Ok(From::Key(_)));
            wanted.push(records.keys.get(at).filter(|_| needed));
        }
        let (keys, mut key_of) = self.keys.decode(&wanted)?;
        let mut out = Decoded { batch: event.clone(), rows: vec![], rejects: vec![], deletes: vec![] };
        let mut places = Vec::new();
        for (record, (at, judged)) in (0u32..).zip(judged.into_iter().enumerate()) {
            let tombstone = records.values.get(at).is_none();
            let place = match judged {
                Ok(From::Key(_)) => key_of.rows[at].map(From::Key).ok_or_else(|| key_of.rejects[at].take()),
                _ if tombstone => key_of.rows[at].map(From::Key).ok_or_else(|| key_of.rejects[at].take()),
                Ok(place) => Ok(place),
                Err(message) => Err(event_of.rejects[at].take().or(Some(refuse(record, message)))),
            };
            match place {
                Ok(place) => {
                    out.rows.push(record);
                    out.deletes.push(!matches!(place, From::After(_)));
                    places.push(place);
                }
                Err(reject) => out.rejects.extend(reject),
            }
        }
        if !out.deletes.contains(&true) {
            out.deletes.clear();
        }
        out.batch = self.rows(event, &keys.batch, &places)?;
        Ok(out)
    }

    /// The rows: of what is deleted, the key columns and NULL.
    fn rows(
        &self,
        event: &RecordBatch,
        keys: &RecordBatch,
        places: &[From],
    ) -> Result<RecordBatch, SchemaError> {
        let (before, after) = (of_struct(event, BEFORE), of_struct(event, AFTER));
        let of_after = |place: &From| match place {
            From::After(row) => Some(*row),
            From::Before(_) | From::Key(_) => None,
        };
        let rows: Vec<Option<u32>> = places.iter().map(of_after).collect();
        let sources: Vec<(usize, usize)> = places
            .iter()
            .map(|place| match place {
                From::After(row) => (0, *row as usize),
                From::Before(row) => (1, *row as usize),
                From::Key(row) => (2, *row as usize),
            })
            .collect();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (at, column) in after.columns().iter().enumerate() {
            columns.push(match self.key.iter().position(|key| *key == at) {
                Some(place) => {
                    let all: [&dyn Array; 3] = [column, before.column(place), keys.column(place)];
                    interleave(&all, &sources)?
                }
                None => gather(column, &rows)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

fn of_struct(event: &RecordBatch, at: usize) -> &StructArray {
    event.column(at).as_struct()
}

/// What the event in `row` says; `From::Key` for a delete that leaves it to the record's key.
fn judge(event: &RecordBatch, row: usize) -> Result<From, String> {
    let at = row as u32;
    let op = event.column(OP).as_string::<i32>();
    if op.is_null(row) {
        let hint =
            "this is no event of Debezium's; declare FORMAT UPSERT if its rows are unwrapped on the way";
        return Err(format!("field op is missing: {hint}"));
    }
    let (before, after) = (of_struct(event, BEFORE), of_struct(event, AFTER));
    match op.value(row) {
        "c" | "r" | "u" if after.is_valid(row) => Ok(From::After(at)),
        op @ ("c" | "r" | "u") => Err(format!("field after: an event with op \"{op}\" has none")),
        "d" => {
            let whole = before.is_valid(row) && before.columns().iter().all(|column| column.is_valid(row));
            Ok(if whole { From::Before(at) } else { From::Key(at) })
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

fn refuse(row: u32, message: String) -> Reject {
    Reject { row, message, schema_id: None }
}
