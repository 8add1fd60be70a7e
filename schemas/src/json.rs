//! JSON objects straight into columns.
//!
//! A pull parser walks the bytes once; fields that are columns are read into typed builders, all
//! others are stepped over without allocation. A field matches a column exactly, else without
//! regard to case where that is unambiguous; null and missing are NULL. A number is not a VARCHAR
//! and a string is not a number; `12.0` fits BIGINT and `12.5` does not. What does not fit is a
//! reject that names the path of the field, and leaves nothing in the batch.

mod names;
pub mod output;
mod value;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use jiter::{Jiter, JiterError, JiterErrorType, Peek};

use crate::blobs::Blobs;
use crate::decode::{Batch, Decoded, Fail, nearest};
use crate::error::SchemaError;
use crate::record::Records;
use crate::types::relation::{is_jsonb, sql_type};
use names::Names;

/// After how many rows a column that was never present is worth a warning.
const WARN_AFTER: u64 = 1000;

/// What `ENCODE JSON (...)` can say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JsonOptions {
    /// Numbers are timestamps in this unit (`timestamp.unit`); without it only strings are.
    pub timestamp_unit: Option<TimeUnit>,
}

impl JsonOptions {
    /// From the options as they are written: `timestamp.unit` is s, ms, us or ns.
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

/// Decodes JSON objects into rows of one schema.
#[derive(Debug)]
pub struct JsonDecoder {
    batch: Batch,
    names: Names,
    nodes: Vec<Node>,
    reader: Reader,
    rows: u64,
    warned: bool,
    form: Form,
}

/// What may stand around an object, or instead of one.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    /// The one column's value may stand for the object.
    or_value: bool,
    /// Kafka Connect's `schema` and `payload` may stand around it.
    enveloped: bool,
    /// The place of the struct that has the columns which the user declared.
    declared_in: Option<usize>,
}

/// A column or a part of one: what its JSON must look like.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    sql: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
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

/// What reading needs besides the columns.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    options: JsonOptions,
    scratch: Vec<u8>,
}

impl JsonDecoder {
    /// A decoder for rows of `schema`.
    pub fn new(schema: SchemaRef, options: JsonOptions) -> Result<JsonDecoder, SchemaError> {
        Ok(JsonDecoder {
            batch: Batch::new(&schema)?,
            names: Names::new(schema.fields()),
            nodes: schema.fields().iter().map(|f| Node::new(f)).collect::<Result<_, _>>()?,
            reader: Reader { options, scratch: Vec::new() },
            rows: 0,
            warned: false,
            form: Form::default(),
        })
    }

    /// Of one column: its value may stand without an object around it.
    pub(crate) fn or_value(self) -> JsonDecoder {
        JsonDecoder { form: Form { or_value: true, ..self.form }, ..self }
    }

    /// Reads the `payload` where Kafka Connect wrote its `schema` beside it.
    pub(crate) fn enveloped(self) -> JsonDecoder {
        JsonDecoder { form: Form { enveloped: true, ..self.form }, ..self }
    }

    /// Warns about the columns of the struct at a place, which are the ones that the user declared.
    pub(crate) fn declared_in(self, column: usize) -> JsonDecoder {
        JsonDecoder { form: Form { declared_in: Some(column), ..self.form }, ..self }
    }

