//! The binary layout of a writer's schema: enough to skip a value, or to write it as JSON.
//!
//! Each named type is kept once, in a table, so that recursive schemas are finite here; the nesting
//! of values is bounded when they are read.

use std::collections::HashMap;
use std::io::Write;

use apache_avro::schema::{InnerDecimalSchema, NamesRef, Schema as Avro, UuidSchema};

use super::wire::Wire;
use crate::decode::batch::Fail;
use crate::json::output::{write_base64, write_text};
use crate::types::{decimal, time};

/// The greatest nesting of a value.
const DEPTH_MAX: usize = 100;

/// The layout of one type.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Null,
    Bool,
    Long,
    Float,
    Double,
    /// A length and bytes, or a fixed number of bytes.
    Bytes(Option<usize>, Content),
    Enum(Vec<String>),
    Date,
    /// Time since midnight in units of this many microseconds.
    Time(i64),
    /// Time in units of `times` microseconds, or in units of which `over` make one.
    Timestamp {
        times: i64,
        over: i64,
        utc: bool,
    },
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    /// The index of a named record in the table.
    Record(usize),
}

/// The meaning of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Text,
    Raw,
    Decimal(i8),
    Uuid,
}

/// The table of a schema's records: fields with their names.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    records: Vec<Vec<(String, Shape)>>,
    /// The index of each record by its full name.
    places: HashMap<String, usize>,
}

