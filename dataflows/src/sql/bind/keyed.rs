//! Check of a table's FORMAT UPSERT or DEBEZIUM against its key, and the encoding of the record key.
//!
//! Key columns must be decoded from the records, because a delete has nothing else; the one exception is a
//! table whose key is the record key's own bytes. Rules of the table that contradict deletes are refused
//! with a replacement.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};

use super::{find_option, option_map};
use crate::mistake::{Mistake, Pos};
use crate::plan::Origin;
use crate::plan::formats::{Encoding, Format, IncludeKind};
use crate::sql::parse::ast::{ConflictDef, CreateRelation};
use crate::sql::parse::statement::options::Encode;

/// Encoding of the record keys of a relation, and its options.
pub(in crate::sql) fn key_encoding(
    create: &CreateRelation,
    origins: &[Origin],
    key: &[usize],
) -> (Encoding, BTreeMap<String, String>) {
    if whole_key(create, origins, key) {
        (Encoding::Bytes, BTreeMap::new())
    } else {
        encoding_of_keys(&create.encode, create.key_encode.as_ref())
    }
}

/// Encoding of keys by KEY ENCODE, and its options; both default to those of the value.
pub(in crate::sql) fn encoding_of_keys(
    value: &Encode,
    key: Option<&Encode>,
) -> (Encoding, BTreeMap<String, String>) {
    match key {
        Some((encoding, items, _)) if !items.is_empty() || *encoding != value.0 => {
            (*encoding, option_map(items))
        }
        _ => (value.0, option_map(&value.1)),
    }
}

/// Mistakes in the format of a table, given its columns, their origins, and its key.
pub(in crate::sql) fn check_format(
    create: &CreateRelation,
    (schema, origins): (&Schema, &[Origin]),
    key: &[usize],
) -> Vec<Mistake> {
    let (format, pos) = create.format;
    let word = match format {
        Format::Plain => return check_plain(create).into_iter().collect(),
        Format::Upsert => "UPSERT",
        Format::Debezium => "DEBEZIUM",
    };
    let mut mistakes = Vec::new();
    if let Some((ConflictDef::DoNothing, at)) = &create.conflict {
        mistakes.push(
            Mistake::new(*at, format!("FORMAT {word} with ON CONFLICT DO NOTHING: a delete would free the key for another first row"))
                .hint("write ON CONFLICT OVERWRITE, or FORMAT PLAIN, which knows no deletes"),
        );
    }
    mistakes.extend(check_connector(create, (word, pos)));
    let whole = whole_key(create, origins, key);
    if !(whole && format == Format::Upsert) {
        mistakes.extend(check_key_columns(create, (schema, origins), (word, key)));
    }
    if mistakes.is_empty() {
        mistakes.extend(check_key_encoding(create, (schema, origins), key));
    }
    mistakes
}

/// Refuses KEY ENCODE with FORMAT PLAIN, which reads no key.
fn check_plain(create: &CreateRelation) -> Option<Mistake> {
    let (_, _, pos) = create.key_encode.as_ref()?;
    Some(
        Mistake::new(*pos, "KEY ENCODE says how the record's key is read, and FORMAT PLAIN does not read it")
            .hint("leave it out, or write FORMAT UPSERT; INCLUDE key AS k makes the key's bytes a column"),
    )
}

/// Tells whether the table's key is exactly the INCLUDEd key of the record.
fn whole_key(create: &CreateRelation, origins: &[Origin], key: &[usize]) -> bool {
    let [only] = key else { return false };
    match origins.get(*only) {
        Some(Origin::Included(at)) => create.includes.get(*at).is_some_and(|i| i.kind == IncludeKind::Key),
        _ => false,
    }
}

