//! Functions of values that PostgreSQL has and the query engine lacks, or has in other forms.

use std::collections::HashSet;
use std::sync::LazyLock;

use arrow::util::display::array_value_to_string;
use datafusion::error::Result;
use datafusion::scalar::ScalarValue;

use super::call::{ANY, Call, Entry, SUBSCRIPTS, entry, failed, lax, text_of};
use super::facts::split_name;
use super::relations::Value;
use super::types::{format_type, wire_type};

/// Units of sizes, each 1024 of the one before.
const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/// Words that a name has to be quoted for: all keywords but those that may be any name.
static RESERVED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("data/keywords.txt").lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(_, kind)| !kind.starts_with('U')).map(|(word, _)| word).collect()
});

/// Tells whether a word in lower case is one that no table may be called by without quotes.
pub(super) fn is_reserved(word: &str) -> bool {
    let mut lines = include_str!("data/keywords.txt").lines().map(|line| line.split(' '));
    lines.any(|mut words| words.next() == Some(word) && matches!(words.next(), Some("R" | "T")))
}

/// The functions of this module.
pub(super) const ENTRIES: &[Entry] = &[
    entry("quote_ident", [1, 1], "text", quote_ident),
    entry("quote_literal", [1, 1], "text", quote_literal),
    lax("quote_nullable", [1, 1], "text", quote_nullable),
    entry("parse_ident", [1, 2], "_text", parse_ident),
    lax("format", [1, ANY], "text", format_text),
    lax("pg_typeof", [1, 1], "text", type_name),
    entry("pg_size_pretty", [1, 1], "text", pretty_size),
    entry("array_upper", [2, 2], "int4", array_upper),
    entry("array_lower", [2, 2], "int4", array_lower),
    lax("array_to_string", [2, 3], "text", array_to_string),
    lax("string_to_array", [2, 3], "_text", string_to_array),
    lax("json_build_object", [0, ANY], "json", build_object),
    lax("jsonb_build_object", [0, ANY], "json", build_object),
    entry(SUBSCRIPTS, [1, 2], "_int4", subscripts),
    entry("pg_like", [3, 3], "bool", like),
    entry("pg_vector_text", [1, 1], "text", vector_text),
];

/// A name as SQL has to write it.
pub(super) fn quote_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_ident(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).map(quote_name).into())
}

/// Text as a literal of SQL.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn quote_literal(call: &Call<'_>) -> Result<Value> {
    Ok(call.values.first().and_then(print_scalar).map(|text| literal(&text)).into())
}

fn quote_nullable(call: &Call<'_>) -> Result<Value> {
    let text = call.values.first().and_then(print_scalar);
    Ok(text.map_or_else(|| "NULL".to_owned(), |text| literal(&text)).into())
}

fn parse_ident(call: &Call<'_>) -> Result<Value> {
    let text = call.text(0).unwrap_or_default();
    match split_name(text) {
        Some(parts) => Ok(parts.into()),
        None => Err(failed(format!("string is not a valid identifier: \"{text}\""))),
    }
}

/// `format` with `%s`, `%I`, `%L` and `%%`.
fn format_text(call: &Call<'_>) -> Result<Value> {
    let Some(form) = call.text(0) else { return Ok(Value::Null) };
    let mut text = String::new();
    let mut next = 1;
    let mut pieces = form.split('%');
    text.push_str(pieces.next().unwrap_or_default());
    while let Some(piece) = pieces.next() {
        let Some(kind) = piece.chars().next() else {
            text.push('%');
            text.push_str(pieces.next().unwrap_or_default());
            continue;
        };
        let value = call.values.get(next).and_then(print_scalar);
        next += 1;
        match (kind, value) {
            ('s', value) => text.push_str(&value.unwrap_or_default()),
            ('I', Some(value)) => text.push_str(&quote_name(&value)),
            ('L', value) => text.push_str(&value.map_or_else(|| "NULL".to_owned(), |value| literal(&value))),
            _ => return Err(failed(format!("format(): %{kind} is not supported, write %s, %I or %L"))),
        }
        text.push_str(&piece[kind.len_utf8()..]);
    }
    Ok(text.into())
}

