//! JSON objects straight into columns.
//!
//! A pull parser walks the bytes once; fields that are columns are read into typed builders, all
//! others are stepped over without allocation. A field matches a column exactly, else without
//! regard to case where that is unambiguous; null and missing are NULL. A number is not a VARCHAR
//! and a string is not a number; `12.0` fits BIGINT and `12.5` does not. What does not fit is a
//! reject that names the path of the field, and leaves nothing in the batch.

mod names;
mod value;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use jiter::{Jiter, JiterError, JiterErrorType, Peek};

use crate::decode::{Batch, Decoded, Fail, nearest};
use crate::error::SchemaError;
use crate::record::Records;
use crate::relation::{is_jsonb, sql_type};
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
    Timestamp,
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
        })
    }

    /// The schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        let mut tape = Vec::new();
        for (row, value) in (0u32..).zip(records.values.iter()) {
            let outcome = match value {
                None => Err(Fail::new("the value is null")),
                Some(bytes) => {
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
        match json.peek().map_err(syntax)? {
            Peek::Object => {}
            other => return Err(Fail::new(format!("a JSON object is expected, not {}", found(other)))),
        }
        let columns = self.batch.root.fields_mut();
        self.reader.object(&mut self.names, &mut self.nodes, columns, json)?;
        json.finish().map_err(syntax)
    }

    /// Columns that no record ever had, each told once, when enough records were seen.
    pub fn warnings(&mut self) -> Vec<String> {
        if self.warned || self.rows < WARN_AFTER {
            return Vec::new();
        }
        self.warned = true;
        let missing = self.nodes.iter().enumerate().filter(|(field, _)| !self.names.was_seen(*field));
        missing
            .map(|(_, node)| {
                let hint = nearest(&node.name, self.names.unknown())
                    .map_or_else(String::new, |near| format!("; the nearest field is \"{near}\""));
                format!("column \"{}\" was in none of {} records{hint}", node.name, self.rows)
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
