//! Conversion between Avro schemas and column types, in both directions.
//!
//! Output is a record `herald.NAME` with every nullable column as `[null, T]`, default null. Input
//! are the columns that a writer's schema suggests if the SQL leaves them out: `timestamp-*` becomes
//! TIMESTAMPTZ, `local-timestamp-*` TIMESTAMP, an enum VARCHAR, and types that SQL lacks (maps,
//! unions of several types, recursion) JSONB.

use std::collections::HashSet;
use std::sync::Arc;

use apache_avro::schema::{NamesRef, ResolvedSchema, Schema as Avro};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::{Value, json};

use super::default_values::with_default;
use super::personal::tags_of_fields;
use crate::error::SchemaError;
use crate::types::personal::{PersonalTag, take_tags, with_tags};
use crate::types::relation::{is_jsonb, jsonb_field, timestamp, timestamptz, uuid_type};

/// Returns the Avro schema of rows of `schema`, as a record of this name in namespace `herald`.
pub fn avro_schema(schema: &Schema, record_name: &str) -> String {
    avro_schema_named(schema, &format!("herald.{}", avro_name(record_name)))
}

/// Returns the Avro schema of rows of `schema`, as a record of this full name, for which
/// [`is_full_avro_name`] holds. What stands before its last dot is the namespace.
pub fn avro_schema_named(schema: &Schema, full_name: &str) -> String {
    let (space, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
    let mut fields = Vec::new();
    for field in schema.fields() {
        fields.push(avro_field(field, name));
    }
    // In the order that schemas were registered in until now: another text is another version.
    let mut record = json!({ "type": "record", "name": name });
    if !space.is_empty() {
        record["namespace"] = json!(space);
    }
    record["fields"] = json!(fields);
    record.to_string()
}

/// Tells whether Avro allows the full name of a record: words of letters, digits and underscores with dots between,
/// none beginning with a digit.
pub fn is_full_avro_name(name: &str) -> bool {
    for word in name.split('.') {
        let allowed = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !allowed || word.is_empty() || word.starts_with(char::is_numeric) {
            return false;
        }
    }
    true
}

/// Turns a name into one that Avro allows: letters, digits and underscores, not starting with a digit.
pub(crate) fn avro_name(name: &str) -> String {
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

fn avro_field(field: &Field, outer: &str) -> Value {
    let name = avro_name(field.name());
    // Record names must be unique in a schema, so nested ones are built from the path.
    let inner = avro_type(field, &format!("{outer}_{name}"));
    if field.is_nullable() && inner != json!("null") {
        json!({ "name": name, "type": ["null", inner], "default": null })
    } else {
        json!({ "name": name, "type": inner })
    }
}

fn avro_type(field: &Field, path: &str) -> Value {
    match field.data_type() {
        DataType::Null => json!("null"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            json!("int")
        }
        DataType::Int64 | DataType::UInt32 => json!("long"),
        DataType::UInt64 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0 }),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) => {
            // Avro has no negative scale; such values are written with scale 0.
            let extra = u8::try_from(-i16::from((*scale).min(0))).unwrap_or(0);
            json!({
                "type": "bytes", "logicalType": "decimal",
                "precision": precision.saturating_add(extra), "scale": (*scale).max(0),
            })
        }
        DataType::Date32 => json!({ "type": "int", "logicalType": "date" }),
        DataType::Time64(_) => json!({ "type": "long", "logicalType": "time-micros" }),
        DataType::Timestamp(_, Some(_)) => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        DataType::Timestamp(_, None) => {
            json!({ "type": "long", "logicalType": "local-timestamp-micros" })
        }
        DataType::List(item) => {
            let inner = avro_type(item, path);
            let items =
                if item.is_nullable() && inner != json!("null") { json!(["null", inner]) } else { inner };
            json!({ "type": "array", "items": items })
        }
        DataType::Struct(fields) => {
            let fields: Vec<Value> = fields.iter().map(|f| avro_field(f, path)).collect();
            json!({ "type": "record", "name": path, "fields": fields })
        }
        DataType::Binary => json!("bytes"),
        DataType::FixedSizeBinary(16) => json!({ "type": "string", "logicalType": "uuid" }),
        _ if is_jsonb(field) => json!("string"),
        _ => json!("string"),
    }
}

