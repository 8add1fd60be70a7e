//! Column types: names, values, storage, and forms in JSON and Avro.
//!
//! Names come from the parser. Storage and the forms in JSON and Avro are those of an example, which is
//! planned, evaluated, packed and encoded as a topology does it.

use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use schemas::{Encoder, RowCodec};
use serde_json::Value;

use crate::plan::{Op, Plan};
use crate::sql::parse::statement::types::NAMES;
use crate::sql::parse::{no_file, no_variable};
use crate::sql::{SqlFile, compile};

/// A column type as the reference pages show it.
#[derive(Clone, Debug)]
pub struct TypeEntry {
    /// Its name in SQL.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// Its values, in a sentence.
    pub values: &'static str,
    /// Bytes of a value that is not NULL in a packed row, besides the one that tells it from NULL.
    pub stored: String,
    /// An example in SQL.
    pub literal: &'static str,
    /// The example as sinks write it in JSON.
    pub json: String,
    /// Its type in Avro.
    pub avro: String,
}

/// A type, with an example of it.
struct TypeLine {
    name: &'static str,
    /// The type of the example, as a column is declared.
    declared: &'static str,
    literal: &'static str,
    values: &'static str,
    /// Bytes of a value; empty where all values have as many as the example.
    stored: &'static str,
}

/// Describes a type: name, declaration and literal of the example, values, bytes.
const fn line(
    name: &'static str,
    declared: &'static str,
    literal: &'static str,
    values: &'static str,
    stored: &'static str,
) -> TypeLine {
    TypeLine { name, declared, literal, values, stored }
}

const TYPES: &[TypeLine] = &[
    line("BOOLEAN", "BOOLEAN", "TRUE", "TRUE and FALSE.", ""),
    line("SMALLINT", "SMALLINT", "CAST(7 AS SMALLINT)", "-32768 to 32767.", ""),
    line("INT", "INT", "CAST(7 AS INT)", "-2147483648 to 2147483647.", ""),
    line("BIGINT", "BIGINT", "7", "-9223372036854775808 to 9223372036854775807.", ""),
    line(
        "REAL",
        "REAL",
        "CAST(0.5 AS REAL)",
        "IEEE 754 of 32 bits, some 6 digits; one zero and one NaN, which is above Infinity.",
        "",
    ),
    line(
        "DOUBLE",
        "DOUBLE",
        "0.5",
        "IEEE 754 of 64 bits, some 15 digits; one zero and one NaN, which is above Infinity.",
        "",
    ),
    line(
        "DECIMAL(p, s)",
        "DECIMAL(10, 2)",
        "CAST(2.55 AS DECIMAL(10, 2))",
        "Exact numbers of p digits, 1 to 38, of which s are behind the point, 0 to p.",
        "",
    ),
    line(
        "VARCHAR",
        "VARCHAR",
        "'text'",
        "Text in UTF-8 of any length; it compares by its bytes.",
        "its bytes and 2",
    ),
    line(
        "BYTEA",
        "BYTEA",
        "CAST('\\x00ff' AS BYTEA)",
        "Bytes of any number.",
        "its bytes and 2, and 1 for each byte 0",
    ),
    line("DATE", "DATE", "DATE '2026-01-31'", "Days from 4713-11-24 BC on.", ""),
    line("TIME", "TIME", "TIME '12:30:00'", "A time of day before 24:00, in microseconds.", ""),
    line(
        "TIMESTAMP",
        "TIMESTAMP",
        "TIMESTAMP '2026-01-31 12:30:00'",
        "Date and time of day in microseconds, 4713-11-24 BC to 294247-01-10 04:00:54.775807.",
        "",
    ),
    line(
        "TIMESTAMPTZ",
        "TIMESTAMPTZ",
        "TIMESTAMPTZ '2026-01-31 12:30:00+00'",
        "A point in time in the same range, shown in UTC.",
        "",
    ),
    line(
        "INTERVAL",
        "INTERVAL",
        "INTERVAL '1 day 02:03:04'",
        "Months, days and microseconds; it compares by its length, with 30 days as a month.",
        "",
    ),
    line(
        "UUID",
        "UUID",
        "UUID 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "16 bytes; every spelling that PostgreSQL reads.",
        "",
    ),
    line(
        "JSONB",
        "JSONB",
        "CAST('{\"a\": [1]}' AS JSONB)",
        "A JSON value, kept as the text that PostgreSQL prints for it.",
        "its text and 2",
    ),
    line(
        "T[]",
        "BIGINT[]",
        "ARRAY[1, 2]",
        "Items of type T, any number of them, each of which may be NULL.",
        "2 for each item, with its own, and 1",
    ),
    line(
        "STRUCT<name TYPE, ...>",
        "STRUCT<a BIGINT, b VARCHAR>",
        "STRUCT(1 AS a, 'x' AS b)",
        "Fields by name, each of which may be NULL.",
        "1 for each field, with its own",
    ),
];