fn type_name(call: &Call<'_>) -> Result<Value> {
    let name = call.fields.first().map(|field| {
        let wire = wire_type(field);
        format_type(wire.oid, None)
    });
    Ok(name.into())
}

/// A size with a unit, rounded half away from zero, once it has five digits.
fn pretty_size(call: &Call<'_>) -> Result<Value> {
    let Some(mut size) = call.int(0) else { return Ok(Value::Null) };
    let mut unit = 0;
    // One bit more than the unit is kept for rounding.
    while size.unsigned_abs() >= if unit == 0 { 10_240 } else { 20_480 } && unit + 1 < UNITS.len() {
        size /= if unit == 0 { 512 } else { 1024 };
        unit += 1;
    }
    let rounded = if unit == 0 { size } else { (size + size.signum()) / 2 };
    Ok(format!("{rounded} {}", UNITS[unit]).into())
}

fn array_upper(call: &Call<'_>) -> Result<Value> {
    Ok(bound(call)?.map(|length| length as i64).into())
}

fn array_lower(call: &Call<'_>) -> Result<Value> {
    Ok(bound(call)?.map(|_| 1_i64).into())
}

/// Length of the first dimension of an array that is not empty.
fn bound(call: &Call<'_>) -> Result<Option<usize>> {
    let items = call.items(0)?.unwrap_or_default();
    Ok(Some(items.len()).filter(|length| *length > 0 && call.int(1) == Some(1)))
}

fn subscripts(call: &Call<'_>) -> Result<Value> {
    if call.int(1).is_some_and(|dimension| dimension != 1) {
        return Ok(Value::Null);
    }
    Ok(call.items(0)?.map(|items| (1..=items.len() as i64).collect::<Vec<_>>()).into())
}

/// The items of an array as text with a delimiter between them, without those that are NULL or with a text
/// for them.
fn array_to_string(call: &Call<'_>) -> Result<Value> {
    let (Some(items), Some(delimiter)) = (call.items(0)?, call.text(1)) else { return Ok(Value::Null) };
    let null = call.text(2);
    let texts = items.iter().filter_map(|item| print_scalar(item).or_else(|| null.map(str::to_owned)));
    Ok(texts.collect::<Vec<_>>().join(delimiter).into())
}

fn string_to_array(call: &Call<'_>) -> Result<Value> {
    let Some(text) = call.text(0) else { return Ok(Value::Null) };
    let null = call.text(2);
    let parts: Vec<String> = match call.text(1) {
        _ if text.is_empty() => Vec::new(),
        Some("") => vec![text.to_owned()],
        Some(delimiter) => text.split(delimiter).map(str::to_owned).collect(),
        None => text.chars().map(String::from).collect(),
    };
    let parts = parts.into_iter().map(|part| (Some(part.as_str()) != null).then_some(part));
    Ok(Value::Texts(parts.collect()))
}

/// A value as PostgreSQL prints it; None for NULL.
fn print_scalar(value: &ScalarValue) -> Option<String> {
    match value {
        value if value.is_null() => None,
        ScalarValue::Boolean(value) => value.map(|value| if value { "t" } else { "f" }.to_owned()),
        value => match text_of(value) {
            Some(text) => Some(text.to_owned()),
            None => value.to_array().ok().and_then(|array| array_value_to_string(&array, 0).ok()),
        },
    }
}

fn build_object(call: &Call<'_>) -> Result<Value> {
    if !call.values.len().is_multiple_of(2) {
        return Err(failed("argument list must have even number of elements".to_owned()));
    }
    let mut members = Vec::new();
    for pair in call.values.chunks(2) {
        let Some(key) = print_scalar(&pair[0]) else {
            return Err(failed("null value not allowed for object key".to_owned()));
        };
        members.push(format!("{} : {}", serde_json::Value::from(key), json_value(&pair[1])));
    }
    Ok(format!("{{{}}}", members.join(", ")).into())
}

/// A value as JSON.
fn json_value(value: &ScalarValue) -> String {
    match (value, print_scalar(value)) {
        (_, None) => "null".to_owned(),
        (ScalarValue::Boolean(Some(value)), _) => value.to_string(),
        (value, Some(text)) if value.data_type().is_numeric() => text,
        (_, Some(text)) => serde_json::Value::from(text).to_string(),
    }
}

