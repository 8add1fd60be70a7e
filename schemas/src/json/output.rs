//! JSON output: one compact object per row, fields in column order.
//!
//! TIMESTAMP is `2026-01-31T12:00:00.000000`, TIMESTAMPTZ the same in UTC with `Z`, DATE and TIME are
//! the parts of it; INTERVAL and UUID are PostgreSQL's text, `1 day 02:03:04`; DECIMAL is a string,
//! BYTEA base64, JSONB the value itself. Floats for which JSON has no number are the strings `NaN`,
//! `Infinity` and `-Infinity`. NULL is null.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::encode::check::check_types;
use crate::error::SchemaError;
use crate::records::blobs::Rows;
use crate::types::relation::{column_types, is_jsonb};
use crate::types::span::Span;
use crate::types::view::{Values, View};
use crate::types::{decimal, time, uuid};

/// An encoder of JSON objects.
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    types: Vec<DataType>,
    fields: Vec<JsonColumn>,
}

/// A column: its name in written form, and the form of its values.
#[derive(Clone, Debug)]
struct JsonColumn {
    /// The text `"name":`, after a comma in all but the first field.
    label: Vec<u8>,
    form: JsonForm,
}

#[derive(Clone, Debug)]
enum JsonForm {
    /// Determined by the representation alone.
    Plain,
    Text,
    Base64,
    Raw,
    Date,
    Time,
    Interval,
    Uuid,
    Timestamp {
        utc: bool,
    },
    Decimal {
        scale: i8,
    },
    List(Box<JsonForm>),
    Struct(Vec<JsonColumn>),
}

impl JsonEncoder {
    pub(crate) fn new(schema: &Schema) -> Result<JsonEncoder, SchemaError> {
        let fields = schema.fields();
        Ok(JsonEncoder { types: column_types(fields), fields: columns_of_fields(fields)? })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows, SchemaError> {
        check_types(batch, &self.types)?;
        let views = batch.columns().iter().map(View::new).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Rows::with_capacity(batch.num_rows(), batch.num_rows() * 64);
        let mut out = Vec::new();
        for row in 0..batch.num_rows() {
            out.clear();
            write_object(&mut out, &self.fields, &views, row);
            rows.push(&out);
        }
        Ok(rows)
    }
}

fn columns_of_fields(fields: &arrow::datatypes::Fields) -> Result<Vec<JsonColumn>, SchemaError> {
    let mut columns = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let mut label = if index == 0 { Vec::new() } else { vec![b','] };
        write_text(&mut label, field.name().as_bytes());
        label.push(b':');
        columns.push(JsonColumn { label, form: form_of_field(field)? });
    }
    Ok(columns)
}

fn form_of_field(field: &Field) -> Result<JsonForm, SchemaError> {
    Ok(match field.data_type() {
        DataType::Utf8 if is_jsonb(field) => JsonForm::Raw,
        DataType::Utf8 => JsonForm::Text,
        DataType::Binary => JsonForm::Base64,
        DataType::Date32 => JsonForm::Date,
        DataType::Time64(_) => JsonForm::Time,
        DataType::Interval(_) => JsonForm::Interval,
        DataType::FixedSizeBinary(16) => JsonForm::Uuid,
        DataType::Timestamp(_, zone) => JsonForm::Timestamp { utc: zone.is_some() },
        DataType::Decimal128(_, scale) => JsonForm::Decimal { scale: *scale },
        DataType::List(item) => JsonForm::List(Box::new(form_of_field(item)?)),
        DataType::Struct(fields) => JsonForm::Struct(columns_of_fields(fields)?),
        DataType::Null | DataType::Boolean => JsonForm::Plain,
        number if number.is_numeric() => JsonForm::Plain,
        other => return Err(SchemaError::UnsupportedType(other.to_string())),
    })
}

fn write_object(out: &mut Vec<u8>, columns: &[JsonColumn], views: &[View<'_>], row: usize) {
    out.push(b'{');
    for (column, view) in columns.iter().zip(views) {
        out.extend_from_slice(&column.label);
        write_value(out, &column.form, view, row);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, form: &JsonForm, view: &View<'_>, row: usize) {
    if view.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match (form, &view.values) {
        (JsonForm::Text, Values::Bytes(heap)) => write_text(out, heap.get(row)),
        (JsonForm::Raw, Values::Bytes(heap)) => out.extend_from_slice(heap.get(row)),
        (JsonForm::Base64, Values::Bytes(heap)) => write_quoted(out, |out| write_base64(out, heap.get(row))),
        (JsonForm::Date, Values::I32(v)) => write_quoted(out, |out| time::write_date(out, v[row].into())),
        (JsonForm::Time, Values::I64(v)) => write_quoted(out, |out| time::write_time(out, v[row])),
        (JsonForm::Interval, Values::Span(v)) => write_quoted(out, |out| Span::from(v[row]).write(out)),
        (JsonForm::Uuid, Values::Uuid(v)) => write_quoted(out, |out| uuid::write(out, &v[row])),
        (JsonForm::Timestamp { utc }, Values::I64(v)) => {
            write_quoted(out, |out| time::write_timestamp(out, v[row], *utc));
        }
        (JsonForm::Decimal { scale }, Values::I128(v)) => {
            write_quoted(out, |out| decimal::write(out, v[row], *scale));
        }
        (JsonForm::List(item), Values::List(offsets, items)) => {
            out.push(b'[');
            let start = offsets[row] as usize;
            for index in start..offsets[row + 1] as usize {
                if index > start {
                    out.push(b',');
                }
                write_value(out, item, items, index);
            }
            out.push(b']');
        }
        (JsonForm::Struct(columns), Values::Struct(fields)) => write_object(out, columns, fields, row),
        (_, values) => write_plain(out, values, row),
    }
}

fn write_plain(out: &mut Vec<u8>, values: &Values<'_>, row: usize) {
    // Writing to a Vec cannot fail.
    let _ = match values {
        Values::Bool(v) => write!(out, "{}", v.value(row)),
        Values::I8(_)
        | Values::I16(_)
        | Values::I32(_)
        | Values::I64(_)
        | Values::I128(_)
        | Values::U8(_)
        | Values::U16(_)
        | Values::U32(_)
        | Values::U64(_) => {
            values.write_integer(out, row);
            Ok(())
        }
        // Debug writes the shortest text that parses to the same number.
        Values::F32(v) if v[row].is_finite() => write!(out, "{:?}", v[row]),
        Values::F64(v) if v[row].is_finite() => write!(out, "{:?}", v[row]),
        Values::F32(v) => write!(out, "\"{}\"", no_number(v[row].into())),
        Values::F64(v) => write!(out, "\"{}\"", no_number(v[row])),
        Values::Null
        | Values::Span(_)
        | Values::Uuid(_)
        | Values::Bytes(_)
        | Values::List(..)
        | Values::Struct(_) => {
            write!(out, "null")
        }
    };
}

fn no_number(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

fn write_quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Appends bytes as base64, the form of BYTEA.
pub(crate) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    // Encoded in place: four characters for each three bytes, padded.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// Appends text as a JSON string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Runs without escapes are appended as a whole.
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // Writing to a Vec cannot fail.
            other => drop(write!(out, "\\u{other:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
