//! Types of PostgreSQL that columns and parameters have.
//!
//! Each type of Herald is one of PostgreSQL, by its fixed OID. A STRUCT, and an array with one in it, is sent
//! as JSONB: clients know no composite types. Types that only the query engine has are sent as the nearest.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

use super::super::errors::{PgError, PgResult, codes};

/// Key of a field's metadata with the name of a type that columns of views never have: `oid`, `name` or
/// `char`, or an array of these.
pub const TYPE_KEY: &str = "pg.type";
/// OID of a value whose type the client does not tell.
pub const UNKNOWN_OID: u32 = 705;

/// A type of PostgreSQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `oid`.
    Oid,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric` of a precision and a scale.
    Numeric(u8, i8),
    /// `text`.
    Text,
    /// `name`.
    Name,
    /// `"char"`.
    Char,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    Timestamptz,
    /// `interval`.
    Interval,
    /// `uuid`.
    Uuid,
    /// `jsonb`, whose values are text.
    Jsonb,
    /// `jsonb`, whose values are structs, or arrays with structs in them.
    Nested(Box<Shape>),
    /// An array.
    Array(Box<Kind>),
}

/// Shape of a value that is sent as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A value of one type.
    Value(Kind),
    /// An array.
    Array(Box<Shape>),
    /// An object: its members in the order of JSONB, each with the place of its column.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The place of its column among those of the struct.
    pub column: usize,
    /// The shape of its value.
    pub shape: Shape,
}

/// OID, OID of arrays, and size in bytes (-1 for any) of the types.
const TYPES: [(Kind, u32, u32, i16); 19] = [
    (Kind::Bool, 16, 1000, 1),
    (Kind::Bytea, 17, 1001, -1),
    (Kind::Char, 18, 1002, 1),
    (Kind::Name, 19, 1003, 64),
    (Kind::Int8, 20, 1016, 8),
    (Kind::Int2, 21, 1005, 2),
    (Kind::Int4, 23, 1007, 4),
    (Kind::Text, 25, 1009, -1),
    (Kind::Oid, 26, 1028, 4),
    (Kind::Float4, 700, 1021, 4),
    (Kind::Float8, 701, 1022, 8),
    (Kind::Date, 1082, 1182, 4),
    (Kind::Time, 1083, 1183, 8),
    (Kind::Timestamp, 1114, 1115, 8),
    (Kind::Timestamptz, 1184, 1185, 8),
    (Kind::Interval, 1186, 1187, 16),
    (Kind::Numeric(38, 10), 1700, 1231, -1),
    (Kind::Uuid, 2950, 2951, 16),
    (Kind::Jsonb, 3802, 3807, -1),
];

/// OIDs of further types of parameters, each with the type that their values are read as.
const LIKE: [(u32, Kind); 9] = [
    (1043, Kind::Text),
    (1042, Kind::Text),
    (114, Kind::Jsonb),
    (2205, Kind::Oid),
    (2206, Kind::Oid),
    (24, Kind::Oid),
    (1015, Kind::Text),
    (1014, Kind::Text),
    (199, Kind::Jsonb),
];

/// OIDs in [`LIKE`] that are of arrays.
const LIKE_ARRAYS: [u32; 3] = [1015, 1014, 199];

impl Kind {
    /// The type of a column.
    pub fn of(field: &Field) -> Kind {
        match field.metadata().get(TYPE_KEY).map(String::as_str) {
            Some("oid") => return Kind::Oid,
            Some("name") => return Kind::Name,
            Some("char") => return Kind::Char,
            Some("_oid") => return Kind::Array(Box::new(Kind::Oid)),
            Some("_name") => return Kind::Array(Box::new(Kind::Name)),
            Some("_char") => return Kind::Array(Box::new(Kind::Char)),
            _ => {}
        }
        if schemas::is_jsonb(field) {
            return Kind::Jsonb;
        }
        match field.data_type() {
            DataType::Boolean => Kind::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Kind::Int2,
            DataType::UInt16 | DataType::Int32 => Kind::Int4,
            DataType::UInt32 | DataType::Int64 => Kind::Int8,
            DataType::UInt64 => Kind::Numeric(20, 0),
            DataType::Float16 | DataType::Float32 => Kind::Float4,
            DataType::Float64 => Kind::Float8,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => Kind::Numeric((*precision).min(38), *scale),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Bytea,
            DataType::FixedSizeBinary(16) => Kind::Uuid,
            DataType::FixedSizeBinary(_) => Kind::Bytea,
            DataType::Date32 | DataType::Date64 => Kind::Date,
            DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
            DataType::Timestamp(_, None) => Kind::Timestamp,
            DataType::Timestamp(_, Some(_)) => Kind::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
            DataType::Struct(_) => Kind::Nested(Box::new(Shape::of(field))),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => Kind::of_array(field, item),
            DataType::Dictionary(_, value) => Kind::of(&Field::new("", value.as_ref().clone(), true)),
            _ => Kind::Text,
        }
    }

    /// The type of an array; one with structs in it is JSON.
    fn of_array(field: &Field, item: &Field) -> Kind {
        match Kind::of(item) {
            Kind::Nested(_) => Kind::Nested(Box::new(Shape::of(field))),
            // Arrays of arrays have the type of arrays.
            inner @ Kind::Array(_) => inner,
            item => Kind::Array(Box::new(item)),
        }
    }

    /// The type of an OID.
    pub fn of_oid(oid: u32) -> Option<Kind> {
        for (kind, own, array, _) in &TYPES {
            if oid == *own {
                return Some(kind.clone());
            }
            if oid == *array {
                return Some(Kind::Array(Box::new(kind.clone())));
            }
        }
        let (_, kind) = LIKE.iter().find(|(like, _)| *like == oid)?;
        Some(if LIKE_ARRAYS.contains(&oid) { Kind::Array(Box::new(kind.clone())) } else { kind.clone() })
    }

    /// The type of a name in SQL, in one of PostgreSQL's spellings; its modifier is passed over.
    pub fn of_name(name: &str) -> Option<Kind> {
        let name = name.trim().to_lowercase();
        if let Some(item) = name.strip_suffix("[]") {
            return Kind::of_name(item).map(|item| Kind::Array(Box::new(item)));
        }
        let plain = name.split('(').next().unwrap_or_default().trim();
        Some(match plain.strip_prefix("pg_catalog.").unwrap_or(plain) {
            "bool" | "boolean" => Kind::Bool,
            "int2" | "smallint" => Kind::Int2,
            "int" | "int4" | "integer" => Kind::Int4,
            "int8" | "bigint" => Kind::Int8,
            "oid" => Kind::Oid,
            "real" | "float4" => Kind::Float4,
            "double precision" | "double" | "float8" | "float" => Kind::Float8,
            "numeric" | "decimal" => Kind::Numeric(38, 10),
            "text" | "varchar" | "character varying" | "bpchar" | "char" | "name" => Kind::Text,
            "bytea" => Kind::Bytea,
            "date" => Kind::Date,
            "time" | "time without time zone" => Kind::Time,
            "timestamp" | "timestamp without time zone" => Kind::Timestamp,
            "timestamptz" | "timestamp with time zone" => Kind::Timestamptz,
            "interval" => Kind::Interval,
            "uuid" => Kind::Uuid,
            "json" | "jsonb" => Kind::Jsonb,
            _ => return None,
        })
    }

    /// The type's row of the table; arrays have that of their items.
    fn entry(&self) -> &'static (Kind, u32, u32, i16) {
        let like = match self {
            Kind::Numeric(..) => &Kind::Numeric(38, 10),
            Kind::Nested(_) => &Kind::Jsonb,
            Kind::Array(item) => return item.entry(),
            other => other,
        };
        TYPES.iter().find(|(kind, ..)| kind == like).unwrap_or(&TYPES[7])
    }

    /// Its OID.
    pub fn oid(&self) -> u32 {
        let (_, own, array, _) = self.entry();
        if matches!(self, Kind::Array(_)) { *array } else { *own }
    }

    /// Size of a value in bytes; -1 for any.
    pub fn size(&self) -> i16 {
        if matches!(self, Kind::Array(_)) { -1 } else { self.entry().3 }
    }

    /// Modifier of the type: precision and scale of a number; -1 for none.
    pub fn modifier(&self) -> i32 {
        match self {
            Kind::Numeric(precision, scale) => {
                ((i32::from(*precision) << 16) | i32::from(*scale) & 0x7ff) + 4
            }
            _ => -1,
        }
    }

    /// Its name in Herald's SQL.
    pub fn sql_name(&self) -> String {
        let name = match self {
            Kind::Bool => "BOOLEAN",
            Kind::Int2 => "SMALLINT",
            Kind::Int4 => "INT",
            Kind::Int8 | Kind::Oid => "BIGINT",
            Kind::Float4 => "REAL",
            Kind::Float8 => "DOUBLE PRECISION",
            Kind::Numeric(precision, scale) => return format!("DECIMAL({precision}, {scale})"),
            Kind::Text | Kind::Name | Kind::Char => "VARCHAR",
            Kind::Bytea => "BYTEA",
            Kind::Date => "DATE",
            Kind::Time => "TIME",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Timestamptz => "TIMESTAMPTZ",
            Kind::Interval => "INTERVAL",
            Kind::Uuid => "UUID",
            Kind::Jsonb | Kind::Nested(_) => "JSONB",
            Kind::Array(item) => return format!("{}[]", item.sql_name()),
        };
        name.to_owned()
    }
}

impl Shape {
    /// The shape of a column that is sent as JSON.
    fn of(field: &Field) -> Shape {
        match field.data_type() {
            DataType::Struct(fields) => {
                let mut members = Vec::with_capacity(fields.len());
                for (column, field) in fields.iter().enumerate() {
                    members.push(Member { name: field.name().clone(), column, shape: Shape::of(field) });
                }
                // JSONB orders names by their length, then by their bytes.
                members.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
                Shape::Object(members)
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Shape::Array(Box::new(Shape::of(item)))
            }
            _ => Shape::Value(Kind::of(field)),
        }
    }
}

/// The type of Herald that is nearest to one of the query engine.
fn nearest(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::FixedSizeBinary(width) if *width != 16 => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal256(precision, scale) => DataType::Decimal128((*precision).min(38), *scale),
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Interval(_) | DataType::Duration(_) => schemas::interval(),
        DataType::Dictionary(_, value) => nearest(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(nearest_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nearest_field).collect()),
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Binary
        | DataType::FixedSizeBinary(_)
        | DataType::Date32 => data_type.clone(),
        _ => DataType::Utf8,
    }
}

fn nearest_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(nearest(field.data_type())))
}

/// A column in the type of Herald that is nearest to `planned`.
///
/// # Errors
/// When it cannot be converted.
pub fn held(column: &ArrayRef, planned: &DataType) -> PgResult<ArrayRef> {
    let target = nearest(planned);
    if target == *column.data_type() {
        return Ok(Arc::clone(column));
    }
    cast(column, &target).map_err(|error| {
        PgError::new(codes::INTERNAL_ERROR, format!("a {} cannot be sent: {error}", column.data_type()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(data_type: DataType) -> Kind {
        Kind::of(&Field::new("c", data_type, true))
    }

    #[test]
    fn types_have_the_oids_of_postgresql() {
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        for (data_type, oid, size) in [
            (DataType::Boolean, 16, 1),
            (DataType::Int16, 21, 2),
            (DataType::Int32, 23, 4),
            (DataType::Int64, 20, 8),
            (DataType::Float32, 700, 4),
            (DataType::Float64, 701, 8),
            (DataType::Decimal128(10, 2), 1700, -1),
            (DataType::Utf8, 25, -1),
            (DataType::Null, 25, -1),
            (DataType::Binary, 17, -1),
            (DataType::Date32, 1082, 4),
            (DataType::Time64(TimeUnit::Microsecond), 1083, 8),
            (schemas::timestamp(), 1114, 8),
            (schemas::timestamptz(), 1184, 8),
            (schemas::interval(), 1186, 16),
            (schemas::uuid_type(), 2950, 16),
            (list(DataType::Int64), 1016, -1),
            (list(list(DataType::Utf8)), 1009, -1),
            (list(DataType::Decimal128(38, 0)), 1231, -1),
        ] {
            let found = kind(data_type.clone());
            assert_eq!((found.oid(), found.size()), (oid, size), "{data_type}");
            assert_eq!(Kind::of_oid(oid).map(|kind| kind.oid()), Some(oid));
        }
        assert_eq!(Kind::of(&schemas::jsonb_field("j", true)).oid(), 3802);
        assert_eq!(kind(DataType::Decimal128(10, 2)).modifier(), (10 << 16 | 2) + 4);
        assert_eq!(Kind::of_oid(1043), Some(Kind::Text));
        assert_eq!(Kind::of_oid(600), None);
        let named = Field::new("oid", DataType::Int64, true);
        let named = named.with_metadata([(TYPE_KEY.to_owned(), "oid".to_owned())].into());
        assert_eq!((Kind::of(&named).oid(), Kind::of(&named).size()), (26, 4));
        let named = Field::new("oids", list(DataType::Int64), true);
        let named = named.with_metadata([(TYPE_KEY.to_owned(), "_oid".to_owned())].into());
        assert_eq!(Kind::of(&named).oid(), 1028);
    }

    #[test]
    fn structs_are_json_with_members_in_its_order() {
        let fields = vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("id", DataType::Int64, true),
            Field::new("at", schemas::timestamptz(), true),
        ];
        let of_struct = kind(DataType::Struct(fields.clone().into()));
        let Kind::Nested(shape) = &of_struct else { panic!("{of_struct:?}") };
        let Shape::Object(members) = shape.as_ref() else { panic!("{shape:?}") };
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["at", "id", "name"]);
        let item = Field::new("item", DataType::Struct(fields.into()), true);
        assert_eq!(kind(DataType::List(Arc::new(item))).oid(), 3802);
    }
}
