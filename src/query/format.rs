//! Output formats of a query's rows: a table for people, also with a line for each column, JSON and CSV for
//! programs.
//!
//! JSON is an array with one object a row and line, in column order; its values are those of JSON
//! sinks (DECIMAL as string, BYTEA as base64, timestamps in ISO-8601, JSONB as it is). In CSV a NULL is an empty
//! field, and JSONB, arrays and structs are JSON text. [`value_of`] alone decides how each type is written.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, IntervalMonthDayNanoType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemas::types::span::Span;
use serde_json::{Number, Value};

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
            texts.push(text_of(field, column.as_ref(), row)?);
        }
        *column = Arc::new(StringArray::from(texts));
        *field = field.clone().with_data_type(DataType::Utf8);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn write_json(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    write!(out, "[")?;
    let (mut first, mut text) = (true, String::new());
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            text.clear();
            write_object(&mut text, (batch.schema_ref().fields(), batch.columns()), row)?;
            write!(out, "{}{text}", if first { "\n" } else { ",\n" })?;
            first = false;
        }
    }
    write!(out, "{}", if first { "]\n" } else { "\n]\n" })?;
    Ok(())
}

/// One row as the text of a JSON object, in column order.
pub fn json_object(batch: &RecordBatch, row: usize) -> Result<String> {
    let mut text = String::new();
    write_object(&mut text, (batch.schema_ref().fields(), batch.columns()), row)?;
    Ok(text)
}

fn write_csv(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let names = answer.schema.fields().iter().map(|field| quote_csv(field.name()));
    write_csv_line(out, names)?;
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let mut fields = Vec::with_capacity(batch.num_columns());
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                fields.push(match text_of(field, column.as_ref(), row)? {
                    None => String::new(),
                    // Quotes distinguish an empty string from NULL.
                    Some(text) if text.is_empty() => "\"\"".to_owned(),
                    Some(text) => quote_csv(&text),
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

/// A value as text without quotes; None for NULL. JSONB, arrays and structs are JSON.
pub fn text_of(field: &Field, column: &dyn Array, row: usize) -> Result<Option<String>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let (CellText::Json(text) | CellText::Text(text)) = value_of(field, column, row)?;
    Ok(Some(text))
}

/// Text of a value that is not NULL.
enum CellText {
    /// As JSON: a number, a boolean, JSONB, an array or an object.
    Json(String),
    /// As text, which JSON has in quotes.
    Text(String),
}

fn value_of(field: &Field, column: &dyn Array, row: usize) -> Result<CellText> {
    let mut json = String::new();
    match column.data_type() {
        DataType::Boolean => return Ok(CellText::Json(column.as_boolean().value(row).to_string())),
        of if of.is_integer() || of.is_floating() => return Ok(json_number(cell_text(column, row)?)),
        // Its own text keeps every digit.
        _ if schemas::is_jsonb(field) => return Ok(CellText::Json(cell_text(column, row)?)),
        DataType::List(item) => write_items(&mut json, item, column.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(item) => {
            write_items(&mut json, item, column.as_list::<i64>().value(row).as_ref())?;
        }
        DataType::FixedSizeList(item, _) => {
            write_items(&mut json, item, column.as_fixed_size_list().value(row).as_ref())?;
        }
        DataType::Struct(fields) => write_object(&mut json, (fields, column.as_struct().columns()), row)?,
        DataType::Binary => return Ok(base64_text(column.as_binary::<i32>().value(row))),
        DataType::LargeBinary => return Ok(base64_text(column.as_binary::<i64>().value(row))),
        DataType::BinaryView => return Ok(base64_text(column.as_binary_view().value(row))),
        DataType::FixedSizeBinary(16) => {
            return Ok(CellText::Text(schemas::types::uuid::text(column.as_fixed_size_binary().value(row))));
        }
        DataType::Interval(_) => {
            return Ok(CellText::Text(match column.as_primitive_opt::<IntervalMonthDayNanoType>() {
                Some(spans) => Span::from(spans.value(row)).text(),
                None => cell_text(column, row)?,
            }));
        }
        _ => return Ok(CellText::Text(cell_text(column, row)?)),
    }
    Ok(CellText::Json(json))
}

fn write_value(out: &mut String, field: &Field, column: &dyn Array, row: usize) -> Result<()> {
    if column.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match value_of(field, column, row)? {
        CellText::Json(text) => out.push_str(&text),
        CellText::Text(text) => write!(out, "{}", Value::String(text))?,
    }
    Ok(())
}

fn write_object(out: &mut String, (fields, columns): (&Fields, &[ArrayRef]), row: usize) -> Result<()> {
    out.push('{');
    for (position, (field, column)) in fields.iter().zip(columns).enumerate() {
        let comma = if position > 0 { "," } else { "" };
        write!(out, "{comma}{}:", Value::from(field.name().as_str()))?;
        write_value(out, field, column.as_ref(), row)?;
    }
    out.push('}');
    Ok(())
}

fn write_items(out: &mut String, item: &Field, column: &dyn Array) -> Result<()> {
    out.push('[');
    for row in 0..column.len() {
        if row > 0 {
            out.push(',');
        }
        write_value(out, item, column, row)?;
    }
    out.push(']');
    Ok(())
}

fn cell_text(column: &dyn Array, row: usize) -> Result<String> {
    Ok(ArrayFormatter::try_new(column, &format_options())?.value(row).try_to_string()?)
}

/// A number as JSON. JSON has no NaN and infinities; they become strings.
fn json_number(text: String) -> CellText {
    match text.parse::<i128>().ok().and_then(Number::from_i128) {
        Some(whole) => CellText::Json(whole.to_string()),
        None => match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(real) => CellText::Json(real.to_string()),
            None => CellText::Text(text),
        },
    }
}

fn base64_text(bytes: &[u8]) -> CellText {
    CellText::Text(BASE64.encode(bytes))
}
