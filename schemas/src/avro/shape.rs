//! A writer's schema as it lies in the bytes: enough to step over a value, or to show it as JSON.
//!
//! Named types are kept once, in a table, so that recursive schemas are finite here; the depth of
//! what they describe is bounded when it is read.

use std::collections::HashMap;
use std::io::Write;

use apache_avro::schema::{InnerDecimalSchema, NamesRef, Schema as Avro, UuidSchema};

use super::wire::Wire;
use crate::decode::Fail;
use crate::json::output::{write_base64, write_text};
use crate::types::{decimal, time};

/// How deep a value may be nested.
const DEPTH_MAX: usize = 100;

/// One type.
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
    /// Units of this many microseconds since midnight.
    Time(i64),
    /// Units of so many microseconds, or of which so many make one.
    Timestamp {
        times: i64,
        over: i64,
        utc: bool,
    },
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    /// A named record in the table.
    Record(usize),
}

/// What bytes mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Text,
    Raw,
    Decimal(i8),
    Uuid,
}

/// The records of a schema: fields with their names.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    records: Vec<Vec<(String, Shape)>>,
    places: HashMap<String, usize>,
}

impl Shapes {
    /// The shape of a type.
    pub(super) fn add(&mut self, schema: &Avro, names: &NamesRef<'_>) -> Result<Shape, String> {
        let timestamp = |times, over, utc| Shape::Timestamp { times, over, utc };
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
            Avro::TimestampMillis => timestamp(1000, 1, true),
            Avro::TimestampMicros => timestamp(1, 1, true),
            Avro::TimestampNanos => timestamp(1, 1000, true),
            Avro::LocalTimestampMillis => timestamp(1000, 1, false),
            Avro::LocalTimestampMicros => timestamp(1, 1, false),
            Avro::LocalTimestampNanos => timestamp(1, 1000, false),
            Avro::Array(array) => Shape::Array(Box::new(self.add(&array.items, names)?)),
            Avro::Map(map) => Shape::Map(Box::new(self.add(&map.types, names)?)),
            Avro::Union(union) => {
                let variants = union.variants().iter().map(|v| self.add(v, names));
                Shape::Union(variants.collect::<Result<_, _>>()?)
            }
            Avro::Ref { name } => {
                let schema = names.get(name).ok_or_else(|| format!("type {name} is not defined"))?;
                self.add(schema, names)?
            }
            Avro::Record(record) => {
                let full = record.name.fullname(None);
                if let Some(place) = self.places.get(&full) {
                    return Ok(Shape::Record(*place));
                }
                let place = self.records.len();
                self.places.insert(full, place);
                self.records.push(Vec::new());
                for field in &record.fields {
                    let shape = self.add(&field.schema, names)?;
                    self.records[place].push((field.name.clone(), shape));
                }
                Shape::Record(place)
            }
        })
    }

    /// Steps over a value.
    pub(super) fn skip(&self, shape: &Shape, wire: &mut Wire<'_>, depth: usize) -> Result<(), Fail> {
        match shape {
            Shape::Null => Ok(()),
            Shape::Bool => wire.boolean().map(drop),
            Shape::Float => wire.take(4).map(drop),
            Shape::Double => wire.take(8).map(drop),
            Shape::Bytes(None, _) => wire.bytes().map(drop),
            Shape::Bytes(Some(size), _) => wire.take(*size).map(drop),
            Shape::Enum(symbols) => wire.index(symbols.len()).map(drop),
            Shape::Long | Shape::Date | Shape::Time(_) | Shape::Timestamp { .. } => wire.skip_longs(1),
            Shape::Array(item) => {
                let depth = deeper(depth)?;
                loop {
                    match wire.block()? {
                        0 => return Ok(()),
                        count => (0..count).try_for_each(|_| self.skip(item, wire, depth))?,
                    }
                }
            }
            Shape::Map(value) => {
                let depth = deeper(depth)?;
                loop {
                    match wire.block()? {
                        0 => return Ok(()),
                        count => (0..count).try_for_each(|_| {
                            wire.bytes()?;
                            self.skip(value, wire, depth)
                        })?,
                    }
                }
            }
            Shape::Union(variants) => {
                let index = wire.index(variants.len())?;
                self.skip(&variants[index], wire, depth)
            }
            Shape::Record(place) => {
                let depth = deeper(depth)?;
                self.records[*place].iter().try_for_each(|(_, field)| self.skip(field, wire, depth))
            }
        }
    }

    /// Appends a value as compact JSON.
    pub(super) fn json(
        &self,
        shape: &Shape,
        wire: &mut Wire<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Fail> {
        match shape {
            Shape::Array(item) => {
                let depth = deeper(depth)?;
                self.blocks(wire, out, (b'[', b']'), |wire, out| self.json(item, wire, out, depth))
            }
            Shape::Map(value) => {
                let depth = deeper(depth)?;
                self.blocks(wire, out, (b'{', b'}'), |wire, out| {
                    write_text(out, wire.text()?.as_bytes());
                    out.push(b':');
                    self.json(value, wire, out, depth)
                })
            }
            Shape::Union(variants) => {
                let index = wire.index(variants.len())?;
                self.json(&variants[index], wire, out, depth)
            }
            Shape::Record(place) => {
                let depth = deeper(depth)?;
                out.push(b'{');
                for (index, (name, field)) in self.records[*place].iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(out, name.as_bytes());
                    out.push(b':');
                    self.json(field, wire, out, depth)?;
                }
                out.push(b'}');
                Ok(())
            }
            scalar => json_scalar(scalar, wire, out),
        }
    }

    /// Appends the items of an array or map with commas between and brackets around.
    fn blocks(
        &self,
        wire: &mut Wire<'_>,
        out: &mut Vec<u8>,
        brackets: (u8, u8),
        mut item: impl FnMut(&mut Wire<'_>, &mut Vec<u8>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        out.push(brackets.0);
        let mut first = true;
        loop {
            match wire.block()? {
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

fn deeper(depth: usize) -> Result<usize, Fail> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Fail::new("it is nested too deep")) }
}

fn json_scalar(shape: &Shape, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Result<(), Fail> {
    match shape {
        Shape::Bool => put(out, format_args!("{}", wire.boolean()?)),
        Shape::Long => put(out, format_args!("{}", wire.long()?)),
        Shape::Float => {
            let value = f32::from_le_bytes(wire.array()?);
            put_float(out, value.into(), format_args!("{value:?}"));
        }
        Shape::Double => {
            let value = f64::from_le_bytes(wire.array()?);
            put_float(out, value, format_args!("{value:?}"));
        }
        Shape::Bytes(size, content) => {
            let bytes = match size {
                None => wire.bytes()?,
                Some(size) => wire.take(*size)?,
            };
            json_bytes(bytes, *content, out)?;
        }
        Shape::Enum(symbols) => {
            let index = wire.index(symbols.len())?;
            write_text(out, symbols[index].as_bytes());
        }
        Shape::Date => {
            let days = wire.long()?;
            let days = i32::try_from(days).map_err(|_| Fail::new("a date is out of range"))?;
            out.push(b'"');
            time::write_date(out, days.into());
            out.push(b'"');
        }
        Shape::Time(unit) => {
            let us = wire.long()?.checked_mul(*unit).ok_or_else(|| Fail::new("a time is out of range"))?;
            out.push(b'"');
            time::write_time(out, us);
            out.push(b'"');
        }
        Shape::Timestamp { times, over, utc } => {
            let us = scale(wire.long()?, *times, *over)?;
            out.push(b'"');
            time::write_timestamp(out, us, *utc);
            out.push(b'"');
        }
        _ => put(out, format_args!("null")),
    }
    Ok(())
}

/// Units to microseconds; parts of a microsecond are cut off, towards the past.
#[inline]
pub(super) fn scale(value: i64, times: i64, over: i64) -> Result<i64, Fail> {
    let value = if over == 1 { value } else { value.div_euclid(over) };
    value.checked_mul(times).ok_or_else(|| Fail::new("a timestamp is out of range"))
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

fn put_float(out: &mut Vec<u8>, value: f64, text: std::fmt::Arguments<'_>) {
    match value {
        value if value.is_finite() => put(out, text),
        value if value.is_nan() => put(out, format_args!("\"NaN\"")),
        value if value > 0.0 => put(out, format_args!("\"Infinity\"")),
        _ => put(out, format_args!("\"-Infinity\"")),
    }
}

fn json_bytes(bytes: &[u8], content: Content, out: &mut Vec<u8>) -> Result<(), Fail> {
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
            let value = unscaled(bytes)?;
            out.push(b'"');
            decimal::write(out, value, scale);
            out.push(b'"');
        }
        Content::Raw | Content::Uuid => {
            out.push(b'"');
            write_base64(out, bytes);
            out.push(b'"');
        }
    }
    Ok(())
}

/// The integer in big-endian two's complement bytes of any length.
pub(super) fn unscaled(bytes: &[u8]) -> Result<i128, Fail> {
    let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xFF } else { 0 };
    let excess = bytes.len().saturating_sub(16);
    let (head, tail) = bytes.split_at(excess);
    let mut full = [fill; 16];
    full[16 - tail.len()..].copy_from_slice(tail);
    let fits = head.iter().all(|b| *b == fill) && (head.is_empty() || (full[0] ^ fill) & 0x80 == 0);
    if fits { Ok(i128::from_be_bytes(full)) } else { Err(Fail::new("a decimal has more than 38 digits")) }
}
