//! Names of relations, columns and types in SQL's words: `information_schema`, DESCRIBE and EXPLAIN.
//!
//! SHOW TABLES and SHOW COLUMNS select from `information_schema`. The query engine has tables of that name,
//! too; they would show Arrow's types and the engine's settings.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

/// The catalog of all relations.
pub(super) const CATALOG: &str = "herald";
/// The schema of the materialized views.
pub(super) const DEFAULT_SCHEMA: &str = "public";
/// The schema of the tables that list relations and columns.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// A relation of the lists.
pub(super) struct Listed<'a> {
    /// Its schema.
    pub schema_name: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its columns.
    pub columns: &'a Schema,
}

impl Listed<'_> {
    /// Its kind, as `table_type` names it.
    fn kind(&self) -> &'static str {
        match self.schema_name {
            DEFAULT_SCHEMA => "MATERIALIZED VIEW",
            _ => "SYSTEM TABLE",
        }
    }
}

/// The columns of `information_schema.tables`.
pub(super) fn tables_schema() -> SchemaRef {
    let names = ["table_catalog", "table_schema", "table_name", "table_type"];
    Arc::new(Schema::new(names.map(text_field).to_vec()))
}

/// The columns of `information_schema.columns`.
pub(super) fn columns_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text_field("table_catalog"),
        text_field("table_schema"),
        text_field("table_name"),
        text_field("column_name"),
        Field::new("ordinal_position", DataType::Int32, false),
        text_field("is_nullable"),
        text_field("data_type"),
    ]))
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

/// The rows of `information_schema.tables`.
pub(super) fn tables_rows(listed: &[Listed<'_>]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(CATALOG, listed.len()))),
        Arc::new(StringArray::from_iter_values(listed.iter().map(|relation| relation.schema_name))),
        Arc::new(StringArray::from_iter_values(listed.iter().map(|relation| relation.name))),
        Arc::new(StringArray::from_iter_values(listed.iter().map(Listed::kind))),
    ];
    Ok(RecordBatch::try_new(tables_schema(), columns)?)
}

/// The rows of `information_schema.columns`, each relation's in the order of its columns.
pub(super) fn columns_rows(listed: &[Listed<'_>]) -> Result<RecordBatch> {
    let mut texts: [Vec<String>; 6] = Default::default();
    let mut positions = Vec::new();
    for relation in listed {
        for (field, position) in relation.columns.fields().iter().zip(1..) {
            let [catalogs, schemas, tables, names, nullable, types] = &mut texts;
            catalogs.push(CATALOG.to_owned());
            schemas.push(relation.schema_name.to_owned());
            tables.push(relation.name.to_owned());
            names.push(field.name().clone());
            nullable.push(yes_or_no(field).to_owned());
            types.push(type_name(field));
            positions.push(position);
        }
    }
    let [catalogs, schemas, tables, names, nullable, types] = texts.map(StringArray::from_iter_values);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(catalogs),
        Arc::new(schemas),
        Arc::new(tables),
        Arc::new(names),
        Arc::new(Int32Array::from(positions)),
        Arc::new(nullable),
        Arc::new(types),
    ];
    Ok(RecordBatch::try_new(columns_schema(), columns)?)
}

/// The answer to DESCRIBE.
pub(crate) fn describe(schema: &Schema) -> Result<RecordBatch> {
    let (mut names, mut types, mut nullable) = (Vec::new(), Vec::new(), Vec::new());
    for field in schema.fields() {
        names.push(field.name());
        types.push(type_name(field));
        nullable.push(yes_or_no(field));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(StringArray::from_iter_values(types)),
        Arc::new(StringArray::from_iter_values(nullable)),
    ];
    Ok(RecordBatch::try_new(Arc::new(LogicalPlan::describe_schema()), columns)?)
}

fn yes_or_no(field: &Field) -> &'static str {
    if field.is_nullable() { "YES" } else { "NO" }
}

