//! Compilation of a writer's schema and the wanted columns into a plan for reading the bytes.
//!
//! A type that cannot fill its column is not an error here: a nullable field that is always null
//! still can. The refusal is compiled in (`Op::Refuse`) and takes effect at the first such value.

use std::collections::HashMap;

use apache_avro::schema::{
    InnerDecimalSchema, NamesRef, RecordSchema, ResolvedSchema, Schema as Avro, UuidSchema,
};
use arrow::datatypes::{DataType, Field, Fields};

use super::default_values::{default_of, without_default};
use super::shape::{Content, Shape, Shapes};
use crate::types::relation::{is_jsonb, sql_type};

/// A plan for reading a writer's records into the columns.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) top: Op,
    /// Set if the datum is the value of the one column, without a record around it.
    pub(super) bare: bool,
    pub(super) shapes: Shapes,
    /// True for each column that the schema has.
    pub(super) present: Vec<bool>,
    /// The names of the schema's fields.
    pub(super) fields: Vec<String>,
}

/// An operation that reads one value into one column.
#[derive(Debug)]
pub(super) enum Op {
    Null,
    Bool,
    Int(IntTo),
    Float,
    Double,
    /// Bytes with a preceding length, or a fixed number of them.
    Bytes(Option<usize>, BytesTo),
    Enum(Vec<String>),
    Union(Vec<Op>),
    List(Box<Op>),
    Record(Record),
    Jsonb(Shape),
    Refuse(String),
}

/// The conversion of an int or long; the column determines the width.
#[derive(Clone, Copy, Debug)]
pub(super) enum IntTo {
    /// The same number, if the column can hold it.
    Number,
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// A unit of `times` microseconds, or a unit of which `over` make one.
    Micros {
        times: i64,
        over: i64,
    },
}

/// The conversion of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum BytesTo {
    Raw,
    Text,
    Uuid,
    /// A UUID column, filled from the 16 bytes or from the text.
    UuidOf {
        text: bool,
    },
    /// A binary decimal, with the power of ten to the column's scale, and the column's precision.
    Decimal {
        shift: i32,
        precision: u8,
    },
    /// Text that is parsed as decimals in JSON are.
    DecimalText {
        precision: u8,
        scale: i8,
    },
    DateText,
    TimeText,
    IntervalText,
    TimestampText,
}

/// A plan for reading a record's fields in their order.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) steps: Vec<Step>,
    /// The columns that no field fills, with their defaults.
    pub(super) missing: Vec<(usize, Option<Fallback>)>,
}

/// The default of a column that no field fills: a datum with the one column, and the plan to read it.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) plan: Box<Plan>,
    pub(super) datum: Vec<u8>,
}

impl Fallback {
    fn of_column(column: &Field) -> Option<Fallback> {
        let (schema, datum) = default_of(column)?;
        // A default that cannot be read into its column is ignored: the column is NULL then.
        let plan = Plan::compile(schema, &Fields::from(vec![without_default(column.clone())]), false).ok()?;
        Some(Fallback { plan: Box::new(plan), datum })
    }
}

/// A step of reading a record.
#[derive(Debug)]
pub(super) enum Step {
    SkipLongs(usize),
    Skip(Shape),
    Read { column: usize, name: String, op: Op },
}

impl Plan {
    /// Compiles a plan for records of the schema in `text`; with `or_value` the schema may also be that of
    /// the one column's value.
    pub(super) fn compile(text: &str, columns: &Fields, or_value: bool) -> Result<Plan, String> {
        let schema = Avro::parse_str(text).map_err(|error| error.to_string())?;
        let resolved = ResolvedSchema::new(&schema).map_err(|error| error.to_string())?;
        let mut compiler = Compiler { names: resolved.get_names(), shapes: Shapes::default() };
        let mut present = vec![false; columns.len()];
        let mut fields = Vec::new();
        let mut bare = false;
        // A top-level union is compiled with the whole row as the column of its record variant.
        let top = match &schema {
            Avro::Record(record) => {
                fields.extend(record.fields.iter().map(|field| field.name.clone()));
                let record = compiler.compile_record(record, columns)?;
                present.fill(true);
                for (column, _) in &record.missing {
                    present[*column] = false;
                }
                Op::Record(record)
            }
            Avro::Union(union) => {
                // The variant differs from message to message, so no column counts as missing.
                present.fill(true);
                let row = Field::new_struct("", columns.clone(), true);
                compiler.compile_union(union.variants(), &row)?
            }
            schema => match columns.as_ref() {
                [column] if or_value => {
                    (bare, present[0]) = (true, true);
                    compiler.compile_value(schema, column)?
                }
                _ => return Err("it is not a record".to_string()),
            },
        };
        let shapes = compiler.shapes;
        Ok(Plan { top, bare, shapes, present, fields })
    }
}

/// The compiler of one writer's schema.
struct Compiler<'s> {
    names: &'s NamesRef<'s>,
    shapes: Shapes,
}

