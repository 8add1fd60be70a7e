//! JSON objects, decoded directly into columns.
//!
//! A pull parser reads the bytes once; fields that are columns are read into typed builders, all
//! others are skipped without allocation. A field matches a column exactly, else without regard to
//! case if that is unambiguous; null and missing fields are NULL. A number is not a VARCHAR and a
//! string is not a number; `12.0` fits BIGINT and `12.5` does not. A record that does not fit is a
//! reject that names the path of the field, and leaves nothing in the batch.

mod cursor;
mod names;
pub mod output;
mod pull;
mod shape;
mod skip;
mod value;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Fields, SchemaRef, TimeUnit};
use jiter::{Jiter, JiterError, JiterErrorType};

use crate::decode::batch::{Batch, Decoded, Fail, missing_warning};
use crate::error::SchemaError;
use crate::records::blobs::Blobs;
use crate::records::record::Records;
use crate::types::relation::{is_jsonb, sql_type};
use cursor::Cursor;
use names::Names;
use pull::{Pull, ValueKind};

/// The number of rows after which a column that was never present causes a warning.
const WARN_AFTER_ROWS: u64 = 1000;

/// The options of `ENCODE JSON (...)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JsonOptions {
    /// The unit of numeric timestamps (`timestamp.unit`); without it only strings are timestamps.
    pub timestamp_unit: Option<TimeUnit>,
}

impl JsonOptions {
    /// Parses the options as written in SQL: `timestamp.unit` is s, ms, us or ns.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<JsonOptions, SchemaError> {
        let Some(unit) = options.get("timestamp.unit") else { return Ok(JsonOptions::default()) };
        let unit = match unit.as_str() {
            "s" => TimeUnit::Second,
            "ms" => TimeUnit::Millisecond,
            "us" => TimeUnit::Microsecond,
            "ns" => TimeUnit::Nanosecond,
            other => {
                let (option, message) =
                    ("timestamp.unit".to_string(), format!("'{other}' is not s, ms, us or ns"));
                return Err(SchemaError::Config { option, message });
            }
        };
        Ok(JsonOptions { timestamp_unit: Some(unit) })
    }
}

/// A decoder of JSON objects into rows of one schema.
///
/// ```
/// use std::sync::Arc;
/// use arrow::datatypes::{DataType, Field, Schema};
/// use schemas::{JsonDecoder, JsonOptions, Records};
///
/// let schema = Arc::new(Schema::new(vec![Field::new("points", DataType::Int64, true)]));
/// let mut decoder = JsonDecoder::new(schema, JsonOptions::default())?;
/// let mut records = Records::new(0);
/// records.push(0, None, None, Some(br#"{"points":5}"#));
/// records.push(1, None, None, Some(br#"{"points":"many"}"#));
/// let decoded = decoder.decode(&records)?;
/// // A record that does not fit is a value with its reason, not an error.
/// assert_eq!((decoded.rows, decoded.rejects.len()), (vec![0], 1));
/// assert!(decoded.rejects[0].message.starts_with("field points: "));
/// # Ok::<(), schemas::SchemaError>(())
/// ```
#[derive(Debug)]
pub struct JsonDecoder {
    batch: Batch,
    names: Names,
    nodes: Vec<Node>,
    reader: JsonReader,
    /// Buffer of the fast parser for strings with escapes.
    buffer: String,
    rows: u64,
    warned: bool,
    framing: Framing,
}

/// The accepted forms of a message besides a plain object.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    /// Set if the bare value of the one column is accepted.
    or_value: bool,
    /// Set if the object may be the `payload` beside a `schema`, as Kafka Connect writes it.
    enveloped: bool,
    /// The index of the struct that has the columns which the user declared.
    declared_in: Option<usize>,
}