/// SQL's name of a column's type. A type that only the query engine has is named as the nearest in SQL.
fn type_name(field: &Field) -> String {
    let nearest = match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        _ => return schemas::sql_type(field),
    };
    schemas::sql_type(&Field::new(field.name(), nearest, true))
}

/// The answer to EXPLAIN with SQL's names of types.
pub(crate) fn spell_plan(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(spell_column).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn spell_column(column: &ArrayRef) -> ArrayRef {
    match column.as_string_opt::<i32>() {
        Some(texts) => Arc::new(texts.iter().map(|text| text.map(spell_types)).collect::<StringArray>()),
        None => Arc::clone(column),
    }
}

/// Types in the query engine's plans, and SQL's names of them: those of several words first.
const TYPES: [(&str, &str); 4] = [
    ("Timestamp(µs, \"UTC\")", "TIMESTAMPTZ"),
    ("Timestamp(µs)", "TIMESTAMP"),
    ("Time64(µs)", "TIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
];
/// Types of one word, which also stand before literals.
const TYPE_WORDS: [(&str, &str); 19] = [
    ("Boolean", "BOOLEAN"),
    ("Int8", "SMALLINT"),
    ("Int16", "SMALLINT"),
    ("Int32", "INT"),
    ("Int64", "BIGINT"),
    ("UInt32", "BIGINT"),
    ("UInt64", "BIGINT"),
    ("Float32", "REAL"),
    ("Float64", "DOUBLE"),
    ("Decimal128", "DECIMAL"),
    ("Utf8", "VARCHAR"),
    ("LargeUtf8", "VARCHAR"),
    ("Utf8View", "VARCHAR"),
    ("Binary", "BYTEA"),
    ("BinaryView", "BYTEA"),
    ("Date32", "DATE"),
    ("Time64Microsecond", "TIME"),
    ("TimestampMicrosecond", "TIMESTAMP"),
    ("IntervalMonthDayNano", "INTERVAL"),
];

/// A plan's text with SQL's names of types. Literals, between double quotes, stay as they are.
fn spell_types(plan: &str) -> String {
    let mut text = plan.to_owned();
    for (engine, sql) in TYPES {
        text = text.replace(engine, sql);
    }
    let mut parts = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        parts.push(if at % 2 == 0 { spell_words(part) } else { part.to_owned() });
    }
    parts.join("\"")
}

fn is_end(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

fn spell_words(text: &str) -> String {
    let mut spelt = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_end) {
        let word = piece.trim_end_matches(is_end);
        spelt.push_str(match TYPE_WORDS.iter().find(|(engine, _)| *engine == word) {
            Some((_, sql)) => sql,
            None => word,
        });
        spelt.push_str(&piece[word.len()..]);
    }
    spelt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_types_as_sql_does() {
        for (engine, sql) in [
            ("Filter: v.games > Int64(3)", "Filter: v.games > BIGINT(3)"),
            (
                "CAST(a AS Utf8View), CAST(b AS Timestamp(µs, \"UTC\"))",
                "CAST(a AS VARCHAR), CAST(b AS TIMESTAMPTZ)",
            ),
            ("name = Utf8(\"Int64 or Utf8\")", "name = VARCHAR(\"Int64 or Utf8\")"),
            ("Int64_total, MyUtf8", "Int64_total, MyUtf8"),
            ("", ""),
        ] {
            assert_eq!(spell_types(engine), sql);
        }
    }

    #[test]
    fn types_of_the_engine_alone_are_named_as_the_nearest() {
        for (engine, sql) in [
            (DataType::Utf8View, "VARCHAR"),
            (DataType::UInt64, "BIGINT"),
            (DataType::BinaryView, "BYTEA"),
            (schemas::timestamptz(), "TIMESTAMPTZ"),
            (DataType::Decimal128(10, 2), "DECIMAL(10, 2)"),
        ] {
            assert_eq!(type_name(&Field::new("c", engine, true)), sql);
        }
    }
}