impl Compiler<'_> {
    /// Compiles a record: fields without a column are skipped, adjacent numbers in one step.
    fn compile_record(&mut self, record: &RecordSchema, columns: &Fields) -> Result<Record, String> {
        let filled = match_columns(record, columns);
        let mut steps: Vec<Step> = Vec::new();
        for (index, field) in record.fields.iter().enumerate() {
            if let Some(column) = filled.get(&index) {
                let op = self.compile_value(&field.schema, &columns[*column])?;
                steps.push(Step::Read { column: *column, name: field.name.clone(), op });
                continue;
            }
            let shape = self.shapes.add_type(&field.schema, self.names)?;
            // All of these are one varint each.
            let long = matches!(shape, Shape::Long | Shape::Date | Shape::Time(_) | Shape::Timestamp { .. });
            match (steps.last_mut(), shape) {
                // Null takes no bytes.
                (_, Shape::Null) => {}
                (Some(Step::SkipLongs(count)), _) if long => *count += 1,
                (_, _) if long => steps.push(Step::SkipLongs(1)),
                (_, shape) => steps.push(Step::Skip(shape)),
            }
        }
        let mut missing = Vec::new();
        for (column, wanted) in columns.iter().enumerate() {
            if !filled.values().any(|filled| *filled == column) {
                missing.push((column, Fallback::of_column(wanted)));
            }
        }
        Ok(Record { steps, missing })
    }

    /// Compiles the reading of a union into a column.
    fn compile_union(&mut self, variants: &[Avro], field: &Field) -> Result<Op, String> {
        let mut ops = Vec::with_capacity(variants.len());
        for variant in variants {
            ops.push(self.compile_value(variant, field)?);
        }
        Ok(Op::Union(ops))
    }

    /// Compiles the reading of a type into a column.
    fn compile_value(&mut self, schema: &Avro, field: &Field) -> Result<Op, String> {
        // Recursion through named types ends, because the column's type is finite.
        if let Avro::Ref { name } = schema {
            let schema = *self.names.get(name).ok_or_else(|| format!("type {name} is not defined"))?;
            return self.compile_value(schema, field);
        }
        if let Avro::Union(union) = schema {
            return self.compile_union(union.variants(), field);
        }
        if matches!(schema, Avro::Null) {
            return Ok(Op::Null);
        }
        // JSONB takes any type. Null was handled above: it becomes NULL, not the JSON value null.
        if is_jsonb(field) {
            return Ok(Op::Jsonb(self.shapes.add_type(schema, self.names)?));
        }
        match (schema, field.data_type()) {
            (Avro::Record(record), DataType::Struct(fields)) => {
                Ok(Op::Record(self.compile_record(record, fields)?))
            }
            (Avro::Array(array), DataType::List(item)) => {
                Ok(Op::List(Box::new(self.compile_value(&array.items, item)?)))
            }
            (schema, data_type) => match compile_scalar(schema, data_type) {
                Some(op) => Ok(op),
                // Nothing needs to skip the bytes: a refusal ends the record.
                None => {
                    let (found, wanted) = (describe_type(schema), sql_type(field));
                    Ok(Op::Refuse(format!("Avro {found} does not fit {wanted}")))
                }
            },
        }
    }
}

/// Assigns columns to fields: by name, else by alias, else by name without regard to case.
fn match_columns(record: &RecordSchema, columns: &Fields) -> HashMap<usize, usize> {
    let mut filled: HashMap<usize, usize> = HashMap::new();
    let mut done = vec![false; columns.len()];
    for (column, wanted) in columns.iter().enumerate() {
        if let Some(field) = record.fields.iter().position(|f| f.name == *wanted.name()) {
            fill_column(column, field, &mut done, &mut filled);
        }
    }
    for (column, wanted) in columns.iter().enumerate() {
        if let Some(field) = record.fields.iter().position(|f| f.aliases.contains(wanted.name())) {
            fill_column(column, field, &mut done, &mut filled);
        }
    }
    for (column, wanted) in columns.iter().enumerate() {
        let folded = wanted.name().to_lowercase();
        // Without regard to case only where one field and one column share the name.
        let mut like = record.fields.iter().enumerate().filter(|(_, f)| f.name.to_lowercase() == folded);
        let rivals = columns.iter().filter(|c| c.name().to_lowercase() == folded).count();
        if let (Some((field, _)), None, 1) = (like.next(), like.next(), rivals) {
            fill_column(column, field, &mut done, &mut filled);
        }
    }
    filled
}

/// Fills a column from a field, unless another fills it or the field fills another: each is used once at most.
fn fill_column(column: usize, field: usize, done: &mut [bool], filled: &mut HashMap<usize, usize>) {
    if !done[column] && !filled.contains_key(&field) {
        done[column] = true;
        filled.insert(field, column);
    }
}

/// Converts units of `times` microseconds, or units of which `over` make one.
fn convert_micros(times: i64, over: i64) -> Option<Op> {
    Some(Op::Int(IntTo::Micros { times, over }))
}