/// Refuses a connector that cannot deliver records of the format.
fn check_connector(create: &CreateRelation, (word, pos): (&str, Pos)) -> Option<Mistake> {
    match find_option(&create.with, "connector")?.value.as_str() {
        name @ ("datagen" | "nexmark") => Some(
            Mistake::new(pos, format!("the connector {name} makes no {word} records"))
                .hint("write FORMAT PLAIN, or read what you need from a file"),
        ),
        "file" => {
            let (clause, at) = match &create.key_encode {
                // A mistake in any connector, and told as one.
                _ if create.encode.0.is_whole() => return None,
                _ if create.encode.0 != Encoding::Json => ("ENCODE", create.encode.2),
                Some((encoding, _, at)) if *encoding != Encoding::Json => ("KEY ENCODE", *at),
                _ => return None,
            };
            Some(
                Mistake::new(at, "the lines of a file are JSON, their keys as well")
                    .hint(format!("write {clause} JSON")),
            )
        }
        _ => None,
    }
}

/// Refuses key columns that are not decoded from the records.
fn check_key_columns(
    create: &CreateRelation,
    (schema, origins): (&Schema, &[Origin]),
    (word, key): (&str, &[usize]),
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for at in key {
        let name = schema.field(*at).name();
        let pos = match create.primary_key.iter().find(|k| k.text == *name) {
            Some(named) => named.pos,
            None => create.pos,
        };
        let what = match origins.get(*at) {
            Some(Origin::Generated(_)) => "is computed",
            Some(Origin::Included(_)) => "is INCLUDEd",
            _ => continue,
        };
        mistakes.push(
            Mistake::new(pos, format!("the key column {name} {what}, and a delete of FORMAT {word} has only the key that its record names"))
                .hint("make the PRIMARY KEY of columns that are in the records' keys; with FORMAT UPSERT it may also be INCLUDE key AS k alone"),
        );
    }
    mistakes
}

/// Checks the encoding of the record's key against the key's columns.
fn check_key_encoding(
    create: &CreateRelation,
    (schema, origins): (&Schema, &[Origin]),
    key: &[usize],
) -> Option<Mistake> {
    let (encoding, options) = key_encoding(create, origins, key);
    let (given, pos) = match &create.key_encode {
        Some((given, _, pos)) => (Some(*given), *pos),
        None => (None, create.format.1),
    };
    let fields: Vec<&Field> = key.iter().map(|at| schema.field(*at)).collect();
    if whole_key(create, origins, key) {
        return match given {
            None | Some(Encoding::Bytes) => None,
            Some(_) => Some(
                Mistake::new(pos, "the PRIMARY KEY is the bytes of the record's key, which are not decoded")
                    .hint("write KEY ENCODE BYTES, or leave KEY ENCODE out"),
            ),
        };
    }
    match encoding {
        Encoding::Avro if given.is_some() && !options.contains_key("schema.registry") => Some(
            Mistake::new(pos, "KEY ENCODE AVRO has no schema registry")
                .hint("write KEY ENCODE AVRO (schema.registry = 'http://HOST:PORT')"),
        ),
        Encoding::Json | Encoding::Avro | Encoding::Parquet => None,
        Encoding::Text => plain_key("TEXT", "VARCHAR, UUID or number", &fields, pos, fits_text),
        Encoding::Bytes => plain_key("BYTES", "BYTEA", &fields, pos, fits_bytes),
    }
}

/// Tells whether KEY ENCODE TEXT can carry a column.
fn fits_text(field: &Field) -> bool {
    let kind = field.data_type();
    let number = kind.is_integer() || kind.is_floating() || kind.is_decimal();
    number || *kind == schemas::uuid_type() || (*kind == DataType::Utf8 && !schemas::is_jsonb(field))
}

/// Tells whether KEY ENCODE BYTES can carry a column.
fn fits_bytes(field: &Field) -> bool {
    *field.data_type() == DataType::Binary
}

/// Refuses TEXT or BYTES for a key that is not one column of a fitting type.
fn plain_key(
    word: &str,
    of: &str,
    key: &[&Field],
    pos: Pos,
    fits: impl Fn(&Field) -> bool,
) -> Option<Mistake> {
    let found = match key {
        [only] if fits(only) => return None,
        [only] => format!("{} is {}", only.name(), schemas::sql_type(only)),
        many => format!("the PRIMARY KEY has {} columns", many.len()),
    };
    Some(
        Mistake::new(pos, format!("KEY ENCODE {word} is one {of}, and {found}"))
            .hint("use KEY ENCODE JSON or AVRO, as the topic's keys are"),
    )
}
