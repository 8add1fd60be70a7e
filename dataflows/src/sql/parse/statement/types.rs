//! Reader of column types: SQL's names to Arrow fields.
//!
//! Names are PostgreSQL's, with `STRUCT<name TYPE, ...>` and `T[]` nested up to [`MAX_DEPTH`]. A type
//! that Herald does not have is refused with its replacement. JSONB is text marked by field metadata, so
//! a type is always read as a whole field; the caller sets its nullability.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion_sql::sqlparser::tokenizer::Token;
use schemas::types::relation::{jsonb_field, timestamp, timestamptz};

use crate::mistake::Mistake;
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::tokens::{fold, is_any_word};

/// Greatest nesting of STRUCT and arrays.
const MAX_DEPTH: usize = 32;
/// Most fields of a created type, those of the types it names included: a chain of types, each with two of the one
/// before, would double with each.
const MAX_FIELDS: usize = 4096;

/// The types without parts by their names in SQL: the one that messages use, then the others. A name of
/// several words is read word by word.
pub const NAMES: &[&[&str]] = &[
    &["BOOLEAN", "BOOL"],
    &["SMALLINT", "INT2"],
    &["INT", "INTEGER", "INT4"],
    &["BIGINT", "INT8"],
    &["REAL", "FLOAT4"],
    &["DOUBLE", "DOUBLE PRECISION", "FLOAT8", "FLOAT"],
    &["DECIMAL", "NUMERIC"],
    &["VARCHAR", "TEXT", "STRING", "CHARACTER VARYING"],
    &["BYTEA"],
    &["DATE"],
    &["TIME", "TIME WITHOUT TIME ZONE"],
    &["TIMESTAMP", "TIMESTAMP WITHOUT TIME ZONE"],
    &["TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"],
    &["INTERVAL"],
    &["UUID"],
    &["JSONB"],
];

/// Names of types, for hints.
const KNOWN: &[&str] = &[
    "VARCHAR",
    "TEXT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "DOUBLE PRECISION",
    "NUMERIC",
    "DECIMAL",
    "BOOLEAN",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "INTERVAL",
    "BYTEA",
    "JSONB",
    "UUID",
    "STRUCT",
];

/// Types of other systems, with the replacement for each.
const INSTEAD: &[(&str, &str)] = &[
    ("array", "write the item's type and []: INT[]"),
    ("bigserial", "write BIGINT"),
    ("binary", "write BYTEA"),
    ("bit", "write BOOLEAN for one bit, BYTEA for several"),
    ("blob", "write BYTEA"),
    ("box", "write STRUCT<x1 DOUBLE, y1 DOUBLE, x2 DOUBLE, y2 DOUBLE>"),
    ("bytes", "write BYTEA"),
    ("char", "write VARCHAR"),
    ("character", "write VARCHAR"),
    ("cidr", "write VARCHAR"),
    ("circle", "write STRUCT<x DOUBLE, y DOUBLE, r DOUBLE>"),
    ("citext", "write VARCHAR, and compare lower(x)"),
    ("daterange", RANGE),
    ("datetime", "write TIMESTAMP, or TIMESTAMPTZ for a point in time"),
    ("enum", "write VARCHAR, and CHECK (x IN ('a', 'b'))"),
    ("geography", "write VARCHAR"),
    ("geometry", "write VARCHAR"),
    ("hstore", "write JSONB"),
    ("hugeint", "write NUMERIC(38, 0)"),
    ("inet", "write VARCHAR"),
    ("int4range", RANGE),
    ("int8range", RANGE),
    ("json", "write JSONB"),
    ("long", "write BIGINT"),
    ("macaddr", "write VARCHAR"),
    ("map", "write JSONB"),
    ("money", "write DECIMAL(19, 2)"),
    ("name", "write VARCHAR"),
    ("numrange", RANGE),
    ("oid", "write BIGINT"),
    ("path", "write STRUCT<x DOUBLE, y DOUBLE>[]"),
    ("point", "write STRUCT<x DOUBLE, y DOUBLE>"),
    ("polygon", "write STRUCT<x DOUBLE, y DOUBLE>[]"),
    ("row", "write STRUCT<name TYPE, ...>"),
    ("serial", "write BIGINT"),
    ("smallserial", "write SMALLINT"),
    ("timetz", "write TIME, or TIMESTAMPTZ for a point in time"),
    ("tinyint", "write SMALLINT"),
    ("tsquery", "write VARCHAR"),
    ("tsrange", RANGE),
    ("tstzrange", RANGE),
    ("tsvector", "write VARCHAR"),
    ("varbinary", "write BYTEA"),
    ("varbit", "write BYTEA"),
    ("variant", "write JSONB"),
    ("xml", "write VARCHAR"),
];