fn compile_scalar(schema: &Avro, data_type: &DataType) -> Option<Op> {
    let number = Some(Op::Int(IntTo::Number));
    match (schema, data_type) {
        (Avro::Boolean, DataType::Boolean) => Some(Op::Bool),
        (Avro::Int | Avro::Long, DataType::Decimal128(precision, scale)) => {
            Some(Op::Int(IntTo::Decimal { precision: *precision, scale: *scale }))
        }
        (
            Avro::Int | Avro::Long,
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64,
        ) => number,
        (Avro::Float, DataType::Float32 | DataType::Float64) => Some(Op::Float),
        (Avro::Double, DataType::Float32 | DataType::Float64) => Some(Op::Double),
        (Avro::Date, DataType::Date32) => number,
        (Avro::TimeMillis, DataType::Time64(_)) => convert_micros(1000, 1),
        (Avro::TimeMicros, DataType::Time64(_)) => convert_micros(1, 1),
        (Avro::TimestampMillis | Avro::LocalTimestampMillis, DataType::Timestamp(..)) => {
            convert_micros(1000, 1)
        }
        (Avro::TimestampMicros | Avro::LocalTimestampMicros, DataType::Timestamp(..)) => convert_micros(1, 1),
        (Avro::TimestampNanos | Avro::LocalTimestampNanos, DataType::Timestamp(..)) => {
            convert_micros(1, 1000)
        }
        // A logical type declared as an integer column gives the number as written.
        (
            Avro::TimeMicros
            | Avro::TimestampMillis
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos,
            DataType::Int64,
        ) => number,
        (Avro::Date | Avro::TimeMillis, DataType::Int32 | DataType::Int64) => number,
        (Avro::Enum(symbols), DataType::Utf8) => Some(Op::Enum(symbols.symbols.clone())),
        (schema, data_type) => {
            let (size, content) = bytes_of(schema)?;
            Some(Op::Bytes(size, bytes_to(content, data_type)?))
        }
    }
}

/// Returns fixed size and content of types that are encoded as bytes.
fn bytes_of(schema: &Avro) -> Option<(Option<usize>, Content)> {
    Some(match schema {
        Avro::String | Avro::Uuid(UuidSchema::String) => (None, Content::Text),
        Avro::Bytes => (None, Content::Raw),
        Avro::Fixed(fixed) => (Some(fixed.size), Content::Raw),
        Avro::Uuid(UuidSchema::Fixed(fixed)) => (Some(fixed.size), Content::Uuid),
        Avro::Uuid(UuidSchema::Bytes) => (None, Content::Uuid),
        Avro::Decimal(decimal) => {
            let size = match &decimal.inner {
                InnerDecimalSchema::Bytes => None,
                InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
            };
            (size, Content::Decimal(i8::try_from(decimal.scale).ok()?))
        }
        _ => return None,
    })
}

fn bytes_to(content: Content, data_type: &DataType) -> Option<BytesTo> {
    Some(match (content, data_type) {
        (Content::Text | Content::Raw | Content::Uuid, DataType::Binary) => BytesTo::Raw,
        (Content::Text | Content::Raw, DataType::Utf8) => BytesTo::Text,
        (Content::Uuid, DataType::Utf8) => BytesTo::Uuid,
        (Content::Text, DataType::FixedSizeBinary(16)) => BytesTo::UuidOf { text: true },
        (Content::Uuid | Content::Raw, DataType::FixedSizeBinary(16)) => BytesTo::UuidOf { text: false },
        // A negative shift may drop zeros only; other digits are refused when the value is read.
        (Content::Decimal(from), DataType::Decimal128(precision, to)) => {
            BytesTo::Decimal { shift: i32::from(*to) - i32::from(from), precision: *precision }
        }
        (Content::Text, DataType::Decimal128(precision, scale)) => {
            BytesTo::DecimalText { precision: *precision, scale: *scale }
        }
        (Content::Text, DataType::Date32) => BytesTo::DateText,
        (Content::Text, DataType::Time64(_)) => BytesTo::TimeText,
        (Content::Text, DataType::Interval(_)) => BytesTo::IntervalText,
        (Content::Text, DataType::Timestamp(..)) => BytesTo::TimestampText,
        _ => return None,
    })
}

fn describe_type(schema: &Avro) -> String {
    match schema {
        Avro::Record(record) => format!("record {}", record.name.fullname(None)),
        Avro::Enum(symbols) => format!("enum {}", symbols.name.fullname(None)),
        Avro::Fixed(fixed) => format!("fixed({})", fixed.size),
        Avro::Decimal(decimal) => format!("decimal({}, {})", decimal.precision, decimal.scale),
        Avro::Long | Avro::Int => {
            format!(
                "{} (declare it BIGINT, or give it a logical type)",
                if matches!(schema, Avro::Int) { "int" } else { "long" }
            )
        }
        Avro::Array(_) => "array".to_string(),
        Avro::Map(_) => "map".to_string(),
        other => other.to_string().to_lowercase(),
    }
}
