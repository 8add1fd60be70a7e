//! The column types of Herald, which are Arrow's, and their forms in SQL and in the state.
//!
//! Columns are Boolean, Int16, Int32, Int64, Float32, Float64, Decimal128, Utf8, Binary, Date32,
//! Time64(us), Timestamp(us) without or with zone UTC, Interval(MonthDayNano), FixedSizeBinary(16), which
//! is UUID, List and Struct. JSONB is Utf8 marked in the field's metadata, with canonical text (see
//! [`super::jsonb`]). The JSON form of a schema is stored in the state: it must stay readable by later
//! releases.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use serde_json::{Value, json};

use crate::error::SchemaError;

const TYPE_KEY: &str = "herald.type";
const JSONB: &str = "jsonb";

/// Returns TIMESTAMPTZ: microseconds since 1970, in UTC.
pub fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Returns TIMESTAMP: microseconds on a clock without zone.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Returns INTERVAL: months, days and microseconds, the last stored as Arrow's nanoseconds.
pub fn interval() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

/// Returns UUID: 16 bytes.
pub fn uuid_type() -> DataType {
    DataType::FixedSizeBinary(16)
}

/// Returns true for a JSONB column.
pub fn is_jsonb(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|kind| kind == JSONB)
}

/// Creates a JSONB column.
pub fn jsonb_field(name: impl Into<String>, nullable: bool) -> Field {
    let marker = HashMap::from([(TYPE_KEY.to_string(), JSONB.to_string())]);
    Field::new(name, DataType::Utf8, nullable).with_metadata(marker)
}

/// Returns the name of the partitions of files that are partitioned by a column: `date` for DATE and TIMESTAMPTZ, whose
/// days they are, else that of the column. None for a column of a type that names no partitions.
pub fn partition_name(field: &Field) -> Option<&str> {
    match field.data_type() {
        DataType::Date32 | DataType::Timestamp(_, Some(_)) => Some("date"),
        DataType::Utf8 if is_jsonb(field) => None,
        DataType::Utf8 | DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Some(field.name())
        }
        _ => None,
    }
}