/// Replacement of a range of values.
const RANGE: &str = "write two columns, one for each end";

/// Remedy for a type that Herald does not have: what to write instead, or the nearest name.
pub fn remedy(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    match INSTEAD.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, hint)) => Some((*hint).to_owned()),
        None => did_you_mean(&name, KNOWN.iter().copied()),
    }
}

/// Remedy for a type in a cast, where a STRUCT cannot be written and a value cannot become two columns.
pub fn remedy_in_cast(name: &str) -> Option<String> {
    let hint = remedy(name)?;
    if hint.contains('<') || hint == RANGE { None } else { Some(hint) }
}

/// Reads a type as the field `name`, nullable.
pub fn read_field(cursor: &mut Cursor<'_>, name: &str) -> Read<Field> {
    read_nested(cursor, name, 0)
}

fn read_nested(cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Read<Field> {
    if depth > MAX_DEPTH {
        return Err(Mistake::new(cursor.pos(), "types nested too deeply").hint("declare the column as JSONB"));
    }
    let mut field = if cursor.peek_words(&["struct"]) {
        read_struct(cursor, name, depth)?
    } else if cursor.take_words(&["jsonb"]) {
        jsonb_field(name, true)
    } else if let Some(declared) = read_declared(cursor) {
        if depth + size_of(declared.data_type()).0 > MAX_DEPTH {
            return Err(
                Mistake::new(cursor.pos(), "types nested too deeply").hint("declare the column as JSONB")
            );
        }
        declared.with_name(name)
    } else {
        Field::new(name, read_scalar(cursor)?, true)
    };
    let mut brackets = 0;
    while cursor.peek() == Some(&Token::LBracket) {
        cursor.bump();
        if matches!(cursor.peek(), Some(Token::Number(..))) {
            return Err(
                Mistake::new(cursor.pos(), "arrays have no fixed length").hint("write [] and a CHECK")
            );
        }
        cursor.expect(&Token::RBracket)?;
        brackets += 1;
        if depth + brackets > MAX_DEPTH {
            return Err(
                Mistake::new(cursor.pos(), "types nested too deeply").hint("declare the column as JSONB")
            );
        }
        field = Field::new(name, DataType::List(Arc::new(field.with_name("item"))), true);
    }
    Ok(field)
}

/// Reads the rest of CREATE TYPE: `name AS (field TYPE, ...)`, or `name AS TYPE`.
///
/// The type is known to the statements behind it, in this file and the following ones.
pub fn create_type(cursor: &mut Cursor<'_>) -> Read<()> {
    let name = cursor.take_name("a name for the type")?;
    let written = name.text.to_uppercase();
    if !first_name(&written).is_empty() || written == "STRUCT" {
        return Err(
            Mistake::new(name.pos, format!("{written} is a type already")).hint("choose another name")
        );
    }
    if cursor.context.shared.types.borrow().contains_key(&name.text) {
        return Err(Mistake::new(name.pos, format!("the type {} is created twice", name.text))
            .hint("choose another name"));
    }
    if !cursor.take_words(&["as"]) {
        return Err(cursor.expected("AS").hint("write CREATE TYPE name AS (field TYPE, ...)"));
    }
    let field = if cursor.take_token(&Token::LParen) {
        let fields = read_fields(cursor, 0)?;
        cursor.expect(&Token::RParen)?;
        Field::new(&name.text, DataType::Struct(Fields::from(fields)), true)
    } else {
        read_nested(cursor, &name.text, 0)?
    };
    if cursor.peek().is_some() {
        return Err(cursor.expected("the end of the statement"));
    }
    let (depth, fields) = size_of(field.data_type());
    if depth > MAX_DEPTH || fields > MAX_FIELDS {
        return Err(Mistake::new(name.pos, format!("the type {} has too many parts", name.text)).hint(format!(
            "a type has at most {MAX_FIELDS} fields, nested {MAX_DEPTH} deep: declare a part of it as JSONB"
        )));
    }
    cursor.context.shared.types.borrow_mut().insert(name.text, field);
    Ok(())
}

/// Depth of a type and number of its fields, with those of the types within.
fn size_of(data_type: &DataType) -> (usize, usize) {
    match data_type {
        DataType::List(item) => {
            let (depth, fields) = size_of(item.data_type());
            (depth + 1, fields + 1)
        }
        DataType::Struct(fields) => {
            let mut size = (0, fields.len());
            for field in fields {
                let (depth, within) = size_of(field.data_type());
                size = (size.0.max(depth), size.1 + within);
            }
            (size.0 + 1, size.1)
        }
        _ => (0, 0),
    }
}

/// Reads the name of a type that a statement before has created.
fn read_declared(cursor: &mut Cursor<'_>) -> Option<Field> {
    let Some(Token::Word(word)) = cursor.peek() else { return None };
    let name = fold(&word.value, word.quote_style);
    let field = cursor.context.shared.types.borrow().get(&name).cloned()?;
    cursor.bump();
    Some(field)
}

/// Reads `STRUCT<name TYPE, ...>`.
fn read_struct(cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Read<Field> {
    cursor.bump();
    if cursor.peek() != Some(&Token::Lt) {
        return Err(cursor.expected("`<` after STRUCT").hint("write STRUCT<name TYPE, ...>"));
    }
    cursor.bump();
    let start = cursor.index();
    match read_fields(cursor, depth).and_then(|fields| cursor.close_angle().map(|()| fields)) {
        Ok(fields) => Ok(Field::new(name, DataType::Struct(Fields::from(fields)), true)),
        Err(mistake) => {
            // Reading goes on behind the whole type: its commas do not separate columns.
            cursor.skip_angles(start);
            Err(mistake)
        }
    }
}

/// Reads `name TYPE, ...`.
fn read_fields(cursor: &mut Cursor<'_>, depth: usize) -> Read<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    loop {
        let field_name = cursor.take_name("a field name")?;
        cursor.take_token(&Token::Colon);
        if fields.iter().any(|f| *f.name() == field_name.text) {
            return Err(Mistake::new(field_name.pos, format!("field {} is declared twice", field_name.text)));
        }
        fields.push(read_nested(cursor, &field_name.text, depth + 1)?);
        if cursor.peek_words(&["not", "null"]) {
            return Err(Mistake::new(cursor.pos(), "a field of a STRUCT cannot be NOT NULL")
                .hint("leave it out, or write a CHECK"));
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    Ok(fields)
}

/// Reads a type that is neither STRUCT, JSONB nor an array.
fn read_scalar(cursor: &mut Cursor<'_>) -> Read<DataType> {
    let pos = cursor.pos();
    let Some(Token::Word(word)) = cursor.peek() else {
        return Err(cursor.expected("a type"));
    };
    if word.quote_style.is_some() {
        return Err(cursor.expected("a type"));
    }
    let written = word.value.to_uppercase();
    cursor.bump();
    let varying = written == "CHARACTER" && cursor.take_words(&["varying"]);
    let word = if varying { "CHARACTER VARYING" } else { written.as_str() };
    let data_type = match first_name(word) {
        "VARCHAR" => {
            no_length(cursor, "VARCHAR has no length here")?;
            DataType::Utf8
        }
        "SMALLINT" => DataType::Int16,
        "INT" => DataType::Int32,
        "BIGINT" => DataType::Int64,
        "REAL" => DataType::Float32,
        "DOUBLE" => {
            if word == "DOUBLE" {
                cursor.take_words(&["precision"]);
            }
            DataType::Float64
        }
        "DECIMAL" => read_numeric(cursor, &written)?,
        "BOOLEAN" => DataType::Boolean,
        "DATE" => DataType::Date32,
        "BYTEA" => DataType::Binary,
        "UUID" => schemas::uuid_type(),
        "INTERVAL" => {
            read_precision(cursor)?;
            schemas::interval()
        }
        "TIME" => {
            if read_time_zone(cursor)? {
                return Err(Mistake::new(pos, "TIME WITH TIME ZONE is not supported")
                    .hint("write TIME or TIMESTAMPTZ"));
            }
            DataType::Time64(TimeUnit::Microsecond)
        }
        "TIMESTAMP" => {
            if read_time_zone(cursor)? {
                timestamptz()
            } else {
                timestamp()
            }
        }
        "TIMESTAMPTZ" => {
            read_precision(cursor)?;
            timestamptz()
        }
        _ => {
            return Err(Mistake::new(pos, format!("unknown type {written}")).maybe_hint(remedy(&written)));
        }
    };
    Ok(data_type)
}

/// First name of the type called `name`; empty if there is none.
fn first_name(name: &str) -> &'static str {
    match NAMES.iter().find(|names| names.contains(&name)) {
        Some(names) => names[0],
        None => "",
    }
}

/// Refuses `(n)`.
fn no_length(cursor: &Cursor<'_>, message: &str) -> Read<()> {
    match cursor.peek() {
        Some(Token::LParen) => Err(Mistake::new(cursor.pos(), message)
            .hint("leave the length out and write CHECK (char_length(c) <= n)")),
        _ => Ok(()),
    }
}

/// Reads `(p)` of a time type, which must be 6 or fewer: Herald keeps microseconds.
fn read_precision(cursor: &mut Cursor<'_>) -> Read<()> {
    if !cursor.take_token(&Token::LParen) {
        return Ok(());
    }
    let pos = cursor.pos();
    let digits = read_number(cursor, "a precision")?;
    if digits > 6 {
        return Err(Mistake::new(pos, format!("precision {digits} is finer than microseconds"))
            .hint("write 6 or less"));
    }
    cursor.expect(&Token::RParen)
}

/// Reads `[(p)] [WITH | WITHOUT TIME ZONE]`; true for WITH.
fn read_time_zone(cursor: &mut Cursor<'_>) -> Read<bool> {
    read_precision(cursor)?;
    if cursor.take_words(&["with", "time", "zone"]) {
        return Ok(true);
    }
    cursor.take_words(&["without", "time", "zone"]);
    Ok(false)
}

/// Reads `(p [, s])` of NUMERIC, which Herald requires.
fn read_numeric(cursor: &mut Cursor<'_>, written: &str) -> Read<DataType> {
    let pos = cursor.pos();
    if !cursor.take_token(&Token::LParen) {
        return Err(Mistake::new(pos, format!("{written} needs precision and scale"))
            .hint(format!("write {written}(18, 2): digits in all, and digits after the point")));
    }
    let at = cursor.pos();
    let precision = read_number(cursor, "a precision")?;
    let scale = if cursor.take_token(&Token::Comma) { read_number(cursor, "a scale")? } else { 0 };
    cursor.expect(&Token::RParen)?;
    if !(1..=38).contains(&precision) || scale > precision {
        return Err(Mistake::new(at, format!("{written}({precision}, {scale}) does not exist"))
            .hint("precision is 1 to 38, and scale is 0 to the precision"));
    }
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => Ok(DataType::Decimal128(precision, scale)),
        _ => Err(Mistake::new(at, "precision out of range")),
    }
}

fn read_number(cursor: &mut Cursor<'_>, what: &str) -> Read<u32> {
    let value = match cursor.peek() {
        Some(Token::Number(text, false)) => text.parse().ok(),
        _ => None,
    };
    let value = value.ok_or_else(|| cursor.expected(what))?;
    cursor.bump();
    Ok(value)
}

/// Tells whether the next token ends a column without a type.
pub fn is_missing(cursor: &Cursor<'_>) -> bool {
    match cursor.peek() {
        None | Some(Token::Comma | Token::RParen) => true,
        Some(token) => is_any_word(token, &["not", "null", "as", "primary", "check"]),
    }
}

#[cfg(test)]
mod tests {
    use super::{remedy, remedy_in_cast};

    #[test]
    fn a_cast_is_told_what_a_cast_can_be_written_with() {
        assert_eq!(remedy("point").as_deref(), Some("write STRUCT<x DOUBLE, y DOUBLE>"));
        assert_eq!(remedy_in_cast("POINT"), None);
        assert_eq!(remedy_in_cast("INT4RANGE"), None);
        assert_eq!(remedy_in_cast("MONEY").as_deref(), Some("write DECIMAL(19, 2)"));
    }
}