    /// The schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.decode_all(&records.values)
    }

    /// Decodes one message a blob.
    pub(crate) fn decode_all(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        let mut tape = Vec::new();
        for (row, value) in (0u32..).zip(values.iter()) {
            let outcome = match value {
                None => Err(Fail::new("the value is null")),
                Some(bytes) => {
                    let bytes = if self.form.enveloped { payload(bytes) } else { bytes };
                    let mut json = Jiter::with_tape(bytes, tape);
                    let outcome = self.record(&mut json);
                    tape = json.into_tape();
                    outcome
                }
            };
            self.rows += u64::from(outcome.is_ok());
            self.batch.settle(row, outcome, None);
        }
        self.batch.finish()
    }

    fn record(&mut self, json: &mut Jiter<'_>) -> Result<(), Fail> {
        let columns = self.batch.root.fields_mut();
        match (json.peek().map_err(syntax)?, self.nodes.as_mut_slice(), &mut *columns) {
            (Peek::Object, ..) => self.reader.object(&mut self.names, &mut self.nodes, columns, json)?,
            (value, [node], [column]) if self.form.or_value && value != Peek::Null => {
                self.reader.value(node, column, json, value)?;
            }
            (other, ..) => {
                return Err(Fail::new(format!("a JSON object is expected, not {}", found(other))));
            }
        }
        json.finish().map_err(syntax)
    }

    /// Columns that no record ever had, each told once, when enough records were seen.
    pub fn warnings(&mut self) -> Vec<String> {
        self.missing().into_iter().map(|(_, warning)| warning).collect()
    }

    /// The same, each with the place of its column.
    pub(crate) fn missing(&mut self) -> Vec<(usize, String)> {
        if self.warned || self.rows < WARN_AFTER {
            return Vec::new();
        }
        self.warned = true;
        let declared = self.form.declared_in.and_then(|at| self.nodes.get(at)).map(|node| &node.kind);
        let (names, nodes) = match declared {
            Some(Kind::Struct(names, nodes)) => (&**names, nodes),
            _ => (&self.names, &self.nodes),
        };
        let missing = nodes.iter().enumerate().filter(|(field, _)| !names.was_seen(*field));
        missing
            .map(|(field, node)| {
                let hint = nearest(&node.name, names.unknown())
                    .map_or_else(String::new, |near| format!("; the nearest field is \"{near}\""));
                (field, format!("column \"{}\" was in none of {} records{hint}", node.name, self.rows))
            })
            .collect()
    }
}

impl Node {
    fn new(field: &Field) -> Result<Node, SchemaError> {
        let kind = match field.data_type() {
            DataType::Utf8 if is_jsonb(field) => Kind::Jsonb,
            DataType::Boolean => Kind::Bool,
            DataType::Int16 => Kind::I16,
            DataType::Int32 => Kind::I32,
            DataType::Int64 => Kind::I64,
            DataType::Float32 => Kind::F32,
            DataType::Float64 => Kind::F64,
            DataType::Decimal128(precision, scale) => Kind::Decimal { precision: *precision, scale: *scale },
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Bytes,
            DataType::Date32 => Kind::Date,
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time,
            DataType::Interval(_) => Kind::Interval,
            DataType::FixedSizeBinary(16) => Kind::Uuid,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Timestamp,
            DataType::List(item) => Kind::List(Box::new(Node::new(item)?)),
            DataType::Struct(fields) => Kind::Struct(
                Box::new(Names::new(fields)),
                fields.iter().map(|f| Node::new(f)).collect::<Result<_, _>>()?,
            ),
            other => return Err(SchemaError::UnsupportedType(other.to_string())),
        };
        Ok(Node { name: field.name().clone(), sql: sql_type(field), kind })
    }
}

/// The `payload` of a message that Kafka Connect wrote with its `schema`; else the message itself.
fn payload(bytes: &[u8]) -> &[u8] {
    fn within(json: &mut Jiter<'_>) -> Option<std::ops::Range<usize>> {
        let mut named = json.next_object().ok()?? == "payload";
        if !named {
            json.next_skip().ok()?;
            named = json.next_key().ok()?? == "payload";
        }
        let start = json.current_index();
        json.next_skip().ok().filter(|()| named)?;
        Some(start..json.current_index())
    }
    // The converter writes the schema first, and nothing else beside the two.
    within(&mut Jiter::new(bytes)).and_then(|at| bytes.get(at)).unwrap_or(bytes)
}

/// What stands where something else is expected.
fn found(peek: Peek) -> &'static str {
    match peek {
        Peek::Null => "null",
        Peek::True | Peek::False => "a boolean",
        Peek::String => "a string",
        Peek::Array => "an array",
        Peek::Object => "an object",
        peek if peek.is_num() => "a number",
        _ => "something that is not JSON",
    }
}

fn syntax(error: JiterError) -> Fail {
    match error.error_type {
        JiterErrorType::JsonError(kind) => {
            Fail::new(format!("this is not JSON: {kind} at byte {}", error.index))
        }
        other => Fail::new(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