impl Shapes {
    /// Returns the shape of a type, and adds its records to the table.
    pub(super) fn add_type(&mut self, schema: &Avro, names: &NamesRef<'_>) -> Result<Shape, String> {
        Ok(match schema {
            Avro::Null => Shape::Null,
            Avro::Boolean => Shape::Bool,
            Avro::Int | Avro::Long => Shape::Long,
            Avro::Float => Shape::Float,
            Avro::Double => Shape::Double,
            Avro::Bytes | Avro::BigDecimal => Shape::Bytes(None, Content::Raw),
            Avro::String | Avro::Uuid(UuidSchema::String) => Shape::Bytes(None, Content::Text),
            Avro::Uuid(UuidSchema::Bytes) => Shape::Bytes(None, Content::Uuid),
            Avro::Uuid(UuidSchema::Fixed(fixed)) => Shape::Bytes(Some(fixed.size), Content::Uuid),
            Avro::Fixed(fixed) | Avro::Duration(fixed) => Shape::Bytes(Some(fixed.size), Content::Raw),
            Avro::Decimal(decimal) => {
                let scale = i8::try_from(decimal.scale).map_err(|_| "a scale is too large")?;
                let size = match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                };
                Shape::Bytes(size, Content::Decimal(scale))
            }
            Avro::Enum(symbols) => Shape::Enum(symbols.symbols.clone()),
            Avro::Date => Shape::Date,
            Avro::TimeMillis => Shape::Time(1000),
            Avro::TimeMicros => Shape::Time(1),
            Avro::TimestampMillis => timestamp_shape(1000, 1, true),
            Avro::TimestampMicros => timestamp_shape(1, 1, true),
            Avro::TimestampNanos => timestamp_shape(1, 1000, true),
            Avro::LocalTimestampMillis => timestamp_shape(1000, 1, false),
            Avro::LocalTimestampMicros => timestamp_shape(1, 1, false),
            Avro::LocalTimestampNanos => timestamp_shape(1, 1000, false),
            Avro::Array(array) => Shape::Array(Box::new(self.add_type(&array.items, names)?)),
            Avro::Map(map) => Shape::Map(Box::new(self.add_type(&map.types, names)?)),
            Avro::Union(union) => {
                let mut variants = Vec::with_capacity(union.variants().len());
                for variant in union.variants() {
                    variants.push(self.add_type(variant, names)?);
                }
                Shape::Union(variants)
            }
            Avro::Ref { name } => {
                let schema = names.get(name).ok_or_else(|| format!("type {name} is not defined"))?;
                self.add_type(schema, names)?
            }
            Avro::Record(record) => {
                let full = record.name.fullname(None);
                if let Some(place) = self.places.get(&full) {
                    return Ok(Shape::Record(*place));
                }
                // Entered before its fields are visited, so that a recursive reference finds it.
                let place = self.records.len();
                self.places.insert(full, place);
                self.records.push(Vec::new());
                for field in &record.fields {
                    let shape = self.add_type(&field.schema, names)?;
                    self.records[place].push((field.name.clone(), shape));
                }
                Shape::Record(place)
            }
        })
    }

    /// Skips a value.
    pub(super) fn skip_value(&self, shape: &Shape, wire: &mut Wire<'_>, depth: usize) -> Result<(), Fail> {
        match shape {
            Shape::Null => Ok(()),
            Shape::Bool => wire.read_boolean().map(drop),
            Shape::Float => wire.read_slice(4).map(drop),
            Shape::Double => wire.read_slice(8).map(drop),
            Shape::Bytes(None, _) => wire.read_bytes().map(drop),
            Shape::Bytes(Some(size), _) => wire.read_slice(*size).map(drop),
            Shape::Enum(symbols) => wire.read_index(symbols.len()).map(drop),
            Shape::Long | Shape::Date | Shape::Time(_) | Shape::Timestamp { .. } => wire.skip_longs(1),
            Shape::Array(item) => {
                let depth = check_depth(depth)?;
                loop {
                    match wire.read_block_len()? {
                        0 => return Ok(()),
                        count => {
                            for _ in 0..count {
                                self.skip_value(item, wire, depth)?;
                            }
                        }
                    }
                }
            }
            Shape::Map(value) => {
                let depth = check_depth(depth)?;
                loop {
                    match wire.read_block_len()? {
                        0 => return Ok(()),
                        // A map entry is a text key and a value.
                        count => {
                            for _ in 0..count {
                                wire.read_bytes()?;
                                self.skip_value(value, wire, depth)?;
                            }
                        }
                    }
                }
            }
            Shape::Union(variants) => {
                let index = wire.read_index(variants.len())?;
                self.skip_value(&variants[index], wire, depth)
            }
            Shape::Record(place) => {
                let depth = check_depth(depth)?;
                for (_, field) in &self.records[*place] {
                    self.skip_value(field, wire, depth)?;
                }
                Ok(())
            }
        }
    }

    /// Appends a value as compact JSON.
    pub(super) fn write_json(
        &self,
        shape: &Shape,
        wire: &mut Wire<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Fail> {
        match shape {
            Shape::Array(item) => {
                let depth = check_depth(depth)?;
                self.write_blocks(wire, out, (b'[', b']'), |wire, out| {
                    self.write_json(item, wire, out, depth)
                })
            }
            Shape::Map(value) => {
                let depth = check_depth(depth)?;
                self.write_blocks(wire, out, (b'{', b'}'), |wire, out| {
                    write_text(out, wire.read_text()?.as_bytes());
                    out.push(b':');
                    self.write_json(value, wire, out, depth)
                })
            }
            Shape::Union(variants) => {
                let index = wire.read_index(variants.len())?;
                self.write_json(&variants[index], wire, out, depth)
            }
            Shape::Record(place) => {
                let depth = check_depth(depth)?;
                out.push(b'{');
                for (index, (name, field)) in self.records[*place].iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(out, name.as_bytes());
                    out.push(b':');
                    self.write_json(field, wire, out, depth)?;
                }
                out.push(b'}');
                Ok(())
            }
            scalar => write_json_scalar(scalar, wire, out),
        }
    }

    /// Appends the items of an array or map with commas between and brackets around.
    fn write_blocks(
        &self,
        wire: &mut Wire<'_>,
        out: &mut Vec<u8>,
        brackets: (u8, u8),
        mut item: impl FnMut(&mut Wire<'_>, &mut Vec<u8>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        out.push(brackets.0);
        // Commas separate items across blocks, too.
        let mut first = true;
        loop {
            match wire.read_block_len()? {
                0 => break,
                count => {
                    for _ in 0..count {
                        if !std::mem::take(&mut first) {
                            out.push(b',');
                        }
                        item(wire, out)?;
                    }
                }
            }
        }
        out.push(brackets.1);
        Ok(())
    }
}

fn timestamp_shape(times: i64, over: i64, utc: bool) -> Shape {
    Shape::Timestamp { times, over, utc }
}

fn check_depth(depth: usize) -> Result<usize, Fail> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Fail::new("it is nested too deep")) }
}