/// A column or a part of one, with the expected kind of its JSON.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    /// The type as SQL spells it, for messages.
    sql: String,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Bool,
    I16,
    I32,
    I64,
    F32,
    F64,
    Decimal { precision: u8, scale: i8 },
    Text,
    Bytes,
    Date,
    Time,
    Interval,
    Timestamp,
    Uuid,
    Jsonb,
    List(Box<Node>),
    Struct(Box<Names>, Vec<Node>),
}

/// The reader of values, with the options and a buffer.
#[derive(Debug, Default)]
pub(crate) struct JsonReader {
    options: JsonOptions,
    scratch: Vec<u8>,
}

impl JsonDecoder {
    /// Creates a decoder for rows of `schema`.
    pub fn new(schema: SchemaRef, options: JsonOptions) -> Result<JsonDecoder, SchemaError> {
        Ok(JsonDecoder {
            batch: Batch::new(&schema)?,
            names: Names::new(schema.fields()),
            nodes: Node::of_fields(schema.fields())?,
            reader: JsonReader { options, scratch: Vec::new() },
            buffer: String::new(),
            rows: 0,
            warned: false,
            framing: Framing::default(),
        })
    }

    /// Accepts the value of the one column without an object around it.
    pub(crate) fn or_value(self) -> JsonDecoder {
        JsonDecoder { framing: Framing { or_value: true, ..self.framing }, ..self }
    }

    /// Reads the `payload` of messages that Kafka Connect wrote with a `schema` beside it.
    pub(crate) fn with_envelope(self) -> JsonDecoder {
        JsonDecoder { framing: Framing { enveloped: true, ..self.framing }, ..self }
    }

    /// Warns about the columns of the struct at an index: the user declared those.
    pub(crate) fn declared_in(self, column: usize) -> JsonDecoder {
        JsonDecoder { framing: Framing { declared_in: Some(column), ..self.framing }, ..self }
    }

    /// Returns the schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.decode_all(&records.values)
    }

    /// Decodes each blob as one message.
    pub(crate) fn decode_all(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        // The buffers for strings with escapes are handed on from message to message.
        let (mut tape, mut buffer) = (Vec::new(), std::mem::take(&mut self.buffer));
        for (row, value) in (0u32..).zip(values.iter()) {
            let outcome = match value {
                None => Err(Fail::new("the value is null")),
                Some(bytes) => {
                    let bytes = if self.framing.enveloped { unwrap_payload(bytes) } else { bytes };
                    self.decode_message(bytes, &mut buffer, &mut tape)
                }
            };
            self.rows += u64::from(outcome.is_ok());
            self.batch.settle_record(row, outcome, None);
        }
        self.buffer = buffer;
        self.batch.finish()
    }

    /// Decodes one message: by the fast parser, and where that refuses it, by jiter, whose answer counts.
    #[inline]
    fn decode_message(&mut self, bytes: &[u8], buffer: &mut String, tape: &mut Vec<u8>) -> Result<(), Fail> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            if self.decode_record(&mut Cursor::new(text, buffer)).is_ok() {
                return Ok(());
            }
            self.batch.undo_record();
        }
        let mut json = Jiter::with_tape(bytes, std::mem::take(tape));
        let outcome = self.decode_record(&mut json);
        *tape = json.into_tape();
        outcome
    }

    /// Decodes one message into one value of each column.
    fn decode_record<'j>(&mut self, json: &mut impl Pull<'j>) -> Result<(), Fail> {
        let columns = self.batch.root.fields_mut();
        match (json.peek()?, self.nodes.as_mut_slice(), &mut *columns) {
            (ValueKind::Object, ..) => {
                self.reader.read_object(&mut self.names, &mut self.nodes, columns, json)?
            }
            // A bare null is no value: it falls through to the error.
            (value, [node], [column]) if self.framing.or_value && value != ValueKind::Null => {
                self.reader.read_value(node, column, json, value)?;
            }
            (other, ..) => {
                // The first byte tells the kind of a value only if the rest is one: `nope` is no null.
                json.skip()?;
                json.finish()?;
                return Err(Fail::new(format!("a JSON object is expected, not {}", other.describe())));
            }
        }
        json.finish()
    }

    /// Returns one warning for each column that no record had, once enough records were seen.
    pub fn warnings(&mut self) -> Vec<String> {
        self.missing_columns().into_iter().map(|(_, warning)| warning).collect()
    }

    /// Returns these warnings with the index of their column.
    pub(crate) fn missing_columns(&mut self) -> Vec<(usize, String)> {
        if self.warned || self.rows < WARN_AFTER_ROWS {
            return Vec::new();
        }
        self.warned = true;
        // Of an event, only the columns of the row that the user declared are reported.
        let declared = self.framing.declared_in.and_then(|at| self.nodes.get(at));
        let (names, nodes) = match declared {
            Some(Node { kind: NodeKind::Struct(names, nodes), .. }) => (&**names, nodes),
            _ => (&self.names, &self.nodes),
        };
        let mut missing = Vec::new();
        for (field, node) in nodes.iter().enumerate() {
            if !names.was_seen(field) {
                missing.push((field, missing_warning(&node.name, names.unknown_keys(), self.rows)));
            }
        }
        missing
    }
}