/// Returns the columns that an Avro record schema suggests.
pub fn columns_of_avro(schema_json: &str) -> Result<Schema, SchemaError> {
    let schema = Avro::parse_str(schema_json).map_err(bad_schema)?;
    let resolved = ResolvedSchema::new(&schema).map_err(bad_schema)?;
    let names = resolved.get_names();
    let Avro::Record(record) = &schema else {
        return Err(SchemaError::BadSchema("columns need an Avro record".to_string()));
    };
    let mut open = HashSet::from([record.name.fullname(None)]);
    let mut columns = Vec::with_capacity(record.fields.len());
    for (field, tags) in record.fields.iter().zip(tags_of_fields(record, names)) {
        let column = column_of_type(&field.name, &field.schema, names, &mut open);
        columns.push(with_tags(with_default(column, field, names), &tags));
    }
    Ok(Schema::new(columns))
}

/// Returns the columns of the rows in Debezium's events of this schema.
pub fn columns_of_debezium(schema_json: &str) -> Result<Schema, SchemaError> {
    let event = columns_of_avro(schema_json)?;
    let after = event.field_with_name("after").ok().cloned().map(take_tags);
    let Some((after, tags)) = after else { return Err(no_row_in_event()) };
    let DataType::Struct(columns) = after.data_type() else { return Err(no_row_in_event()) };
    let mut tagged = Vec::with_capacity(columns.len());
    for column in columns {
        let mut own: Vec<PersonalTag> = Vec::new();
        for tag in &tags {
            let path = tag.path.strip_prefix("after").unwrap_or_default().trim_start_matches('.');
            let below = PersonalTag { path: path.to_owned(), kind: tag.kind };
            let whole = PersonalTag { path: column.name().clone(), kind: tag.kind };
            match path {
                "" => own.push(whole),
                path if whole.covers(path) => own.push(below),
                _ => {}
            }
        }
        tagged.push(with_tags(column.as_ref().clone(), &own));
    }
    Ok(Schema::new(tagged))
}

fn no_row_in_event() -> SchemaError {
    SchemaError::BadSchema("an event of Debezium's has a record in its field after".to_string())
}

fn bad_schema(error: apache_avro::Error) -> SchemaError {
    SchemaError::BadSchema(error.to_string())
}

/// Returns the column for one field. `open` holds the enclosing records, to detect recursion.
fn column_of_type(name: &str, schema: &Avro, names: &NamesRef<'_>, open: &mut HashSet<String>) -> Field {
    match schema {
        Avro::Union(union) => {
            let nullable = union.variants().iter().any(|v| matches!(v, Avro::Null));
            let mut others = union.variants().iter().filter(|v| !matches!(v, Avro::Null));
            // One type besides null is a column of that type; several types are JSONB.
            match (others.next(), others.next()) {
                (Some(only), None) => column_of_type(name, only, names, open).with_nullable(nullable),
                _ => jsonb_field(name, nullable),
            }
        }
        Avro::Ref { name: reference } => match names.get(reference) {
            Some(schema) => column_of_type(name, schema, names, open),
            None => jsonb_field(name, false),
        },
        Avro::Record(record) => {
            let full = record.name.fullname(None);
            if !open.insert(full.clone()) {
                return jsonb_field(name, false);
            }
            let fields: Vec<Field> =
                record.fields.iter().map(|f| column_of_type(&f.name, &f.schema, names, open)).collect();
            // Only enclosing records mean recursion: the same record may be used in several fields.
            open.remove(&full);
            // STRUCT needs at least one field.
            if fields.is_empty() {
                return jsonb_field(name, false);
            }
            Field::new_struct(name, fields, false)
        }
        Avro::Array(array) => {
            let item = column_of_type("item", &array.items, names, open).with_nullable(true);
            Field::new(name, DataType::List(Arc::new(item)), false)
        }
        other => match scalar_type(other) {
            Some(data_type) => Field::new(name, data_type, false),
            None => jsonb_field(name, false),
        },
    }
}