/// Returns every column type.
///
/// # Errors
/// If an example cannot be evaluated or encoded.
pub fn types() -> Result<Vec<TypeEntry>, Box<dyn Error + Send + Sync>> {
    let plan = example_plan()?;
    let (Some(source), Some(view)) = (plan.sources.first(), plan.views.first()) else {
        return Err("the examples have no table".into());
    };
    let Op::Project { exprs, .. } = &plan.rels[view.rel].op else {
        return Err("the examples are no columns of a view".into());
    };
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one_row)?;
    let mut entries = Vec::with_capacity(TYPES.len());
    for ((line, field), expr) in TYPES.iter().zip(source.schema.fields()).zip(exprs) {
        entries.push(describe_type(line, field, &expr.evaluate(&row)?)?);
    }
    Ok(entries)
}

/// Returns a topology whose source has a column of each type, and whose view has the examples.
fn example_plan() -> Result<Plan, Box<dyn Error + Send + Sync>> {
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for (at, line) in TYPES.iter().enumerate() {
        columns.push(format!("c{at} {}", line.declared));
        values.push(format!("{} AS c{at}", line.literal));
    }
    let text = format!(
        "CREATE SOURCE t ({}) WITH (connector = 'file', path = 't') FORMAT PLAIN ENCODE JSON;\n\
         CREATE MATERIALIZED VIEW v AS SELECT {} FROM t;",
        columns.join(", "),
        values.join(", ")
    );
    let file = SqlFile { name: "types.sql".to_owned(), text };
    match compile(&[file], &no_variable, &no_file, &|_| Ok(None)) {
        Ok(plan) => Ok(plan),
        Err(mistakes) => {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            Err(mistakes.join("\n").into())
        }
    }
}

fn describe_type(
    line: &'static TypeLine,
    field: &Field,
    value: &ArrayRef,
) -> Result<TypeEntry, Box<dyn Error + Send + Sync>> {
    let field = field.clone().with_name("x").with_nullable(true);
    let value = cast(value, field.data_type())?;
    let schema = Schema::new(vec![field.clone()]);
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::clone(&value)])?;
    let encoded = Encoder::json(&schema)?.encode(&batch)?;
    let object = String::from_utf8_lossy(encoded.get(0).unwrap_or_default()).into_owned();
    let json = object.strip_prefix("{\"x\":").and_then(|rest| rest.strip_suffix('}')).unwrap_or(&object);
    let stored = match line.stored {
        "" => (RowCodec::of(&schema)?.encode(&[value])?.get(0).len() - 1).to_string(),
        told => told.to_owned(),
    };
    let required = Schema::new(vec![field.with_nullable(false)]);
    let avro: Value = serde_json::from_str(&schemas::avro_schema(&required, "v"))?;
    let name = line.name.split('(').next().unwrap_or_default();
    Ok(TypeEntry {
        name: line.name,
        aliases: aliases_of(name),
        values: line.values,
        stored,
        literal: line.literal,
        json: json.to_owned(),
        avro: avro_words(&avro["fields"][0]["type"]),
    })
}

