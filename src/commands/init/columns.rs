//! Inference of a source's columns from JSON records.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// The common type of all values seen so far.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Unknown,
    Boolean,
    Whole,
    Double,
    Text,
    Time,
    Struct(Vec<Column>),
    List(Box<Kind>),
    /// Values of several kinds, or objects of too many fields.
    Json,
}

/// A column, or a field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the records.
    pub name: String,
    kind: Kind,
    required: bool,
}

/// Columns that fit a sample of records.
#[derive(Debug)]
pub struct Sample {
    /// The records that they fit, by their place; the others are no JSON objects.
    pub fitting: Vec<usize>,
    /// The columns, in the order in which they were first seen.
    pub columns: Vec<Column>,
    /// A column named like an id whose values are all present and all different.
    pub key: Option<String>,
    /// A column of timestamps that are all present.
    pub time: Option<String>,
}

/// Most fields of an object; one with more becomes a JSONB column.
const MAX_FIELDS: usize = 200;
/// Words that must be quoted as names of columns.
const RESERVED: [&str; 72] = [
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "check",
    "column",
    "constraint",
    "create",
    "cross",
    "current",
    "default",
    "desc",
    "distinct",
    "drop",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "fetch",
    "filter",
    "for",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lateral",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "primary",
    "right",
    "row",
    "rows",
    "select",
    "set",
    "some",
    "table",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "when",
    "where",
];

impl Sample {
    /// Infers the columns of these records; records that are no JSON objects are passed over.
    ///
    /// # Errors
    /// The reason why the first record does not fit, if none does.
    pub fn of<'a>(records: impl Iterator<Item = &'a [u8]>) -> Result<Sample, String> {
        let (mut kind, mut fitting, mut reason) = (Kind::Unknown, Vec::new(), String::new());
        let mut values: HashMap<String, HashSet<String>> = HashMap::new();
        for (at, record) in records.enumerate() {
            let value = serde_json::from_slice(record).unwrap_or_else(|error| {
                reason = format!("record {} is no JSON: {error}", at + 1);
                Value::Null
            });
            let Value::Object(fields) = &value else {
                if reason.is_empty() {
                    reason = format!("record {} is no JSON object, so it has no columns", at + 1);
                }
                continue;
            };
            for (name, value) in fields.iter().filter(|(_, value)| value.is_string() || value.is_i64()) {
                values.entry(name.clone()).or_default().insert(value.to_string());
            }
            kind = merge_kinds(kind, kind_of(&value));
            fitting.push(at);
        }
        if fitting.is_empty() {
            return Err(reason);
        }
        let count = fitting.len();
        let Kind::Struct(mut columns) = kind else {
            return Err("the records have too many fields for columns".to_owned());
        };
        let unique = |column: &&mut Column| {
            column.required
                && matches!(column.kind, Kind::Text | Kind::Whole)
                && values.get(&column.name).is_some_and(|seen| seen.len() == count)
        };
        let named_id = |name: &str| name == "id" || name.ends_with("_id") || name.ends_with("Id");
        let key = columns.iter_mut().filter(|column| named_id(&column.name)).find(unique);
        let key = key.map(|column| identifier(&column.name));
        let is_time = |column: &&Column| column.required && column.kind == Kind::Time;
        let time = columns.iter().find(is_time).map(|column| identifier(&column.name));
        // A field that is present in the sample may be missing later: only the key and the time are NOT NULL.
        for column in &mut columns {
            let name = Some(identifier(&column.name));
            column.required = name == key || name == time;
        }
        Ok(Sample { fitting, columns, key, time })
    }
}

impl Column {
    /// The column in the syntax of CREATE SOURCE.
    pub fn sql(&self) -> String {
        let required = if self.required { " NOT NULL" } else { "" };
        format!("{} {}{required}", identifier(&self.name), self.kind.sql())
    }
}