impl Node {
    fn of_fields(fields: &Fields) -> Result<Vec<Node>, SchemaError> {
        fields.iter().map(|field| Node::new(field)).collect()
    }

    fn new(field: &Field) -> Result<Node, SchemaError> {
        let kind = match field.data_type() {
            // Before VARCHAR, since both are Utf8.
            DataType::Utf8 if is_jsonb(field) => NodeKind::Jsonb,
            DataType::Boolean => NodeKind::Bool,
            DataType::Int16 => NodeKind::I16,
            DataType::Int32 => NodeKind::I32,
            DataType::Int64 => NodeKind::I64,
            DataType::Float32 => NodeKind::F32,
            DataType::Float64 => NodeKind::F64,
            DataType::Decimal128(precision, scale) => {
                NodeKind::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Utf8 => NodeKind::Text,
            DataType::Binary => NodeKind::Bytes,
            DataType::Date32 => NodeKind::Date,
            DataType::Time64(TimeUnit::Microsecond) => NodeKind::Time,
            DataType::Interval(_) => NodeKind::Interval,
            DataType::FixedSizeBinary(16) => NodeKind::Uuid,
            DataType::Timestamp(TimeUnit::Microsecond, _) => NodeKind::Timestamp,
            DataType::List(item) => NodeKind::List(Box::new(Node::new(item)?)),
            DataType::Struct(fields) => {
                NodeKind::Struct(Box::new(Names::new(fields)), Node::of_fields(fields)?)
            }
            other => return Err(SchemaError::UnsupportedType(other.to_string())),
        };
        Ok(Node { name: field.name().clone(), sql: sql_type(field), kind })
    }
}

/// Returns the `payload` of a message that Kafka Connect wrote with a `schema`; else the message itself.
fn unwrap_payload(bytes: &[u8]) -> &[u8] {
    fn find_payload(json: &mut Jiter<'_>) -> Option<std::ops::Range<usize>> {
        // The payload is the first field, or the second one.
        let mut named = json.next_object().ok()?? == "payload";
        if !named {
            json.next_skip().ok()?;
            named = json.next_key().ok()?? == "payload";
        }
        let start = json.current_index();
        json.next_skip().ok().filter(|()| named)?;
        Some(start..json.current_index())
    }
    // The converter writes `schema` first, then `payload`, and no other field.
    find_payload(&mut Jiter::new(bytes)).and_then(|at| bytes.get(at)).unwrap_or(bytes)
}

fn syntax_error(error: JiterError) -> Fail {
    match error.error_type {
        JiterErrorType::JsonError(kind) => {
            Fail::new(format!("this is not JSON: {kind} at byte {}", error.index))
        }
        other => Fail::new(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
