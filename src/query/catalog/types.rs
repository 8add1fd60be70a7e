//! PostgreSQL's builtin types: names, OIDs, and those that columns of Arrow have on the wire.
//!
//! Catalogue columns carry the name of their type as a label in the field's metadata, since Arrow has no
//! `oid`, `name` or `regproc`. The label counts only while the values are of the Arrow type that it stands
//! for: a cast keeps metadata, and so the label of a column that is no longer one.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::LazyLock;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use schemas::{is_jsonb, timestamptz};

/// Key of the label in a field's metadata.
const LABEL: &str = "pg.type";
/// Type of text, as which everything is sent that has no type of its own.
pub(super) const TEXT: u32 = 25;
/// Modifier of a type without one.
const NO_MODIFIER: i32 = -1;

/// Builtin type, as `pg_type` has it.
pub(super) struct PgType {
    pub oid: u32,
    pub name: &'static str,
    /// Bytes of a value; -1 if they vary.
    pub length: i16,
    pub by_value: bool,
    /// `b` for base types, `p` for pseudo-types.
    pub kind: &'static str,
    pub category: &'static str,
    pub preferred: bool,
    pub delimiter: &'static str,
    /// Type of the items of an array; 0 for others.
    pub element: u32,
    /// Type of arrays of this type; 0 without one.
    pub array: u32,
    /// Functions for input, output, receive, send, and the modifier's input and output; `-` for none.
    pub functions: [&'static str; 6],
    pub align: &'static str,
    pub storage: &'static str,
    pub collation: u32,
    /// Function for subscripts; `-` for none.
    pub subscript: &'static str,
}

impl PgType {
    /// Tells whether this is an array of another type, which the name shows.
    pub fn is_array(&self) -> bool {
        self.element != 0 && self.name.starts_with('_')
    }
}

/// All builtin types that the catalogue tells, in the order of their OIDs.
pub(super) static TYPES: LazyLock<Vec<PgType>> =
    LazyLock::new(|| include_str!("data/types.txt").lines().filter_map(parse_type).collect());

/// Places in [`TYPES`] by OID.
static BY_OID: LazyLock<HashMap<u32, usize>> =
    LazyLock::new(|| TYPES.iter().enumerate().map(|(at, found)| (found.oid, at)).collect());

/// Places in [`TYPES`] by name.
static BY_NAME: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| TYPES.iter().enumerate().map(|(at, found)| (found.name, at)).collect());

/// Parses a line of the list of types.
fn parse_type(line: &'static str) -> Option<PgType> {
    let words: Vec<&str> = line.split(' ').collect();
    let functions = words.get(10..16)?.try_into().ok()?;
    Some(PgType {
        oid: number(&words, 0)?,
        name: words.get(1)?,
        length: number(&words, 2)?,
        by_value: words.get(3)? == &"1",
        kind: words.get(4)?,
        category: words.get(5)?,
        preferred: words.get(6)? == &"1",
        delimiter: words.get(7)?,
        element: number(&words, 8)?,
        array: number(&words, 9)?,
        functions,
        align: words.get(16)?,
        storage: words.get(17)?,
        collation: number(&words, 18)?,
        subscript: words.get(19)?,
    })
}

/// The number at a place of a line.
fn number<N: FromStr>(words: &[&str], at: usize) -> Option<N> {
    words.get(at)?.parse().ok()
}

/// The type with an OID.
pub(super) fn type_of(oid: u32) -> Option<&'static PgType> {
    BY_OID.get(&oid).map(|at| &TYPES[*at])
}

/// The type with a name in `pg_type`.
pub(super) fn type_named(name: &str) -> Option<&'static PgType> {
    BY_NAME.get(name).map(|at| &TYPES[*at])
}

/// Function that the types or the catalogue name, as `pg_proc` has it.
pub(super) struct Function {
    pub oid: u32,
    pub name: &'static str,
    pub result: u32,
    pub arguments: Vec<i64>,
    /// `f` for functions, `a` for aggregates, `w` for window functions.
    pub kind: &'static str,
    pub returns_set: bool,
    pub volatility: &'static str,
    pub strict: bool,
}