/// Returns the type of a field in SQL's spelling.
pub fn sql_type(field: &Field) -> String {
    if is_jsonb(field) {
        return "JSONB".to_string();
    }
    match field.data_type() {
        DataType::Boolean => "BOOLEAN".to_string(),
        DataType::Int16 => "SMALLINT".to_string(),
        DataType::Int32 => "INT".to_string(),
        DataType::Int64 => "BIGINT".to_string(),
        DataType::Float32 => "REAL".to_string(),
        DataType::Float64 => "DOUBLE".to_string(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "VARCHAR".to_string(),
        DataType::Binary => "BYTEA".to_string(),
        DataType::FixedSizeBinary(16) => "UUID".to_string(),
        DataType::Date32 => "DATE".to_string(),
        DataType::Time64(TimeUnit::Microsecond) => "TIME".to_string(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_string(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_string(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_string(),
        DataType::List(item) => format!("{}[]", sql_type(item)),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{} {}", f.name(), sql_type(f))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string().to_uppercase(),
    }
}

/// Returns the JSON form of a schema, as stored in the state.
pub fn schema_to_json(schema: &Schema) -> Value {
    fields_to_json(schema.fields())
}

/// Parses the JSON form that [`schema_to_json`] returns.
pub fn schema_from_json(value: &Value) -> Result<Schema, SchemaError> {
    let fields = value.as_array().ok_or_else(|| bad_schema("a list of columns is expected"))?;
    Ok(Schema::new(fields.iter().map(field_from_json).collect::<Result<Vec<_>, _>>()?))
}

fn fields_to_json(fields: &Fields) -> Value {
    Value::Array(fields.iter().map(|field| field_to_json(field)).collect())
}

/// Returns the types of columns.
pub(crate) fn column_types(fields: &Fields) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type().clone()).collect()
}

fn field_to_json(field: &Field) -> Value {
    let mut object = json!({ "name": field.name(), "nullable": field.is_nullable() });
    object["type"] = if is_jsonb(field) { json!(JSONB) } else { type_to_json(field.data_type()) };
    object
}

fn type_to_json(data_type: &DataType) -> Value {
    match data_type {
        DataType::Decimal128(precision, scale) => json!({ "decimal": [precision, scale] }),
        DataType::List(item) => json!({ "list": field_to_json(item) }),
        DataType::Struct(fields) => json!({ "struct": fields_to_json(fields) }),
        DataType::Time64(TimeUnit::Microsecond) => json!("time"),
        DataType::Interval(IntervalUnit::MonthDayNano) => json!("interval"),
        DataType::FixedSizeBinary(16) => json!("uuid"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => json!("timestamp"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamptz"),
        other => json!(format!("{other:?}").to_lowercase()),
    }
}

fn field_from_json(value: &Value) -> Result<Field, SchemaError> {
    let name = value["name"].as_str().ok_or_else(|| bad_schema("a column has no name"))?;
    let nullable = value["nullable"].as_bool().unwrap_or(true);
    if value["type"] == JSONB {
        return Ok(jsonb_field(name, nullable));
    }
    Ok(Field::new(name, type_from_json(&value["type"])?, nullable))
}

fn type_from_json(value: &Value) -> Result<DataType, SchemaError> {
    if let Some(parts) = value.get("decimal").and_then(Value::as_array) {
        let precision = parts.first().and_then(Value::as_u64).and_then(|p| u8::try_from(p).ok());
        let scale = parts.get(1).and_then(Value::as_i64).and_then(|s| i8::try_from(s).ok());
        return match (precision, scale) {
            (Some(precision), Some(scale)) => Ok(DataType::Decimal128(precision, scale)),
            _ => Err(bad_schema("a decimal needs precision and scale")),
        };
    }
    if let Some(item) = value.get("list") {
        return Ok(DataType::List(Arc::new(field_from_json(item)?)));
    }
    if let Some(fields) = value.get("struct").and_then(Value::as_array) {
        let fields = fields.iter().map(field_from_json).collect::<Result<Vec<_>, _>>()?;
        return Ok(DataType::Struct(fields.into()));
    }
    Ok(match value.as_str().unwrap_or_default() {
        "null" => DataType::Null,
        "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "utf8" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date32" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "interval" => interval(),
        "uuid" => uuid_type(),
        "timestamp" => timestamp(),
        "timestamptz" => timestamptz(),
        _ => return Err(bad_schema(&format!("unknown column type {value}"))),
    })
}

fn bad_schema(message: &str) -> SchemaError {
    SchemaError::BadSchema(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Schema {
        let item = Field::new_struct(
            "item",
            vec![Field::new("a", DataType::Int32, true), jsonb_field("j", true)],
            true,
        );
        Schema::new(vec![
            Field::new("b", DataType::Boolean, false),
            Field::new("s", DataType::Int16, true),
            Field::new("d", DataType::Decimal128(12, 3), true),
            Field::new("t", timestamp(), true),
            Field::new("tz", timestamptz(), true),
            Field::new("tm", DataType::Time64(TimeUnit::Microsecond), true),
            Field::new("i", interval(), true),
            Field::new("x", DataType::Binary, true),
            Field::new("u", uuid_type(), true),
            Field::new("l", DataType::List(Arc::new(item)), true),
            jsonb_field("j", true),
        ])
    }

    #[test]
    fn schemas_survive_json() {
        let schema = everything();
        assert_eq!(schema_from_json(&schema_to_json(&schema)).ok(), Some(schema));
        assert!(schema_from_json(&json!([{"name": "a", "type": "nonsense"}])).is_err());
        assert!(schema_from_json(&json!({})).is_err());
    }

    #[test]
    fn types_are_spelt_as_in_sql() {
        let schema = everything();
        let spelt: Vec<String> = schema.fields().iter().map(|f| sql_type(f)).collect();
        let expected = [
            "BOOLEAN",
            "SMALLINT",
            "DECIMAL(12, 3)",
            "TIMESTAMP",
            "TIMESTAMPTZ",
            "TIME",
            "INTERVAL",
            "BYTEA",
            "UUID",
            "STRUCT<a INT, j JSONB>[]",
            "JSONB",
        ];
        assert_eq!(spelt, expected);
    }
}
