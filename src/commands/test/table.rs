//! Tables of rows to compare: of a view, of a sink, dead letters, counts. Each row is one JSON object as JSON
//! sinks write it, so that an expected and a found row are equal exactly when their texts are.
//!
//! Tables are multisets, ordered by their values, column by column. A difference pairs rows of the same key
//! and lists the columns that differ; other rows are only expected (`-`) or only found (`+`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use dataflows::sql::diagnostics::did_you_mean::did_you_mean;
use schemas::{Encoder, JsonDecoder, JsonOptions, Pseudonyms, Records, RowCodec, Rows};
use serde_json::{Map, Value};

/// Most rows that a difference shows; further ones are only counted.
const MAX_SHOWN_ROWS: usize = 40;

/// Rows as JSON text, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The rows.
    pub rows: Vec<String>,
}

/// The columns and the key of a table.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The columns.
    pub schema: SchemaRef,
    /// Names of the key columns; none if rows have no key.
    pub key: Vec<String>,
}

impl Shape {
    /// The shape of a table with these columns and names of key columns.
    pub fn new(schema: Schema, key: &[&str]) -> Shape {
        Shape { schema: Arc::new(schema), key: key.iter().map(|name| (*name).to_owned()).collect() }
    }
}

impl Table {
    /// Creates a table from rows in any order.
    pub fn new(rows: Vec<String>) -> Table {
        let mut parsed: Vec<(Value, String)> = rows.into_iter().map(|row| (parse_value(&row), row)).collect();
        parsed.sort_by(compare_rows);
        Table { rows: parsed.into_iter().map(|(_, row)| row).collect() }
    }
}

/// Orders rows by their values, and by their texts where those are equal.
fn compare_rows((a, left): &(Value, String), (b, right): &(Value, String)) -> Ordering {
    compare_values(a, b).then_with(|| left.cmp(right))
}

fn parse_value(row: &str) -> Value {
    serde_json::from_str(row).unwrap_or_default()
}

fn parse_object(row: &str) -> Map<String, Value> {
    serde_json::from_str(row).unwrap_or_default()
}

/// Packed rows as JSON text, in their order.
pub fn row_texts(schema: &Schema, rows: &Rows) -> Result<Vec<String>> {
    let columns = RowCodec::of(schema)?.decode(rows.iter())?;
    batch_rows(&RecordBatch::try_new(Arc::new(nullable_schema(schema)), columns)?)
}

/// Packed rows as JSON text, in their order, with pseudonyms in the place of values.
pub fn sent_texts(schema: &Schema, rows: &Rows, pseudonyms: Option<&Pseudonyms>) -> Result<Vec<String>> {
    match pseudonyms {
        Some(pseudonyms) => row_texts(schema, &pseudonyms.apply_to_rows(&RowCodec::of(schema)?, rows)?),
        None => row_texts(schema, rows),
    }
}

/// Rows of a batch as JSON text, in their order.
pub fn batch_rows(batch: &RecordBatch) -> Result<Vec<String>> {
    let encoded = Encoder::json(&batch.schema())?.encode(batch)?;
    let mut texts = Vec::with_capacity(encoded.len());
    for row in encoded.iter() {
        texts.push(String::from_utf8(row.unwrap_or_default().to_vec()).context("a row is not text")?);
    }
    Ok(texts)
}

/// An expected row in the form of a found one: a column that is left out is NULL. The inner error is a
/// mistake in the row, with its column in the text.
pub fn normalize_expected(schema: &SchemaRef, text: &str) -> Result<Result<String, (u64, String)>> {
    let object: Map<String, Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            let column = error.column().max(1) as u64;
            return Ok(Err((column, "a row must be a JSON object on one line".to_owned())));
        }
    };
    if let Some((name, hint)) = unknown_column(schema.fields(), &object) {
        let at = text.find(&format!("\"{name}\"")).map_or(0, |at| text[..at].chars().count());
        return Ok(Err((at as u64 + 1, format!("there is no column {name}{hint}"))));
    }
    let mut decoder = JsonDecoder::new(schema.clone(), JsonOptions::default())?;
    let mut records = Records::new(0);
    records.push(0, None, None, Some(text.as_bytes()));
    let decoded = decoder.decode(&records)?;
    if let Some(reject) = decoded.rejects.first() {
        return Ok(Err((1, reject.message.clone())));
    }
    let row = batch_rows(&decoded.batch)?.pop();
    row.map(Ok).ok_or_else(|| anyhow!("a row was lost"))
}

/// The first name that is no column, with a hint at a similar one.
fn unknown_column(fields: &Fields, object: &Map<String, Value>) -> Option<(String, String)> {
    for (name, value) in object {
        let Some((_, field)) = fields.find(name) else {
            let hint = match did_you_mean(name, fields.iter().map(|field| field.name().as_str())) {
                Some(near) => format!("; {near}"),
                None => String::new(),
            };
            return Some((name.clone(), hint));
        };
        if let (DataType::Struct(inner), Value::Object(value)) = (field.data_type(), value)
            && let Some(found) = unknown_column(inner, value)
        {
            return Some(found);
        }
    }
    None
}

/// The schema with every column nullable.
pub fn nullable_schema(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(nullable_field).collect::<Vec<_>>())
}

fn nullable_field(field: &Arc<Field>) -> Field {
    field.as_ref().clone().with_nullable(true)
}

/// Orders values: NULL, booleans, numbers, text, arrays, objects; arrays and objects by their values.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x.as_f64().unwrap_or_default().total_cmp(&y.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => compare_pairs(a.iter().zip(b)).then(a.len().cmp(&b.len())),
        (Value::Object(a), Value::Object(b)) => {
            compare_pairs(a.values().zip(b.values())).then(a.len().cmp(&b.len()))
        }
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