/// The functions that the catalogue tells, in the order of their OIDs.
pub(super) static FUNCTIONS: LazyLock<Vec<Function>> =
    LazyLock::new(|| include_str!("data/functions.txt").lines().filter_map(parse_function).collect());

/// Places in [`FUNCTIONS`] by name; the first of several.
static FUNCTIONS_BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let mut places = HashMap::new();
    for (at, function) in FUNCTIONS.iter().enumerate() {
        places.entry(function.name).or_insert(at);
    }
    places
});

/// Parses a line of the list of functions.
fn parse_function(line: &'static str) -> Option<Function> {
    let words: Vec<&str> = line.split(' ').collect();
    Some(Function {
        oid: number(&words, 0)?,
        name: words.get(1)?,
        result: number(&words, 2)?,
        arguments: words.get(3)?.split(',').filter_map(|oid| oid.parse().ok()).collect(),
        kind: words.get(4)?,
        returns_set: words.get(5)? == &"1",
        volatility: words.get(6)?,
        strict: words.get(7)? == &"1",
    })
}

/// OID of the function with a name; 0 without one.
pub(super) fn function_oid(name: &str) -> i64 {
    FUNCTIONS_BY_NAME.get(name).map_or(0, |at| i64::from(FUNCTIONS[*at].oid))
}

/// The function with an OID.
pub(super) fn function_of(oid: i64) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by_key(&oid, |function| i64::from(function.oid)).ok()?;
    FUNCTIONS.get(at)
}

/// Type of a result column, as the message RowDescription tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireType {
    /// OID of the type.
    pub oid: u32,
    /// Modifier: precision and scale of a numeric; else -1.
    pub modifier: i32,
    /// Bytes of a value; -1 if they vary.
    pub length: i16,
}

impl WireType {
    fn plain(oid: u32) -> WireType {
        WireType { oid, modifier: NO_MODIFIER, length: type_of(oid).map_or(-1, |found| found.length) }
    }
}

/// Type of a column on the wire, and in `pg_attribute`.
///
/// VARCHAR is `text`, STRUCT and arrays of it are `jsonb`, and arrays of arrays are arrays, as in PostgreSQL.
/// Types that Herald has only in its catalogue are `oid` (of BIGINT), `name` and `"char"` (of VARCHAR).
pub fn wire_type(field: &Field) -> WireType {
    match labelled(field) {
        Some(name @ ("oid" | "xid" | "name" | "char" | "json" | "_oid" | "_name" | "_char")) => {
            WireType::plain(type_named(name).map_or(TEXT, |found| found.oid))
        }
        _ => natural_type(field),
    }
}

/// Dimensions of a column's arrays; 0 for a column without them.
pub(super) fn dimensions(field: &Field) -> i64 {
    match field.data_type() {
        _ if holds_fields(field) => 0,
        DataType::List(item) | DataType::LargeList(item) => 1 + dimensions(item),
        _ => 0,
    }
}

/// Tells whether a column has values with fields, which are sent as JSON.
fn holds_fields(field: &Field) -> bool {
    match field.data_type() {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(item) | DataType::LargeList(item) => holds_fields(item),
        _ => false,
    }
}

/// Type of a column by its values alone.
fn natural_type(field: &Field) -> WireType {
    WireType::plain(match field.data_type() {
        DataType::Boolean => 16,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => 17,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => 20,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 21,
        DataType::Int32 | DataType::UInt16 => 23,
        DataType::Float16 | DataType::Float32 => 700,
        DataType::Float64 => 701,
        DataType::Date32 | DataType::Date64 => 1082,
        DataType::Time32(_) | DataType::Time64(_) => 1083,
        DataType::Timestamp(_, None) => 1114,
        DataType::Timestamp(_, Some(_)) => 1184,
        DataType::Interval(_) | DataType::Duration(_) => 1186,
        DataType::FixedSizeBinary(16) => 2950,
        DataType::FixedSizeBinary(_) => 17,
        _ if holds_fields(field) => 3802,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            let modifier = ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4;
            return WireType { modifier, ..WireType::plain(1700) };
        }
        DataType::List(item) | DataType::LargeList(item) => {
            let item = wire_type(item);
            let array = type_of(item.oid).map_or(0, |found| found.array);
            // The type of an array of arrays is that of their items.
            return WireType { oid: if array == 0 { item.oid } else { array }, length: -1, ..item };
        }
        _ if is_jsonb(field) => 3802,
        _ => TEXT,
    })
}