fn scalar_type(schema: &Avro) -> Option<DataType> {
    Some(match schema {
        Avro::Boolean => DataType::Boolean,
        Avro::Int => DataType::Int32,
        Avro::Long => DataType::Int64,
        Avro::Float => DataType::Float32,
        Avro::Double => DataType::Float64,
        Avro::String | Avro::Enum(_) => DataType::Utf8,
        Avro::Uuid(_) => uuid_type(),
        Avro::Bytes | Avro::Fixed(_) => DataType::Binary,
        Avro::Date => DataType::Date32,
        Avro::TimeMillis | Avro::TimeMicros => DataType::Time64(TimeUnit::Microsecond),
        Avro::TimestampMillis | Avro::TimestampMicros | Avro::TimestampNanos => timestamptz(),
        Avro::LocalTimestampMillis | Avro::LocalTimestampMicros | Avro::LocalTimestampNanos => timestamp(),
        Avro::Decimal(decimal) => {
            let precision = u8::try_from(decimal.precision).ok().filter(|p| *p <= 38)?;
            DataType::Decimal128(precision, i8::try_from(decimal.scale).ok()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::relation::sql_type;

    #[test]
    fn columns_of_a_writer_schema() {
        let schema = columns_of_avro(
            r#"{"type":"record","name":"M","namespace":"x","fields":[
              {"name":"id","type":"string"},
              {"name":"n","type":["null","long"]},
              {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
              {"name":"local","type":{"type":"long","logicalType":"local-timestamp-micros"}},
              {"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}},
              {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
              {"name":"tags","type":{"type":"map","values":"string"}},
              {"name":"either","type":["null","string","long"]},
              {"name":"next","type":["null","M"],"default":null},
              {"name":"ps","type":{"type":"array","items":{"type":"record","name":"P","fields":[{"name":"k","type":"int"}]}}},
              {"name":"one","type":"P"}
            ]}"#,
        )
        .unwrap();
        let spelt: Vec<String> = schema
            .fields()
            .iter()
            .map(|f| {
                format!("{} {}{}", f.name(), sql_type(f), if f.is_nullable() { "" } else { " NOT NULL" })
            })
            .collect();
        assert_eq!(
            spelt,
            [
                "id VARCHAR NOT NULL",
                "n BIGINT",
                "at TIMESTAMPTZ NOT NULL",
                "local TIMESTAMP NOT NULL",
                "e VARCHAR NOT NULL",
                "price DECIMAL(9, 2) NOT NULL",
                "tags JSONB NOT NULL",
                "either JSONB",
                "next JSONB",
                "ps STRUCT<k INT>[] NOT NULL",
                "one STRUCT<k INT> NOT NULL",
            ]
        );
        assert!(columns_of_avro("\"string\"").is_err());
        assert!(columns_of_avro("{").is_err());
    }

    #[test]
    fn columns_of_an_event_are_those_of_its_row() {
        let event = r#"{"type":"record","name":"Envelope","namespace":"shop.public.users","fields":[
          {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"id","type":"long"},{"name":"name","type":["null","string"],"default":null}]}],"default":null},
          {"name":"after","type":["null","Value"],"default":null},
          {"name":"op","type":"string"}]}"#;
        let schema = columns_of_debezium(event).unwrap();
        let spelt: Vec<String> =
            schema.fields().iter().map(|f| format!("{} {}", f.name(), sql_type(f))).collect();
        assert_eq!(spelt, ["id BIGINT", "name VARCHAR"]);
        assert!(columns_of_debezium(r#"{"type":"record","name":"R","fields":[]}"#).is_err());
    }

    #[test]
    fn attributes_tag_columns() {
        let tags = |columns: &Schema| -> Vec<String> {
            let fields = columns.fields().iter().map(|field| take_tags(field.as_ref().clone()));
            let tags = fields.flat_map(|(plain, tags)| {
                assert!(plain.metadata().keys().all(|key| key != "herald.personal"));
                tags
            });
            tags.map(|tag| format!("{} {}", tag.path, tag.kind.map_or("", |kind| kind.word()))).collect()
        };
        let player = r#"{"type":"record","name":"P","fields":[
          {"name":"id","type":"long"},
          {"name":"puuid","type":["null","string"],"personal":"identifier"},
          {"name":"friends","type":{"type":"array","items":{"type":"record","name":"F","fields":[
            {"name":"name","type":"string","personal":"name"},{"name":"of","type":["null","P"]}]}}},
          {"name":"note","type":"string","personal":"whatever"}]}"#;
        let expected = ["puuid identifier", "friends[].name name", "friends[].of other", "note other"];
        assert_eq!(tags(&columns_of_avro(player).unwrap()), expected);
        let event = format!(
            r#"{{"type":"record","name":"E","fields":[{{"name":"before","type":["null",{player}]}},
              {{"name":"after","type":["null","P"]}},{{"name":"op","type":"string"}}]}}"#
        );
        assert_eq!(tags(&columns_of_debezium(&event).unwrap()), expected);
    }

    #[test]
    fn names_become_legal() {
        assert_eq!(avro_name("a-b.c"), "a_b_c");
        assert_eq!(avro_name("1st"), "_1st");
        assert_eq!(avro_name(""), "_");
    }
}
