//! Defaults of an Avro schema that defines a relation's columns.
//!
//! A schema that defines the columns is the reader's schema: a field that a writer's older schema lacks has
//! its default, not NULL. The column's metadata holds the default as the schema and datum of a record of the
//! one field, so that it is read like any other bytes.

use std::collections::{HashMap, HashSet};

use apache_avro::schema::{NamesRef, RecordField, Schema as Avro};
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::datatypes::Field;
use serde_json::{Value, json};

/// The metadata key of the record's schema.
const SCHEMA_KEY: &str = "avro.default.schema";
/// The metadata key of the record's datum, in hexadecimal digits.
const DATUM_KEY: &str = "avro.default.datum";

/// Adds the default of the Avro field to its column; returns the column unchanged if there is none, or NULL.
pub(crate) fn with_default(column: Field, field: &RecordField, names: &NamesRef<'_>) -> Field {
    match encode_default(field, names) {
        Some((schema, datum)) => {
            let digits = datum.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut metadata: HashMap<String, String> = column.metadata().clone();
            metadata.extend([(SCHEMA_KEY.to_owned(), schema), (DATUM_KEY.to_owned(), digits)]);
            column.with_metadata(metadata)
        }
        None => column,
    }
}

/// Returns the default of a column: the schema of a record of one field, and its bytes.
pub(crate) fn default_of(column: &Field) -> Option<(&str, Vec<u8>)> {
    let (schema, digits) = (column.metadata().get(SCHEMA_KEY)?, column.metadata().get(DATUM_KEY)?);
    let mut datum = Vec::with_capacity(digits.len() / 2);
    for at in (0..digits.len()).step_by(2) {
        datum.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
    }
    Some((schema, datum))
}

/// Removes the default of a column.
pub fn without_default(column: Field) -> Field {
    let mut metadata = column.metadata().clone();
    metadata.remove(SCHEMA_KEY);
    metadata.remove(DATUM_KEY);
    column.with_metadata(metadata)
}

/// Encodes a field's default as the schema and datum of a record of one field; None for NULL or no default.
fn encode_default(field: &RecordField, names: &NamesRef<'_>) -> Option<(String, Vec<u8>)> {
    let default = field.default.as_ref().filter(|default| !default.is_null())?;
    let mut whole = serde_json::to_value(&field.schema).ok()?;
    spell_out(&mut whole, names, &mut HashSet::new());
    let of = json!({ "name": field.name, "type": whole, "default": default });
    let text = json!({ "type": "record", "name": "herald_default", "fields": [of] }).to_string();
    let schema = Avro::parse_str(&text).ok()?;
    // Resolving an empty record fills the field with its default.
    let record = AvroValue::Record(vec![]).resolve(&schema).ok()?;
    let datum = GenericDatumWriter::builder(&schema).build().ok()?.write_value_to_vec(record).ok()?;
    Some((text, datum))
}

/// Replaces the first use of every named type by its definition: a part of a schema cannot refer to names
/// that are defined outside it.
fn spell_out(of: &mut Value, names: &NamesRef<'_>, known: &mut HashSet<String>) {
    match of {
        Value::String(name) => {
            // A name that is defined already, and a primitive type, stay as they are.
            if known.contains(name) {
                return;
            }
            let named = names.iter().find(|(named, _)| named.fullname(None) == *name);
            let Some((_, schema)) = named else { return };
            if let Ok(mut definition) = serde_json::to_value(schema) {
                spell_out(&mut definition, names, known);
                *of = definition;
            }
        }
        Value::Array(variants) => {
            for variant in variants {
                spell_out(variant, names, known);
            }
        }
        Value::Object(parts) => {
            // A definition in place makes its name known to all later uses.
            if let Some(name) = parts.get("name").and_then(Value::as_str) {
                let space = parts.get("namespace").and_then(Value::as_str);
                known.insert(match space {
                    Some(space) => format!("{space}.{name}"),
                    None => name.to_owned(),
                });
            }
            if let Some(Value::Array(fields)) = parts.get_mut("fields") {
                for field in fields {
                    if let Some(part) = field.get_mut("type") {
                        spell_out(part, names, known);
                    }
                }
            }
            for part in ["items", "values"] {
                if let Some(part) = parts.get_mut(part) {
                    spell_out(part, names, known);
                }
            }
            // A plain string is the kind of this type itself, not a reference.
            if let Some(part @ (Value::Object(_) | Value::Array(_))) = parts.get_mut("type") {
                spell_out(part, names, known);
            }
        }
        _ => {}
    }
}