/// A column of the catalogue, of the builtin type with this name.
pub(super) fn label_field(name: &str, type_name: &str) -> Field {
    let field = Field::new(name, arrow_type(type_name), true);
    field.with_metadata(HashMap::from([(LABEL.to_owned(), type_name.to_owned())]))
}

/// Metadata of a column that has kept a label from before a cast; None if its label is right.
pub(super) fn corrected_label(field: &Field) -> Option<HashMap<String, String>> {
    let is_stale = field.metadata().contains_key(LABEL) && labelled(field).is_none();
    is_stale.then(|| HashMap::from([(LABEL.to_owned(), String::new())]))
}

/// The label of a column whose values are of the labelled type.
pub(super) fn labelled(field: &Field) -> Option<&str> {
    let label = field.metadata().get(LABEL)?;
    let same = match (arrow_type(label), field.data_type()) {
        (DataType::Utf8, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) => true,
        (expected, found) => expected.equals_datatype(found),
    };
    same.then_some(label)
}

/// The Arrow type of a builtin type's values.
pub(super) fn arrow_type(type_name: &str) -> DataType {
    if let Some(item) = type_name.strip_prefix('_') {
        return list_of(arrow_type(item));
    }
    match type_name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" | "oid" | "xid" | "cid" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(38, 0),
        "bytea" => DataType::Binary,
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "timestamptz" | "time_stamp" => timestamptz(),
        "int2vector" => list_of(DataType::Int16),
        "oidvector" => list_of(DataType::Int64),
        _ if is_reference(type_name) => DataType::Int64,
        _ => DataType::Utf8,
    }
}

/// A list of items of a type.
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

/// Tells whether a type is an OID that is shown as a name.
pub(super) fn is_reference(type_name: &str) -> bool {
    matches!(
        type_name,
        "regclass"
            | "regcollation"
            | "regconfig"
            | "regdictionary"
            | "regnamespace"
            | "regoper"
            | "regoperator"
            | "regproc"
            | "regprocedure"
            | "regrole"
            | "regtype"
    )
}

/// SQL's name of a type, as `format_type` gives it: `character varying(20)`, `integer[]`; `???` for an
/// unknown one.
pub(super) fn format_type(oid: u32, modifier: Option<i64>) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(found) = type_of(oid) else { return "???".to_owned() };
    match type_of(found.element).filter(|_| found.is_array()) {
        Some(item) => format!("{}[]", format_scalar(item, modifier)),
        None => format_scalar(found, modifier),
    }
}

/// SQL's name of a type that is no array.
fn format_scalar(found: &PgType, modifier: Option<i64>) -> String {
    let modifier = modifier.filter(|modifier| *modifier >= 0);
    let (name, rest) = match found.name {
        "bool" => ("boolean", ""),
        "int2" => ("smallint", ""),
        "int4" => ("integer", ""),
        "int8" => ("bigint", ""),
        "float4" => ("real", ""),
        "float8" => ("double precision", ""),
        "bpchar" => ("character", ""),
        "varchar" => ("character varying", ""),
        "varbit" => ("bit varying", ""),
        "char" => ("\"char\"", ""),
        "time" => ("time", " without time zone"),
        "timetz" => ("time", " with time zone"),
        "timestamp" => ("timestamp", " without time zone"),
        "timestamptz" => ("timestamp", " with time zone"),
        other => (other, ""),
    };
    let within = match (found.name, modifier) {
        ("numeric", Some(modifier)) if modifier >= 4 => {
            format!("({},{})", ((modifier - 4) >> 16) & 0xffff, (modifier - 4) & 0x7ff)
        }
        ("varchar" | "bpchar", Some(modifier)) if modifier >= 4 => format!("({})", modifier - 4),
        ("time" | "timetz" | "timestamp" | "timestamptz" | "bit" | "varbit", Some(modifier)) => {
            format!("({modifier})")
        }
        _ => String::new(),
    };
    format!("{name}{within}{rest}")
}

