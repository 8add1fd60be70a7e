//! SQL's words for the texts of a plan that people read.
//!
//! The canonical text of a relation is hashed into its fingerprint and cannot change, with the engine's names of types,
//! functions and made columns. [`readable`] replaces them for `explain` and for the error table; nothing is compared by
//! its result.

use std::ops::Range;

use arrow::datatypes::{DataType, Field, Schema};

use super::{count_text, length_text};

/// Most characters of a column's type that are shown in full.
const MAX_TYPE_CHARS: usize = 120;

/// Columns for people: of a long STRUCT the number of its fields.
pub(super) fn shown_columns(schema: &Schema) -> String {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        columns.push(format!("{} {}{null}", field.name(), short_type(field)));
    }
    columns.join(", ")
}

/// The SQL type of a column; of a long STRUCT the number of its fields.
fn short_type(field: &Field) -> String {
    let full = schemas::sql_type(field);
    if full.len() <= MAX_TYPE_CHARS {
        return full;
    }
    match field.data_type() {
        DataType::List(item) => format!("{}[]", short_type(item)),
        DataType::Struct(fields) => format!("STRUCT<{} fields>", fields.len()),
        _ => full,
    }
}

/// The engine's names of types, and SQL's. Longer ones come before those they contain.
pub(super) const TYPES: [(&str, &str); 16] = [
    ("Timestamp(µs, \"UTC\")", "TIMESTAMPTZ"),
    ("Timestamp(µs)", "TIMESTAMP"),
    ("Time64(µs)", "TIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
    ("Duration(µs)", "INTERVAL"),
    ("FixedSizeBinary(16)", "UUID"),
    ("Decimal128", "DECIMAL"),
    ("Int64", "BIGINT"),
    ("Int32", "INT"),
    ("Int16", "SMALLINT"),
    ("Float64", "DOUBLE"),
    ("Float32", "REAL"),
    ("Utf8", "VARCHAR"),
    ("Boolean", "BOOLEAN"),
    ("Date32", "DATE"),
    ("Binary", "BYTEA"),
];

/// Beginnings of names that planning makes, and the shown ones. Longer ones come before those they contain.
const NAMES: [(&str, &str); 5] = [
    ("__unnest_placeholder(", "items("),
    ("__unnest_", "items_"),
    ("__common_expr_", "common_"),
    ("__grouping_id", "grouping_id"),
    ("__always_true", "always_true"),
];

/// Functions whose whole numbers are lengths of time in microseconds.
const WINDOWS: [&str; 6] =
    ["tumble_start(", "tumble_end(", "hop_starts(", "hop_end(", "session_start(", "session_end("];

/// Returns the text with SQL's words.
pub(super) fn readable(text: &str) -> String {
    let mut out = without_prefix(text);
    for (engine, shown) in NAMES {
        out = out.replace(engine, shown);
    }
    for (engine, sql) in TYPES {
        out = out.replace(&format!(" AS {engine}"), &format!(" AS {sql}"));
    }
    for integer in ["UInt64(", "Int64("] {
        out = replace_between(&out, (integer, ")"), &number_text);
    }
    with_lengths(&replace_between(&out, ("IntervalMonthDayNano { ", " }"), &interval_text))
}

/// A whole number; None for another text.
fn number_text(digits: &str) -> Option<String> {
    Some(digits.parse::<i64>().ok()?.to_string())
}

/// Returns true for a character that stands in names.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Removes `herald_` before the names of functions.
fn without_prefix(text: &str) -> String {
    const PREFIX: &str = "herald_";
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(PREFIX) {
        let name = &rest[at + PREFIX.len()..];
        let end = name.find(|c: char| !is_name_char(c)).unwrap_or(name.len());
        out.push_str(&rest[..at]);
        if out.ends_with(is_name_char) || !name[end..].starts_with('(') {
            out.push_str(PREFIX);
        }
        out.push_str(&name[..end]);
        rest = &name[end..];
    }
    out.push_str(rest);
    out
}

/// Replaces every text between `open` and the next `close`, and both, by what `shown` makes of it; a text of which it
/// makes nothing stays.
pub(super) fn replace_between(
    text: &str,
    (open, close): (&str, &str),
    shown: &dyn Fn(&str) -> Option<String>,
) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(open) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + open.len()..];
        let found = inside.find(close).and_then(|end| Some((shown(&inside[..end])?, end + close.len())));
        match found {
            Some((words, end)) => {
                out.push_str(&words);
                rest = &inside[end..];
            }
            None => {
                out.push_str(open);
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

/// An interval's fields, `months: 0, days: 1, nanoseconds: 0`, as a constant of SQL.
fn interval_text(fields: &str) -> Option<String> {
    let values = fields.split(", ").map(|field| field.split_once(": ")?.1.parse::<i64>().ok());
    let [months, days, nanoseconds]: [i64; 3] = values.collect::<Option<Vec<i64>>>()?.try_into().ok()?;
    let mut parts = Vec::new();
    if months != 0 {
        parts.push(count_text(months, "month"));
    }
    if days != 0 {
        parts.push(count_text(days, "day"));
    }
    if nanoseconds != 0 || parts.is_empty() {
        parts.push(length_text(nanoseconds / 1_000));
    }
    Some(format!("INTERVAL '{}'", parts.join(" ")))
}

/// Writes the lengths among the arguments of window functions as intervals.
fn with_lengths(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(inside) = window_arguments(rest) {
        out.push_str(&rest[..inside.start]);
        let arguments = split_arguments(&rest[inside.clone()]).into_iter().map(argument_text);
        out.push_str(&arguments.collect::<Vec<_>>().join(","));
        rest = &rest[inside.end..];
    }
    out.push_str(rest);
    out
}

/// The place of the arguments of the first window function.
fn window_arguments(text: &str) -> Option<Range<usize>> {
    let begin = WINDOWS.iter().filter_map(|name| Some(text.find(name)? + name.len())).min()?;
    Some(begin..begin + closing_bracket(&text[begin..])?)
}

/// An argument of a window function: a length as an interval.
fn argument_text(argument: &str) -> String {
    let blank = &argument[..argument.len() - argument.trim_start().len()];
    match argument.trim_start().parse::<i64>() {
        Ok(us) => format!("{blank}INTERVAL '{}'", length_text(us)),
        Err(_) => with_lengths(argument),
    }
}

/// Place of the bracket that closes one opened before the text.
pub(super) fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits arguments at their commas, but not at those within brackets.
fn split_arguments(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_become_those_of_sql() {
        let cases = [
            ("cents@2 > CAST(length(country@5) AS Int64)", "cents@2 > CAST(length(country@5) AS BIGINT)"),
            ("at = CAST(at@2 AS Timestamp(µs, \"UTC\"))", "at = CAST(at@2 AS TIMESTAMPTZ)"),
            ("CAST(a@0 AS Decimal128(10, 2))", "CAST(a@0 AS DECIMAL(10, 2))"),
            ("count(Int64(1)) BIGINT NOT NULL", "count(1) BIGINT NOT NULL"),
            ("hour = herald_tumble_start(at@1, 3600000000)", "hour = tumble_start(at@1, INTERVAL '1 hour')"),
            (
                "__unnest_placeholder(herald_hop_starts(l.at,Int64(1800000000),Int64(3600000000)))@2",
                "items(hop_starts(l.at,INTERVAL '30 minutes',INTERVAL '1 hour'))@2",
            ),
            ("sku = get_field(__unnest_0@1, sku)", "sku = get_field(items_0@1, sku)"),
            (
                "at@2 - IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 90000000000 }",
                "at@2 - INTERVAL '1 day 90 seconds'",
            ),
            ("_herald_key@0, herald_x@1", "_herald_key@0, herald_x@1"),
            ("tumble_start(at@1", "tumble_start(at@1"),
        ];
        for (canonical, shown) in cases {
            assert_eq!(readable(canonical), shown);
        }
    }
}