fn write_json_scalar(shape: &Shape, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Result<(), Fail> {
    match shape {
        Shape::Bool => put_text(out, format_args!("{}", wire.read_boolean()?)),
        Shape::Long => put_text(out, format_args!("{}", wire.read_long()?)),
        Shape::Float => {
            let value = f32::from_le_bytes(wire.read_array()?);
            put_float(out, value.into(), format_args!("{value:?}"));
        }
        Shape::Double => {
            let value = f64::from_le_bytes(wire.read_array()?);
            put_float(out, value, format_args!("{value:?}"));
        }
        Shape::Bytes(size, content) => {
            let bytes = match size {
                None => wire.read_bytes()?,
                Some(size) => wire.read_slice(*size)?,
            };
            write_json_bytes(bytes, *content, out)?;
        }
        Shape::Enum(symbols) => {
            let index = wire.read_index(symbols.len())?;
            write_text(out, symbols[index].as_bytes());
        }
        Shape::Date => {
            let days = wire.read_long()?;
            let days = i32::try_from(days).map_err(|_| Fail::new("a date is out of range"))?;
            out.push(b'"');
            time::write_date(out, days.into());
            out.push(b'"');
        }
        Shape::Time(unit) => {
            let us =
                wire.read_long()?.checked_mul(*unit).ok_or_else(|| Fail::new("a time is out of range"))?;
            out.push(b'"');
            time::write_time(out, us);
            out.push(b'"');
        }
        Shape::Timestamp { times, over, utc } => {
            let us = scale_units(wire.read_long()?, *times, *over)?;
            out.push(b'"');
            time::write_timestamp(out, us, *utc);
            out.push(b'"');
        }
        _ => put_text(out, format_args!("null")),
    }
    Ok(())
}

/// Converts units to microseconds; fractions of a microsecond are rounded down, towards the past.
#[inline]
pub(super) fn scale_units(value: i64, times: i64, over: i64) -> Result<i64, Fail> {
    // At least one of the two factors is 1.
    let value = if over == 1 { value } else { value.div_euclid(over) };
    value.checked_mul(times).ok_or_else(|| Fail::new("a timestamp is out of range"))
}

fn put_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

fn put_float(out: &mut Vec<u8>, value: f64, text: std::fmt::Arguments<'_>) {
    match value {
        value if value.is_finite() => put_text(out, text),
        // JSON has no such numbers; the JSON decoder accepts these strings.
        value if value.is_nan() => put_text(out, format_args!("\"NaN\"")),
        value if value > 0.0 => put_text(out, format_args!("\"Infinity\"")),
        _ => put_text(out, format_args!("\"-Infinity\"")),
    }
}

fn write_json_bytes(bytes: &[u8], content: Content, out: &mut Vec<u8>) -> Result<(), Fail> {
    match content {
        Content::Text => match std::str::from_utf8(bytes) {
            Ok(text) => write_text(out, text.as_bytes()),
            Err(_) => return Err(Fail::new("a string is not UTF-8")),
        },
        Content::Uuid if bytes.len() == 16 => {
            out.push(b'"');
            crate::types::uuid::write(out, bytes);
            out.push(b'"');
        }
        Content::Decimal(scale) => {
            let value = decode_unscaled(bytes)?;
            out.push(b'"');
            decimal::write(out, value, scale);
            out.push(b'"');
        }
        // A UUID that does not have 16 bytes is written as base64.
        Content::Raw | Content::Uuid => {
            out.push(b'"');
            write_base64(out, bytes);
            out.push(b'"');
        }
    }
    Ok(())
}

/// Decodes an integer from big-endian two's complement bytes of any length.
pub(super) fn decode_unscaled(bytes: &[u8]) -> Result<i128, Fail> {
    let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xFF } else { 0 };
    let excess = bytes.len().saturating_sub(16);
    let (head, tail) = bytes.split_at(excess);
    let mut full = [fill; 16];
    full[16 - tail.len()..].copy_from_slice(tail);
    // Leading bytes beyond 16 must repeat the sign, and so must the first bit after them.
    let fits = head.iter().all(|b| *b == fill) && (head.is_empty() || (full[0] ^ fill) & 0x80 == 0);
    if fits { Ok(i128::from_be_bytes(full)) } else { Err(Fail::new("a decimal has more than 38 digits")) }
}