/// OID of the type that SQL calls by this name, as in `'character varying(20)'::regtype`.
pub(super) fn parse_type_name(text: &str) -> Option<u32> {
    let lower = text.trim().to_lowercase();
    let (base, array) = match lower.strip_suffix("[]") {
        Some(base) => (base.trim_end_matches("[]"), true),
        None => (lower.as_str(), false),
    };
    let base = base.strip_prefix("pg_catalog.").unwrap_or(base);
    let without_length = match (base.find('('), base.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &base[..open], &base[close + 1..]),
        _ => base.to_owned(),
    };
    let words: Vec<&str> = without_length.split_whitespace().collect();
    let found = type_named(pg_name(&words.join(" ")))?;
    Some(if array { found.array } else { found.oid }).filter(|oid| *oid != 0)
}

/// The name in `pg_type` of a type by its name in SQL.
pub(super) fn pg_name(sql: &str) -> &str {
    match sql {
        "\"char\"" => "char",
        "bigint" => "int8",
        "bit varying" => "varbit",
        "boolean" => "bool",
        "char" | "character" => "bpchar",
        "char varying" | "character varying" | "string" => "varchar",
        "dec" | "decimal" => "numeric",
        "double" | "double precision" | "float" => "float8",
        "int" | "integer" => "int4",
        "real" => "float4",
        "smallint" => "int2",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        other => other.trim_matches('"'),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_line_of_the_lists_is_read() {
        assert_eq!(TYPES.len(), include_str!("data/types.txt").lines().count());
        assert_eq!(FUNCTIONS.len(), include_str!("data/functions.txt").lines().count());
        for found in TYPES.iter() {
            for name in found.functions.iter().chain([&found.subscript]).filter(|name| **name != "-") {
                assert_ne!(function_oid(name), 0, "{name} of {}", found.name);
            }
            if found.array != 0 {
                assert_eq!(type_of(found.array).map(|array| array.element), Some(found.oid));
            }
        }
    }

    #[test]
    fn columns_have_the_types_of_postgresql() {
        let item = Field::new("item", schemas::timestamptz(), true);
        let nested =
            DataType::List(Arc::new(Field::new("item", DataType::List(Arc::new(item.clone())), true)));
        for (field, oid, modifier, text) in [
            (Field::new("c", DataType::Utf8, true), 25, -1, "text"),
            (Field::new("c", DataType::Decimal128(10, 4), true), 1700, 655_368, "numeric(10,4)"),
            (Field::new("c", list_of(DataType::Decimal128(10, 4)), true), 1231, 655_368, "numeric(10,4)[]"),
            (Field::new("c", nested, true), 1185, -1, "timestamp with time zone[]"),
            (schemas::jsonb_field("c", true), 3802, -1, "jsonb"),
            (Field::new("c", list_of(DataType::Struct(vec![item.clone()].into())), true), 3802, -1, "jsonb"),
            (label_field("c", "oid"), 26, -1, "oid"),
            (label_field("c", "char"), 18, -1, "\"char\""),
            (label_field("c", "int2vector"), 1005, -1, "smallint[]"),
            (label_field("c", "oid").with_data_type(DataType::Utf8), 25, -1, "text"),
        ] {
            let found = wire_type(&field);
            assert_eq!((found.oid, found.modifier), (oid, modifier), "{field}");
            assert_eq!(format_type(found.oid, Some(i64::from(found.modifier))), text);
        }
    }

    #[test]
    fn types_are_known_by_all_their_names() {
        for (name, oid) in [
            ("int", Some(23)),
            ("CHARACTER  VARYING(20)", Some(1043)),
            ("timestamp (3) with time zone", Some(1184)),
            ("pg_catalog.text[]", Some(1009)),
            ("\"char\"", Some(18)),
            ("int4[][]", Some(1007)),
            ("hstore", None),
        ] {
            assert_eq!(parse_type_name(name), oid, "{name}");
        }
    }
}