/// Other names of the type whose first name is `name`.
fn aliases_of(name: &str) -> &'static [&'static str] {
    match NAMES.iter().find(|names| names[0] == name) {
        Some(names) => &names[1..],
        None => &[],
    }
}

/// Describes a type of an Avro schema.
fn avro_words(of: &Value) -> String {
    if let Some(parts) = of.as_array() {
        return parts.iter().map(avro_words).collect::<Vec<_>>().join(" or ");
    }
    let name = of.as_str().or(of["type"].as_str()).unwrap_or_default();
    match (name, of["logicalType"].as_str()) {
        ("array", _) => format!("array of {}", avro_words(&of["items"])),
        (name, Some(logical)) => format!("{name}, logical type {logical}"),
        (name, None) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse::parse;

    #[test]
    fn the_parser_knows_these_types_and_no_other() {
        let listed: Vec<&str> = TYPES.iter().filter_map(|line| line.name.split('(').next()).collect();
        let known: Vec<&str> = NAMES.iter().map(|names| names[0]).collect();
        let parts = ["T[]", "STRUCT<name TYPE, ...>"];
        let missing: Vec<&&str> = known.iter().filter(|name| !listed.contains(name)).collect();
        assert!(missing.is_empty(), "no line in TYPES for {missing:?}");
        assert_eq!(listed.len(), known.len() + parts.len());
    }

    #[test]
    fn every_name_of_a_type_is_read() {
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let read = |name: &str| {
            let length = if ["DECIMAL", "NUMERIC"].contains(&name) { "(10, 2)" } else { "" };
            let text = format!(
                "CREATE SOURCE t (c {name}{length}) WITH (connector = 'file', path = 't')
                 FORMAT PLAIN ENCODE JSON;"
            );
            let file = SqlFile { name: "types.sql".to_owned(), text };
            match parse(&[file], &|_| None, &no_file).unwrap().remove(0) {
                crate::sql::parse::ast::Statement::Relation(create) => create.columns[0].data_type.clone(),
                other => panic!("{other:?}"),
            }
        };
        for names in NAMES {
            let spelt = schemas::sql_type(&read(names[0]));
            assert!(spelt.starts_with(names[0]), "{} is called {spelt}", names[0]);
            for name in *names {
                assert_eq!(read(name), read(names[0]), "{name}");
            }
        }
    }

    #[test]
    fn examples_are_of_their_types() {
        let plan = example_plan().unwrap();
        let (declared, found) = (&plan.sources[0].schema, &plan.rels[plan.views[0].rel].schema);
        for (at, line) in TYPES.iter().enumerate() {
            let types = (schemas::sql_type(declared.field(at)), schemas::sql_type(found.field(at)));
            assert_eq!(types.0, types.1, "{}", line.literal);
        }
    }

    #[test]
    fn forms_are_those_of_sinks() {
        let types = types().unwrap();
        let of = |name: &str| types.iter().find(|entry| entry.name == name).unwrap();
        let shown = |name: &str| (of(name).stored.as_str(), of(name).json.as_str(), of(name).avro.as_str());
        assert_eq!(shown("INT"), ("4", "7", "int"));
        assert_eq!(shown("DECIMAL(p, s)"), ("16", "\"2.55\"", "bytes, logical type decimal"));
        assert_eq!(shown("DATE"), ("4", "\"2026-01-31\"", "int, logical type date"));
        assert_eq!(shown("BYTEA").1, "\"AP8=\"");
        assert_eq!(shown("JSONB"), ("its text and 2", "{\"a\": [1]}", "string"));
        assert_eq!(shown("T[]").1, "[1,2]");
        assert_eq!(of("VARCHAR").aliases, ["TEXT", "STRING", "CHARACTER VARYING"]);
    }
}
