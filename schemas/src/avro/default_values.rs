//! Defaults of an Avro schema that names a relation's columns.
//!
//! Where columns are left to a schema, it is the reader's: a field that a writer's older schema lacks has
//! its default, not NULL. The default travels in the column's metadata, as a record of the one field with
//! its datum, so that it is read as any other bytes are.

use std::collections::{HashMap, HashSet};

use apache_avro::schema::{NamesRef, RecordField, Schema as Avro};
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::datatypes::Field;
use serde_json::{Value, json};

/// Metadata of a column: the schema of the record.
const SCHEMA: &str = "avro.default.schema";
/// Metadata of a column: the record, in hexadecimal digits.
const DATUM: &str = "avro.default.datum";

/// `column` with the default of the field it stands for; as it is where there is none but NULL.
pub(crate) fn with_default(column: Field, field: &RecordField, names: &NamesRef<'_>) -> Field {
    match encoded(field, names) {
        Some((schema, datum)) => {
            let digits = datum.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut metadata: HashMap<String, String> = column.metadata().clone();
            metadata.extend([(SCHEMA.to_owned(), schema), (DATUM.to_owned(), digits)]);
            column.with_metadata(metadata)
        }
        None => column,
    }
}

/// The default of a column: the schema of a record of one field, and its bytes.
pub(crate) fn default_of(column: &Field) -> Option<(&str, Vec<u8>)> {
    let (schema, digits) = (column.metadata().get(SCHEMA)?, column.metadata().get(DATUM)?);
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let datum = (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
    Some((schema, datum))
}

/// The column without a default.
pub fn without_default(column: Field) -> Field {
    let mut metadata = column.metadata().clone();
    metadata.remove(SCHEMA);
    metadata.remove(DATUM);
    column.with_metadata(metadata)
}

fn encoded(field: &RecordField, names: &NamesRef<'_>) -> Option<(String, Vec<u8>)> {
    let default = field.default.as_ref().filter(|default| !default.is_null())?;
    let mut whole = serde_json::to_value(&field.schema).ok()?;
    spell_out(&mut whole, names, &mut HashSet::new());
    let of = json!({ "name": field.name, "type": whole, "default": default });
    let text = json!({ "type": "record", "name": "herald_default", "fields": [of] }).to_string();
    let schema = Avro::parse_str(&text).ok()?;
    // What is missing from a record gets its default.
    let record = AvroValue::Record(vec![]).resolve(&schema).ok()?;
    let datum = GenericDatumWriter::builder(&schema).build().ok()?.write_value_to_vec(record).ok()?;
    Some((text, datum))
}

/// Puts the definition of every named type where it is first used: the names of the whole schema are out of
/// sight in a part of it.
fn spell_out(of: &mut Value, names: &NamesRef<'_>, known: &mut HashSet<String>) {
    match of {
        Value::String(name) => {
            let named = names.iter().find(|(known, _)| known.fullname(None) == *name);
            let Some((_, schema)) = named.filter(|_| !known.contains(name)) else { return };
            if let Ok(mut definition) = serde_json::to_value(schema) {
                spell_out(&mut definition, names, known);
                *of = definition;
            }
        }
        Value::Array(variants) => variants.iter_mut().for_each(|v| spell_out(v, names, known)),
        Value::Object(parts) => {
            if let Some(name) = parts.get("name").and_then(Value::as_str) {
                let space = parts.get("namespace").and_then(Value::as_str);
                known.insert(space.map_or_else(|| name.to_owned(), |space| format!("{space}.{name}")));
            }
            let mut inner = |part: &mut Value| spell_out(part, names, known);
            if let Some(Value::Array(fields)) = parts.get_mut("fields") {
                fields.iter_mut().filter_map(|field| field.get_mut("type")).for_each(&mut inner);
            }
            ["items", "values"].into_iter().for_each(|part| {
                if let Some(part) = parts.get_mut(part) {
                    inner(part);
                }
            });
            if let Some(part @ (Value::Object(_) | Value::Array(_))) = parts.get_mut("type") {
                inner(part);
            }
        }
        _ => {}
    }
}
