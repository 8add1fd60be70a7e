//! Output formats of a query's rows: a table for people, also with a line for each column, JSON and CSV for
//! programs.
//!
//! JSON is an array with one object a row and line, in column order; its values are those of JSON
//! sinks (DECIMAL as string, BYTEA as base64, timestamps in ISO-8601). In CSV a NULL is an empty
//! field, and arrays and structs are JSON text. [`json_value`] alone decides how each type is written.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNanoType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemas::types::span::Span;
use serde_json::{Map, Number, Value};

use super::Answer;
use crate::cli::OutputFormat;

/// The whole answer as text, with a newline at the end.
pub fn answer_text(answer: &Answer, format: OutputFormat) -> Result<String> {
    let mut text = Vec::new();
    write_answer(answer, format, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// Writes an answer as text, with a newline at the end. JSON and CSV are written row by row.
pub fn write_answer(answer: &Answer, format: OutputFormat, out: &mut dyn Write) -> Result<()> {
    match format {
        OutputFormat::Table => write_table(answer, out),
        OutputFormat::Expanded => write_expanded(answer, out),
        OutputFormat::Json => write_json(answer, out),
        OutputFormat::Csv => write_csv(answer, out),
    }
}

fn format_options<'a>() -> FormatOptions<'a> {
    FormatOptions::new()
        .with_display_error(true)
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.6f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

fn table_options<'a>() -> FormatOptions<'a> {
    format_options()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.fZ"))
}

fn write_table(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let mut batches = answer.batches.iter().map(spell_columns).collect::<Result<Vec<_>>>()?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(answer.schema.clone()));
    }
    writeln!(out, "{}", pretty_format_batches_with_options(&batches, &table_options())?)?;
    write_row_count(answer, out)
}

fn write_row_count(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let rows: usize = answer.batches.iter().map(RecordBatch::num_rows).sum();
    let plural = if rows == 1 { "" } else { "s" };
    writeln!(out, "{rows} row{plural} at epoch {}", answer.epoch)?;
    Ok(())
}

/// Writes each row as a line for each column, below a line with the row's number.
fn write_expanded(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let names: Vec<&String> = answer.schema.fields().iter().map(|field| field.name()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let options = table_options();
    let mut number = 0;
    for batch in &answer.batches {
        let batch = spell_columns(batch)?;
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            writeln!(out, "-[ RECORD {number} ]-")?;
            for (name, column) in names.iter().zip(&columns) {
                // A value of several lines stays to the right of the names.
                let value = column.value(row).try_to_string()?.replace('\n', &format!("\n{:width$} | ", ""));
                writeln!(out, "{name:width$} | {value}")?;
            }
        }
    }
    write_row_count(answer, out)
}

/// The batch with intervals and UUIDs as PostgreSQL writes them.
fn spell_columns(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    for (field, column) in fields.iter_mut().zip(&mut columns) {
        if !matches!(field.data_type(), DataType::Interval(_) | DataType::FixedSizeBinary(16)) {
            continue;
        }
        let mut texts = Vec::with_capacity(column.len());
        for row in 0..column.len() {
            texts.push(json_value(column.as_ref(), row)?.as_str().map(str::to_owned));
        }
        *column = Arc::new(StringArray::from(texts));
        *field = field.clone().with_data_type(DataType::Utf8);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn write_json(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    write!(out, "[")?;
    let mut first = true;
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            write!(out, "{}{}", if first { "\n" } else { ",\n" }, json_object(batch, row)?)?;
            first = false;
        }
    }
    write!(out, "{}", if first { "]\n" } else { "\n]\n" })?;
    Ok(())
}

/// One row as a JSON object, in column order.
pub fn json_object(batch: &RecordBatch, row: usize) -> Result<Value> {
    let mut object = Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        object.insert(field.name().clone(), json_value(column.as_ref(), row)?);
    }
    Ok(Value::Object(object))
}

fn write_csv(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let names = answer.schema.fields().iter().map(|field| quote_csv(field.name()));
    write_csv_line(out, names)?;
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let mut fields = Vec::with_capacity(batch.num_columns());
            for column in batch.columns() {
                fields.push(match json_value(column.as_ref(), row)? {
                    Value::Null => String::new(),
                    // Quotes distinguish an empty string from NULL.
                    Value::String(text) if text.is_empty() => "\"\"".to_owned(),
                    Value::String(text) => quote_csv(&text),
                    other => quote_csv(&other.to_string()),
                });
            }
            write_csv_line(out, fields.into_iter())?;
        }
    }
    Ok(())
}

fn write_csv_line(out: &mut dyn Write, fields: impl Iterator<Item = String>) -> Result<()> {
    for (position, field) in fields.enumerate() {
        write!(out, "{}{field}", if position > 0 { "," } else { "" })?;
    }
    writeln!(out)?;
    Ok(())
}

fn quote_csv(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// One cell as JSON.
pub fn json_value(column: &dyn Array, row: usize) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        kind if kind.is_integer() => json_number(&cell_text(column, row)?),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => json_number(&cell_text(column, row)?),
        DataType::Binary => base64_text(column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(16) => {
            Value::String(schemas::types::uuid::text(column.as_fixed_size_binary().value(row)))
        }
        DataType::LargeBinary => base64_text(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => base64_text(column.as_binary_view().value(row)),
        DataType::List(_) => json_items(column.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => json_items(column.as_list::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(_, _) => json_items(column.as_fixed_size_list().value(row).as_ref())?,
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(columns) {
                object.insert(field.name().clone(), json_value(column.as_ref(), row)?);
            }
            Value::Object(object)
        }
        DataType::Interval(_) => Value::String(match column.as_primitive_opt::<IntervalMonthDayNanoType>() {
            Some(spans) => Span::from(spans.value(row)).text(),
            None => cell_text(column, row)?,
        }),
        _ => Value::String(cell_text(column, row)?),
    })
}

fn json_items(column: &dyn Array) -> Result<Value> {
    let items: Result<Vec<Value>> = (0..column.len()).map(|row| json_value(column, row)).collect();
    Ok(Value::Array(items?))
}

fn cell_text(column: &dyn Array, row: usize) -> Result<String> {
    Ok(ArrayFormatter::try_new(column, &format_options())?.value(row).try_to_string()?)
}

/// A number as JSON. JSON has no NaN and infinities; they become strings.
fn json_number(text: &str) -> Value {
    match text.parse::<i128>().ok().and_then(Number::from_i128) {
        Some(whole) => Value::Number(whole),
        None => match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(real) => Value::Number(real),
            None => Value::String(text.to_owned()),
        },
    }
}

fn base64_text(bytes: &[u8]) -> Value {
    Value::String(BASE64.encode(bytes))
}