/// The place of a value's type in the order of values.
fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// Orders by the first pair that differs.
fn compare_pairs<'v>(pairs: impl Iterator<Item = (&'v Value, &'v Value)>) -> Ordering {
    for (a, b) in pairs {
        let order = compare_values(a, b);
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// The difference of `found` from `wanted`, one line per row; None if there is none.
pub fn difference(shape: &Shape, wanted: &Table, found: &Table) -> Option<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for row in &wanted.rows {
        *counts.entry(row).or_default() -= 1;
    }
    for row in &found.rows {
        *counts.entry(row).or_default() += 1;
    }
    let (missing, extra) = (surplus_rows(&counts, -1), surplus_rows(&counts, 1));
    if missing.is_empty() && extra.is_empty() {
        return None;
    }
    let mut lines = difference_lines(shape, &missing, extra);
    let hidden = lines.len().saturating_sub(MAX_SHOWN_ROWS);
    lines.truncate(MAX_SHOWN_ROWS);
    if hidden > 0 {
        lines.push(format!("  and {hidden} more\n"));
    }
    Some(lines.concat())
}

/// The rows whose counts have a sign, each as often as it is counted.
fn surplus_rows(counts: &BTreeMap<&str, i64>, sign: i64) -> Vec<String> {
    let mut rows = Vec::new();
    for (row, count) in counts {
        for _ in 0..count * sign {
            rows.push((*row).to_owned());
        }
    }
    Table::new(rows).rows
}

/// The values of a row's key columns, with their names.
fn row_key(shape: &Shape, row: &str) -> Map<String, Value> {
    let row = parse_object(row);
    let mut key = Map::new();
    for name in &shape.key {
        key.insert(name.clone(), row.get(name).cloned().unwrap_or_default());
    }
    key
}

/// The lines of a difference: rows of the same key are paired.
fn difference_lines(shape: &Shape, missing: &[String], mut extra: Vec<String>) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for row in missing {
        let partner = if shape.key.is_empty() {
            None
        } else {
            extra.iter().position(|other| row_key(shape, other) == row_key(shape, row))
        };
        let Some(partner) = partner else {
            lines.push((row.clone(), format!("  - {row}\n")));
            continue;
        };
        let (wanted, found) = (parse_object(row), parse_object(&extra.remove(partner)));
        let mut text = format!("  ~ {}\n", Value::Object(row_key(shape, row)));
        for (name, value) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
            let other = found.get(name).unwrap_or(&Value::Null);
            let _ = write!(text, "      - {name}: {value}\n      + {name}: {other}\n");
        }
        lines.push((row.clone(), text));
    }
    for row in extra {
        let line = format!("  + {row}\n");
        lines.push((row, line));
    }
    lines.sort_by(|(a, _), (b, _)| compare_values(&parse_value(a), &parse_value(b)));
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key: &[&str]) -> Shape {
        let fields = vec![Field::new("k", DataType::Int64, true), Field::new("n", DataType::Float64, true)];
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        Shape { schema: Arc::new(Schema::new(fields)), key }
    }

    fn table(rows: &[&str]) -> Table {
        Table::new(rows.iter().map(|row| (*row).to_owned()).collect())
    }

    #[test]
    fn rows_stand_in_the_order_of_their_values() {
        let sorted = table(&[r#"{"k":10}"#, r#"{"k":9}"#, r#"{"k":null}"#, r#"{"k":"a"}"#]).rows;
        assert_eq!(sorted, [r#"{"k":null}"#, r#"{"k":9}"#, r#"{"k":10}"#, r#"{"k":"a"}"#]);
    }

    #[test]
    fn a_difference_pairs_rows_of_one_key() {
        let wanted = table(&[r#"{"k":1,"n":0.5}"#, r#"{"k":2,"n":1.0}"#, r#"{"k":3,"n":1.0}"#]);
        let found = table(&[r#"{"k":1,"n":0.5}"#, r#"{"k":2,"n":2.0}"#, r#"{"k":4,"n":1.0}"#]);
        let told = difference(&shape(&["k"]), &wanted, &found).unwrap_or_default();
        let pair = "  ~ {\"k\":2}\n      - n: 1.0\n      + n: 2.0\n";
        assert_eq!(told, format!("{pair}  - {{\"k\":3,\"n\":1.0}}\n  + {{\"k\":4,\"n\":1.0}}\n"));
        assert_eq!(difference(&shape(&["k"]), &wanted, &wanted), None);
        let twice = table(&["{\"k\":1}", "{\"k\":1}"]);
        assert_eq!(
            difference(&shape(&[]), &table(&["{\"k\":1}"]), &twice).as_deref(),
            Some("  + {\"k\":1}\n")
        );
    }

    #[test]
    fn an_expected_row_is_read_as_a_record_is() -> Result<()> {
        let schema = shape(&[]).schema;
        assert_eq!(normalize_expected(&schema, r#"{"n": 1}"#)?, Ok(r#"{"k":null,"n":1.0}"#.to_owned()));
        let wrong = |text: &str| -> Result<(u64, String)> {
            normalize_expected(&schema, text)?.err().context("it is a mistake")
        };
        assert_eq!(wrong(r#"{"n":1, "kk":2}"#)?, (9, "there is no column kk; did you mean k?".to_owned()));
        assert_eq!(wrong("[1]")?.1, "a row must be a JSON object on one line");
        assert!(wrong(r#"{"k":"x"}"#)?.1.contains("k"));
        Ok(())
    }
}