/// LIKE with an escape character of its own.
fn like(call: &Call<'_>) -> Result<Value> {
    let (Some(text), Some(pattern), Some(escape)) = (call.text(0), call.text(1), call.text(2)) else {
        return Ok(Value::Null);
    };
    let text: Vec<char> = text.chars().collect();
    Ok(matches(&text, &pattern_parts(pattern, escape.chars().next())).into())
}

/// Part of a pattern of LIKE.
enum PatternPart {
    Any,
    One,
    Exactly(char),
}

fn pattern_parts(pattern: &str, escape: Option<char>) -> Vec<PatternPart> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => PatternPart::Exactly(chars.next().unwrap_or(c)),
            '%' => PatternPart::Any,
            '_' => PatternPart::One,
            c => PatternPart::Exactly(c),
        });
    }
    parts
}

/// Matches a whole text, going back to the last `%` where a part does not fit.
fn matches(text: &[char], parts: &[PatternPart]) -> bool {
    let (mut at, mut part) = (0, 0);
    let mut last_any = None;
    while at < text.len() {
        match parts.get(part) {
            Some(PatternPart::Any) => {
                last_any = Some((at, part));
                part += 1;
            }
            Some(PatternPart::One) => (at, part) = (at + 1, part + 1),
            Some(PatternPart::Exactly(c)) if *c == text[at] => (at, part) = (at + 1, part + 1),
            _ => {
                let Some((start, any)) = last_any else { return false };
                last_any = Some((start + 1, any));
                (at, part) = (start + 1, any + 1);
            }
        }
    }
    parts[part..].iter().all(|rest| matches!(rest, PatternPart::Any))
}

/// An array as PostgreSQL prints an `int2vector`.
fn vector_text(call: &Call<'_>) -> Result<Value> {
    let items = call.items(0)?;
    let text = items.map(|items| items.iter().filter_map(print_scalar).collect::<Vec<_>>().join(" "));
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::catalog::facts::{Facts, SessionValues};

    fn called(body: fn(&Call<'_>) -> Result<Value>, values: &[ScalarValue]) -> Value {
        let facts = Facts::new(Vec::new(), SessionValues::default());
        body(&Call { facts: &facts, values, fields: &[] }).expect("a value")
    }

    #[test]
    fn sizes_are_rounded_as_postgresql_does() {
        for (size, text) in [
            (0_i64, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (10_751, "10 kB"),
            (10_752, "11 kB"),
            (-10_752, "-11 kB"),
            (20_000_000, "19 MB"),
            (1 << 62, "4096 PB"),
        ] {
            assert_eq!(called(pretty_size, &[size.into()]), text.into());
        }
    }

    #[test]
    fn names_and_literals_are_quoted_where_they_must_be() {
        assert_eq!(quote_name("plain_1"), "plain_1");
        assert_eq!(quote_name("Odd \"Name\""), "\"Odd \"\"Name\"\"\"");
        assert_eq!(quote_name("user"), "\"user\"");
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
        let values = ["%I is %s%%, %L", "A b", "x", "y'z"].map(ScalarValue::from);
        assert_eq!(called(format_text, &values), "\"A b\" is x%, 'y''z'".into());
    }

    #[test]
    fn a_pattern_may_have_an_escape_character_of_its_own() {
        for (text, pattern, fits) in [
            ("pg_class", "pg/_%", true),
            ("pgxclass", "pg/_%", false),
            ("abcabd", "%ab_", true),
            ("abcabde", "%ab_", false),
            ("", "%", true),
            ("a", "", false),
        ] {
            let values = [text, pattern, "/"].map(ScalarValue::from);
            assert_eq!(called(like, &values), fits.into(), "{text} {pattern}");
        }
    }

    #[test]
    fn an_object_is_json() {
        let values = [
            ScalarValue::from("a\""),
            ScalarValue::from(1_i64),
            ScalarValue::from("b"),
            ScalarValue::Boolean(Some(true)),
            ScalarValue::from("c"),
            ScalarValue::Null,
        ];
        assert_eq!(called(build_object, &values), "{\"a\\\"\" : 1, \"b\" : true, \"c\" : null}".into());
    }
}