impl Kind {
    fn sql(&self) -> String {
        match self {
            Kind::Boolean => "BOOLEAN".to_owned(),
            Kind::Whole => "BIGINT".to_owned(),
            Kind::Double => "DOUBLE PRECISION".to_owned(),
            Kind::Text | Kind::Unknown => "VARCHAR".to_owned(),
            Kind::Time => "TIMESTAMPTZ".to_owned(),
            Kind::Json => "JSONB".to_owned(),
            Kind::List(item) => format!("{}[]", item.sql()),
            Kind::Struct(fields) => {
                let fields = fields.iter().map(|f| format!("{} {}", identifier(&f.name), f.kind.sql()));
                format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A name in SQL: quoted if it would otherwise be folded or misread.
fn identifier(name: &str) -> String {
    if is_plain_name(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Tells whether SQL reads a name as it is written, without quotes.
pub fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name)
}

/// The type of one value.
fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Unknown,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_i64() => Kind::Whole,
        Value::Number(_) => Kind::Double,
        Value::String(text) if is_time(text) => Kind::Time,
        Value::String(_) => Kind::Text,
        Value::Array(items) => {
            Kind::List(Box::new(items.iter().map(kind_of).fold(Kind::Unknown, merge_kinds)))
        }
        Value::Object(fields) if fields.is_empty() || fields.len() > MAX_FIELDS => Kind::Json,
        Value::Object(fields) => {
            let column = |(name, value): (&String, &Value)| Column {
                name: name.clone(),
                kind: kind_of(value),
                required: !value.is_null(),
            };
            Kind::Struct(fields.iter().map(column).collect())
        }
    }
}

/// Tells whether a text is a date and a time of day with a zone.
fn is_time(text: &str) -> bool {
    let zoned = text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    text.contains(['T', ' ']) && zoned && schemas::types::time::parse_timestamp(text).is_some()
}

/// The common type of two types.
fn merge_kinds(left: Kind, right: Kind) -> Kind {
    match (left, right) {
        (Kind::Unknown, other) | (other, Kind::Unknown) => other,
        (Kind::Whole, Kind::Double) | (Kind::Double, Kind::Whole) => Kind::Double,
        (Kind::Time, Kind::Text) | (Kind::Text, Kind::Time) => Kind::Text,
        (Kind::List(left), Kind::List(right)) => Kind::List(Box::new(merge_kinds(*left, *right))),
        (Kind::Struct(left), Kind::Struct(right)) => merge_fields(left, right),
        (left, right) if left == right => left,
        _ => Kind::Json,
    }
}

fn merge_fields(mut left: Vec<Column>, mut right: Vec<Column>) -> Kind {
    for column in &mut left {
        match right.iter().position(|other| other.name == column.name) {
            Some(at) => {
                let other = right.remove(at);
                column.kind = merge_kinds(std::mem::replace(&mut column.kind, Kind::Unknown), other.kind);
                column.required &= other.required;
            }
            None => column.required = false,
        }
    }
    left.extend(right.into_iter().map(|column| Column { required: false, ..column }));
    if left.len() > MAX_FIELDS { Kind::Json } else { Kind::Struct(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(records: &[&str]) -> Vec<String> {
        let sample = Sample::of(records.iter().map(|record| record.as_bytes())).unwrap();
        sample.columns.iter().map(Column::sql).collect()
    }

    #[test]
    fn columns_fit_all_records() {
        let found = sql(&[
            r#"{"id":1,"order":"a","n":1,"at":"2026-01-01T00:00:00Z","tags":["x"],"p":{"x":1}}"#,
            r#"{"id":2,"order":"b","n":1.5,"at":"2026-01-01T00:00:01+02:00","tags":[],"p":{"x":null,"Y":true}}"#,
            r#"{"id":3,"order":null,"n":null,"at":"2026-01-01 00:00:00Z","mixed":1,"e":{}}"#,
        ]);
        assert_eq!(
            found,
            [
                "id BIGINT NOT NULL",
                "\"order\" VARCHAR",
                "n DOUBLE PRECISION",
                "at TIMESTAMPTZ NOT NULL",
                "tags VARCHAR[]",
                "p STRUCT<x BIGINT, \"Y\" BOOLEAN>",
                "mixed BIGINT",
                "e JSONB"
            ]
        );
    }

    #[test]
    fn a_key_is_unique_and_a_record_is_an_object() {
        let of = |records: &[&str]| Sample::of(records.iter().map(|record| record.as_bytes()));
        assert_eq!(
            of(&[r#"{"order_id":"a"}"#, r#"{"order_id":"b"}"#]).unwrap().key.as_deref(),
            Some("order_id")
        );
        assert_eq!(of(&[r#"{"order_id":"a"}"#, r#"{"order_id":"a"}"#]).unwrap().key, None);
        assert_eq!(of(&["x", r#"{"a":1}"#, "[1]"]).unwrap().fitting, [1]);
        assert!(of(&["[1]"]).unwrap_err().contains("no JSON object"));
        assert!(of(&["x"]).unwrap_err().contains("record 1 is no JSON"));
    }
}
